"""What a training step leaves for the next one, and sums over steps; the same on every replica."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

# float16 holds numbers up to 65,504. Source: Micikevicius et al. 2018, arXiv:1710.03740.
FIRST_LOSS_SCALE = 2.0**15
# Steps without an overflow after which the loss scale doubles.
_GROWTH_STEPS = 2_000
# Steps the running mean of the gradient's norm looks back, and that it takes to judge a spike.
_NORM_STEPS = 100
# Skipped steps that are remembered until they are asked for.
NUM_REMEMBERED = 256

# What is counted in each step besides the means of the objectives.
COUNTS = ("tokens", "positions", "examples")
_OF_STEPS = ("steps", "skipped", "gradient_norm")


class StepState:
    """Variables beside the weights, the random states and the optimizer.

    They are plain mirrored variables, and each replica writes its own copy with what all of them
    have summed up: reading and saving them needs nothing of the other devices. (The variables of
    Keras' metrics are summed up over devices when they are read, which several workers can only do
    together.)

    Args:
        names: Of the means: `NAME_loss`, `NAME_accuracy`.
    """

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self.steps = _variable("steps", 0, "int64")  # batches taken, those of skipped steps too
        self.skipped = _variable("skipped", 0, "int64")  # steps that changed no weight
        self.broken = _variable("broken", -1, "int64")  # the first batch that was not finite
        self.progress = _variable("progress", 0.0)  # share of the hours gone by, in [0, 1]
        self.hours: float | None = None  # of training; none: it ends at a number of steps
        self.loss_scale = _variable("loss_scale", 1.0)
        self.good_steps = _variable("good_steps", 0, "int64")  # since the loss scale was changed
        self.mean_norm = _variable("mean_norm", 0.0)  # running, see `judge`
        self.last_norm = _variable("last_norm", 0.0)  # of the gradient, before it was clipped
        # Of the newest skipped steps, a ring: the batch; the norm and its running mean.
        self.skipped_batches = _variable(
            "skipped_batches", tf.zeros([NUM_REMEMBERED], tf.int64), "int64"
        )
        self.skipped_norms = _variable("skipped_norms", tf.zeros([NUM_REMEMBERED, 2]))
        rows = len(self.names) + len(COUNTS)
        # Sums (value * weight, weight) of an epoch or an evaluation, and since the last point of
        # the curves. float32 adds whole numbers exactly to 16.7 million.
        self.epoch = _variable("epoch", tf.zeros([rows, 2]))
        self.window = _variable("window", tf.zeros([rows + len(_OF_STEPS), 2]))

    def variables(self) -> dict[str, tf.Variable]:
        """All by name, for a checkpoint."""
        kept = (value for value in vars(self).values() if isinstance(value, keras.Variable))
        return {variable.name: variable.value for variable in kept}

    def mean(self, name: str) -> Any:
        """float32 (): of the epoch or the evaluation so far."""
        row = self.epoch.value[self.names.index(name)]
        return tf.math.divide_no_nan(row[0], row[1])

    def read_window(self) -> dict[str, float]:
        """Means and counts since the last call; begins anew."""
        sums = self.window.numpy()
        self.window.assign(tf.zeros_like(sums))
        steps = sums[len(self.names) + len(COUNTS), 0]
        means = {
            name: float(value / weight) if weight else 0.0
            for name, (value, weight) in zip(self.names, sums, strict=False)
        }
        values = sums[len(self.names) :, 0]
        counts = dict(zip((*COUNTS, *_OF_STEPS), map(float, values), strict=True))
        counts["gradient_norm"] /= max(1.0, float(steps))
        return {**means, **counts}

    def tokens_per_step(self) -> float:
        """Real tokens, the mean since `read_window`; 0 where there was no step."""
        sums = self.window.numpy()[len(self.names) :, 0]
        return float(sums[0] / max(1.0, sums[len(COUNTS)]))

    def judge(self, norm: Any, is_finite: Any, max_spike: float, accepted: Any) -> Any:
        """Whether a step may change the weights; told of each step once, on each replica.

        Args:
            norm: float32 (): of the global gradient.
            is_finite: bool (): whether loss and gradient are numbers.
            max_spike: See `config.Step`.
            accepted: int64 (): the steps that changed weights so far.

        Returns:
            bool ().
        """
        ok = is_finite
        if max_spike:
            is_spike = (accepted >= _NORM_STEPS) & (norm > max_spike * self.mean_norm)
            ok = ok & ~is_spike
        seen = tf.cast(tf.minimum(accepted + 1, _NORM_STEPS), tf.float32)
        # A spike moves the mean too, but no farther than the largest norm that is none: where all
        # norms are large from now on, steps are taken again after some.
        counted = tf.minimum(norm, max_spike * self.mean_norm) if max_spike else norm
        counted = tf.where(accepted >= _NORM_STEPS, counted, norm)
        moved = self.mean_norm + (counted - self.mean_norm) / seen
        # What follows from the scale goes away when it is lowered; else the batch is broken.
        is_broken = ~is_finite & (self.loss_scale <= 1.0) & (self.broken < 0)
        self.broken.assign(tf.where(is_broken, self.steps.value, self.broken.value))
        self._remember(norm, ok)
        self.mean_norm.assign(tf.where(is_finite, moved, self.mean_norm.value))
        self.last_norm.assign(norm)
        self.skipped.assign_add(tf.cast(~ok, tf.int64))
        self.steps.assign_add(1)
        return ok

    def _remember(self, norm: Any, ok: Any) -> None:
        """Write a skipped step into the ring, in the place of the oldest."""
        places = tf.range(NUM_REMEMBERED, dtype=tf.int64)
        is_here = (places == self.skipped.value % NUM_REMEMBERED) & ~ok
        self.skipped_batches.assign(tf.where(is_here, self.steps.value, self.skipped_batches.value))
        norms = tf.stack([norm, self.mean_norm.value])
        self.skipped_norms.assign(tf.where(is_here[:, None], norms, self.skipped_norms.value))

    def adapt_loss_scale(self, is_finite: Any) -> None:
        """Halve the loss scale after an overflow, double it after 2,000 steps without one."""
        good = tf.where(is_finite, self.good_steps.value + 1, 0)
        grows = good >= _GROWTH_STEPS
        scale = self.loss_scale.value
        lowered = tf.maximum(scale / 2, 1.0)
        self.loss_scale.assign(tf.where(is_finite, tf.where(grows, scale * 2, scale), lowered))
        self.good_steps.assign(tf.where(grows, tf.zeros_like(good), good))

    def add(self, sums: Any) -> None:
        """Add float32 (K, 2) sums of a step or a batch of an evaluation to the epoch."""
        self.epoch.assign_add(sums)

    def add_step(self, sums: Any, norm: Any, ok: Any) -> None:
        """Add a training step to the epoch and to the window."""
        # What was not finite of a step that was skipped would spoil the means of the others.
        is_finite = tf.reduce_all(tf.math.is_finite(sums), axis=1, keepdims=True)
        sums = tf.where(is_finite, sums, 0)
        self.add(sums)
        of_step = [
            tf.ones([]),
            tf.cast(~ok, tf.float32),
            tf.where(tf.math.is_finite(norm), norm, 0),
        ]
        self.window.assign_add(
            tf.concat([sums, tf.stack([of_step, [1.0] * len(of_step)], axis=1)], axis=0)
        )


class Mean(keras.metrics.Metric):
    """One mean of the epoch, or several added up by weight, as Keras' `fit` asks for it."""

    def __init__(self, name: str, state: StepState, parts: dict[str, float]):
        super().__init__(name=name)
        self.state, self.parts = state, parts

    def update_state(self, *args, **kwargs) -> None:
        """Nothing to do: the step adds to the sums of all means at once."""

    def reset_state(self) -> None:
        self.state.epoch.assign(tf.zeros_like(self.state.epoch.value))

    def result(self):
        return tf.add_n([weight * self.state.mean(name) for name, weight in self.parts.items()])


def _variable(name: str, value: Any, dtype: str = "float32") -> keras.Variable:
    return keras.Variable(value, dtype=dtype, trainable=False, name=name)
