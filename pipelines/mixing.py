"""Several streams of rows as one: which stream a row comes from, and which of its rows it is.

The rows are gone through in cycles. In a cycle each stream has a fixed number of rows, by its
weight, at places drawn anew in every cycle. So the shares are exact, and no row of a stream is left
out or comes twice before its time, wherever one begins to read.

Shape letters: B rows in a batch, K streams.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt.pipelines.epochs import shuffled_rows


def shares(weights: Sequence[float], total: int) -> np.ndarray:
    """int64 (K,): `total` divided by weight, by the largest remainders; each gets at least 1.

    Args:
        weights: Positive numbers, of any sum.
        total: At least K.
    """
    exact = np.asarray(weights, np.float64) / np.sum(weights) * total
    counts = np.maximum(np.floor(exact), 1).astype(np.int64)
    # At least 1 for each may be more than there is; those that have more then give.
    while counts.sum() > total:
        counts[np.argmax(np.where(counts > 1, counts - exact, -np.inf))] -= 1
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


def stream_rows(row, counts: np.ndarray, *, seed: int, stream: int):
    """Where each row of the mix comes from.

    Args:
        row: int64 (B,), numbers of rows of the mix.
        counts: int64 (K,): rows of each stream in a cycle; see `shares`.
        seed, stream: Of the order; see `shuffled_rows`.

    Returns:
        `(stream, index)`, int32 (B,) and int64 (B,): the stream, and the number of the row in it.
    """
    if len(counts) == 1:
        return tf.zeros_like(row, tf.int32), row
    ends = tf.constant(np.cumsum(counts))
    total = int(counts.sum())
    cycle = row // total
    place = shuffled_rows(row % total, cycle, seed=seed, size=total, stream=stream)
    number = tf.searchsorted(ends, place, side="right")
    counts = tf.gather(tf.constant(counts), number)
    return number, cycle * counts + place - (tf.gather(ends, number) - counts)


def stitched(stream, num_streams: int, draw: Callable[[int, Any], Any]):
    """Rows of several streams in one batch, each drawn by its own stream.

    Args:
        stream: int32 (B,), the stream of each row.
        num_streams: K.
        draw: From the number of a stream and the places of its rows in the batch, int32 (N,), to
            tensors of N rows, of the same structure and shapes for all streams.

    Returns:
        The structure that `draw` gives, of B rows.
    """
    if num_streams == 1:
        return draw(0, tf.range(tf.size(stream)))
    places = tf.dynamic_partition(tf.range(tf.size(stream)), stream, num_streams)
    parts = [draw(number, place) for number, place in enumerate(places)]
    return tf.nest.map_structure(lambda *part: tf.dynamic_stitch(places, part), *parts)
