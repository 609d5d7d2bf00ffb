"""Steps that went wrong: what is not finite ends a training, what was skipped is recorded."""

import json
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpt import workers
from tfpt.checkpoints import Run
from tfpt.record_files import write_text

SKIPPED = "skipped.jsonl"
BROKEN = "broken"
# Calls of the step between two looks at the device, each of which waits for it. A step that is not
# finite changes no weight, and no checkpoint is written without a look.
_CALLS_BETWEEN_LOOKS = 10


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends training where a loss or a gradient is not finite, and saves the batch it came from.

    Args:
        run: The run folder. The batch is written to `broken/batch-N.npz` in it.
        batches: Gives the stream of batches from a batch number on; the batch is drawn again.
    """

    def __init__(self, run: Run, batches: Callable[[int], tf.data.Dataset]):
        super().__init__()
        self.run, self.batches = run, batches
        self._calls = 0

    def on_train_batch_end(self, batch, logs=None):
        self._calls += 1
        if self._calls % _CALLS_BETWEEN_LOOKS == 0:
            self._look()

    def on_epoch_end(self, epoch, logs=None):
        self._look()
        step = int(self.model.steps.numpy())
        self._check("The loss of the validation is", (logs or {}).get("val_loss", 0.0), step)
        # A learning rate without bounds breaks weights by a gradient that is finite.
        for weight in self.model.trainable_weights:
            self._check(f"The sum of {weight.path} is", float(keras.ops.sum(weight)), step)

    def _look(self) -> None:
        number = int(self.model.state.broken.numpy())
        if number >= 0:
            raise FloatingPointError(
                f"The loss or the gradient of step {number + 1} is not finite: batch {number}, "
                f"{self._saved(number)}. The step changed no weight. {_REMEDY}"
            )

    def _saved(self, number: int) -> str:
        """Where the batch is, and how it is looked at."""
        path = self.run.path / BROKEN / f"batch-{number}.npz"
        # One worker writes; the others have the same batch.
        if workers.is_chief(self.model.distribute_strategy):
            path.parent.mkdir(exist_ok=True)
            save_batch(next(iter(self.batches(number))), path)
        shown = "`numpy.load`"
        if self.run.recipe:
            name = self.run.recipe.removeprefix("tfpt.recipes.")
            shown = f"`tfpt show-batch {name} --batch {number}` with the settings of the run, or by"
            shown += " `numpy.load`"
        return f"saved as {path}, to be looked at by {shown}"

    def _check(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise FloatingPointError(f"{what} {value} at step {step}. {_REMEDY}")


_REMEDY = (
    "A checkpoint, if one was written, is from before. Train anew with a lower learning rate or a "
    "longer warm-up, in a new run folder."
)


def save_batch(batch: Any, path: Any) -> None:
    """Write `(features, labels, weights)` as arrays named `features/token_ids` and so on."""
    arrays = {
        f"{part}/{name}": np.asarray(value)
        for part, values in zip(("features", "labels", "weights"), batch, strict=True)
        for name, value in values.items()
    }
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


class RecordSkipped(keras.callbacks.Callback):
    """Records the steps that changed no weight in `skipped.jsonl` of the run.

    A line has the step, the number of its batch, the norm of the gradient and the running mean of
    the norm before it. A norm that was not finite is null: with float16 an overflow, after which
    the loss scale is halved.
    """

    def __init__(self, run: Run):
        super().__init__()
        self.run = run
        self._calls = 0

    def on_train_begin(self, logs=None):
        self._count = 0
        # What was recorded after the checkpoint comes again.
        steps = int(self.model.steps.numpy())
        self._records = [record for record in skipped_steps(self.run) if record["step"] <= steps]

    def on_train_batch_end(self, batch, logs=None):
        self._calls += 1
        if self._calls % _CALLS_BETWEEN_LOOKS == 0:
            self._look()

    def on_epoch_end(self, epoch, logs=None):
        self._look()

    def _look(self) -> None:
        state = self.model.state
        count = int(state.skipped.numpy())
        if count == self._count:
            return
        batches, norms = state.skipped_batches.numpy(), state.skipped_norms.numpy()
        last = self._records[-1]["batch"] if self._records else -1
        # Where more were skipped than are remembered, the oldest of them are left out.
        for number in range(max(0, count - len(batches)), count):
            place = number % len(batches)
            norm, mean = (float(value) for value in norms[place])
            batch = int(batches[place])
            if batch > last:
                self._records.append(
                    {
                        "step": batch + 1,
                        "batch": batch,
                        "gradient_norm": norm if math.isfinite(norm) else None,
                        "mean_norm": mean,
                    }
                )
        self._count = count
        if workers.is_chief(self.model.distribute_strategy):
            text = "".join(json.dumps(record) + "\n" for record in self._records)
            write_text(self.run.path / SKIPPED, text)


def skipped_steps(run: Run) -> list[dict[str, Any]]:
    """The record of the steps of a run that changed no weight, in order."""
    path = run.path / SKIPPED
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]
