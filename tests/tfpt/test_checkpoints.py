"""The run folder: what it holds, what it refuses, and that a save is whole or not there."""

import json
import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import checkpoints, models, objectives, pipelines
from tfpt.checkpoints import Run, load, open_run

LABELS = ("bad", "good")
DATA = "data-00000-of-00001"


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    model: Inner = Inner()
    rate: float = 0.5


def a_run(path, **changes):
    settings = {"recipe": "a.recipe", "settings": Settings(), "label_names": LABELS}
    return Run(path, **{"tokenizer": tiny_bert.TOKENIZER, **settings, **changes})


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def at_step(model, step):
    model.optimizer.iterations.assign(step)
    return model


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "run")


@pytest.fixture(scope="module")
def model():
    return tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.1))


def test_a_new_run_describes_itself(tmp_path):
    run = a_run(tmp_path / "deep" / "run")
    assert names(run.path) == ["config.json", "labels.json", "vocab.settings.json", "vocab.txt"]
    description = json.loads((run.path / "config.json").read_text())
    assert description["recipe"] == "a.recipe"
    assert description["config"] == {"model": {"depth": 2}, "rate": 0.5}
    opened = open_run(run.path)
    assert (opened.recipe, opened.settings) == (run.recipe, run.settings)
    assert (opened.label_names, opened.tokenizer) == (LABELS, tiny_bert.TOKENIZER)
    assert names(tmp_path / "deep") == ["run"]


def test_a_run_is_gone_on_with_by_the_same_settings(run):
    before = contents(run.path)
    again = a_run(run.path)
    assert again.label_names == LABELS
    assert contents(run.path) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": Settings(rate=0.25)}, "rate was 0.5 and is now 0.25"),
        ({"settings": Settings(model=Inner(depth=3))}, "model.depth was 2 and is now 3"),
        ({"recipe": "another"}, "the recipe was 'a.recipe' and is now 'another'"),
        ({"label_names": ("good", "bad")}, "the labels were .'bad', 'good'. and are now .'good'"),
        (
            {"tokenizer": pipelines.Tokenizer(tiny_bert.TOKENIZER.vocabulary, lowercase=False)},
            "the vocabulary is another",
        ),
    ],
)
def test_a_run_is_not_gone_on_with_by_other_settings(run, changes, message):
    before = contents(run.path)
    with pytest.raises(ValueError, match=message):
        a_run(run.path, **changes)
    assert contents(run.path) == before


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "important.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    before = contents(tmp_path)
    for name in ("notes", "file"):
        with pytest.raises(FileExistsError, match=f"{name} exists and holds no run"):
            a_run(tmp_path / name)
    assert contents(tmp_path) == before


def test_an_empty_folder_becomes_a_run(tmp_path):
    assert open_run(a_run(tmp_path).path).label_names == LABELS


def test_a_run_that_cannot_be_begun_leaves_nothing(tmp_path, files_of_at_most):
    vocabulary = [*tiny_bert.TOKENIZER.vocabulary, *(f"more{number}" for number in range(2000))]
    with files_of_at_most(4096), pytest.raises(OSError, match="too large"):
        a_run(tmp_path / "run", tokenizer=pipelines.Tokenizer(vocabulary))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [b"{", b"\xff\xfe", b"[]", b"{}", b'{"recipe": "r"}', b'{"recipe": "r", "config": [1]}'],
)
def test_a_damaged_description_is_named(run, text):
    (run.path / "config.json").write_bytes(text)
    for opening in (open_run, a_run):
        with pytest.raises(ValueError, match=r"run/config\.json is damaged"):
            opening(run.path)


def test_damaged_labels_are_named(run):
    (run.path / "labels.json").write_text('["bad"')
    with pytest.raises(ValueError, match=r"run/labels\.json is damaged"):
        open_run(run.path)


def test_what_is_no_run_is_not_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is no run folder: it holds no config"):
        open_run(tmp_path)


def test_the_training_state_holds_weights_slots_and_the_states_of_dropout(model):
    state = checkpoints._training_state(model)
    assert state["model"].keys() == tiny_bert.values(model).keys()
    # The embeddings and one layer drop; AdamW has two slots for a weight, and counts the steps.
    assert [value.shape for value in state["seeds"].values()] == [(2,), (2,)]
    assert len(state["optimizer"]) >= 2 * len(model.weights) + 1


def test_a_checkpoint_brings_back_everything_the_next_step_depends_on(run):
    model = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.3))
    batches = [tiny_bert.rows(seed=seed) for seed in range(3)]
    model.train_on_batch(*batches[0])
    run.save(model)
    expected = [model.train_on_batch(*batch) for batch in batches[1:]]

    other = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.3, seed=9))
    assert run.restore(other) == 1
    assert [other.train_on_batch(*batch) for batch in batches[1:]] == expected
    assert tiny_bert.largest_difference(tiny_bert.values(model), tiny_bert.values(other)) == 0


def test_a_run_without_checkpoint_begins_at_step_zero(run, model):
    before = tiny_bert.values(model)
    assert run.restore(model) == 0
    assert tiny_bert.largest_difference(tiny_bert.values(model), before) == 0
    with pytest.raises(FileNotFoundError, match="holds no checkpoint yet"):
        run.restore_best(model)


def test_the_newest_two_checkpoints_and_one_best_are_kept(run, model):
    for step in (3, 6, 9):
        run.save(at_step(model, step))
        run.save_best(model)
    assert names(run.path / "checkpoints") == [
        *("checkpoint", f"ckpt-6.{DATA}", "ckpt-6.index", f"ckpt-9.{DATA}", "ckpt-9.index")
    ]
    assert names(run.path / "best") == ["checkpoint", f"ckpt-9.{DATA}", "ckpt-9.index"]
    assert run.restore(at_step(model, 0)) == 9


def test_a_run_folder_can_be_moved(run, model, tmp_path):
    run.save(at_step(model, 3))
    shutil.move(run.path, tmp_path / "moved")
    assert open_run(tmp_path / "moved").restore(at_step(model, 0)) == 3


def test_the_best_weights_are_loaded_before_the_newest(run):
    best, newest = (tiny_bert.compiled(tiny_bert.pretrainer(seed=seed)) for seed in (4, 5))
    run.save(at_step(newest, 6))
    loaded = load(run.path, build=lambda run: tiny_bert.pretrainer(seed=6))
    assert tiny_bert.largest_difference(tiny_bert.values(loaded), tiny_bert.values(newest)) == 0
    run.save_best(at_step(best, 3))
    loaded = load(run.path, build=lambda run: tiny_bert.pretrainer(seed=6))
    assert tiny_bert.largest_difference(tiny_bert.values(loaded), tiny_bert.values(best)) == 0


def test_the_encoder_of_a_pretrained_run_is_taken_over_alone(run, model):
    run.save(model)
    encoder = models.encoder(tiny_bert.size(), tiny_bert.V)
    classifier = objectives.model(encoder, objectives.classification(encoder, num_classes=2))
    head = classifier.get_layer("classification_head").kernel.numpy()
    run.restore_best(classifier.encoder)
    there = tiny_bert.values(model)
    expected = {name: there[name] for name in tiny_bert.values(encoder)}
    assert tiny_bert.largest_difference(tiny_bert.values(encoder), expected) == 0
    np.testing.assert_array_equal(classifier.get_layer("classification_head").kernel, head)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 2}, r"model layer_1/query_key_value/kernel is not in it; .*; and \d+ more"),
        ({"hidden_dim": 8}, r"model token_embedding/embeddings is \[50, 16\] in it, \(50, 8\) in"),
    ],
)
def test_a_checkpoint_that_does_not_fit_tells_where_and_changes_nothing(
    run, model, changes, message
):
    run.save(at_step(model, 3))
    other = tiny_bert.compiled(tiny_bert.pretrainer(**changes))
    before = tiny_bert.values(other)
    for restore in (run.restore, run.restore_best):
        with pytest.raises(ValueError, match=message):
            restore(other)
    assert tiny_bert.largest_difference(tiny_bert.values(other), before) == 0


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (f"ckpt-3.{DATA}", lambda data: data[:1000]),
        (f"ckpt-3.{DATA}", lambda data: data[:2000] + b"damage" + data[2006:]),
        ("ckpt-3.index", lambda data: data[:100]),
        ("ckpt-3.index", lambda data: b""),
    ],
)
def test_a_damaged_checkpoint_is_named(run, model, name, damage):
    run.save(at_step(model, 3))
    path = run.path / "checkpoints" / name
    path.write_bytes(damage(path.read_bytes()))
    for restore in (run.restore, run.restore_best):
        with pytest.raises(ValueError, match=r"checkpoints/ckpt-3 is damaged: \w"):
            restore(model)


def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(run, model, files_of_at_most):
    run.save(at_step(model, 3))
    run.save_best(model)
    before = contents(run.path)
    expected = tiny_bert.values(model)
    other = at_step(tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.1, seed=2)), 6)
    for save, folder in ((run.save, "checkpoints"), (run.save_best, "best")):
        with (
            files_of_at_most(10_000),
            pytest.raises(OSError, match=f"run/{folder}: File too large$"),
        ):
            save(other)
    assert contents(run.path) == before
    assert names(run.path / "checkpoints") == names(a_run(run.path).path / "checkpoints")
    assert run.restore(other) == 3
    assert tiny_bert.largest_difference(tiny_bert.values(other), expected) == 0


def test_nothing_is_left_of_the_first_checkpoint_where_it_fails(run, model, files_of_at_most):
    with files_of_at_most(10_000), pytest.raises(OSError, match="File too large"):
        run.save(at_step(model, 3))
    assert names(run.path / "checkpoints") == []
    assert run.restore(model) == 0


def test_what_a_killed_save_left_is_swept_before_going_on(run, model):
    run.save(at_step(model, 3))
    before = contents(run.path)
    folder = run.path / "checkpoints"
    (folder / "ckpt-6_temp").mkdir()
    (folder / "ckpt-6_temp" / f"part-00000-of-00001.{DATA}").write_bytes(b"half")
    (folder / f"ckpt-6.{DATA}").write_bytes(b"half")
    (folder / "checkpoint.tmp0123").write_bytes(b"half")
    assert run.restore(model) == 3
    assert contents(run.path) == before
    assert not (folder / "ckpt-6_temp").exists()
    (folder / "checkpoint").unlink()
    assert run.restore(model) == 0
    assert f"checkpoints/ckpt-3.{DATA}" in contents(run.path)


def test_records_are_written_whole_or_not_at_all(run, files_of_at_most):
    assert run.read_record("evaluation.json") == {}
    run.write_record("evaluation.json", {"accuracy": 0.5, "label": "größer"})
    before = contents(run.path)
    with files_of_at_most(1000), pytest.raises(OSError, match=r"run/evaluation\.json"):
        run.write_record("evaluation.json", {"text": "x" * 2000})
    assert contents(run.path) == before
    assert run.read_record("evaluation.json") == {"accuracy": 0.5, "label": "größer"}


def test_weights_that_share_a_path_are_refused():
    weights = [SimpleNamespace(path="dense/kernel", value=value) for value in (1, 2)]
    with pytest.raises(ValueError, match="Two weights of the model share a path"):
        checkpoints.weights(SimpleNamespace(weights=weights))


def test_names_are_escaped_as_tensorflow_does_it(tmp_path):
    names = ["plain", "a/b", "a.b/c", "..S/.S"]
    state = {name: tf.Variable(float(number)) for number, name in enumerate(names)}
    path = tf.train.Checkpoint(group=state).write(str(tmp_path / "ckpt"))
    keys = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    for name in names:
        assert f"group/{checkpoints._escaped(name)}/.ATTRIBUTES/VARIABLE_VALUE" in keys
