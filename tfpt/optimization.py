"""Optimizers without decay on norms and biases."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfpt import config

# Names of the weights that are not decayed: biases, and the scales and offsets of norms
# (gamma and beta in keras-hub's backbones).
NOT_DECAYED = ("bias", "scale", "offset", "gamma", "beta")

# By the path of a weight and the optimizer's steps: the share of the learning rate it is given.
RateShare = Callable[[str, Any], Any]


def optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    weight_decay: float,
    epsilon: float = 1e-6,
    rate_share: RateShare | None = None,
) -> keras.optimizers.Optimizer:
    """An optimizer by name, with none of its weight decay on norms and biases.

    - "adamw": see `AdamW`; beta_2 0.999 as in BERT's original code. Learning rates around 1e-4.
      Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101.
    - "lamb": see `Lamb`; for large batches. BERT in the paper: a learning rate of 6e-4 for 512 rows
      to 5e-3 for 32,768, by the square root of the rows. You et al. 2020,
      https://arxiv.org/abs/1904.00962.
    - "adafactor": see `Adafactor`; keeps the least state. Its learning rate is a share of a
      weight's own size, around 1e-2. Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235.
    - "lion": Keras' own, beta_1 0.9 and beta_2 0.99. The paper takes a learning rate 3 to 10 times
      smaller than AdamW's and a weight decay larger by as much. Chen et al. 2023,
      https://arxiv.org/abs/2302.06675.
    - "muon": Keras' own: kernels of layers by orthogonal steps, of a size that allows the learning
      rate and the weight decay of AdamW; embeddings, heads, and weights of one or of more than two
      axes by AdamW as above. The query, key and value of a layer are one kernel and are made
      orthogonal together. Liu et al. 2025, https://arxiv.org/abs/2502.16982; Jordan et al. 2024,
      https://kellerjordan.github.io/posts/muon/.

    Args:
        name: See above.
        learning_rate: Or its course; see `schedules.schedule`.
        weight_decay: Share of a weight taken away in a step, times the learning rate; with "lamb"
            also times the trust ratio.
        epsilon: Of "adamw", "lamb" and "muon": what is added to the root of the mean of squares; of
            "adamw" and "muon", as in the original code of BERT, before that is corrected for its
            start, 1e-6. Weights whose gradients are not far above it move less; in a short
            fine-tuning that is felt, so torch's 1e-8 is taken there.
        rate_share: What a weight has of the learning rate, in its decay too; see
            `transfer.choose_layers`. None: all of it.

    Raises:
        ValueError: An unknown name, a negative decay, or an epsilon that is not positive.
    """
    if not weight_decay >= 0:
        raise ValueError(f"`weight_decay` is out of range; received weight_decay={weight_decay}.")
    if not epsilon > 0:
        raise ValueError(f"`epsilon` must be positive; received epsilon={epsilon}.")
    numbers: dict[str, Any] = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    if name not in config.OPTIMIZERS:
        raise ValueError(
            f"`name` must be one of {', '.join(config.OPTIMIZERS)}; received {name!r}."
        )
    kind: Any = {
        "adamw": AdamW,
        "lamb": Lamb,
        "adafactor": Adafactor,
        "lion": keras.optimizers.Lion,
        "muon": keras.optimizers.Muon,
    }[name]
    own: dict[str, dict[str, Any]] = {
        "adamw": {"beta_2": 0.999, "epsilon": epsilon},
        "lamb": {"beta_2": 0.999, "epsilon": epsilon},
        "adafactor": {},
        "lion": {"beta_1": 0.9, "beta_2": 0.99},
        "muon": {
            "adam_beta_2": 0.999,
            "epsilon": epsilon,
            "adam_weight_decay": weight_decay,
            "exclude_layers": ["_head/"],
        },
    }
    if rate_share is not None:
        kind = type(kind.__name__, (_InShares, kind), {"rate_share": staticmethod(rate_share)})
    made = kind(**numbers, **own[name])
    made.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return made


class _InShares(keras.optimizers.Optimizer):
    """Among the bases of a class, before an optimizer: each weight has a share of the rate."""

    rate_share: RateShare

    def build(self, variables):
        self._paths = [variable.path for variable in variables]
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        path = self._paths[self._get_variable_index(variable)]
        learning_rate = learning_rate * self.rate_share(path, self.iterations)
        # Keras' optimizers take the decay of all weights away before, by the whole rate.
        if not isinstance(self, AdamW | Lamb) and self._use_weight_decay(variable):
            variable.assign_sub(variable * (self.weight_decay * learning_rate))
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables):
        """Nothing to do: it is a part of the step."""


class AdamW(keras.optimizers.AdamW):
    """Keras' own, with the decay and the step of a large weight in one pass through memory.

    TensorFlow runs the dozen operations of a step one by one, each reading and writing arrays as
    large as the weight. As one program of XLA the update of 22.6 million weights takes 52 ms of a
    core instead of 153, and 147 instead of 386 where memory is not kept (`keep_memory` of
    distribution.py). `amsgrad` is not taken.
    """

    def update_step(self, gradient, variable, learning_rate):
        decay = self.weight_decay if self._use_weight_decay(variable) else 0.0
        if variable.shape.num_elements() < _LARGE:
            variable.assign_sub(variable * tf.cast(decay * learning_rate, variable.dtype))
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        moments = self._momentums[index].value, self._velocities[index].value
        number = tf.cast(self.iterations, tf.float32) + 1.0
        size = (
            learning_rate
            * tf.sqrt(1.0 - tf.pow(self.beta_2, number))
            / (1.0 - tf.pow(self.beta_1, number))
        )
        values = (variable, *moments, gradient, decay * learning_rate, size)
        update = _adamw_program(self.beta_1, self.beta_2, self.epsilon)
        updated = update(*map(tf.convert_to_tensor, values))
        for one, value in zip((variable, *moments), updated, strict=True):
            one.assign(value)

    def _apply_weight_decay(self, variables):
        """Nothing to do: it is a part of the step."""


# Elements from which a program of its own is faster than TensorFlow's operations.
_LARGE = 1 << 16


@functools.cache
def _adamw_program(beta_1: float, beta_2: float, epsilon: float) -> Any:
    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def update(weight, momentum, velocity, gradient, decay, size):
        momentum += (gradient - momentum) * (1.0 - beta_1)
        velocity += (tf.square(gradient) - velocity) * (1.0 - beta_2)
        weight -= decay * weight
        return weight - size * momentum / (tf.sqrt(velocity) + epsilon), momentum, velocity

    return update


class Lamb(keras.optimizers.Lamb):
    """Adam's step for each weight, brought to the size of the weight.

    Keras' own takes the decay away before the step; in the paper it is a part of the step, whose
    size is that of both together. Norms and biases take Adam's step as it is, as in the authors'
    code, where they are left out of the decay and of the ratio alike.

    Source: You et al. 2020, algorithm 2, https://arxiv.org/abs/1904.00962.
    """

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        number = tf.cast(self.iterations, tf.float32) + 1.0
        self.assign_add(momentum, (gradient - momentum) * (1.0 - self.beta_1))
        self.assign_add(velocity, (tf.square(gradient) - velocity) * (1.0 - self.beta_2))
        mean = momentum / (1.0 - tf.pow(self.beta_1, number))
        square = velocity / (1.0 - tf.pow(self.beta_2, number))
        step = mean / (tf.sqrt(square) + self.epsilon)
        if self._use_weight_decay(variable):
            step = step + self.weight_decay * variable
            size, step_size = tf.norm(variable), tf.norm(step)
            is_ratio = (size > 0) & (step_size > 0)
            step = step * tf.where(is_ratio, tf.math.divide_no_nan(size, step_size), 1.0)
        self.assign_sub(variable, learning_rate * step)

    def _apply_weight_decay(self, variables):
        """Nothing to do: it is a part of the step."""


class Adafactor(keras.optimizers.Adafactor):
    """Adafactor that keeps, of the squares of a kernel's gradient, means of rows and columns alone.

    Keras' own keeps the whole product of them besides, as much as a moment of Adam, and never takes
    a learning rate above 1 / sqrt(step), whatever the schedule says.

    Source: Shazeer and Stern 2018, algorithms 4 and 5, https://arxiv.org/abs/1804.04235.
    """

    def build(self, variables):
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)
        squares = []
        for variable in variables:
            shape = tuple(variable.shape)
            shapes = [shape] if len(shape) < 2 else [shape[:-1], shape[:-2] + shape[-1:]]
            squares.append([self.add_variable(shape=s, name="squares") for s in shapes])
        self._squares = squares

    def update_step(self, gradient, variable, learning_rate):
        square = tf.square(gradient) + self.epsilon_1
        number = tf.cast(self.iterations, tf.float32) + 1.0
        decay = 1.0 - tf.pow(number, self.beta_2_decay)
        kept = self._squares[self._get_variable_index(variable)]
        means = [square]
        if len(kept) == 2:
            means = [tf.reduce_mean(square, axis=-1), tf.reduce_mean(square, axis=-2)]
        for variable_, mean in zip(kept, means, strict=True):
            self.assign(variable_, decay * variable_ + (1.0 - decay) * mean)
        if len(kept) == 2:
            rows, columns = (tf.convert_to_tensor(one) for one in kept)
            rows = rows / tf.reduce_mean(rows, axis=-1, keepdims=True)
            # One after the other: where both are next to nothing, their product would be 0.
            step = gradient * tf.math.rsqrt(rows)[..., None] * tf.math.rsqrt(columns)[..., None, :]
        else:
            step = gradient * tf.math.rsqrt(tf.convert_to_tensor(kept[0]))
        step = step / tf.maximum(1.0, _root_mean_square(step) / self.clip_threshold)
        size = tf.maximum(self.epsilon_2, _root_mean_square(variable))
        self.assign_sub(variable, learning_rate * size * step)


def _root_mean_square(values: Any) -> Any:
    return tf.sqrt(tf.reduce_mean(tf.square(values)))
