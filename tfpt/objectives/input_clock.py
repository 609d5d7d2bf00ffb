"""Steps and the batches they wait for."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# From an iterator of batches to the metrics, after one step or several.
Call = Callable[[Any], dict[str, Any]]


def at_most(count: int, call: Call) -> Call:
    """`call` repeated, so many times or until there is no batch any more.

    Of several steps in one compiled function, those that still had batches would give no metrics.

    Raises:
        tf.errors.OutOfRangeError, StopIteration: Where there is none for the first step.
    """

    def calls(iterator: Any) -> dict[str, Any]:
        metrics = call(iterator)
        for _ in range(count - 1):
            try:
                metrics = call(iterator)
            except (tf.errors.OutOfRangeError, StopIteration):
                break
        return metrics

    return calls


class InputClock:
    """Adds up the time between asking for a batch and having it.

    `next(iterator)` runs inside of the compiled function of several steps, where Python sees
    nothing of it; so the graph reads the clock. On a CPU this is the time that the step stands
    still. A GPU still works on the step before while the host waits: there it is an upper bound.
    """

    def __init__(self) -> None:
        self._seconds: tf.Variable | None = None

    def start(self) -> None:
        """Make the variable: outside of a strategy's scope, where it would be one of each device.

        Nor while a function is traced, which `tf.function` would do once more for its sake.
        """
        if self._seconds is None:
            with tf.device("CPU:0"):
                self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    def next(self, iterator: Any) -> Any:
        """`next(iterator)`, timed; called after `start`, while a function is traced."""
        if self._seconds is None:
            raise RuntimeError("Call `start` first, outside of a function that is traced.")
        began = tf.timestamp()
        with tf.control_dependencies([began]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            self._seconds.assign_add(tf.timestamp() - began)
        return batch

    @property
    def seconds(self) -> float:
        """Waited so far, in training and in evaluations."""
        return 0.0 if self._seconds is None else float(self._seconds.numpy())
