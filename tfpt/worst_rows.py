"""The rows that a model is most wrong about, with their texts.

Shape letters: N rows of a data set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

NUM_WORST = 20
# Of a text that is told, in characters: enough to see what is wrong.
LONGEST_TEXT = 500


@dataclass(frozen=True, kw_only=True)
class WorstRow:
    """A row with a high loss, or whatever else it is measured by."""

    row: int  # its number among those evaluated, in the order of the file, from 0
    loss: float
    measure: str = "loss"  # what `loss` is
    right: str
    predicted: str
    # That the model gives to all of its answer; None where it gives none.
    probability: float | None = None
    texts: tuple[str, ...] = ()  # as they are in the data set, cut to `LONGEST_TEXT`

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        told: dict[str, Any] = {"row": self.row, self.measure: self.loss}
        if self.texts:
            told |= {"text": list(self.texts)}
        told |= {"right": self.right, "predicted": self.predicted}
        return told if self.probability is None else {**told, "probability": self.probability}


def worst_rows(
    losses: np.ndarray, describe: Callable[[int], tuple[str, str, float | None]]
) -> tuple[WorstRow, ...]:
    """The rows with the highest losses, the highest first; at most `NUM_WORST`.

    Args:
        losses: float (N,).
        describe: Gives what is right of a row, what is predicted, and its probability.
    """
    found = []
    for row in np.argsort(-losses, kind="stable")[:NUM_WORST].tolist():
        right, predicted, probability = describe(row)
        found.append(
            WorstRow(
                row=row,
                loss=float(losses[row]),
                right=right,
                predicted=predicted,
                probability=probability,
            )
        )
    return tuple(found)


def with_texts(worst: Sequence[WorstRow], rows: Sequence[tuple[str, ...]]) -> tuple[WorstRow, ...]:
    """The same with their texts.

    Args:
        worst: Of the rows.
        rows: One or more texts of every row that was evaluated.
    """
    return tuple(replace(one, texts=tuple(map(_cut, rows[one.row]))) for one in worst)


def excerpt(text: str, start: int, end: int) -> str:
    """At most `LONGEST_TEXT` characters of a text, around those from `start` to `end`."""
    if len(text) <= LONGEST_TEXT:
        return text
    middle = (start + end) // 2 - LONGEST_TEXT // 2
    first = min(max(0, middle), len(text) - LONGEST_TEXT)
    last = first + LONGEST_TEXT
    before, behind = ("\u2026" if cut else "" for cut in (first > 0, last < len(text)))
    return before + text[first + len(before) : last - len(behind)] + behind


def _cut(text: str) -> str:
    return excerpt(text, 0, 0)
