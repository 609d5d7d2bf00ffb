"""Courses of the learning rate: a linear rise, then a fall, by the steps or by the clock."""

import math
from typing import Any

import keras
import tensorflow as tf

from tfpt import config


def schedule(
    name: str,
    *,
    learning_rate: float,
    warmup_steps: int,
    total_steps: int,
    cooldown_rate: float = 0.2,
    progress: keras.Variable | None = None,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of step s = 0, 1, ...: the peak times the smaller of a rise and a fall.

    With W for `warmup_steps`, T for `total_steps` and both kept within [0, 1], the rise is
    (s + 1) / max(1, W), so that the first step moves the weights, and the fall is

    - "linear": (T - s) / max(1, T - W). Devlin et al. 2019, appendix A.2,
      https://arxiv.org/abs/1810.04805.
    - "cosine": (1 - cos(pi * linear)) / 2, half a wave from 1 to 0. Loshchilov and Hutter 2017,
      section 3, https://arxiv.org/abs/1608.03983.
    - "inverse_sqrt": sqrt(max(1, W) / (s + 1)); it meets the rise at the peak, begins there
      without a warm-up, and does not depend on T. Vaswani et al. 2017, section 5.3,
      https://arxiv.org/abs/1706.03762.
    - "warmup_stable_decay": (T - s) / max(1, cooldown_rate * T), so 1 until the cool-down.
      Hägele et al. 2024, section 3, https://arxiv.org/abs/2405.18392.

    By the clock (`progress`), the fall has `progress * T` in the place of s, and the rise stays as
    it is: T and W then say at which share of the time, W / T, the linear and the cosine fall begin.
    On a machine that is slower than T steps in the time, the fall can begin within the rise.

    Args:
        name: The fall.
        learning_rate: The largest, the peak.
        warmup_steps: Steps of linear rise, at most `total_steps`.
        total_steps: Steps until the learning rate is 0.
        cooldown_rate: Share of the steps in which "warmup_stable_decay" falls, in (0, 1].
        progress: float32 (): share of the training that is done by the clock; read in each step.
            It is no part of `get_config`: what is made from that follows the steps.

    Raises:
        ValueError: An unknown name, or a number out of range.
    """
    return Schedule(
        name,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        total_steps=total_steps,
        cooldown_rate=cooldown_rate,
        progress=progress,
    )


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """See `schedule`."""

    def __init__(
        self,
        name: str,
        *,
        learning_rate: float,
        warmup_steps: int,
        total_steps: int,
        cooldown_rate: float = 0.2,
        progress: keras.Variable | None = None,
    ):
        if name not in config.SCHEDULES:
            raise ValueError(
                f"`name` must be one of {', '.join(config.SCHEDULES)}; received {name!r}."
            )
        for field, value, holds in (
            ("learning_rate", learning_rate, 0 < learning_rate < math.inf),
            ("total_steps", total_steps, total_steps > 0),
            ("warmup_steps", warmup_steps, 0 <= warmup_steps <= total_steps),
            ("cooldown_rate", cooldown_rate, 0 < cooldown_rate <= 1),
        ):
            if not holds:
                raise ValueError(f"`{field}` is out of range; received {field}={value}.")
        self.name = name
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.cooldown_rate = cooldown_rate
        self.progress = progress

    def __call__(self, step: Any) -> Any:
        """int (): the step, from 0 -> float32 ()."""
        step = tf.cast(step, tf.float32)
        done = step
        if self.progress is not None:
            done = self.progress.value * tf.constant(self.total_steps, tf.float32)
        rise = (step + 1.0) / max(1, self.warmup_steps)
        return self.learning_rate * tf.clip_by_value(tf.minimum(rise, self._fall(done)), 0.0, 1.0)

    def _fall(self, done: Any) -> Any:
        left = self.total_steps - done
        if self.name == "inverse_sqrt":
            return tf.sqrt(max(1, self.warmup_steps) / (done + 1.0))
        if self.name == "warmup_stable_decay":
            return left / max(1.0, self.cooldown_rate * self.total_steps)
        linear = left / max(1, self.total_steps - self.warmup_steps)
        if self.name == "linear":
            return linear
        return 0.5 - 0.5 * tf.cos(math.pi * tf.clip_by_value(linear, 0.0, 1.0))

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "cooldown_rate": self.cooldown_rate,
        }
