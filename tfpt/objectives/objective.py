"""An objective is a value: what a model computes, and how far it is from the labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One thing to learn. Its name is the name of its label, its weight and its output.

    Shape letters: B rows, ... the shape of the targets in a row.
    """

    name: str  # also the key in the three dicts of a batch; see features.py
    output: keras.KerasTensor  # usually logits, float32 (B, ..., classes)
    loss: Callable[[Any, Any], Any]  # (labels, outputs) -> float32 (B, ...), one for each target
    # (labels, outputs) -> float32 (B, ...), averaged by weight like the loss
    metrics: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    inputs: Mapping[str, keras.KerasTensor] = field(default_factory=dict)  # besides the encoder's
    weight: float = 1.0  # factor of the loss in the sum
    # Whether the loss of a row depends on the others: then a batch is not gone through in parts.
    across_rows: bool = False
