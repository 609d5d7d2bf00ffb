"""Training for a number of hours, by a clock that the tests turn."""

import functools
import json

import keras
import pytest
import tiny_bert

from tfpt import clock, training

STEPS_PER_EPOCH = 4
STEP_SECONDS = 360


class StoppedError(Exception):
    """What the tests stop a training by."""


class Clock(keras.callbacks.Callback):
    """Turned by each step, and by an hour at the end of an epoch; stops a training at a step."""

    def __init__(self, stop_at):
        super().__init__()
        self.stop_at, self.now = stop_at, 1_000.0

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.steps.numpy()) == self.stop_at:
            raise StoppedError
        self.now += STEP_SECONDS  # seen by the next step

    def on_epoch_end(self, epoch, logs=None):
        self.now += 3_600

    def on_epoch_begin(self, epoch, logs=None):
        self.is_first = True

    def on_train_batch_begin(self, batch, logs=None):
        if self.is_first:
            self.now += STEP_SECONDS
        self.is_first = False


def train(folder, stop_at=None):
    """Trains for an hour, by steps of six minutes, with a validation of an hour in each epoch."""
    turned = Clock(stop_at)
    model = tiny_bert.pretrainer(dropout_rate=0.3)
    model.state.hours = 1.0
    # These steps neither end the training nor give the learning rate its course.
    tiny_bert.compiled(model, total_steps=4, warmup_steps=1)
    run = training.Run(folder, tokenizer=tiny_bert.TOKENIZER)
    with pytest.MonkeyPatch.context() as patch:
        keep_time = functools.partial(clock.KeepTime, clock=lambda: turned.now)
        patch.setattr(training, "KeepTime", keep_time)
        history = training.fit(
            model,
            tiny_bert.stream,
            run,
            steps_per_epoch=STEPS_PER_EPOCH,
            callbacks=[turned],
            verbose=0,
        )
    return model, history


def records(folder):
    return [json.loads(line) for line in (folder / clock.PROGRESS).read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder, the model and the history of a training that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, *train(folder)


def test_training_ends_when_the_hours_of_steps_are_over(whole):
    folder, model, history = whole
    assert int(model.steps.numpy()) == 10
    assert records(folder) == [
        {"step": number + 1, "progress": pytest.approx(number / 10, abs=1e-6)}
        for number in range(10)
    ]
    assert [record["step"] for record in history] == [4, 8, 10]


def test_a_training_that_is_over_has_nothing_left_to_do(whole):
    folder, _, history = whole
    lines = records(folder)
    model, again = train(folder)
    assert int(model.steps.numpy()) == 10
    assert again == history
    assert records(folder) == lines


def test_the_learning_rate_follows_the_recorded_progress_to_zero(whole):
    folder, model, _ = whole
    assert float(model.optimizer.learning_rate) == 0
    model.state.progress.assign(records(folder)[7]["progress"])
    # The peak is 1e-2, and the fall begins at a quarter: one step of warm-up in four steps.
    expected = 1e-2 * (1 - 0.7) / (1 - 0.25)
    assert float(model.optimizer.learning_rate) == pytest.approx(expected, rel=1e-5)


def test_a_run_that_was_stopped_goes_on_with_the_time_it_had(whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(folder, stop_at=7)
    assert [record["step"] for record in records(folder)] == list(range(1, 8))
    with (folder / clock.PROGRESS).open("a") as file:
        file.write('{"step": 8, "prog')  # as a kill leaves it
    # The checkpoint is that of step 4: steps 5 to 7 are taken again.
    model, history = train(folder)
    assert records(folder) == records(whole[0])
    assert history == whole[2]
    there, here = tiny_bert.values(whole[1]), tiny_bert.values(model)
    assert tiny_bert.largest_difference(there, here) == 0
