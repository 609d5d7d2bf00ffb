"""How long steps wait for their batches."""

from typing import Any

import tensorflow as tf


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
