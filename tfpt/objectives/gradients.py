"""Parts of a batch, and what is done with their gradients.

Shape letters: B rows.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def divided(rows: Any, count: int) -> Any:
    """(B, ...) -> (count, B / count, ...)."""
    size = rows.shape[0]
    if size is None or size % count:
        told = "unknown many" if size is None else size
        raise ValueError(
            f"A device's {told} rows cannot be gone through in {count} even parts. Choose a batch "
            "size that is a multiple of devices * accumulation_steps * cpu_shards, the same for "
            "every batch (`batch(..., drop_remainder=True)`)."
        )
    return tf.reshape(rows, [count, size // count, *rows.shape[1:]])


def added(gradients: list[Any], more: list[Any]) -> list[Any]:
    """The sums of two lists of gradients."""
    return [one + other for one, other in zip(gradients, more, strict=True)]


def dense(gradient: Any) -> Any:
    """A gradient of gathered rows as a whole table; backbones of keras-hub have such."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows = gradient.dense_shape[0]
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)


def regularized(gradients: list[Any], weights: Sequence[keras.Variable], scale: Any) -> list[Any]:
    """The gradients of the scaled loss with those of the weights' own regularizers added.

    Once for all replicas and parts of a batch, as the terms of the loss are that do not depend on
    the batch.

    Args:
        gradients: Of the weights, summed up over replicas and parts.
        weights: Those with a `regularizer`, such as Keras' layers give them, have such a term.
        scale: float32 (): of the loss.
    """
    found = [weight for weight in weights if weight.regularizer is not None]
    if not found:
        return gradients
    values = [weight.value for weight in found]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        total = tf.add_n([weight.regularizer(weight.value) for weight in found]) * scale
    more = {
        id(weight): one for weight, one in zip(found, tape.gradient(total, values), strict=True)
    }
    return [
        gradient + more[id(weight)] if id(weight) in more else gradient
        for gradient, weight in zip(gradients, weights, strict=True)
    ]
