"""Checkpoints as folders: whole or not there, and never taken when they are damaged."""

import functools
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpt import state_files

SCRIPT = Path(__file__).with_name("save_to_kill.py")
SHAPE = [64, 64]


def state(value=1.0):
    return {
        "model": {"layer/kernel": tf.Variable(tf.fill(SHAPE, value))},
        "optimizer": {"0": tf.Variable(7, dtype="int64")},
    }


def saved(folder, step, value=1.0, num_kept=2):
    state_files.write(state_files.snapshot(state(value)), folder, step, num_kept=num_kept)
    return folder / f"step-{step:08}"


def test_a_checkpoint_is_read_by_tensorflow_alone(tmp_path):
    path = saved(tmp_path / "new", 3, value=2.5)
    assert sorted(file.name for file in path.iterdir()) == [
        *("checksums.json", "state.data-00000-of-00001", "state.index")
    ]
    reader = tf.train.load_checkpoint(str(path / "state"))
    assert reader.get_variable_to_shape_map() == {"model/layer/kernel": SHAPE, "optimizer/0": []}
    np.testing.assert_array_equal(reader.get_tensor("model/layer/kernel"), np.full(SHAPE, 2.5))


@pytest.mark.parametrize("name", ["checksums.json", "state.index", "state.data-00000-of-00001"])
def test_every_changed_bit_and_every_cut_is_found(tmp_path, name):
    path = saved(tmp_path, 3)
    file = path / name
    whole = file.read_bytes()
    draw = random.Random(0)
    for _ in range(50):
        place, bit = draw.randrange(len(whole)), draw.randrange(8)
        changed = bytearray(whole)
        changed[place] ^= 1 << bit
        for damaged in (bytes(changed), whole[:place]):
            file.write_bytes(damaged)
            assert name in state_files.damage(path), (place, bit)
    file.write_bytes(whole)
    assert state_files.damage(path) == ""
    file.unlink()
    assert state_files.damage(path) == f"{name} is missing"
    file.mkdir()
    assert name in state_files.damage(path)


def test_a_checkpoint_under_the_name_of_another_step_is_damaged(tmp_path):
    path = saved(tmp_path, 3).rename(tmp_path / "step-00000004")
    assert state_files.damage(path) == "checksums.json was changed"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": 1, "step": 3}'])
def test_checksums_that_make_no_sense_are_damage(tmp_path, content):
    path = saved(tmp_path, 3)
    (path / "checksums.json").write_text(content)
    assert state_files.damage(path) == "checksums.json was changed"


def test_what_is_no_checkpoint_is_not_taken_for_one(tmp_path):
    saved(tmp_path, 3)
    for name in ("step-00000004.partial-7", "step-00000005.damaged", "notes"):
        (tmp_path / name).mkdir()
    assert state_files.steps(tmp_path) == [3]
    assert state_files.newest_whole(tmp_path / "nowhere") == (None, {})


def assigned(variable):
    variable.assign(variable * 2 + 1)


def added(variable):
    variable.assign_add(tf.ones(SHAPE))


def sliced(variable):
    variable[0].assign(tf.zeros(SHAPE[1:]))


def scattered(variable):
    variable.scatter_nd_add([[3]], tf.ones([1, SHAPE[1]]))


def applied(variable):
    tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=0.1, delta=tf.ones(SHAPE))


def applied_in_rows(variable):
    tf.raw_ops.ResourceSparseApplyProximalGradientDescent(
        var=variable.handle, alpha=0.1, l1=0.0, l2=0.0, grad=tf.ones([1, SHAPE[1]]), indices=[7]
    )


CHANGES = [assigned, added, sliced, scattered, applied, applied_in_rows]


@pytest.mark.parametrize(
    ("change", "way"),
    [
        *((change, way) for change in CHANGES for way in ("eager", "graph")),
        *((change, "xla") for change in CHANGES[:-1]),  # which lacks the last one
    ],
)
def test_a_snapshot_stays_as_it_is_while_training_goes_on(change, way):
    variable = tf.Variable(tf.random.stateless_uniform(SHAPE, [1, 2]))
    before = variable.numpy().copy()
    taken = state_files.snapshot({"model": {"kernel": variable}})["model/kernel"]
    if way == "eager":
        change(variable)
    else:
        tf.function(lambda: change(variable), jit_compile=way == "xla")()
    np.testing.assert_array_equal(taken, before)
    assert np.abs(variable.numpy() - before).max() > 0


def test_a_snapshot_stays_as_it_is_in_the_optimizers_of_keras():
    for name in ("AdamW", "Adafactor"):
        weight = keras.Variable(np.ones(SHAPE, "float32"), name="kernel")
        optimizer = getattr(keras.optimizers, name)(0.1)
        optimizer.build([weight])
        variables = {v.path: v.value for v in (weight, *optimizer.variables)}
        for jit_compile in (False, True):
            taken = state_files.snapshot({name: variables})
            before = {key: value.numpy().copy() for key, value in taken.items()}
            step = functools.partial(optimizer.apply, [tf.ones(SHAPE)])
            tf.function(step, jit_compile=jit_compile)()
            assert not np.array_equal(before[f"{name}/kernel"], weight)
            for key, value in taken.items():
                np.testing.assert_array_equal(value, before[key])


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """The writer is held until the variable has changed; what it writes is from before."""
    variables, writer = state(1.0), state_files.Writer()
    goes_on, write = threading.Event(), state_files.write

    def held(*arguments, **options):
        assert goes_on.wait(60)
        write(*arguments, **options)

    monkeypatch.setattr(state_files, "write", held)
    writer.start(tmp_path, variables, 3, num_kept=2)
    variables["model"]["layer/kernel"].assign(tf.fill(SHAPE, 5.0))
    assert not list(tmp_path.iterdir())
    goes_on.set()
    writer.wait()
    state_files.read(tmp_path / "step-00000003", variables, exact=True)
    np.testing.assert_array_equal(variables["model"]["layer/kernel"], np.ones(SHAPE))


def test_the_next_checkpoint_waits_for_the_one_before(tmp_path, monkeypatch):
    variables, writer = state(), state_files.Writer()
    order, write = [], state_files.write

    def told(values, folder, step, **options):
        time.sleep(0.05)
        order.append(step)
        write(values, folder, step, **options)

    monkeypatch.setattr(state_files, "write", told)
    for step in (1, 2, 3):
        writer.start(tmp_path, variables, step, num_kept=3)
        assert order == list(range(1, step))
    writer.wait()
    assert state_files.steps(tmp_path) == order == [1, 2, 3]


def test_older_checkpoints_stay_until_the_new_one_is_whole(tmp_path, monkeypatch):
    for step in (1, 2):
        saved(tmp_path, step, num_kept=1)
    assert state_files.steps(tmp_path) == [2]
    rename = Path.rename

    def broken(path, target):
        if ".partial-" in path.name:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", broken)
    for step in (2, 3):  # of a step that is there, and of another one
        with pytest.raises(OSError, match="No space left on device"):
            saved(tmp_path, step, value=9.0, num_kept=1)
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
        assert state_files.damage(tmp_path / "step-00000002") == ""


@pytest.mark.parametrize("num_kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_while_saving_loses_no_checkpoint(tmp_path, num_kills):
    result = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "checkpoints", str(num_kills)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= num_kills  # each process has saved at least once
