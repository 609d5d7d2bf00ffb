"""Training for a number of hours, by a clock that the tests turn."""

import functools
import json

import numpy as np
import pytest
import tiny_bert

from tfpt import clock, training

STEPS_PER_EPOCH = 4


class Clock:
    """Goes on by as many seconds as each step is said to take."""

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 1_000.0

    def __call__(self):
        self.now += self.seconds
        return self.now


class StoppedError(Exception):
    """What the tests stop a training by."""


def stop_after(step):
    def stop(batch, logs, callback):
        if int(callback.model.steps.numpy()) == step:
            raise StoppedError

    return stop


def records(folder):
    lines = (folder / clock.PROGRESS).read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Trains for an hour in steps of six minutes into the folder, up to a step if one is named."""

    def train(stop_at=None, folder=tmp_path / "run", seconds=360):
        # The clock is read once at the start of an epoch and once in each step.
        keep_time = functools.partial(clock.KeepTime, clock=Clock(seconds))
        monkeypatch.setattr(training, "KeepTime", keep_time)
        model = tiny_bert.pretrainer(dropout_rate=0.3)
        model.state.hours = 1.0
        # The steps neither end the training nor give the learning rate its course.
        tiny_bert.compiled(model, total_steps=4, warmup_steps=1)
        training.fit(
            model,
            tiny_bert.stream,
            training.Run(folder, tokenizer=tiny_bert.TOKENIZER),
            steps_per_epoch=STEPS_PER_EPOCH,
            callbacks=[] if stop_at is None else [StopAt(stop_at)],
            verbose=0,
        )
        return model

    return train


class StopAt(training.keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.steps.numpy()) == self.step:
            raise StoppedError


def test_training_ends_when_the_hours_are_over_and_the_learning_rate_with_them(train, tmp_path):
    model = train()
    assert int(model.steps.numpy()) == 10
    assert float(model.optimizer.learning_rate) == 0
    expected = [{"step": n + 1, "progress": pytest.approx(n / 10, abs=1e-6)} for n in range(10)]
    assert records(tmp_path / "run") == expected
    history = training.history(training.Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER))
    assert [record["step"] for record in history] == [4, 8, 10]
    # Nothing is left to do.
    assert int(train().steps.numpy()) == 10
    assert records(tmp_path / "run") == expected


def test_the_learning_rate_of_a_step_follows_the_progress_that_is_recorded(train, tmp_path):
    model = train()
    model.state.progress.assign(records(tmp_path / "run")[7]["progress"])
    model.optimizer.iterations.assign(7)
    # The peak is 1e-2, and the fall begins at a quarter: one step of warm-up in four steps.
    expected = 1e-2 * (1 - 0.7) / (1 - 0.25)
    assert float(model.optimizer.learning_rate) == pytest.approx(expected, rel=1e-5)


def test_a_run_that_was_stopped_goes_on_with_the_time_it_had(train, tmp_path):
    whole = train(folder=tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(stop_at=7)
    path = tmp_path / "run" / clock.PROGRESS
    assert [record["step"] for record in records(tmp_path / "run")] == list(range(1, 8))
    with path.open("a") as file:
        file.write('{"step": 8, "prog')  # as a kill leaves it
    # The checkpoint is that of step 4: steps 5 to 7 are taken again.
    model = train()
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    difference = tiny_bert.largest_difference(tiny_bert.values(model), tiny_bert.values(whole))
    assert difference == 0


def test_time_between_epochs_does_not_count(train, tmp_path):
    train(seconds=720)
    shares = [record["progress"] for record in records(tmp_path / "run")]
    np.testing.assert_allclose(shares, [0, 0.2, 0.4, 0.6, 0.8], atol=1e-6)
