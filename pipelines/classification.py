"""Labelled texts -> batches of (features, labels, weights) for classification.

Shape letters: B rows in a batch, T tokens in a row, N rows of a split, C classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines.labelled_texts import LabelledTexts, check_rows, splits_of
from tfpt.pipelines.splits import TRAIN, Source, read_splits, sources_of
from tfpt.pipelines.tables import Table
from tfpt.pipelines.tokenizer import TextTokenizer
from tfpt.pipelines.values import in_order


@dataclass(frozen=True, kw_only=True, eq=False)
class TextClassification(LabelledTexts):
    """Labelled texts, ready to train a classifier on, validate and test it."""

    name: str = features.CLASSIFICATION
    label_names: tuple[str, ...]  # the name of each label, by its id
    label_counts: dict[str, dict[str, int]]  # rows of each label, by split and label name
    # float32 (C,): what a training row of each class weighs; None: 1.
    class_weights: np.ndarray | None = None

    def balanced(self) -> "TextClassification":
        """The same where all classes weigh as much in training, however rare.

        A row of a class weighs N / (C * rows of the class), 1 in the mean of all rows.
        """
        counts = self.label_counts[TRAIN]
        rows = np.array([counts[name] for name in self.label_names])
        weights = (rows.sum() / (len(rows) * rows)).astype(np.float32)
        return replace(self, class_weights=weights)

    def _weighted(self, batch):
        """A training batch with the weights of its classes."""
        if self.class_weights is None:
            return batch
        inputs, labels, weights = batch
        of_rows = tf.gather(self.class_weights, labels[features.CLASSIFICATION])  # (B,)
        return inputs, labels, {features.CLASSIFICATION: weights[features.CLASSIFICATION] * of_rows}


def text_classification(
    name: Source,
    tokenizer: TextTokenizer,
    *,
    sequence_length: int,
    batch_size: int,
    text: str | Sequence[str] = ("text",),
    label: str = "label",
    seed: int = 0,
) -> TextClassification:
    """Labelled texts from files or TensorFlow Datasets, tokenized, as batches.

    Args:
        name: A folder (or a glob) with a file for each split, whose name is or ends in "train";
            "validation", "valid", "val" or "dev"; "test"; with the ending csv, tsv or jsonl, also
            compressed (.csv.gz), or parquet. Or a dict from "train", "validation" and "test" to
            such files. Or one such file: rows are divided 80 : 10 : 10 by a hash of the text. Or
            `tfds:NAME`. Where there are no validation rows, 10% of the training rows become them,
            by the same hash.
        tokenizer: Texts are tokenized once, here, and packed anew in each batch.
        sequence_length: T, at least 3 for single texts and 5 for pairs; longer texts are cut.
        batch_size: B.
        text: The column of the text, or the two columns of a pair. Names from the header or, where
            a file has none, numbers counted from zero: ("0",).
        label: The column of the label. Labels are numbered in the order of their names (whole
            numbers by size), as they occur in the training rows.
        seed: Of the order of the training rows.

    Raises:
        FileNotFoundError: There is no such file or folder, or no training file in it.
        ValueError: An argument is out of range; a file, line or column is broken; fewer than two
            labels occur; a label of the validation or test rows never occurs in the training rows.
    """
    text = (text,) if isinstance(text, str) else tuple(text)
    check_rows(tokenizer, len(text), sequence_length=sequence_length, batch_size=batch_size)
    tables = read_splits(name, text=text, label=label)
    label_names = _label_names(tables[TRAIN])
    ids = {name: i for i, name in enumerate(label_names)}
    counts = {split: Counter(table.labels) for split, table in tables.items()}
    return TextClassification(
        label_names=label_names,
        label_counts={
            split: {name: count[name] for name in label_names} for split, count in counts.items()
        },
        sources=sources_of(tables),
        splits=splits_of(
            tables,
            lambda table: np.array([ids[label] for label in table.labels], np.int32),
            tokenizer,
            sequence_length,
        ),
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
    )


def _label_names(table: Table) -> tuple[str, ...]:
    """The labels in a fixed order: whole numbers by size, anything else by the alphabet."""
    names = set(table.labels)
    if len(names) < 2:
        raise ValueError(
            f"{table.source}: every row has the label {names.pop()!r}; there is nothing to tell "
            "apart. Check the column of the label."
        )
    return in_order(names)
