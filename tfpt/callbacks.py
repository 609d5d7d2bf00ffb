"""Callbacks of a run: its end, its records, its checkpoints, what the console shows."""

import json
import math
import threading
import time
from collections.abc import Callable, Sequence

import keras

from tfpt import distribution, pipelines, workers
from tfpt.checkpoints import Run
from tfpt.epoch_records import HISTORY, best_epoch
from tfpt.epoch_records import history as history
from tfpt.record_files import write_text

_SECONDS_BETWEEN_LINES = 0.2


class EndAt(keras.callbacks.Callback):
    """Ends training at a step, also within an epoch; counts by itself, to wait for no device."""

    def __init__(self, total_steps: int):
        super().__init__()
        self.total_steps = total_steps

    def on_train_begin(self, logs=None):
        self.done = int(self.model.steps.numpy())

    def on_train_batch_begin(self, batch, logs=None):
        self._first = batch

    def on_train_batch_end(self, batch, logs=None):
        self.done += batch - self._first + 1  # several where they are executed in one call
        if self.done >= self.total_steps:
            self.model.stop_training = True


class VerifyStores(keras.callbacks.Callback):
    """Compares token stores with their checksums while training goes on; ends it on a mismatch."""

    def __init__(self, stores: Sequence[pipelines.Store]):
        super().__init__()
        self.stores = stores
        self.error: Exception | None = None
        self.is_done = False  # everything was compared once
        self._ended = threading.Event()

    def on_train_begin(self, logs=None):
        if self.is_done:
            return
        # Anew for each call of `fit`: a run that goes on within an epoch has two.
        self._ended = threading.Event()
        self.thread = threading.Thread(target=self._verify, args=(self._ended,), daemon=True)
        self.thread.start()

    def on_train_batch_end(self, batch, logs=None):
        if self.error is not None:
            raise self.error

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_batch_end(0)

    def on_train_end(self, logs=None):
        self._ended.set()

    def _verify(self, ended: threading.Event) -> None:
        try:
            for store in self.stores:
                # One thread: the others have work to do.
                for _ in pipelines.verified_blocks(store, num_threads=1):
                    if ended.is_set():
                        return
            self.is_done = True
        except (ValueError, OSError) as error:
            self.error = error


class KeepRecords(keras.callbacks.Callback):
    """At the end of an epoch: its record, the best weights, a checkpoint, early stopping.

    Of several workers each knows the records, and the first one writes them.
    """

    def __init__(self, run: Run, monitor: str | None, patience: int | None):
        super().__init__()
        self.run, self.monitor, self.patience = run, monitor, patience
        self.records: list[dict[str, float]] = []

    def on_train_begin(self, logs=None):
        step = int(self.model.steps.numpy())
        # Read once: of several workers one may not have written yet what the others know.
        known = self.records or history(self.run)
        # A run killed between the record and the checkpoint of an epoch goes through it again.
        self.records = [record for record in known if record["step"] <= step]

    def on_epoch_end(self, epoch, logs=None):
        step = int(self.model.steps.numpy())
        record = {"epoch": epoch, "step": step, **{k: float(v) for k, v in (logs or {}).items()}}
        self.records.append(record)
        if workers.is_chief(self.model.distribute_strategy):
            lines = "".join(json.dumps(record) + "\n" for record in self.records)
            write_text(self.run.path / HISTORY, lines)
        if self.monitor and best_epoch(self.records, self.monitor) == len(self.records) - 1:
            self.run.save_best(self.model)
        self.run.save(self.model)
        if was_stopped(self.records, self.monitor, self.patience):
            self.model.stop_training = True


def was_stopped(
    records: Sequence[dict[str, float]], monitor: str | None, patience: int | None
) -> bool:
    """Whether early stopping ends, or ended, a run with these records."""
    if not records or monitor is None or patience is None:
        return False
    return len(records) - 1 - best_epoch(records, monitor) >= patience


class Report(keras.callbacks.Callback):
    """Tells a progress bar how training goes, and the console of each validation.

    The bar is told a few times a second: a loss that is read waits for the device.

    Args:
        move: `(completed, detail, total)`; see `console.progress`.
        show: Takes a line: of the devices at the start, and of each validation.
        batch_size: Rows in a step.
    """

    def __init__(self, move: Callable[..., None], show: Callable[[str], None], batch_size: int):
        super().__init__()
        self.move, self.show, self.batch_size = move, show, batch_size

    def on_train_begin(self, logs=None):
        self.first = self.done = int(self.model.steps.numpy())
        self._tokens = 0.0  # real ones in a step
        self._told = -math.inf
        self.show(distribution.describe(self.model.distribute_strategy, self.batch_size))
        # By the clock nobody knows how many steps there will be.
        self._last = math.inf if self.model.state.hours else self.model.total_steps
        self.move(self.done, total=None if self.model.state.hours else self.model.total_steps)

    def on_epoch_begin(self, epoch, logs=None):
        # The speed is that of an epoch, without the validation before it.
        self._began: tuple[float, int] | None = None

    def on_train_batch_begin(self, batch, logs=None):
        self._first = batch

    def on_train_batch_end(self, batch, logs=None):
        self.done += batch - self._first + 1  # several where they are executed in one call
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN_LINES and self.done < self._last:
            return
        detail = f"loss {float(logs['loss']):.3f}"
        if self.model.state.hours:
            detail = f"{float(self.model.state.progress.numpy()):.0%} of the time, {detail}"
        self._tokens = self.model.state.tokens_per_step() or self._tokens
        # Read after the loss, which waits for the device.
        now = self._told = time.monotonic()
        if self._began is None:  # what was traced in the first call is not speed
            self._began = (now, self.done)
        elif self.done > self._began[1]:
            began, first = self._began
            speed = (self.done - first) * self._tokens / max(now - began, 1e-6)
            detail += f", {speed:,.0f} tokens/s"
        self.move(self.done, detail)

    def on_epoch_end(self, epoch, logs=None):
        parts = [
            f"{name.removeprefix('val_').replace('_', ' ')} {value:.4f}"
            for name, value in (logs or {}).items()
            if name.startswith("val_")
        ]
        if parts:
            self.show(f"  step {self.done:,}: validation {', '.join(parts)}")
