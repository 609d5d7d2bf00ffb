"""AdaLoRA: products of a singular value decomposition, and a budget of ranks that the maps share.

Shape letters: M rows of a product, I inner and O outer width of a kernel, N columns of it, r rank,
W columns of a part, K triplets of all maps: a column of P, a singular value and a row of Q each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfpt import config
from tfpt.peft.deltas import LowRank, Part, at_columns

# Of the running means of how sensitive the loss is to a weight, and of how much that varies; as in
# the authors' code.
_BETA_SENSITIVITY, _BETA_UNCERTAINTY = 0.85, 0.85


class AdaptiveLowRank(LowRank):
    """As `LowRank`: y + alpha / r * (x P) diag(l) Q, with other factors for each part of columns.

    P and Q are drawn, and held near to orthogonal by a regularizer; l begins as zeros, and
    `RankBudget` sets those to zero again that matter least.

    Args:
        parts: Ranges of the O columns, in order, such as those of queries and of values.
        adaptation: Its `rank`, `alpha` and `dropout_rate`.
        product_dtype: Of the operands of products.
        orthogonality: The factor of the regularizer of each matrix.

    Source: Zhang et al. 2023, section 3, https://arxiv.org/abs/2303.10512.
    """

    def __init__(
        self,
        parts: Sequence[slice],
        adaptation: config.Adaptation,
        product_dtype: str,
        orthogonality: float,
        **kwargs: Any,
    ):
        super().__init__(parts, adaptation, product_dtype, **kwargs)
        self.orthogonality = orthogonality
        self.triplets: list[Triplets] = []

    def build(self, kernel_shape):
        width, self.num_columns = kernel_shape
        self.triplets = []
        for number, part in enumerate(self.parts):
            first, last, _ = part.indices(self.num_columns)
            layer = Triplets(self.rank, self.orthogonality, name=f"part_{number}")
            layer.build((width, last - first))
            layer.built = True
            self.triplets.append(layer)

    def _down(self):
        """(I, parts * r): columns of P, times their singular values."""
        return tf.concat([one.down * one.singular for one in self.triplets], axis=1)

    def _up(self):
        """(parts * r, O)."""
        return at_columns([one.up for one in self.triplets], self.parts, self.num_columns)


class Triplets(Part):
    """P (I, r), l (r,) and Q (r, W), how much each has mattered, and which ones are kept."""

    def __init__(self, rank: int, orthogonality: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.rank, self.orthogonality = rank, orthogonality

    def build(self, shape):
        width, columns = shape
        # One for each: an initializer gives all its weights the same numbers.
        drawn = [keras.initializers.RandomNormal(stddev=0.02) for _ in range(2)]
        near = Orthogonal(self.orthogonality, axis=1), Orthogonal(self.orthogonality, axis=0)
        self.down = self.add_float32("down", (width, self.rank), drawn[0], regularizer=near[0])
        self.singular = self.add_float32("singular", (self.rank,), "zeros")
        self.up = self.add_float32("up", (self.rank, columns), drawn[1], regularizer=near[1])
        self.of_loss = (self.down, self.singular, self.up)
        self.sensitivities = [self._beside(one, "sensitivity") for one in self.of_loss]
        self.uncertainties = [self._beside(one, "uncertainty") for one in self.of_loss]
        self.is_kept = self.add_float32("is_kept", (self.rank,), "ones", trainable=False)

    def _beside(self, weight: Any, name: str) -> Any:
        name = f"{weight.name}_{name}"
        return self.add_float32(name, weight.shape, "zeros", trainable=False)

    def observe(self, gradients: Mapping[str, Any]) -> Any:
        """float32 (r,): how much each triplet matters, after one more step with these gradients.

        The sensitivity of the loss to a weight is |weight * gradient|; its running mean counts the
        more, the more it varies (equations 8 to 12).
        """
        scores = []
        for place, weight in enumerate(self.of_loss):
            sensitivity = tf.abs(weight * gradients[weight.path])
            mean, spread = self.sensitivities[place], self.uncertainties[place]
            new_mean = _BETA_SENSITIVITY * mean + (1 - _BETA_SENSITIVITY) * sensitivity
            change = tf.abs(sensitivity - new_mean)
            new_spread = _BETA_UNCERTAINTY * spread + (1 - _BETA_UNCERTAINTY) * change
            mean.assign(new_mean)
            spread.assign(new_spread)
            scores.append(new_mean * new_spread)
        down, singular, up = scores
        return singular + tf.reduce_mean(down, axis=0) + tf.reduce_mean(up, axis=1)


class RankBudget:
    """How many triplets are kept, of all maps together: those that matter most.

    From `rank` for each map it falls with the cube of the time to `target_rank`, between the first
    `budget_warmup_rate` and the last `budget_final_rate` of the steps. In between a triplet that
    was set to zero may grow again; in the last steps those that are kept stay the same.

    Args:
        deltas: Of all maps.
        adaptation: Its numbers.

    Source: Zhang et al. 2023, section 3.3 and appendix A, https://arxiv.org/abs/2303.10512.
    """

    def __init__(self, deltas: Sequence[AdaptiveLowRank], adaptation: config.Adaptation):
        self.triplets = [one for delta in deltas for one in delta.triplets]
        self.adaptation = adaptation

    def budget(self, steps: Any, total_steps: int) -> Any:
        """int32 (): triplets that are kept after so many steps."""
        numbers = self.adaptation
        begin = numbers.budget_warmup_rate * total_steps
        end = (1 - numbers.budget_final_rate) * total_steps
        left = tf.clip_by_value(1 - (tf.cast(steps, tf.float32) - begin) / (end - begin), 0.0, 1.0)
        ranks = numbers.target_rank + (numbers.rank - numbers.target_rank) * left**3
        return tf.cast(tf.round(ranks * len(self.triplets)), tf.int32)

    def update(
        self,
        gradients: Mapping[str, Any],
        steps: Any,
        total_steps: int,
        averages: Mapping[str, Any] | None = None,
    ) -> None:
        """Look at a step that was taken; now and then, set the least of the triplets to zero.

        Args:
            gradients: Of the trained weights, by path.
            steps: int64 (): steps taken, this one included.
            total_steps: Of the training.
            averages: Moving averages of the trained weights, by path, where they are kept.
        """
        scores = [one.observe(gradients) for one in self.triplets]
        number = self.budget(steps, total_steps)
        least = tf.sort(tf.concat(scores, axis=0), direction="DESCENDING")[number - 1]
        numbers = self.adaptation
        time = tf.cast(steps, tf.float32)
        is_final = time > (1 - numbers.budget_final_rate) * total_steps
        is_within = (time > numbers.budget_warmup_rate * total_steps) & ~is_final
        # The first of the last steps that is taken, in any case: else a short training would keep
        # too many.
        num_kept = tf.reduce_sum(tf.concat([one.is_kept for one in self.triplets], axis=0))
        has_to_fall = is_final & (num_kept > tf.cast(number, tf.float32))
        is_due = (steps % numbers.budget_steps == 0) & is_within | has_to_fall
        for one, score in zip(self.triplets, scores, strict=True):
            kept = tf.where(is_due, tf.cast(score >= least, tf.float32), one.is_kept)
            one.is_kept.assign(kept)
            factor = tf.where(is_due | is_final, kept, 1.0)
            one.singular.assign(one.singular * factor)
            if averages:
                average = averages[one.singular.path]
                average.assign(average * factor)


class Orthogonal(keras.regularizers.Regularizer):
    """The squares of what a matrix lacks of orthogonal columns (axis 1) or rows (axis 0), summed.

    Source: Zhang et al. 2023, equation 4, https://arxiv.org/abs/2303.10512.
    """

    def __init__(self, factor: float, axis: int):
        self.factor, self.axis = factor, axis

    def __call__(self, x):
        product = tf.matmul(x, x, transpose_a=self.axis == 1, transpose_b=self.axis == 0)
        return self.factor * tf.reduce_sum(tf.square(product - tf.eye(product.shape[0])))

    def get_config(self):
        return {"factor": self.factor, "axis": self.axis}
