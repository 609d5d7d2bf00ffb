"""The rows of a split as batches: in the order of the file, by epochs, or from any batch on.

Shape letters: B rows in a batch, T tokens in a row, N rows of a split.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines.batches import untuned
from tfpt.pipelines.epochs import shuffled_rows
from tfpt.pipelines.packing import pack_segments
from tfpt.pipelines.tokenizer import TextTokenizer

# Texts tokenized at once: enough to keep the kernel busy, little enough to bound the memory.
TEXTS_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class RowBatches:
    """The rows of a split, drawn as batches of B rows each."""

    num_rows: int  # N
    batch_size: int  # B
    seed: int  # of the order of epochs
    # (rows int64 (B,), their weights float32 (B,)) -> (features, labels, weights)
    draw: Callable[[Any, Any], Any]

    @property
    def num_batches(self) -> int:
        """Batches that hold every row once."""
        return -(-self.num_rows // self.batch_size)

    def in_order(self) -> tf.data.Dataset:
        """Every row once, in the order of the file; the last batch is filled up by weight 0."""
        dataset = tf.data.Dataset.range(self.num_batches)
        rows = dataset.map(self._filled_up, num_parallel_calls=2, deterministic=True)
        return untuned(rows.prefetch(4))

    def shuffled(self) -> tf.data.Dataset:
        """Every row once, in another order each time it is gone through; filled up as above.

        The orders follow from the seed (and from `tf.random.set_seed`, where that was called).
        """

        def epoch(number):
            batches = tf.data.Dataset.range(self.num_batches)
            return batches.map(
                lambda batch: self._filled_up(batch, number),
                num_parallel_calls=2,
                deterministic=True,
            )

        # One random number names the epoch; a dataset cannot count how often it was gone through.
        numbers = tf.data.Dataset.random(seed=self.seed, rerandomize_each_iteration=True).take(1)
        cardinality = tf.data.experimental.assert_cardinality(self.num_batches)
        return untuned(numbers.flat_map(epoch).apply(cardinality).prefetch(4))

    def endless(self, first_batch: int = 0) -> tf.data.Dataset:
        """Batches without end, from any batch number on.

        Batch N is a pure function of the rows, the seed and N, so a run that was interrupted goes
        on with the batch it would have had. An epoch visits each row once, in an order of its own;
        a batch may cross epochs.
        """
        size = self.num_rows

        def drawn(batch):
            row = batch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
            row = shuffled_rows(row % size, row // size, seed=self.seed, size=size)
            return self.draw(row, tf.ones([self.batch_size]))

        last = np.iinfo(np.int64).max // self.batch_size
        dataset = tf.data.Dataset.range(first_batch, last)
        return untuned(dataset.map(drawn, num_parallel_calls=2, deterministic=True).prefetch(4))

    def _filled_up(self, batch, epoch=None):
        """Batch number `batch`, in the order of the epoch or else of the file."""
        size = self.num_rows
        row = batch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        weights = tf.cast(row < size, tf.float32)
        # A real row fills up, not an empty one: no layer meets a row it would not meet in training.
        row = tf.minimum(row, size - 1)
        if epoch is not None:
            row = shuffled_rows(row, tf.fill([self.batch_size], epoch), seed=self.seed, size=size)
        return self.draw(row, weights)


def packed_features(
    texts: Sequence[tf.RaggedTensor],
    tokenizer: TextTokenizer,
    *,
    batch_size: int,
    sequence_length: int,
) -> dict[str, tf.Tensor]:
    """The features of rows of one text, or of two.

    Args:
        texts: int32 (B, None), one or two: the tokens, without special tokens.
        tokenizer: Whose special tokens go between them.
        batch_size: B, which ragged tensors do not tell.
        sequence_length: T.

    Returns:
        `token_ids`, `segment_ids` and `padding_mask`, int32 (B, T).
    """
    packed = pack_segments(
        texts,
        sequence_length=sequence_length,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
    )
    names = (features.TOKEN_IDS, features.SEGMENT_IDS, features.PADDING_MASK)
    return {
        name: tf.ensure_shape(tensor, [batch_size, sequence_length])
        for name, tensor in zip(names, packed, strict=True)
    }


def warn_of_cut(
    source: str, counts: Mapping[str, int], sequence_length: int, *, stacklevel: int
) -> None:
    """Say once how many texts, or pairs of them, are longer than a row.

    Args:
        source: Of the texts.
        counts: Of each split those that are cut, some at least.
        sequence_length: T.
        stacklevel: As of `warnings.warn`, from here.
    """
    told = ", ".join(f"{count:,} ({name})" for name, count in counts.items() if count)
    warnings.warn(
        f"{source}: longer than a row of {sequence_length} tokens, and cut: {told}.",
        stacklevel=stacklevel,
    )
