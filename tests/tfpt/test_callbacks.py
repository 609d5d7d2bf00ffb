"""The callbacks of a run, each by itself."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import callbacks, pipelines
from tfpt.checkpoints import Run


def model_at(step, **attributes):
    weight = keras.Variable(np.ones(2, "float32"), name="kernel")
    return SimpleNamespace(
        steps=keras.Variable(step, dtype="int64"),
        trainable_weights=[weight],
        stop_training=False,
        distribute_strategy=tf.distribute.get_strategy(),
        **attributes,
    )


def attached(callback, model):
    callback.set_model(model)
    return callback


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)


def test_the_best_epoch_has_the_largest_accuracy_or_the_smallest_loss():
    records = [
        {"val_loss": loss, "val_accuracy": accuracy}
        for loss, accuracy in ((3.0, 0.1), (1.0, 0.5), (1.0, 0.7), (2.0, 0.7))
    ]
    assert callbacks.best_epoch(records, "val_loss") == 1
    assert callbacks.best_epoch(records, "val_accuracy") == 2


def test_a_run_was_stopped_after_as_many_epochs_without_improvement_as_its_patience():
    records = [{"val_loss": loss} for loss in (3.0, 1.0, 2.0, 1.0)]
    for patience, stopped in ((1, True), (2, True), (3, False), (None, False)):
        assert callbacks.was_stopped(records, "val_loss", patience) is stopped
    assert callbacks.was_stopped(records[:2], "val_loss", 1) is False
    assert callbacks.was_stopped([], "val_loss", 1) is False
    assert callbacks.was_stopped(records, None, 1) is False


def test_training_ends_at_a_step():
    for step, stops in ((3, False), (4, True), (5, True)):
        model = model_at(step)
        end = attached(callbacks.EndAt(5), model)
        end.on_train_begin()
        end.on_train_batch_begin(7)
        end.on_train_batch_end(7, {})
        assert model.stop_training is stops
    # Two steps in one call.
    model = model_at(3)
    end = attached(callbacks.EndAt(5), model)
    end.on_train_begin()
    end.on_train_batch_begin(0)
    end.on_train_batch_end(1, {})
    assert model.stop_training is True


def test_an_epoch_that_is_gone_through_again_is_recorded_once(run, monkeypatch):
    saved = []
    monkeypatch.setattr(Run, "save", lambda run, model: saved.append("newest"))
    monkeypatch.setattr(Run, "save_best", lambda run, model: saved.append("best"))
    model = model_at(0)
    keep = attached(callbacks.KeepRecords(run, "val_loss", 1), model)
    for epoch, step, loss in ((0, 5, 2.0), (1, 10, 1.0), (1, 10, 1.0), (2, 15, 1.5)):
        assert model.stop_training is False
        model.steps.assign(step - 5)
        keep.on_train_begin()
        model.steps.assign(step)
        keep.on_epoch_end(epoch, {"val_loss": np.float32(loss)})
    assert model.stop_training is True
    assert callbacks.history(run) == [
        {"epoch": 0, "step": 5, "val_loss": 2.0},
        {"epoch": 1, "step": 10, "val_loss": 1.0},
        {"epoch": 2, "step": 15, "val_loss": 1.5},
    ]
    assert saved == [*3 * ["best", "newest"], "newest"]
    assert [path.name for path in run.path.glob(".*")] == []


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    return now


def reported(*, tokens, steps_per_execution=1):
    """A report, a function that ends its next call of the step, and what was shown."""
    moves, lines = [], []
    report = callbacks.Report(lambda *args, **named: moves.append((args, named)), lines.append, 32)
    model = model_at(
        100,
        total_steps=106,
        state=SimpleNamespace(tokens_per_step=lambda: tokens.pop(0), hours=None),
    )
    attached(report, model)
    report.on_train_begin()
    report.on_epoch_begin(0)
    begins = itertools.count(0, steps_per_execution)

    def step(loss):
        first = next(begins)
        report.on_train_batch_begin(first)
        report.on_train_batch_end(first + steps_per_execution - 1, {"loss": loss})

    return report, step, moves, lines


def test_steps_are_reported_with_loss_and_real_tokens_a_second(clock):
    # Of the second figure the window is new, and has no step yet.
    _, step, moves, lines = reported(tokens=[1_000, 0, 2_000])
    assert lines == ["One device, batches of 32 rows"]
    assert moves == [((100,), {"total": 106})]
    step(2.5)
    clock[0] += 0.5
    step(2.25)
    clock[0] += 0.5
    step(2.0)
    assert [args for args, _ in moves[1:]] == [
        (101, "loss 2.500"),  # in the first call the step is traced
        (102, "loss 2.250, 2,000 tokens/s"),
        (103, "loss 2.000, 4,000 tokens/s"),
    ]


def test_the_bar_is_told_a_few_times_a_second_and_of_the_last_step(clock):
    _, step, moves, _ = reported(tokens=[1_000] * 3)
    for loss in (6.0, 5.0, 4.0, 3.0, 2.0, 1.0):
        step(loss)
        clock[0] += 0.09
    assert [args[0] for args, _ in moves] == [100, 101, 104, 106]


def test_several_steps_of_one_call_are_counted(clock):
    _, step, moves, _ = reported(tokens=[1_000] * 2, steps_per_execution=3)
    for loss in (2.0, 1.0):
        step(loss)
        clock[0] += 1.5
    assert [args[0] for args, _ in moves] == [100, 103, 106]
    assert moves[-1][0][1] == "loss 1.000, 2,000 tokens/s"


def test_validations_are_reported(clock):
    report, step, _, lines = reported(tokens=[1_000])
    step(2.0)
    report.on_epoch_end(0, {"loss": 2.25, "val_loss": 3.0, "val_masked_lm_accuracy": 0.25})
    report.on_epoch_end(1, {"loss": 2.0})
    assert lines[1:] == ["  step 101: validation loss 3.0000, masked lm accuracy 0.2500"]


@pytest.fixture
def store(tmp_path):
    documents = [("word1 word2", "word3"), ("word4 word5",)]
    return pipelines.write_store(documents, tiny_bert.TOKENIZER, tmp_path / "store")


def verified(store):
    callback = attached(callbacks.VerifyStores([store]), model_at(0))
    callback.on_train_begin()
    callback.thread.join(60)
    return callback


def test_a_store_that_is_what_was_written_lets_training_go_on(store):
    callback = verified(store)
    callback.on_train_batch_end(0)
    assert callback.is_done
    assert callback.error is None


def test_a_store_that_changed_ends_training_and_is_named(store):
    path = store.path / "token_ids.bin"
    data = bytearray(path.read_bytes())
    data[2] ^= 1
    path.write_bytes(data)
    callback = verified(store)
    for hook in (callback.on_train_batch_end, callback.on_epoch_end):
        with pytest.raises(ValueError, match=r"token_ids\.bin is damaged in block 0"):
            hook(0)


def test_a_training_that_ends_first_ends_the_verification(store, monkeypatch):
    callback = attached(callbacks.VerifyStores([store]), model_at(0))
    read = []

    def blocks(store, num_threads):
        for number in range(1000):
            read.append(number)
            callback.on_train_end()
            yield 1

    monkeypatch.setattr(pipelines, "verified_blocks", blocks)
    callback.on_train_begin()
    callback.thread.join(60)
    assert read == [0]


def test_a_store_is_verified_by_the_second_call_of_fit_too(store, monkeypatch):
    """Of a run that goes on within an epoch the first one ends with that epoch."""
    callback = attached(callbacks.VerifyStores([store]), model_at(0))
    read = []

    def blocks(store, num_threads):
        for number in range(5):
            read.append(number)
            if len(read) == 1:
                callback.on_train_end()
            yield 1

    monkeypatch.setattr(pipelines, "verified_blocks", blocks)
    for expected in ([0], [0, 0, 1, 2, 3, 4], [0, 0, 1, 2, 3, 4]):  # and not again
        callback.on_train_begin()
        callback.thread.join(60)
        assert read == expected
    assert callback.is_done
