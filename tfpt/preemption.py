"""A training whose machine is taken away: on SIGTERM it saves what it has done and exits."""

import signal
import threading
import warnings
from typing import Any

import keras

from tfpt import workers
from tfpt.checkpoints import Run
from tfpt.model_state import step_of

EXIT_CODE = 42  # of TensorFlow's own PreemptionCheckpointHandler


class Preempted(SystemExit):
    """Ends the process with exit code 42, where nothing catches it.

    Args:
        message: Where the training stands, and how it is gone on with.
    """

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message


class SaveOnTermination(keras.callbacks.Callback):
    """A callback that, after SIGTERM, saves at the end of the step and raises `Preempted`.

    It listens inside a `with` block, and has to be the last callback: the last step of an epoch is
    saved after the validation and the record of the epoch, by the callback that writes them. Where
    one of several workers gets the signal, all stop at the same step, two steps later.

        with SaveOnTermination(run) as on_termination:
            model.fit(..., callbacks=[..., on_termination])

    Args:
        run: The run folder.

    Raises:
        Preempted: All is saved.
        OSError: The checkpoint could not be written; the one before is whole.
    """

    def __init__(self, run: Run):
        super().__init__()
        self.run = run
        self._together = workers.StopTogether(run.path)
        self._is_asked = self._is_due = self._has_begun = False

    def __enter__(self) -> "SaveOnTermination":
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        else:
            warnings.warn(
                "Training is not in the main thread, where Python handles signals: SIGTERM ends it "
                "without a checkpoint.",
                stacklevel=2,
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: object) -> None:
        self._is_asked = True

    def on_train_begin(self, logs=None):
        self._has_several = workers.has_several(self.model.distribute_strategy)
        if not self._has_begun:
            self._forget()  # what a run that was killed has announced
        self._has_begun = True

    def on_train_batch_end(self, batch, logs=None):
        if not self._stops():
            return
        steps = self.params.get("steps")
        self._is_due = self.model.stop_training or (steps is not None and batch + 1 >= steps)
        if not self._is_due:
            self.run.save(self.model)
            self._end()

    def on_epoch_end(self, epoch, logs=None):
        if self._is_due:
            self._end()

    def _stops(self) -> bool:
        """Whether this step is the last one; of several workers, of all of them."""
        if not self._has_several:
            return self._is_asked
        step = step_of(self.model)
        if self._is_asked:
            self._together.announce(step)
        last = self._together.step()
        return last is not None and step >= last

    def _forget(self) -> None:
        if self._has_several and workers.is_chief(self.model.distribute_strategy):
            self._together.clear()

    def _end(self) -> None:
        self.run.wait()
        step = step_of(self.model)
        # The others wait for the chief to have written: a worker that is gone would break it off.
        workers.check_same_step(self.model.distribute_strategy, step)
        self._forget()
        raise Preempted(
            f"Stopped by SIGTERM after step {step:,}, which is saved in {self.run.path}. Repeat "
            "the command to go on from there."
        )
