"""How much of a model is trained, and kept."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from tfpt.peft.state import kept_weights


class Counts(NamedTuple):
    """Numbers of weights, and what they take."""

    trainable: int
    total: int
    kept_bytes: int  # of what a run or `save` writes of it
    total_bytes: int

    def __str__(self) -> str:
        share = self.trainable / self.total
        return (
            f"{self.trainable:,} of {self.total:,} weights are trained ({share:.2%}), "
            f"{self.kept_bytes / 1e6:,.1f} of {self.total_bytes / 1e6:,.1f} MB are kept"
        )


def counts(model: keras.Model) -> Counts:
    """The numbers in a model's weights that are trained, and all of them; the bytes that are kept.

    Of an adapted encoder, or of a model on one, those are kept that are not those of the encoder as
    it was; else all.
    """
    return Counts(
        sum(_size(weight) for weight in model.trainable_weights),
        sum(_size(weight) for weight in model.weights),
        _bytes(kept_weights(model)),
        _bytes(model.weights),
    )


def _size(weight: Any) -> int:
    return math.prod(weight.shape)


def _bytes(weights: Iterable[Any]) -> int:
    # A bfloat16 is no dtype of NumPy's own, but one that it knows with TensorFlow.
    return sum(_size(weight) * np.dtype(weight.dtype).itemsize for weight in weights)
