"""How good a model of several labels is: counts above a threshold, and how well labels are ranked.

Shape letters: N rows of a data set, C classes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

from tfpt import calibration, evaluation, features
from tfpt.calibration import Calibration
from tfpt.evaluation import share
from tfpt.worst_rows import WorstRow, with_texts, worst_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiLabelReport:
    """Which labels a model got right, on the whole and for each of them.

    A share whose denominator is 0 (the precision of a label that is never given) is 0.
    """

    label_names: tuple[str, ...]
    num_rows: int
    threshold: float  # the probability from which on a label is given
    counts: np.ndarray  # int64 (C,): rows that have the label
    given: np.ndarray  # int64 (C,): rows it is given to
    right: np.ndarray  # int64 (C,): rows that have it and are given it
    exact_match: float  # share of the rows of which all labels are right
    average_precision: np.ndarray  # float64 (C,), at any threshold; 0 of a label that no row has
    loss: float  # mean cross-entropy of a label, in nats
    calibration: Calibration  # of all decisions on a label together
    worst: tuple[WorstRow, ...]

    @property
    def precision(self) -> np.ndarray:
        """float64 (C,): of the rows that a label is given to, the share that has it."""
        return share(self.right, self.given)

    @property
    def recall(self) -> np.ndarray:
        """float64 (C,): of the rows that have a label, the share that is given it."""
        return share(self.right, self.counts)

    @property
    def f1(self) -> np.ndarray:
        """float64 (C,): the harmonic mean of precision and recall."""
        return share(2 * self.right, self.given + self.counts)

    @property
    def mean_average_precision(self) -> float:
        """The mean over the labels that a row has; 0 where there are none."""
        there = self.average_precision[self.counts > 0]
        return float(there.mean()) if len(there) else 0.0

    @property
    def measures(self) -> dict[str, float]:
        """F1 over all decisions and as the mean of the labels' own, and what ranks and rows say."""
        return {
            "micro_f1": self._micro()["micro_f1"],
            "macro_f1": float(self.f1.mean()),
            "exact_match": self.exact_match,
            "mean_average_precision": self.mean_average_precision,
            "loss": self.loss,
        }

    def with_texts(self, rows: Sequence[tuple[str, ...]]) -> "MultiLabelReport":
        """The same with the texts of the worst rows, of all rows evaluated."""
        return replace(self, worst=with_texts(self.worst, rows))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        columns = {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "average_precision": self.average_precision,
            "num_rows": self.counts,
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return {
            "num_rows": self.num_rows,
            "threshold": self.threshold,
            "exact_match": self.exact_match,
            **self._micro(),
            **{f"macro_{name}": float(columns[name].mean()) for name in ("precision", "recall")},
            "macro_f1": float(self.f1.mean()),
            "mean_average_precision": self.mean_average_precision,
            "loss": self.loss,
            "classes": {
                name: dict(zip(columns, row, strict=True))
                for name, row in zip(self.label_names, rows, strict=True)
            },
            "calibration": self.calibration.to_dict(),
            "worst": [one.to_dict() for one in self.worst],
        }

    def _micro(self) -> dict[str, float]:
        """Of all labels of all rows together."""
        right, given, counts = (
            one.sum(keepdims=True) for one in (self.right, self.given, self.counts)
        )
        return {
            "micro_precision": float(share(right, given)[0]),
            "micro_recall": float(share(right, counts)[0]),
            "micro_f1": float(share(2 * right, given + counts)[0]),
        }


def evaluate_multi_label(
    model: keras.Model,
    dataset: tf.data.Dataset,
    label_names: Sequence[str],
    *,
    threshold: float = 0.5,
) -> MultiLabelReport:
    """Give labels to a data set and count.

    Args:
        model: With the output `multi_label`.
        dataset: Finite; rows of weight 0 do not count.
        label_names: The name of each label, by its place.
        threshold: The probability from which on a row is given a label, in (0, 1).

    Raises:
        ValueError: The data set holds no row.
    """
    labels, logits = evaluation.predictions(model, dataset, features.MULTI_LABEL)
    return multi_label_report(labels, logits, label_names, threshold=threshold)


def multi_label_report(
    labels: np.ndarray, logits: np.ndarray, label_names: Sequence[str], *, threshold: float = 0.5
) -> MultiLabelReport:
    """Count what logits, float (N, C), got right of labels, 0 or 1 (N, C)."""
    has = labels > 0.5
    logits = logits.astype(np.float64)
    given = logits >= np.log(threshold / (1 - threshold))
    losses = np.logaddexp(0, logits) - has * logits

    def describe(row: int) -> tuple[str, str, float]:
        # Of the labels that are given and those that are not, each for itself.
        unlikely = np.logaddexp(0, np.where(given[row], -logits[row], logits[row]))
        return listed(has[row]), listed(given[row]), float(np.exp(-unlikely.sum()))

    def listed(marked: np.ndarray) -> str:
        return ", ".join(itertools.compress(label_names, marked))

    return MultiLabelReport(
        label_names=tuple(label_names),
        num_rows=len(has),
        threshold=threshold,
        counts=has.sum(axis=0),
        given=given.sum(axis=0),
        right=(has & given).sum(axis=0),
        exact_match=float((has == given).all(axis=1).mean()),
        average_precision=np.array(
            [average_precision(*one) for one in zip(has.T, logits.T, strict=True)]
        ),
        loss=float(losses.mean()),
        calibration=calibration.of_decisions(expit(logits), has),
        worst=worst_rows(losses.mean(axis=1), describe),
    )


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean precision at the places where rows that have a label are found, best scores first.

    Rows of equal scores are found together. 0 where no row has the label.

    Args:
        labels: bool (N,).
        scores: float (N,).

    Source: Manning et al. 2008, Introduction to Information Retrieval, section 8.4,
    https://nlp.stanford.edu/IR-book/.
    """
    if not labels.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan))  # of equal scores; NaN: the last
    found = labels[order].cumsum()[ends]
    new = np.diff(found, prepend=0)
    return float((new * found / (ends + 1)).sum() / found[-1])
