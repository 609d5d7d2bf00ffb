"""Runs that are stopped, broken, killed and gone on with."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import run_to_kill
import tensorflow as tf
import tiny_bert

from tfpt import callbacks, config, plans, state_files, training

SCRIPT = Path(__file__).with_name("run_to_kill.py")
# Two epochs of three steps, and one of two.
TOTAL_STEPS, STEPS_PER_EPOCH = 8, 3


class StoppedError(Exception):
    """What the tests stop a training by."""


class AtStep(keras.callbacks.Callback):
    """Does something with the model after a step."""

    def __init__(self, step, do):
        super().__init__()
        self.step, self.do = step, do

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.steps.numpy()) == self.step:
            self.do(self.model)


def stop(model):
    raise StoppedError


def train(folder, *extra, seed=1, **changes):
    """The model after `training.fit` with dropout, and the history."""
    model = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.3, seed=seed))
    settings = {"steps_per_epoch": STEPS_PER_EPOCH, "verbose": 0}
    run = training.Run(folder, tokenizer=tiny_bert.TOKENIZER)
    history = training.fit(model, tiny_bert.stream, run, callbacks=extra, **{**settings, **changes})
    return model, history


def checkpoint_steps(folder):
    return state_files.steps(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped: its folder, state and history."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    model, history = train(folder)
    return folder, run_to_kill.everything(model), history


def test_a_run_ends_at_its_last_step_with_a_record_and_a_checkpoint_for_each_epoch(whole):
    folder, _, history = whole
    assert [(record["epoch"], record["step"]) for record in history] == [(0, 3), (1, 6), (2, 8)]
    assert history == callbacks.history(training.Run(folder, tokenizer=tiny_bert.TOKENIZER))
    assert {"loss", "masked_lm_loss", "next_sentence_accuracy"} < history[0].keys()
    assert checkpoint_steps(folder / "checkpoints") == [6, 8]
    assert sorted(path.name for path in folder.iterdir()) == [
        *("checkpoints", "config.json", "history.jsonl", "logs", "plan.json"),
        *("vocab.settings.json", "vocab.txt"),
    ]
    assert list(folder.glob("logs/train/events.out.tfevents.*"))


@pytest.mark.parametrize("step", [2, 5])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(whole, tmp_path, step):
    with pytest.raises(StoppedError):
        train(tmp_path / "run", AtStep(step, stop))
    # First weights and dropout of another seed: all comes from the checkpoint, if there is one.
    model, history = train(tmp_path / "run", seed=1 if step < STEPS_PER_EPOCH else 2)
    assert tiny_bert.largest_difference(run_to_kill.everything(model), whole[1]) == 0
    assert history == whole[2]


def test_a_run_that_was_stopped_between_record_and_checkpoint_records_the_epoch_once(
    whole, tmp_path, monkeypatch
):
    save = training.Run.save

    def fail_once(run, model):
        monkeypatch.setattr(training.Run, "save", save)
        raise OSError("No checkpoint was written: the disk is full")

    def break_down(model):
        monkeypatch.setattr(training.Run, "save", fail_once)

    with pytest.raises(OSError, match="the disk is full"):
        train(tmp_path / "run", AtStep(5, break_down))
    assert checkpoint_steps(tmp_path / "run" / "checkpoints") == [3]
    model, history = train(tmp_path / "run", seed=2)
    assert tiny_bert.largest_difference(run_to_kill.everything(model), whole[1]) == 0
    assert history == whole[2]


def test_a_run_that_ended_is_restored_and_not_trained_on(whole):
    folder, expected, history = whole
    ended = json.loads((folder / "plan.json").read_text())
    assert ended["ended_at"] == ended["steps"] > 0
    plans.begin(folder, ended["steps"])  # as if it had been killed behind its last checkpoint
    model, again = train(folder, AtStep(9, stop), seed=2)
    assert json.loads((folder / "plan.json").read_text()) == ended
    assert tiny_bert.largest_difference(run_to_kill.everything(model), expected) == 0
    assert again == history


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (4, r"The loss or the gradient of step 5 is not finite: batch 4, saved as .*batch-4\.npz"),
        # After the last step of an epoch no loss tells.
        (
            6,
            "The sum of pooler/kernel is nan at step 6. A checkpoint, if one was written",
        ),
    ],
)
def test_broken_weights_stop_the_run_and_leave_the_last_checkpoint_good(tmp_path, step, message):
    def break_weights(model):
        model.get_layer("pooler").kernel.assign(tf.fill((16, 16), np.nan))

    with pytest.raises(FloatingPointError, match=message):
        train(tmp_path / "run", AtStep(step, break_weights))
    assert checkpoint_steps(tmp_path / "run" / "checkpoints") == [3]
    model = tiny_bert.compiled(tiny_bert.pretrainer(dropout_rate=0.3))
    run = training.Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)
    assert run.restore(model) == 3
    assert all(np.isfinite(value).all() for value in tiny_bert.values(model).values())
    assert [record["step"] for record in callbacks.history(run)] == [3]


def test_training_stops_early_and_the_best_weights_are_kept(tmp_path, monkeypatch):
    """Validated on other labels than it is trained on, the model gets worse and worse.

    The disk is full when the last checkpoint is to be written: its epoch is gone through again.
    """
    save, monitor, broken = training.Run.save, "val_next_sentence_loss", []

    def save_at_second_try(run, model):
        if callbacks.was_stopped(callbacks.history(run), monitor, 2) and not broken:
            broken.append(len(callbacks.history(run)))
            raise OSError("No checkpoint was written: the disk is full")
        save(run, model)

    monkeypatch.setattr(training.Run, "save", save_at_second_try)
    features, labels, weights = tiny_bert.rows(4 * tiny_bert.B)
    data = (features, {name: np.zeros_like(label) for name, label in labels.items()}, weights)
    kept = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = tiny_bert.values(self.model)

    def go(*extra):
        model = tiny_bert.compiled(total_steps=60)
        run = training.Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)
        history = training.fit(
            model,
            lambda first: tiny_bert.stream(first, data=data),
            run,
            steps_per_epoch=3,
            validation=training.Validation(
                data=tiny_bert.stream(data=(features, labels, weights)).take(2),
                monitor=monitor,
                patience=2,
            ),
            callbacks=extra,
            verbose=0,
        )
        return model, run, history

    with pytest.raises(OSError, match="the disk is full"):
        go(Keep())
    steps = checkpoint_steps(tmp_path / "run" / "checkpoints")
    model, run, history = go()
    assert checkpoint_steps(run.path / "checkpoints") == [steps[-1], steps[-1] + 3]
    values = [record[monitor] for record in history]
    best = values.index(min(values))
    assert [len(history)] == [best + 3] == broken
    assert Path(run.best_path()).name == f"step-{3 * (best + 1):08}"
    other, _, again = go(AtStep(len(history) * 3 + 1, stop))
    assert again == history
    run.restore_best(other)
    assert tiny_bert.largest_difference(tiny_bert.values(other), kept[best]) == 0
    assert tiny_bert.largest_difference(kept[best], tiny_bert.values(model)) > 0


def test_what_cannot_be_monitored_is_refused_before_training(tmp_path):
    data = tiny_bert.stream().take(1)
    unknown = training.Validation(data=data, monitor="accuracy")
    with pytest.raises(ValueError, match=r"one of val_loss, val_masked.* received 'accuracy'"):
        train(tmp_path / "run", AtStep(1, stop), validation=unknown)
    with pytest.raises(ValueError, match="`patience` needs a `monitor`; received patience=2"):
        training.Validation(data=data, patience=2)


def test_a_model_that_was_not_compiled_is_refused(tmp_path):
    run = training.Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)
    with pytest.raises(ValueError, match=r"not compiled: call `training\.compile"):
        training.fit(tiny_bert.pretrainer(), tiny_bert.stream, run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_norm": -1.0}, r"`clip_norm` must be 0 \(no limit\) or positive; received -1"),
        ({"learning_rate": -1.0}, "`learning_rate` is out of range"),
        ({"warmup_steps": 9}, "`warmup_steps` is out of range; received warmup_steps=9"),
    ],
)
def test_a_model_is_not_compiled_with_numbers_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_bert.compiled(**changes)


@pytest.mark.filterwarnings("error:.*ran out of data")
@pytest.mark.parametrize("num_batches", [2, 3, 4, 7])
def test_a_validation_of_any_number_of_batches_is_measured_whole(num_batches):
    """Also of fewer than one call of the step goes on for."""
    measured = []
    for steps_per_execution in (1, 3):
        model = tiny_bert.compiled(step=config.Step(steps_per_execution=steps_per_execution))
        validation = tiny_bert.stream().take(num_batches)
        logs = model.fit(
            tiny_bert.stream(),
            steps_per_epoch=3,
            validation_data=validation,
            verbose=0,
            shuffle=False,
        ).history
        found = model.evaluate(validation, verbose=0, return_dict=True)
        assert found["loss"] == pytest.approx(logs["val_loss"][0], rel=1e-6)
        measured.append(found)
    assert measured[1] == pytest.approx(measured[0], rel=1e-5)
    assert len(measured[0]) > 3
