"""Texts with scores -> batches of (features, labels, weights) for regression.

Shape letters: B rows in a batch, T tokens in a row, N rows of a split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfpt import features
from tfpt.pipelines.labelled_texts import LabelledTexts, check_rows, splits_of
from tfpt.pipelines.splits import TRAIN, Source, read_splits, sources_of
from tfpt.pipelines.tokenizer import TextTokenizer
from tfpt.pipelines.values import score_of


@dataclass(frozen=True, kw_only=True, eq=False)
class TextRegression(LabelledTexts):
    """Texts with scores, ready to train on, validate and test.

    Scores come as they are in the data. A model that learns them by how much they differ from the
    mean (`objectives.regression`) is told the units by `mean` and `deviation`.
    """

    name: str = features.REGRESSION
    mean: float  # of the training rows' scores
    deviation: float  # their standard deviation (of the rows, with N), positive
    label_names: ClassVar[tuple[str, ...]] = ()  # a score has no names


def text_regression(
    name: Source,
    tokenizer: TextTokenizer,
    *,
    sequence_length: int,
    batch_size: int,
    text: str | Sequence[str] = ("text",),
    score: str = "score",
    seed: int = 0,
) -> TextRegression:
    """Texts with scores from files or TensorFlow Datasets, tokenized, as batches.

    Args:
        name: As `text_classification` takes it.
        tokenizer: Texts are tokenized once, here, and packed anew in each batch.
        sequence_length: T, at least 3 for single texts and 5 for pairs; longer texts are cut.
        batch_size: B.
        text: The column of the text, or the two columns of a pair. Names from the header or, where
            a file has none, numbers counted from zero: ("0",).
        score: The column of the score: finite numbers, of any size.
        seed: Of the order of the training rows.

    Raises:
        FileNotFoundError: There is no such file or folder, or no training file in it.
        ValueError: An argument is out of range; a file, line or column is broken; a score is no
            finite number; all training rows have the same score.
    """
    text = (text,) if isinstance(text, str) else tuple(text)
    check_rows(tokenizer, len(text), sequence_length=sequence_length, batch_size=batch_size)
    tables = read_splits(name, text=text, label=score, read_label=score_of)
    scores = np.array(tables[TRAIN].labels, np.float64)
    deviation = float(scores.std())
    # As it is trained on: numbers that are all one in float32 are one number.
    if not deviation or np.ptp(scores.astype(np.float32)) == 0:
        raise ValueError(
            f"{tables[TRAIN].source}: every row has the score {scores[0]:g}; there is nothing to "
            "learn. Check the column of the score."
        )
    return TextRegression(
        mean=float(scores.mean()),
        deviation=deviation,
        sources=sources_of(tables),
        splits=splits_of(
            tables, lambda table: np.array(table.labels, np.float32), tokenizer, sequence_length
        ),
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
    )
