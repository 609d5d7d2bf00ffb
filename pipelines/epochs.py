"""The order in which an epoch visits its rows: a stateless shuffle, a new one for each epoch.

Shape letters: B rows in a batch.
"""

import tensorflow as tf

from tfpt.pipelines.draws import row_bits

# Apart from the streams that other draws take from the same seed.
_STREAM = 2
# The usual number, 4, leaves favourites: over 2,000 epochs of 23 rows the most favoured row came
# first 158 times instead of 87. With 8 rounds 40,000 epochs show none (chi-squared).
_ROUNDS = 8


def shuffled_rows(index, epoch, *, seed: int, size, stream: int = 0):
    """The rows that stand at the places `index` of epochs, each in an order of its own.

    Args:
        index: int64 (B,), in [0, size).
        epoch: int64 (B,), from 0; any.
        seed: Any int.
        size: int64, a scalar or (B,): how many rows an epoch visits.
        stream: Any int >= 0; other streams have unrelated orders.

    Returns:
        int64 (B,): for a fixed epoch, a permutation of the index.
    """
    size = tf.cast(size, tf.int64)
    is_any = index.shape[0] is not None
    if not is_any:
        # Perhaps no rows at all, as of a store in a batch of a mix: the operation needs one.
        index, epoch = tf.pad(index, [[0, 1]]), tf.pad(epoch, [[0, 1]])
        size = tf.pad(size, [[0, 1]], constant_values=1) if size.shape.rank else size
    # The raw operation: its wrapper `tf.random.experimental.index_shuffle` has 4 rounds only, and
    # pads a key per row the wrong way.
    rows = tf.raw_ops.RandomIndexShuffle(
        index=index, seed=_keys(epoch, seed, stream), max_index=size - 1, rounds=_ROUNDS
    )
    return rows if is_any else rows[:-1]


def _keys(epoch, seed: int, stream: int):
    """uint64 (B, 3): keys of epochs, unrelated to each other.

    The shuffle takes its key as it comes, and the keys (seed, 1), (seed, 2), ... give orders that
    resemble each other. So each word of a key is the epoch itself, shuffled among all 32-bit
    numbers by a random key.
    """
    outer = tf.cast(row_bits([seed, _STREAM], stream, 1, 12), tf.uint64)
    # The rows of a batch are of one epoch or two.
    epoch, place = tf.unique(tf.cast(epoch, tf.int64))
    epoch = tf.cast(epoch % (1 << 32), tf.uint64)
    words = [
        tf.raw_ops.RandomIndexShuffle(
            index=epoch,
            seed=outer[0, 3 * number : 3 * number + 3],
            max_index=tf.constant(2**32 - 1, tf.uint64),
            rounds=_ROUNDS,
        )
        for number in range(3)
    ]
    return tf.gather(tf.stack(words, axis=1), place)
