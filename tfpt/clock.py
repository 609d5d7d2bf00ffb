"""Training for a number of hours: the share of them that has gone by, told to each step."""

import json
import time
from collections.abc import Callable

import keras

from tfpt import workers
from tfpt.checkpoints import Run
from tfpt.model_state import step_of
from tfpt.record_files import write_text

PROGRESS = "progress.jsonl"


class KeepTime(keras.callbacks.Callback):
    """Tells each step which share of the hours has gone by; ends training when all have.

    The share is in `model.state.progress`, which the learning rate follows and a checkpoint holds:
    a run that was stopped goes on with the share it had. What counts is the time of steps, from the
    start of an epoch to the end of its last batch, reading and compilation included. Validations
    and what is written at the end of an epoch do not count, nor does the time between a checkpoint
    and a kill.

    Of several workers, all go by the mean of their clocks, at the cost of one exchange of a number
    in each step.

    `progress.jsonl` in the run folder has a line for each step (each call, where several steps are
    one): the batches taken after it, and the share that its learning rate followed.

    Args:
        hours: Of training.
        run: The run folder.
        clock: Seconds from any moment on.
    """

    def __init__(self, hours: float, run: Run, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self.seconds = 3_600 * hours
        self.run, self.clock = run, clock

    def on_train_begin(self, logs=None):
        self.used = float(self.model.state.progress.numpy())
        self.passed = self.used * self.seconds
        self.records = None
        if workers.is_chief(self.model.distribute_strategy):
            path = self.run.path / PROGRESS
            # Steps after the checkpoint are taken again.
            write_text(path, "".join(_lines_until(path, step_of(self.model))))
            # A line each is handed to the system at once, so that a kill loses none.
            self.records = path.open("a", encoding="utf-8", buffering=1)

    def on_epoch_begin(self, epoch, logs=None):
        self.before = self.clock()

    def on_train_batch_end(self, batch, logs=None):
        if self.records is not None:
            record = {"step": step_of(self.model), "progress": self.used}
            self.records.write(json.dumps(record) + "\n")
        now = self.clock()
        share = (self.passed + now - self.before) / self.seconds
        share = workers.mean(self.model.distribute_strategy, min(1.0, share))
        self.passed, self.before = share * self.seconds, now
        self.model.state.progress.assign(share)
        self.used = float(self.model.state.progress.numpy())
        if self.used >= 1:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.records is not None:
            self.records.close()


def _lines_until(path, step: int) -> list[str]:
    """The records of the first steps; without a line that a kill cut off."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    return [line for line in whole if json.loads(line)["step"] <= step]
