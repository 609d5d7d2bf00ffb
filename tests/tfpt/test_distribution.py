"""Strategies by name, and that two replicas learn what one device learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import config, distribution, training

SCRIPT = Path(__file__).with_name("two_replicas.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with what two_replicas.py writes."""
    folder = tmp_path_factory.mktemp("replicas")
    # No GPU: the test is about replicas on a CPU, wherever it runs.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    result = subprocess.run(
        [sys.executable, SCRIPT, folder],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def results(trained):
    return json.loads((trained / "results.json").read_text())


def weights(trained, name):
    with np.load(trained / f"{name}.npz") as file:
        return dict(file)


def test_two_replicas_reach_the_weights_of_one_device(trained):
    """Eight steps of AdamW, clipped, with targets that are unevenly divided."""
    one, two = weights(trained, "one"), weights(trained, "mirrored")
    assert tiny_bert.largest_difference(one, two) < 2e-5
    assert tiny_bert.largest_difference(one, tiny_bert.values(tiny_bert.pretrainer())) > 0.02


def test_two_replicas_log_what_one_device_logs(results):
    one, two = results["one"], results["mirrored"]
    assert len(one["steps"]) == 8
    assert [record["step"] for record in one["history"]] == [3, 6, 8]
    assert "val_masked_lm_accuracy" in one["history"][0]
    for here, there in zip(
        [*one["steps"], *one["history"], one["evaluation"]],
        [*two["steps"], *two["history"], two["evaluation"]],
        strict=True,
    ):
        assert there == pytest.approx(here, abs=2e-5)


def test_all_replicas_of_a_released_model_hold_no_weight(results):
    (one,), left = results["one"]["released"]
    assert one > 0
    assert left == [0]
    assert results["mirrored"]["released"] == [[one, one], [0, 0]]


def test_a_checkpoint_of_two_replicas_is_restored_on_one_device(trained):
    model = tiny_bert.compiled(tiny_bert.pretrainer(seed=2))
    run = training.Run(trained / "mirrored", tokenizer=tiny_bert.TOKENIZER)
    assert run.restore(model) == 8
    expected = weights(trained, "mirrored")
    assert tiny_bert.largest_difference(tiny_bert.values(model), expected) == 0


def test_replicas_and_steps_drop_differently(results):
    dropped = [np.array(part) for part in results["dropped"]]
    assert len(dropped) == 4
    for number, part in enumerate(dropped):
        assert set(np.unique(part)) == {0.0, 2.0}
        for other in dropped[number + 1 :]:
            assert 0.2 < np.mean(part != other) < 0.8


def test_batches_that_cannot_be_divided_evenly_are_refused(results):
    assert results["refusals"][0].startswith(
        "A batch of 7 rows cannot be divided evenly among 2 devices; choose a batch size that is a "
        "multiple of 2"
    )
    assert results["refusals"][1] == ""


def test_the_devices_are_told_in_one_line(results):
    assert results["one"]["devices"] == "One device, batches of 8 rows"
    assert results["mirrored"]["devices"] == "Mirrored, 2 devices, 4 of 8 rows each"


def test_one_device_takes_the_batches_as_they_come():
    one = tf.distribute.get_strategy()
    assert distribution.distribute(one, lambda first: f"the batches from {first} on", 7) == (
        "the batches from 7 on"
    )


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_without_accelerator_the_default_is_one_cpu():
    for name in ("auto", "one"):
        assert distribution.strategy(name).num_replicas_in_sync == 1
    mirrored = distribution.strategy("mirrored")
    assert isinstance(mirrored, tf.distribute.MirroredStrategy)
    assert mirrored.num_replicas_in_sync == 1


def test_a_strategy_that_cannot_be_had_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"must be one of auto, one, .*; received 'gpu'"):
        distribution.strategy("gpu")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="'multi_worker' reads the cluster from the variable TF_C"):
        distribution.strategy("multi_worker")


def test_a_tpu_that_does_not_answer_is_told_in_one_sentence(monkeypatch):
    def resolver(tpu):
        raise OSError(f"no route to {tpu}")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    monkeypatch.setenv("TPU_NAME", "nowhere")
    for name in ("tpu", "auto"):
        with pytest.raises(ValueError, match=r"TPU_NAME='nowhere' \(no route to nowhere\)\. On a"):
            distribution.strategy(name)


def test_a_batch_of_unknown_size_is_refused_on_several_devices():
    class Two:
        num_replicas_in_sync = 2

    assert distribution.rows_per_device(Two(), 6) == 3
    with pytest.raises(ValueError, match="A batch of unknown many rows cannot be divided evenly"):
        distribution.rows_per_device(Two(), None)


def test_a_released_model_holds_no_weight():
    model = tiny_bert.compiled(step=config.Step(ema_momentum=0.9))
    values = [one.value for one in (*model.variables, *model.optimizer.variables)]
    floats = [*(one for one in values if one.dtype.is_floating), *model.averages.values()]
    assert len(floats) == 4 * len(model.trainable_variables)  # with two moments and an average
    distribution.release(model)
    for one in floats:
        left = tf.raw_ops.ReadVariableOp(resource=one.handle, dtype=one.dtype)
        assert left.shape == (0,)
    distribution.release(None)


def test_a_model_that_was_not_compiled_is_released_too():
    model = tiny_bert.pretrainer()
    distribution.release(model)
    for weight in model.trainable_weights:
        handle = weight.value.handle
        assert tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32).shape == (0,)
