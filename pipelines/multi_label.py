"""Texts with any number of labels -> batches of (features, labels, weights).

Shape letters: B rows in a batch, T tokens in a row, N rows of a split, C classes.
"""

import functools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfpt import features
from tfpt.pipelines.labelled_texts import LabelledTexts, check_rows, splits_of
from tfpt.pipelines.splits import TRAIN, Source, read_splits, sources_of
from tfpt.pipelines.tables import Table
from tfpt.pipelines.tokenizer import TextTokenizer
from tfpt.pipelines.values import classes_of, in_order


class Separated(NamedTuple):
    """A column of several labels: lists of them, or text."""

    column: str
    separator: str = ","  # between two labels, where they are text


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiLabelClassification(LabelledTexts):
    """Texts with any number of labels each, ready to train on, validate and test."""

    name: str = features.MULTI_LABEL
    label_names: tuple[str, ...]  # the name of each label, by its place
    label_counts: dict[str, dict[str, int]]  # rows that have a label, by split and label name


def multi_label_classification(
    name: Source,
    tokenizer: TextTokenizer,
    *,
    sequence_length: int,
    batch_size: int,
    text: str | Sequence[str] = ("text",),
    label: str | Separated = "labels",
    seed: int = 0,
) -> MultiLabelClassification:
    """Texts with any number of labels, from files or TensorFlow Datasets, tokenized, as batches.

    Args:
        name: As `text_classification` takes it.
        tokenizer: Texts are tokenized once, here, and packed anew in each batch.
        sequence_length: T, at least 3 for single texts and 5 for pairs; longer texts are cut.
        batch_size: B.
        text: The column of the text, or the two columns of a pair. Names from the header or, where
            a file has none, numbers counted from zero: ("0",).
        label: The column of the labels: a list of them (JSON Lines, Parquet, TensorFlow Datasets),
            or text with a comma between two; another separator by `Separated`. An empty list or
            text is a row without a label. They are numbered in the order of their names (whole
            numbers by size), as they occur in the training rows.
        seed: Of the order of the training rows.

    Raises:
        FileNotFoundError: There is no such file or folder, or no training file in it.
        ValueError: An argument is out of range; a file, line or column is broken; no training row
            has a label; a label of the validation or test rows never occurs in the training rows.
    """
    text = (text,) if isinstance(text, str) else tuple(text)
    check_rows(tokenizer, len(text), sequence_length=sequence_length, batch_size=batch_size)
    column, separator = Separated(label) if isinstance(label, str) else label
    if not separator:
        raise ValueError("The separator between labels is empty; name one, such as ','.")
    read_label = functools.partial(classes_of, separator=separator)
    tables = read_splits(name, text=text, label=column, read_label=read_label)
    _warn_of_single_labels(tables, separator)
    counts = {
        split: Counter(name for label in table.labels for name in label)
        for split, table in tables.items()
    }
    label_names = in_order(counts[TRAIN])
    if not label_names:
        raise ValueError(
            f"{tables[TRAIN].source}: no row has a label. Check the column of the labels."
        )
    return MultiLabelClassification(
        label_names=label_names,
        label_counts={
            split: {name: count[name] for name in label_names} for split, count in counts.items()
        },
        sources=sources_of(tables),
        splits=splits_of(
            tables, lambda table: _marked(table, label_names), tokenizer, sequence_length
        ),
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
    )


def _warn_of_single_labels(tables: Mapping[str, Table], separator: str) -> None:
    labels = [label for table in tables.values() for label in table.labels]
    if any(labels) and all(len(label) < 2 for label in labels):
        warnings.warn(
            f"{tables[TRAIN].source}: no row has more than one label. Where they are text, the "
            f"separator {separator!r} occurs in none: set another (data.separator), or fine-tune "
            "a classifier of single labels.",
            stacklevel=3,
        )


def _marked(table: Table, label_names: Sequence[str]) -> np.ndarray:
    """uint8 (N, C): 1 where a row has a label; a byte each, since N is large."""
    places = {name: place for place, name in enumerate(label_names)}
    marked = np.zeros((len(table), len(label_names)), np.uint8)
    for row, label in enumerate(table.labels):
        marked[row, [places[name] for name in label]] = 1
    return marked
