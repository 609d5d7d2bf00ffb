"""Texts, or pairs of texts, with a label each, as batches of (features, labels, weights).

Shape letters: B rows in a batch, T tokens in a row, N rows of a split.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines.labelled_rows import TEXTS_AT_ONCE, RowBatches, packed_features, warn_of_cut
from tfpt.pipelines.packing import check_sequence_length
from tfpt.pipelines.special_tokens import require_roles
from tfpt.pipelines.split_batches import SplitBatches
from tfpt.pipelines.splits import TRAIN
from tfpt.pipelines.tables import Table
from tfpt.pipelines.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Split:
    """The rows of a split, tokenized, in the order of the file."""

    texts: tuple[tf.RaggedTensor, ...]  # one or two, int32 (N, None) each
    labels: np.ndarray  # (N, ...): numbers that fit the dtype of the label in features.py
    rows: Sequence[tuple[str, ...]] = ()  # the texts as they came; of training rows they are let go

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledTexts(SplitBatches):
    """Labelled texts, ready to train on, validate and test.

    Validation and test rows come in the order of the file. Every batch has B rows: the last one of
    a split is filled up with rows of weight 0.
    """

    name: str  # of label and weight, as features.py has it
    splits: dict[str, Split]  # "train", "validation" and, where there is one, "test"
    tokenizer: TextTokenizer
    sequence_length: int  # T

    def source_rows(self, split: str) -> Sequence[tuple[str, ...]]:
        """The texts of the rows of "validation" or "test" as they came, in the order of the file.

        Those of the training rows, which nothing tells of later, are not kept beside their tokens.
        """
        return self.splits[split].rows

    def _rows(self, name: str) -> RowBatches:
        split = self.splits[name]

        def draw(row, weights):
            batch = self._batch(split, row, weights)
            return self._weighted(batch) if name == TRAIN else batch

        return RowBatches(
            num_rows=len(split), batch_size=self.batch_size, seed=self.seed, draw=draw
        )

    def _weighted(self, batch: Any) -> Any:
        """A training batch with what its rows weigh: as much as each other."""
        return batch

    def _batch(self, split: Split, row, weights):
        """The rows as `(features, labels, weights)`."""
        inputs = packed_features(
            [tf.gather(text, row) for text in split.texts],
            self.tokenizer,
            batch_size=self.batch_size,
            sequence_length=self.sequence_length,
        )
        labels = tf.gather(split.labels, row)  # (B, ...)
        labels = tf.cast(labels, features.LABELS[self.name].dtype)
        ones = [1] * (labels.shape.rank - 1)
        weights = tf.broadcast_to(tf.reshape(weights, [self.batch_size, *ones]), labels.shape)
        return inputs, {self.name: labels}, {self.name: weights}


def check_rows(
    tokenizer: TextTokenizer, num_texts: int, *, sequence_length: int, batch_size: int
) -> None:
    """Raise a ValueError where rows of such sizes cannot be made with a vocabulary."""
    check_sequence_length(sequence_length, num_texts)
    require_roles(tokenizer, "pad", "cls", "sep")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1 row; received {batch_size}.")


def splits_of(
    tables: Mapping[str, Table],
    number: Callable[[Table], np.ndarray],
    tokenizer: TextTokenizer,
    sequence_length: int,
) -> dict[str, Split]:
    """The rows of each split, tokenized; says once how many are too long for a row.

    Args:
        tables: By split.
        number: Gives the labels of a table as numbers, (N, ...).
        tokenizer: Texts are tokenized here, once.
        sequence_length: T.

    Raises:
        ValueError: A text is empty, or nothing of it is left; names file and line.
    """
    splits, cut = {}, {}
    for name, table in tables.items():
        texts, num_cut = _tokenized(table, tokenizer, sequence_length)
        splits[name] = Split(texts, number(table), () if name == TRAIN else table.rows)
        cut[name] = num_cut
    if any(cut.values()):
        warn_of_cut(tables[TRAIN].source, cut, sequence_length, stacklevel=4)
    return splits


def _tokenized(
    table: Table, tokenizer: TextTokenizer, sequence_length: int
) -> tuple[tuple[tf.RaggedTensor, ...], int]:
    """int32 (N, None) for each text of a row, and the number of rows that are cut."""
    texts, lengths = [], np.zeros(len(table), np.int64)
    for number, column in enumerate(zip(*table.rows, strict=True)):
        parts = []
        for first in range(0, len(column), TEXTS_AT_ONCE):
            some = tokenizer.tokenize(tf.constant(column[first : first + TEXTS_AT_ONCE]))
            counts = some.row_lengths().numpy()
            if not counts.all():
                raise table.empty_text(first + int(counts.argmin()), number)
            lengths[first : first + len(counts)] += counts
            # Tokens past the length of a row never reach one.
            parts.append(some[:, :sequence_length])
        texts.append(tf.concat(parts, axis=0))
    budget = sequence_length - 1 - len(texts)
    return tuple(texts), int(np.sum(lengths > budget))
