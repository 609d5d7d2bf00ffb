"""How good a model of scores is: how its scores run with the right ones, and how far off they are.

Shape letters: N rows of a data set.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from tfpt import evaluation, features
from tfpt.worst_rows import WorstRow, with_texts, worst_rows


@dataclass(frozen=True, kw_only=True)
class RegressionReport:
    """What a model of scores got right.

    A correlation is 0 where all right scores, or all of the model's, are the same.
    """

    num_rows: int
    spearman: float  # correlation of the ranks, in [-1, 1]
    pearson: float  # correlation of the scores, in [-1, 1]
    mean_absolute_error: float  # in the units of the data, as the next two
    root_mean_squared_error: float
    deviation: float  # the root mean squared error of always answering the mean
    worst: tuple[WorstRow, ...]  # by the squared error

    @property
    def measures(self) -> dict[str, float]:
        """Both correlations and both errors."""
        names = ("spearman", "pearson", "mean_absolute_error", "root_mean_squared_error")
        return {name: getattr(self, name) for name in names}

    def with_texts(self, rows: Sequence[tuple[str, ...]]) -> "RegressionReport":
        """The same with the texts of the worst rows, of all rows evaluated."""
        return replace(self, worst=with_texts(self.worst, rows))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return {**asdict(self), "worst": [one.to_dict() for one in self.worst]}


def evaluate_regression(model: keras.Model, dataset: tf.data.Dataset) -> RegressionReport:
    """Score a data set and compare.

    Args:
        model: With the output `regression`.
        dataset: Finite; rows of weight 0 do not count.

    Raises:
        ValueError: The data set holds no row.
    """
    return regression_report(*evaluation.predictions(model, dataset, features.REGRESSION))


def regression_report(scores: np.ndarray, predicted: np.ndarray) -> RegressionReport:
    """Compare the scores of a model, float (N,), with the right ones, float (N,)."""
    scores, predicted = scores.astype(np.float64), predicted.astype(np.float64)
    errors = predicted - scores
    varies = np.ptp(scores) > 0 and np.ptp(predicted) > 0
    return RegressionReport(
        num_rows=len(scores),
        spearman=float(stats.spearmanr(scores, predicted).statistic) if varies else 0.0,
        pearson=float(stats.pearsonr(scores, predicted).statistic) if varies else 0.0,
        mean_absolute_error=float(np.abs(errors).mean()),
        root_mean_squared_error=float(np.sqrt(np.square(errors).mean())),
        deviation=float(scores.std()),
        worst=worst_rows(
            np.square(errors), lambda row: (f"{scores[row]:.6g}", f"{predicted[row]:.6g}", None)
        ),
    )
