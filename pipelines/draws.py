"""Stateless random numbers by row: a row draws the same at any parallelism and on any machine.

All draws of a run come from one counter-based generator (Philox). Row g of a run owns the numbers
at the counters g * K / 4 to (g + 1) * K / 4, so any range of rows is drawn by one operation,
without drawing the rows before it.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

Shape letters: B rows, K numbers of a row.
"""

import tensorflow as tf

_PHILOX = 1
# A Philox counter gives this many 32-bit numbers.
_PER_COUNTER = 4
# 2**64 divided by the golden ratio, made odd.
_GOLDEN = 0x9E3779B97F4A7C15


def row_bits(seed, first_row, num_rows: int, bits_per_row: int):
    """uint32 (B, K) random numbers for the rows `first_row` to `first_row + num_rows`.

    Args:
        seed: int64 (2,). Different seeds give independent streams.
        first_row: int64 scalar, the number of the first row within the run.
        num_rows: B.
        bits_per_row: K, a multiple of 4.
    """
    if bits_per_row % _PER_COUNTER:
        raise ValueError(f"`bits_per_row` must be a multiple of 4; received {bits_per_row}.")
    seed = tf.cast(seed, tf.int64)
    # The key is hashed from both halves of the seed, so that neighbouring seeds are unrelated.
    key = tf.random.stateless_uniform([1], seed, minval=None, maxval=None, dtype=tf.uint64)
    counter = tf.cast(first_row, tf.int64) * (bits_per_row // _PER_COUNTER)
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[num_rows, bits_per_row],
        key=key,
        counter=tf.cast(tf.stack([counter, 0]), tf.uint64),
        alg=_PHILOX,
        dtype=tf.uint32,
    )


def uniform(bits):
    """Random bits as float32 uniform in [0, 1)."""
    # 24 bits are what a float32 below 1 holds exactly; a rounded one could come out as 1.
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def integers(high_bits, low_bits, limit):
    """int64 uniform in [0, limit), from two 32-bit draws each: exact enough for any corpus.

    The bias is below limit / 2**63. `limit` is int64, a scalar or of the draws' shape.
    """
    high = tf.cast(tf.bitwise.right_shift(high_bits, tf.constant(1, tf.uint32)), tf.int64)
    return tf.math.floormod(high * 2**32 + tf.cast(low_bits, tf.int64), limit)


def small_integers(bits, limit):
    """int32 uniform in [0, limit), from a 32-bit draw each.

    Only integers are computed with, so the result is the same on every processor. The bias is below
    limit / 2**32. `limit` is int32, of a shape that goes with that of the draws.
    """
    wide = tf.cast(bits, tf.uint64) * tf.cast(limit, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(wide, tf.constant(32, tf.uint64)), tf.int32)


def subset(bits, limit, count):
    """Different integers in [0, limit) for each row: all subsets of that size are equally likely.

    Args:
        bits: uint32 (B, P).
        limit: int32 (B,).
        count: int32 (B,), how many; at most `limit` and P.

    Returns:
        int32 (B, P), in no particular order; -1 in the places after `count`.

    Source: Floyd's algorithm: Bentley and Floyd 1987, "A sample of brilliance", CACM 30(9).
    """
    # Of all rows at once: P steps, each on B numbers that lie side by side.
    bits = tf.transpose(bits)
    num_steps, num_rows = bits.shape
    step = tf.range(num_steps)[:, None]
    largest = limit - count + step  # (P, B), one more in each step
    picks = tf.where(step < count, small_integers(bits, tf.maximum(largest, 0) + 1), -1)

    def pick(number, picks):
        mine = tf.slice(picks, [number, 0], [1, num_rows])
        is_taken = tf.reduce_any((picks == mine) & (step < number), axis=0, keepdims=True)
        # What is taken gives way to the number that no step before could have drawn.
        mine = tf.where(is_taken, tf.slice(largest, [number, 0], [1, num_rows]), mine)
        return number + 1, tf.where(step == number, mine, picks)

    _, picks = tf.while_loop(
        lambda number, _: number < num_steps,
        pick,
        (tf.constant(1), picks),
        maximum_iterations=num_steps,
    )
    return tf.transpose(tf.where(step < count, picks, -1))


def hashed_bits(seed, number, num_bits: int):
    """uint32 (B, K) random numbers for rows of any numbers: those of a number are always the same.

    Slower than `row_bits`, which draws for rows that follow each other. Each number is the hash of
    its place: 64 bits, mixed by xor-shifts and products as in SplitMix64.

    Args:
        seed: int64 (2,). Different seeds give independent streams.
        number: int64 (B,), from 0.
        num_bits: K, even.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    key = tf.random.stateless_uniform([1], seed, minval=None, maxval=None, dtype=tf.uint64)
    # A row's own stream begins at a hash of its number.
    begin = _mixed(tf.cast(number, tf.uint64) * tf.constant(_GOLDEN, tf.uint64) + key)[:, None]
    step = tf.range(1, num_bits // 2 + 1, dtype=tf.int64)
    words = _mixed(begin + tf.cast(step, tf.uint64) * tf.constant(_GOLDEN, tf.uint64))
    return tf.reshape(tf.bitcast(words, tf.uint32), [-1, num_bits])


def _mixed(words):
    """A bijection of uint64 in which each bit changes half of the others."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        right = tf.bitwise.right_shift(words, tf.constant(shift, tf.uint64))
        words = tf.bitwise.bitwise_xor(words, right)
        if factor is not None:
            words *= tf.constant(factor, tf.uint64)
    return words
