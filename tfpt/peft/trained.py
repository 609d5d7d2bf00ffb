"""How much of a model is trained."""

from typing import NamedTuple

import keras


class Counts(NamedTuple):
    """Numbers of weights."""

    trainable: int
    total: int

    def __str__(self) -> str:
        share = self.trainable / self.total
        return f"{self.trainable:,} of {self.total:,} weights are trained ({share:.2%})"


def counts(model: keras.Model) -> Counts:
    """The numbers in a model's weights that are trained, and all of them."""
    trainable = sum(_size(weight) for weight in model.trainable_weights)
    return Counts(trainable, sum(_size(weight) for weight in model.weights))


def _size(weight) -> int:
    size = 1
    for width in weight.shape:
        size *= width
    return size
