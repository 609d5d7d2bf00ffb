"""The recipes for BERT and for classification, through `pretrain`, `finetune` and evaluation."""

import dataclasses
import json
import re
import shutil

import keras
import numpy as np
import pytest
import sklearn.metrics
import tiny_bert

from tfpt import (
    callbacks,
    clock,
    config,
    distribution,
    evaluation,
    models,
    pipelines,
    training,
    watching,
)
from tfpt.epoch_records import weights_step
from tfpt.recipes import bert, classify

WORDS = tiny_bert.TOKENIZER.vocabulary[5:]
SIZE = {"model.max_sequence_length": 16, "data.sequence_length": 16, "model.num_layers": 1}
SIZE |= {"model.hidden_dim": 16, "model.num_heads": 2, "model.intermediate_dim": 32}


def settings(recipe, numbers):
    return config.override(recipe.config(), [f"{name}={value}" for name, value in numbers.items()])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two token stores, and labelled texts: the label is the first word's parity."""
    folder = tmp_path_factory.mktemp("recipes")
    random = np.random.default_rng(0)

    def text(num_words):
        return " ".join(random.choice(WORDS, num_words))

    for name, count in (("train", 20), ("validation", 8)):
        documents = [tuple(text(6) for _ in range(4)) for _ in range(count)]
        pipelines.write_store(documents, tiny_bert.TOKENIZER, folder / name)
    (folder / "texts").mkdir()
    for name, count in (("train", 22), ("validation", 9), ("test", 13)):
        texts = [text(5) for _ in range(count)]
        rows = [f"{row}\t{('even', 'odd')[len(row) % 2]}\n" for row in texts]
        (folder / "texts" / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows))
    return folder


def pretraining(folder, **changes):
    numbers = {
        "data.store": folder / "train",
        "data.validation_store": folder / "validation",
        "training.batch_size": 8,
        "training.total_steps": 5,
        "training.warmup_steps": 1,
        "training.steps_per_epoch": 3,
        "training.validation_steps": 2,
        "training.strategy": "one",
    }
    return settings(bert, {**SIZE, **numbers, **changes})


def finetuning(folder, start="", **changes):
    numbers = {
        "data.name": folder / "texts",
        "data.sequence_length": 16,
        "training.batch_size": 8,
        "training.epochs": 2,
        "training.learning_rate": 1e-2,
        "start": start,
    }
    return settings(classify, {**numbers, **changes})


@pytest.fixture(scope="module")
def pretrained(folder):
    return training.pretrain(bert, pretraining(folder), folder / "bert", verbose=0)


@pytest.fixture(scope="module")
def classifier(folder, pretrained):
    """The run, and the encoder's weights as the training began with them."""
    begin = {}

    class Begin(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            begin.update(tiny_bert.values(self.model.encoder))

    chosen = finetuning(folder, pretrained.path)
    run = training.finetune(classify, chosen, folder / "texts_run", callbacks=[Begin()], verbose=0)
    return run, begin


def test_pretraining_leaves_a_run_that_names_its_recipe(pretrained):
    opened = training.open_run(pretrained.path)
    assert opened.recipe == "tfpt.recipes.bert"
    assert config.from_dict(bert.config(), opened.settings).training.total_steps == 5
    assert opened.tokenizer == tiny_bert.TOKENIZER
    history = callbacks.history(opened)
    assert [record["step"] for record in history] == [3, 5]
    assert {"val_masked_lm_accuracy", "val_next_sentence_loss"} < history[0].keys()


def test_pretraining_by_the_clock_ends_when_its_hours_are_over(folder, tmp_path):
    hours = 1e-4  # after the first step, which is compiled, 0.36 s
    run = training.pretrain(
        bert, pretraining(folder, **{"training.hours": hours}), tmp_path / "run", verbose=0
    )
    records = [json.loads(line) for line in (run.path / clock.PROGRESS).read_text().splitlines()]
    progress = [record["progress"] for record in records]
    assert progress[0] == 0
    assert progress == sorted(progress)
    assert progress[-1] < 1
    assert callbacks.history(run)[-1]["step"] == len(records)


def test_the_peak_that_utilization_is_a_share_of_can_be_given(folder, tmp_path, monkeypatch):
    given = {}

    class Recorded(watching.Watch):
        def __init__(self, run, **settings):
            given.update(settings)
            super().__init__(run, **settings)

    monkeypatch.setattr(training, "Watch", Recorded)
    changes = {"training.peak_teraflops": 0.5, "training.log_steps": 7}
    training.pretrain(bert, pretraining(folder, **changes), tmp_path / "run", verbose=0)
    assert given == {"log_steps": 7, "peak": 5e11, "profile_steps": ()}


@pytest.fixture(scope="module")
def records(folder):
    """The batches that `pretrained` is trained on."""
    chosen = pretraining(folder)
    batches = bert.dataset(chosen).train_batches(0)
    return pipelines.write_records(
        batches,
        folder / "records",
        tokenizer=tiny_bert.TOKENIZER,
        num_batches=5,
        num_shards=3,
        settings=chosen,
    )


def weights_of(run):
    model = bert.model(config.from_dict(bert.config(), run.settings), run.tokenizer)
    run.restore_best(model)
    return tiny_bert.values(model)


def test_training_from_records_is_training_from_the_store(folder, pretrained, records, tmp_path):
    chosen = pretraining(folder, **{"data.store": "", "data.records": records.path})
    whole = training.pretrain(bert, chosen, tmp_path / "whole", verbose=0)
    expected = weights_of(pretrained)
    assert tiny_bert.largest_difference(weights_of(whole), expected) == 0
    assert callbacks.history(whole) == callbacks.history(pretrained)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations.numpy()) == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.pretrain(bert, chosen, tmp_path / "run", callbacks=[Stop()], verbose=0)
    plan = tmp_path / "run" / "plan.json"
    assert json.loads(plan.read_text()) == {"steps": 5, "ended_at": None}
    run = training.pretrain(bert, chosen, tmp_path / "run", verbose=0)
    assert json.loads(plan.read_text()) == {"steps": 5, "ended_at": 5}
    assert [record["step"] for record in callbacks.history(run)] == [3, 5]
    assert tiny_bert.largest_difference(weights_of(run), expected) == 0


def test_records_that_are_damaged_end_a_training_with_their_name(folder, records, tmp_path):
    there = shutil.copytree(records.path, tmp_path / "records")
    shard = there / records.shards[1].name
    shard.write_bytes(shard.read_bytes()[::-1])
    chosen = pretraining(folder, **{"data.store": "", "data.records": there})
    with pytest.raises(ValueError, match=f"^{re.escape(str(shard))} is damaged: "):
        training.pretrain(bert, chosen, tmp_path / "run", verbose=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "are both set, but a run trains on one of them; leave the other out"),
        ({"data.store": "", "data.service": "here:1"}, "draws from `data.store`, which is not set"),
        ({"data.store": "", "drawing.layout": "packed"}, "drawing.layout is 'padded' there, 'pack"),
        ({"data.store": "", "data.sequence_length": 8}, "data.sequence_length is 16 there, 8 here"),
        (
            {"data.store": "", "drawing.pairing": "single"},
            "the labels are masked_lm, next_sentence there, masked_lm here",
        ),
    ],
)
def test_records_that_were_drawn_in_another_way_are_refused(folder, records, changes, message):
    with pytest.raises(ValueError, match=message):
        bert.dataset(pretraining(folder, **{"data.records": records.path, **changes}))


def test_a_service_that_is_not_there_is_told_before_anything_is_written(folder, tmp_path):
    chosen = pretraining(folder, **{"data.service": "localhost:1"})
    with pytest.raises(ConnectionError, match="No dispatcher answers at localhost:1"):
        training.pretrain(bert, chosen, tmp_path / "run", verbose=0)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_complete_needs_no_service(folder, pretrained, tmp_path):
    path = shutil.copytree(pretrained.path, tmp_path / "run")
    text = (path / "config.json").read_text()
    (path / "config.json").write_text(text.replace('"service": ""', '"service": "localhost:1"'))
    measured = evaluation.evaluate_run(bert, path)
    assert measured == evaluation.evaluate_run(bert, pretrained.path)
    chosen = pretraining(folder, **{"data.service": "localhost:1"})
    again = training.pretrain(bert, chosen, path, verbose=0)
    assert callbacks.history(again) == callbacks.history(pretrained)


def test_records_without_settings_are_told_by_their_rows(folder, tmp_path):
    chosen = pretraining(folder, **{"drawing.layout": "packed"})
    batches = bert.dataset(chosen).train_batches(0)
    path = tmp_path / "records"
    pipelines.write_records(batches, path, tokenizer=tiny_bert.TOKENIZER, num_batches=2)
    there = {"data.store": "", "data.records": path}
    bert.dataset(pretraining(folder, **there, **{"drawing.layout": "packed"}))
    with pytest.raises(ValueError, match=r"a row holds several texts there, .* is 'padded' here"):
        bert.dataset(pretraining(folder, **there))


def test_evaluating_a_pretrained_run_repeats_its_last_validation(pretrained):
    measured = evaluation.evaluate_run(bert, pretrained.path)
    last = callbacks.history(pretrained)[-1]
    expected = {
        name.removeprefix("val_"): value for name, value in last.items() if name[:4] == "val_"
    }
    assert measured == pytest.approx(expected, abs=1e-6)
    written = json.loads((pretrained.path / "evaluation.json").read_text())
    assert written == {"split": "validation", **measured}


def test_fine_tuning_begins_with_the_encoder_of_its_source(pretrained, classifier):
    encoder = models.encoder(tiny_bert.size(), tiny_bert.V)
    pretrained.restore_best(encoder)
    assert tiny_bert.largest_difference(tiny_bert.values(encoder), classifier[1]) == 0


def test_a_fine_tuned_run_takes_size_and_vocabulary_from_its_source(classifier):
    opened = training.open_run(classifier[0].path)
    assert opened.recipe == "tfpt.recipes.classify"
    assert opened.label_names == ("even", "odd")
    assert opened.tokenizer == tiny_bert.TOKENIZER
    assert config.from_dict(classify.config(), opened.settings).model.hidden_dim == 16
    # 22 rows make 3 batches of 8, twice.
    assert [record["step"] for record in callbacks.history(opened)] == [3, 6]
    assert opened.best_path() is not None


def test_a_classifier_is_evaluated_on_its_test_rows(folder, classifier):
    report = evaluation.evaluate_run(classify, classifier[0].path)
    chosen = config.from_dict(classify.config(), classifier[0].settings)
    data = classify.dataset(chosen, tiny_bert.TOKENIZER)
    model = classify.model(chosen, tiny_bert.TOKENIZER, data.label_names)
    classifier[0].restore_best(model)
    labels, logits = evaluation.predictions(model, data.test)
    assert report.num_rows == len(labels) == 13
    assert report.accuracy == sklearn.metrics.accuracy_score(labels, logits.argmax(axis=1))
    written = json.loads((classifier[0].path / "evaluation.json").read_text())
    step = weights_step(classifier[0])
    assert written == {"split": "test", "step": step, **report.to_dict()}
    rows = (folder / "texts" / "test.tsv").read_text().splitlines()[1:]
    assert len(report.worst) == 13
    for one in report.worst:
        assert "\t".join([*one.texts, one.right]) == rows[one.row]


def test_labels_that_changed_since_the_training_are_refused(folder, classifier, tmp_path):
    texts = folder / "texts"
    moved = texts.rename(tmp_path / "texts")
    texts.mkdir()
    for path in moved.iterdir():
        (texts / path.name).write_text(path.read_text().replace("\todd", "\tuneven"))
    try:
        with pytest.raises(ValueError, match=r"trained on the labels .*'odd'.*; .*'uneven'\) now"):
            evaluation.evaluate_run(classify, classifier[0].path)
    finally:
        for path in texts.iterdir():
            path.unlink()
        texts.rmdir()
        moved.rename(texts)


def test_a_run_without_validation_data_cannot_be_evaluated(folder, pretrained, tmp_path):
    run = training.Run(
        tmp_path / "run",
        tokenizer=tiny_bert.TOKENIZER,
        recipe="tfpt.recipes.bert",
        settings=pretraining(folder, **{"data.validation_store": ""}),
    )
    with pytest.raises(ValueError, match="has no validation store"):
        evaluation.evaluate_run(bert, run.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.total_steps": 6}, "training.total_steps was 5 and is now 6"),
        ({"seed": 1}, "seed was 0 and is now 1"),
    ],
)
def test_a_run_is_not_gone_on_with_by_other_numbers(folder, pretrained, changes, message):
    with pytest.raises(ValueError, match=message):
        training.pretrain(bert, pretraining(folder, **changes), pretrained.path, verbose=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.store": ""}, "`data.store` is not set"),
        ({"training.strategy": "multi_worker"}, "'multi_worker' reads the cluster from"),
    ],
)
def test_pretraining_that_cannot_begin_leaves_no_folder(
    folder, tmp_path, monkeypatch, changes, message
):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=message):
        training.pretrain(bert, pretraining(folder, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_batches_that_do_not_fit_the_devices_leave_no_folder(folder, tmp_path, monkeypatch):
    class Three:
        num_replicas_in_sync = 3

    monkeypatch.setattr(distribution, "strategy", lambda name: Three())
    with pytest.raises(ValueError, match="A batch of 8 rows cannot be divided evenly among 3"):
        training.pretrain(bert, pretraining(folder), tmp_path / "run")
    chosen = finetuning(folder, **{"data.vocabulary": folder / "train"})
    with pytest.raises(ValueError, match="A batch of 8 rows cannot be divided evenly among 3"):
        training.finetune(classify, chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.name": ""}, "`data.name` is not set"),
        ({"model.num_layers": 3}, r"comes from .*bert; it differs in model\.num_layers\. Leave"),
        ({"data.sequence_length": 17}, "`data.sequence_length` is 17, .* positions for 16"),
    ],
)
def test_fine_tuning_that_does_not_fit_its_source_leaves_no_folder(
    folder, pretrained, tmp_path, changes, message
):
    chosen = finetuning(folder, pretrained.path, **changes)
    with pytest.raises(ValueError, match=message):
        training.finetune(classify, chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fine_tuning_needs_a_source_or_a_vocabulary(folder, tmp_path):
    with pytest.raises(ValueError, match=r"needs a run to start from \(--from RUN\) or"):
        training.finetune(classify, finetuning(folder), tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        training.finetune(classify, finetuning(folder, tmp_path / "nowhere"), tmp_path / "run")
    bare = training.Run(tmp_path / "bare", tokenizer=tiny_bert.TOKENIZER)
    with pytest.raises(ValueError, match="bare does not tell the size of its model"):
        training.finetune(classify, finetuning(folder, bare.path), tmp_path / "run")


def test_rows_must_fit_the_positions_of_a_model():
    for recipe in (bert, classify):
        short = dataclasses.replace(recipe.config().model, max_sequence_length=64)
        with pytest.raises(ValueError, match=r"`data.sequence_length` is 128, .* 64 tokens"):
            dataclasses.replace(recipe.config(), model=short)


def test_dropout_of_fine_tuning_is_its_own(folder, pretrained):
    """Whatever the encoder was pre-trained with."""
    chosen = finetuning(folder, dropout_rate=0.3, start=str(pretrained.path))
    built = classify.model(chosen, pretrained.tokenizer, ["even", "odd"])
    assert built.encoder.get_layer("layer_0").dropout_rate == 0.3
    assert built.encoder.get_layer("position_embedding").dropout_rate == 0.3
    unheard = finetuning(folder, **{**SIZE, "model.dropout_rate": 0.2})
    with pytest.warns(UserWarning, match="set `dropout_rate`"):
        classify.model(unheard, pretrained.tokenizer, ["even", "odd"])
