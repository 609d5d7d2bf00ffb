"""Callbacks of a run: its end, its records, its checkpoints, what the console shows."""

import json
import math
import threading
import time
from collections.abc import Callable, Sequence

import keras

from tfpt import pipelines, workers
from tfpt.checkpoints import Run, write_text

HISTORY = "history.jsonl"


def history(run: Run) -> list[dict[str, float]]:
    """What each epoch of a run measured, in order."""
    path = run.path / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def best_epoch(records: Sequence[dict[str, float]], monitor: str) -> int:
    """The place of the best record; the first of equals."""
    values = [record[monitor] for record in records]
    return values.index(max(values) if monitor.endswith("accuracy") else min(values))


class EndAt(keras.callbacks.Callback):
    """Ends training at a step, also within an epoch."""

    def __init__(self, total_steps: int):
        super().__init__()
        self.total_steps = total_steps

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.steps.numpy()) >= self.total_steps:
            self.model.stop_training = True


class VerifyStores(keras.callbacks.Callback):
    """Compares token stores with their checksums while training goes on; ends it on a mismatch."""

    def __init__(self, stores: Sequence[pipelines.Store]):
        super().__init__()
        self.stores = stores
        self.error: Exception | None = None
        self._ended = threading.Event()

    def on_train_begin(self, logs=None):
        self.thread = threading.Thread(target=self._verify, daemon=True)
        self.thread.start()

    def on_train_batch_end(self, batch, logs=None):
        if self.error is not None:
            raise self.error

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_batch_end(0)

    def on_train_end(self, logs=None):
        self._ended.set()

    def _verify(self) -> None:
        try:
            for store in self.stores:
                # One thread: the others have work to do.
                for _ in pipelines.verified_blocks(store, num_threads=1):
                    if self._ended.is_set():
                        return
        except (ValueError, OSError) as error:
            self.error = error


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Raises before a checkpoint of broken weights is written."""

    def on_train_batch_end(self, batch, logs=None):
        # The running mean of the epoch: once not finite, it stays so.
        self._check("The loss is", (logs or {}).get("loss", 0.0))

    def on_epoch_end(self, epoch, logs=None):
        self._check("The loss of the validation is", (logs or {}).get("val_loss", 0.0))
        # The gradient of the last step may have been broken while its loss was not.
        for weight in self.model.trainable_weights:
            self._check(f"The sum of {weight.path} is", float(keras.ops.sum(weight)))

    def _check(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            step = int(self.model.optimizer.iterations.numpy())
            raise FloatingPointError(
                f"{what} {value} at step {step}. A checkpoint, if one was written, is from before. "
                "Train anew with a lower learning rate or a longer warm-up, in a new run folder."
            )


class KeepRecords(keras.callbacks.Callback):
    """At the end of an epoch: its record, the best weights, a checkpoint, early stopping.

    Of several workers each knows the records, and the first one writes them.
    """

    def __init__(self, run: Run, monitor: str | None, patience: int | None):
        super().__init__()
        self.run, self.monitor, self.patience = run, monitor, patience

    def on_train_begin(self, logs=None):
        step = int(self.model.steps.numpy())
        # A run killed between the record and the checkpoint of an epoch goes through it again.
        self.records = [record for record in history(self.run) if record["step"] <= step]

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
    """Tells a progress bar of each step, and the console of each validation.

    Args:
        move: `(completed, detail, total)`; see `console.progress`.
        show: Takes the line of a validation.
        batch_size: Rows in a step.
    """

    def __init__(self, move: Callable[..., None], show: Callable[[str], None], batch_size: int):
        super().__init__()
        self.move, self.show, self.batch_size = move, show, batch_size

    def on_train_begin(self, logs=None):
        self.first = self.done = int(self.model.optimizer.iterations.numpy())
        self.began = time.monotonic()
        self.move(self.done, total=self.model.total_steps)

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        speed = (self.done - self.first) * self.batch_size / (time.monotonic() - self.began)
        self.move(self.done, f"loss {logs['loss']:.3f}, {speed:,.0f} rows/s")

    def on_epoch_end(self, epoch, logs=None):
        parts = [
            f"{name.removeprefix('val_').replace('_', ' ')} {value:.4f}"
            for name, value in (logs or {}).items()
            if name.startswith("val_")
        ]
        if parts:
            self.show(f"  step {self.done:,}: validation {', '.join(parts)}")
