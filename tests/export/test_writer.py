"""Versions of a SavedModel: counted up, whole or not there, and only of what can be served."""

import dataclasses
import os
import time

import numpy as np
import pytest
import tensorflow as tf

from tfpt import checkpoints, export, models, objectives, training
from tfpt.config import FineTuning
from tfpt.export import versions
from tfpt.pipelines import Tokenizer
from tfpt.recipes import bert, classify


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def save(classifier, tokenizer, labels, sequence_length, tmp_path):
    """A function that exports below models/films."""
    path = tmp_path / "models" / "films"

    def saved(model=classifier, **changes):
        settings = {"labels": labels, "sequence_length": sequence_length}
        vocabulary = changes.pop("tokenizer", tokenizer)
        return export.saved_model(model, vocabulary, path, **{**settings, **changes})

    saved.path = path
    return saved


def test_versions_count_up(save):
    assert save() == save.path / "1"
    assert save() == save.path / "2"
    assert names(save.path) == ["1", "2"]
    (save.path / "2").rename(save.path / "12")
    (save.path / "notes").mkdir()
    assert save() == save.path / "13"
    assert (save.path / "13" / "saved_model.pb").is_file()


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_takes_no_version(save, monkeypatch, error):
    def fail(module, folder):
        whole(module, folder)
        raise error

    whole = versions._save
    with monkeypatch.context() as patch:
        patch.setattr(versions, "_save", fail)
        with pytest.raises(type(error)):
            save()
        assert not save.path.exists()
    save()
    with monkeypatch.context() as patch:
        patch.setattr(versions, "_save", fail)
        with pytest.raises(type(error)):
            save()
    assert names(save.path) == ["1"]
    assert save().name == "2"


def test_what_a_killed_export_left_is_removed_after_a_day_and_is_part_of_no_version(save):
    """Until then it may be of an export that is still written."""
    for name, hours in ((".tmp-old", 25), (".tmp-new", 23)):
        (save.path / name / "assets").mkdir(parents=True)
        (save.path / name / "assets" / "other.bin").write_text("x")
        then = time.time() - 3600 * hours
        os.utime(save.path / name, (then, then))
    version = save()
    assert names(save.path) == [".tmp-new", "1"]
    assert "other.bin" not in names(version / "assets")


def test_exports_at_the_same_time_have_a_version_each(save, monkeypatch):
    """As of two containers, whose processes have the same number."""
    whole, others = versions._save, []

    def with_another(module, folder):
        monkeypatch.setattr(versions, "_save", whole)
        others.append(save(labels=("x", "y", "z")))
        whole(module, folder)

    monkeypatch.setattr(versions, "_save", with_another)
    own = save()
    assert (others[0].name, own.name) == ("1", "2")
    assert (others[0] / "assets" / "labels.txt").read_text() == "x\ny\nz\n"
    assert (own / "assets" / "labels.txt").read_text() != "x\ny\nz\n"
    assert names(save.path) == ["1", "2"]


def test_a_number_that_another_export_takes_first_is_passed_over(save, monkeypatch):
    next_version, calls = versions._next_version, []

    def late(folder):
        number = next_version(folder)
        if not calls:
            (folder / str(number) / "variables").mkdir(parents=True)
        calls.append(number)
        return number

    monkeypatch.setattr(versions, "_next_version", late)
    assert save().name == "2"
    assert calls == [1, 2]


def test_numbers_that_no_server_takes_are_passed_over(save):
    for name in (str(1 << 63), "\u0661"):
        (save.path / name).mkdir(parents=True)
    assert save().name == "1"


def test_a_url_is_no_folder(classifier, tokenizer, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"gs://b/m: a model is written to a folder of this mach"):
        export.saved_model(classifier, tokenizer, "gs://b/m", labels=labels, sequence_length=8)
    assert names(tmp_path) == []


def test_the_error_of_an_export_is_told_where_another_wrote_into_the_folder(save, monkeypatch):
    def fail(module, folder):
        (save.path / "1").mkdir()
        raise OSError("the disk is full")

    monkeypatch.setattr(versions, "_save", fail)
    with pytest.raises(OSError, match="the disk is full"):
        save()
    assert names(save.path) == ["1"]


def test_a_full_disk_is_told_and_leaves_nothing(save, files_of_at_most):
    save()
    with (
        files_of_at_most(20_000),
        pytest.raises(OSError, match="written: File too large"),
    ):
        save()
    assert names(save.path) == ["1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("good", "bad")}, "tells 3 classes apart; received 2 labels"),
        ({"sequence_length": 17}, "`sequence_length` is 17, but the model has positions for 16"),
        ({"sequence_length": 2}, "`sequence_length` must be at least 3"),
        ({"num_texts": 3}, "one or two texts; received 3"),
        ({"num_texts": 2, "sequence_length": 4}, "`sequence_length` must be at least 5"),
        (
            {"tokenizer": Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])},
            "embeddings for 20 tokens, the tokenizer 6 entries",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_anything_is_written(save, changes, message):
    with pytest.raises(ValueError, match=message):
        save(**changes)
    assert not save.path.parent.exists()


def test_only_classifiers_are_exported(save, tokenizer):
    size = models.Model(num_layers=1, hidden_dim=8, num_heads=1, intermediate_dim=8)
    encoder = models.encoder(size, tokenizer.vocabulary_size)
    bert = objectives.model(encoder, objectives.next_sentence(encoder))
    with pytest.raises(
        ValueError, match=r"no output `token_classification`, its outputs are .'next_se"
    ):
        save(bert)


def classify_settings(*, text=("text",), product_dtype="float32"):
    config = classify.config()
    size = models.Model(
        num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32, max_sequence_length=16
    )
    return dataclasses.replace(
        config,
        model=size,
        data=dataclasses.replace(config.data, name="texts", text=text, sequence_length=12),
        training=FineTuning(product_dtype=product_dtype),
    )


def fine_tuned(path, settings, tokenizer, labels):
    """A run folder with best and newest weights that differ, as training would leave it."""
    run = checkpoints.Run(
        path,
        tokenizer=tokenizer,
        recipe=classify.__name__,
        settings=settings,
        label_names=labels,
    )
    for save, deviation in ((run.save_best, 0.8), (run.save, 0.3)):
        model = classify.model(settings, tokenizer, labels)
        training.compile(model, learning_rate=1e-3, total_steps=1)
        random = np.random.default_rng(0)
        for weight in model.weights:
            weight.assign(random.normal(0, deviation, weight.shape))
        save(model)
    run.wait()
    return run


def test_a_run_is_exported_with_its_best_weights_in_float32(
    tokenizer, labels, keras_scores, tmp_path
):
    settings = classify_settings(product_dtype="bfloat16")
    run = fine_tuned(tmp_path / "run", settings, tokenizer, labels)
    written = export.export_run(classify, run.path, tmp_path / "models" / "films")
    assert written == tmp_path / "models" / "films" / "1"
    exact = dataclasses.replace(settings, training=FineTuning())
    expected = checkpoints.load(
        run.path, build=lambda run: classify.model(exact, run.tokenizer, run.label_names)
    )
    texts = ["a good film", "the plot is thin", ""]
    loaded = tf.saved_model.load(str(written))
    found = loaded.signatures["serving_default"](text=tf.constant(texts))
    np.testing.assert_allclose(found["scores"], keras_scores(expected, texts), atol=1e-5)
    assert set(found["label"].numpy()) <= {label.encode() for label in labels}


def test_a_run_on_pairs_is_exported_with_two_inputs(tokenizer, labels, tmp_path):
    settings = classify_settings(text=("premise", "hypothesis"))
    run = fine_tuned(tmp_path / "run", settings, tokenizer, labels)
    loaded = tf.saved_model.load(str(export.export_run(classify, run.path, tmp_path / "pairs")))
    signature = loaded.signatures["serving_default"]
    assert sorted(signature.structured_input_signature[1]) == ["text_a", "text_b"]


def test_a_run_without_classes_or_without_checkpoint_is_refused(tokenizer, labels, tmp_path):
    checkpoints.Run(tmp_path / "bert", tokenizer=tokenizer)
    with pytest.raises(ValueError, match=r"has no classes to serve\. Fine-tune it first"):
        export.export_run(bert, tmp_path / "bert", tmp_path / "models")
    checkpoints.Run(
        tmp_path / "new", tokenizer=tokenizer, settings=classify_settings(), label_names=labels
    )
    with pytest.raises(FileNotFoundError, match="new holds no checkpoint yet"):
        export.export_run(classify, tmp_path / "new", tmp_path / "models")
    assert not (tmp_path / "models").exists()
