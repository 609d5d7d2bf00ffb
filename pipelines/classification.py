"""Labelled texts -> batches of (features, labels, weights) for classification.

Shape letters: B rows in a batch, T tokens in a row, N rows of a split.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines.labelled_rows import TEXTS_AT_ONCE, RowBatches, packed_features
from tfpt.pipelines.packing import check_sequence_length
from tfpt.pipelines.special_tokens import require_roles
from tfpt.pipelines.splits import TEST, TRAIN, VALIDATION, Source, read_splits
from tfpt.pipelines.tables import Table
from tfpt.pipelines.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Split:
    """The rows of a split, tokenized, in the order of the file."""

    texts: tuple[tf.RaggedTensor, ...]  # one or two, int32 (N, None) each
    labels: np.ndarray  # int32 (N,)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextClassification:
    """Labelled texts, ready to train on, validate and test.

    Every batch has B rows: the last one of a split is filled up with rows of weight 0.
    """

    label_names: tuple[str, ...]  # the name of each label, by its id
    label_counts: dict[str, dict[str, int]]  # rows of each label, by split and label name
    splits: dict[str, Split]  # "train", "validation" and, where there is one, "test"
    tokenizer: TextTokenizer
    sequence_length: int  # T
    batch_size: int  # B
    seed: int
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

    @property
    def num_train(self) -> int:
        """Training rows."""
        return len(self.splits[TRAIN].labels)

    @property
    def num_validation(self) -> int:
        """Validation rows."""
        return len(self.splits[VALIDATION].labels)

    @property
    def num_test(self) -> int:
        """Test rows; 0 where there is no test split."""
        return len(self.splits[TEST].labels) if TEST in self.splits else 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every training row once."""
        return self._batches(TRAIN).num_batches

    @cached_property
    def train(self) -> tf.data.Dataset:
        """The training rows, each once, in another order each time it is gone through.

        The orders follow from the seed (and from `tf.random.set_seed`, where that was called).
        """
        return self._batches(TRAIN).shuffled()

    @cached_property
    def validation(self) -> tf.data.Dataset:
        """The validation rows, in the order of the file."""
        return self._batches(VALIDATION).in_order()

    @cached_property
    def test(self) -> tf.data.Dataset | None:
        """The test rows, in the order of the file; None where there is no test split."""
        return self._batches(TEST).in_order() if TEST in self.splits else None

    def train_batches(self, first_batch: int = 0) -> tf.data.Dataset:
        """Training batches without end, from any batch number on; see `RowBatches.endless`."""
        return self._batches(TRAIN).endless(first_batch)

    def _batches(self, name: str) -> RowBatches:
        split = self.splits[name]

        def draw(row, weights):
            batch = self._batch(split, row, weights)
            return self._weighted(batch) if name == TRAIN else batch

        return RowBatches(
            num_rows=len(split.labels), batch_size=self.batch_size, seed=self.seed, draw=draw
        )

    def _weighted(self, batch):
        """A training batch with the weights of its classes."""
        if self.class_weights is None:
            return batch
        inputs, labels, weights = batch
        of_rows = tf.gather(self.class_weights, labels[features.CLASSIFICATION])  # (B,)
        return inputs, labels, {features.CLASSIFICATION: weights[features.CLASSIFICATION] * of_rows}

    def _batch(self, split: Split, row, weights):
        """The rows as `(features, labels, weights)`."""
        inputs = packed_features(
            [tf.gather(text, row) for text in split.texts],
            self.tokenizer,
            batch_size=self.batch_size,
            sequence_length=self.sequence_length,
        )
        labels = tf.gather(split.labels, row)  # (B,)
        return inputs, {features.CLASSIFICATION: labels}, {features.CLASSIFICATION: weights}


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
    check_sequence_length(sequence_length, len(text))
    require_roles(tokenizer, "pad", "cls", "sep")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1 row; received {batch_size}.")
    tables = read_splits(name, text=text, label=label)
    label_names = _label_names(tables[TRAIN])
    counts = {split: Counter(table.labels) for split, table in tables.items()}
    return TextClassification(
        label_names=label_names,
        label_counts={
            split: {name: count[name] for name in label_names} for split, count in counts.items()
        },
        splits={
            split: _encode(table, label_names, tokenizer, sequence_length)
            for split, table in tables.items()
        },
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
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(names))


def _encode(
    table: Table, label_names: Sequence[str], tokenizer: TextTokenizer, longest: int
) -> Split:
    ids = {name: i for i, name in enumerate(label_names)}
    texts = []
    for column in zip(*table.rows, strict=True):
        parts = [
            # Tokens past the length of a row never reach one.
            tokenizer.tokenize(tf.constant(column[first : first + TEXTS_AT_ONCE]))[:, :longest]
            for first in range(0, len(column), TEXTS_AT_ONCE)
        ]
        texts.append(tf.concat(parts, axis=0))
    return Split(tuple(texts), np.array([ids[label] for label in table.labels], np.int32))
