"""Optimizers without decay on norms and biases, and learning-rate schedules."""

import math

import keras
import tensorflow as tf

# Names of the weights that are not decayed: biases, and the scales and offsets of norms
# (gamma and beta in keras-hub's backbones).
NOT_DECAYED = ("bias", "scale", "offset", "gamma", "beta")


class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise from 0 to the peak over the warm-up, then linear decay to 0 at the end.

    Source: Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        # The first step is number 0 and should move the weights.
        rise = (step + 1.0) / max(1, self.warmup_steps)
        fall = (self.total_steps - step) / max(1, self.total_steps - self.warmup_steps)
        return self.peak * tf.clip_by_value(tf.minimum(rise, fall), 0.0, 1.0)

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


def adamw(
    *, learning_rate: float, warmup_steps: int, total_steps: int, weight_decay: float
) -> keras.optimizers.Optimizer:
    """AdamW with warm-up and linear decay, none of its weight decay on norms and biases.

    Args:
        learning_rate: The peak.
        warmup_steps: Steps of linear rise, at most `total_steps`.
        total_steps: Steps until the learning rate is 0.
        weight_decay: Share of a weight taken away in a step, times the learning rate.

    Source: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101; beta_2 and epsilon as in
    the original code of BERT.
    """
    for name, value, holds in (
        ("learning_rate", learning_rate, learning_rate > 0 and math.isfinite(learning_rate)),
        ("total_steps", total_steps, total_steps > 0),
        ("warmup_steps", warmup_steps, 0 <= warmup_steps <= total_steps),
        ("weight_decay", weight_decay, weight_decay >= 0),
    ):
        if not holds:
            raise ValueError(f"`{name}` is out of range; received {name}={value}.")
    optimizer = keras.optimizers.AdamW(
        learning_rate=WarmupLinearDecay(learning_rate, warmup_steps, total_steps),
        weight_decay=weight_decay,
        beta_2=0.999,
        epsilon=1e-6,
    )
    optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer
