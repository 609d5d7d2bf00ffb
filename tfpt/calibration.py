"""Whether the probabilities of a model are what they say: of what it gives 0.8, is 80% so?

Shape letters: N rows of a data set, C classes, M bins.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

# Of equal width, as Guo et al. have them; one holds its upper end, and the first also 0.
NUM_BINS = 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """How probabilities compare with what is so.

    Sources: Guo et al. 2017, On Calibration of Modern Neural Networks, section 2,
    https://arxiv.org/abs/1706.04599 (bins, expected calibration error); Brier 1950, Verification of
    Forecasts Expressed in Terms of Probability, https://doi.org/10.1175/1520-0493(1950)078
    (the score).
    """

    counts: np.ndarray  # int64 (M,): probabilities in each bin
    probabilities: np.ndarray  # float64 (M,): their mean; 0 where there is none
    shares: np.ndarray  # float64 (M,): of them, the share that is so; 0 where there is none
    # Mean squared distance of all probabilities from what is so, 1 or 0: of classes the sum over
    # them, in [0, 2], as Brier has it; of labels the mean of each decision, in [0, 1].
    brier_score: float

    @property
    def expected_calibration_error(self) -> float:
        """The distance between both columns of the bins, in [0, 1], in the mean of all counted."""
        distances = np.abs(self.probabilities - self.shares)
        return float((self.counts * distances).sum() / self.counts.sum())

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON; of an empty bin nothing is known."""
        ends = np.linspace(0, 1, len(self.counts) + 1).tolist()
        columns = (self.counts.tolist(), self.probabilities.tolist(), self.shares.tolist())
        return {
            "expected_calibration_error": self.expected_calibration_error,
            "brier_score": self.brier_score,
            "bins": [
                {
                    "from": lower,
                    "to": upper,
                    "count": count,
                    "mean_probability": probability if count else None,
                    "share_right": share if count else None,
                }
                for lower, upper, count, probability, share in zip(
                    ends[:-1], ends[1:], *columns, strict=True
                )
            ],
        }


def of_classes(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """Of answers with one class: what counts is the probability of the class that is answered.

    Args:
        probabilities: float64 (N, C), each row sums to 1; N is at least 1.
        labels: int (N,).
    """
    rows = np.arange(len(labels))
    answers = probabilities.argmax(axis=1)
    # sum((p - y)^2) without an array of all y.
    right = probabilities[rows, labels]
    squares = np.square(probabilities).sum(axis=1) - 2 * right + 1
    return binned(probabilities[rows, answers], answers == labels, brier_score=squares.mean())


def of_decisions(probabilities: np.ndarray, is_so: np.ndarray) -> Calibration:
    """Of decisions between yes and no, such as labels, all together: the probability of yes.

    Args:
        probabilities: float64, of any shape.
        is_so: bool, of the same shape.
    """
    squares = np.square(probabilities - is_so)
    return binned(probabilities.ravel(), is_so.ravel(), brier_score=squares.mean())


def binned(probabilities: np.ndarray, is_so: np.ndarray, *, brier_score: float) -> Calibration:
    """Sort probabilities, float64 (N,), into bins, beside what is so, bool (N,)."""
    ends = np.linspace(0, 1, NUM_BINS + 1)
    places = np.digitize(probabilities, ends[1:-1], right=True)
    counts = np.bincount(places, minlength=NUM_BINS)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(places, values, NUM_BINS) / np.maximum(counts, 1)

    return Calibration(
        counts=counts,
        probabilities=mean(probabilities),
        shares=mean(is_so.astype(np.float64)),
        brier_score=float(brier_score),
    )
