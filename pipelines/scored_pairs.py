"""Pairs of texts with scores, and texts on their own: what embeddings are judged by.

Shape letters: B texts at once, T tokens in a row, N pairs, U different texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines.labelled_rows import RowBatches, packed_features, warn_of_cut
from tfpt.pipelines.tables import read_table
from tfpt.pipelines.text_groups import number_texts
from tfpt.pipelines.tokenizer import TextTokenizer
from tfpt.pipelines.values import score_of

# Tokens of a row that are none of its text.
NUM_SPECIALS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredPairs:
    """Pairs of texts, and how alike people find the two of each."""

    texts: tf.data.Dataset  # every different text once, labelled by its number
    pairs: np.ndarray  # int32 (N, 2): the numbers of the texts
    scores: np.ndarray  # float32 (N,), of any size


def scored_pairs(
    path: str | Path,
    tokenizer: TextTokenizer,
    *,
    sequence_length: int,
    batch_size: int,
    columns: Sequence[str] = ("0", "1", "2"),
) -> ScoredPairs:
    """Pairs of texts with a score each, to compare the likeness of embeddings with.

    Args:
        path: A file, as `text_classification` takes one.
        tokenizer: As of `text_embedding`.
        sequence_length: T.
        batch_size: Texts that are embedded at once.
        columns: Of the two texts, and of the score.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line or a column is broken; a text is empty, a score is no finite number, or
            all scores are the same.
    """
    if len(columns) != 3:
        raise ValueError(
            "Scored pairs have three columns, two of texts and one of the score; received "
            f"{len(columns)}: {', '.join(columns)}."
        )
    *text, score = columns
    table = read_table(path, text=text, label=score, read_label=score_of)
    scores = np.array(table.labels, np.float32)
    if np.ptp(scores) == 0:
        raise ValueError(
            f"{table.source}: every pair has the score {scores[0]:g}; no correlation can be told. "
            "Check the column of the score."
        )
    tokens, pairs, num_cut = number_texts(table, tokenizer, sequence_length - NUM_SPECIALS)
    if num_cut:
        warn_of_cut(table.source, {"texts": num_cut}, sequence_length, stacklevel=3)
    texts = texts_in_order(tokens, tokenizer, sequence_length, batch_size)
    return ScoredPairs(texts=texts, pairs=pairs, scores=scores)


def texts_in_order(
    tokens: tf.RaggedTensor, tokenizer: TextTokenizer, sequence_length: int, batch_size: int
) -> tf.data.Dataset:
    """Every text once, with its number for a label, int32 (B,); the last batch filled up.

    Args:
        tokens: int32 (U, None).
        tokenizer: Whose special tokens go around them.
        sequence_length: T.
        batch_size: B.

    Returns:
        Batches of `(features, labels, weights)`, with weight 0 where they are filled up.
    """
    name = features.CONTRASTIVE

    def draw(row, weights):
        inputs = features_of(tokens, row, tokenizer, sequence_length, batch_size)
        return inputs, {name: tf.cast(row, tf.int32)}, {name: weights}

    rows = RowBatches(num_rows=int(tokens.nrows()), batch_size=batch_size, seed=0, draw=draw)
    return rows.in_order()


def features_of(
    tokens: tf.RaggedTensor,
    texts: Any,
    tokenizer: TextTokenizer,
    sequence_length: int,
    batch_size: int,
) -> dict[str, tf.Tensor]:
    """The features of the texts of some numbers, int32 or int64 (B,); see `packed_features`."""
    return packed_features(
        [tf.gather(tokens, texts)],
        tokenizer,
        batch_size=batch_size,
        sequence_length=sequence_length,
    )
