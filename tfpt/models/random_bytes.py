"""Random bytes for dropout: one for each element, which costs a fraction of drawing a float.

Threefry, a generator that is a function of a key and a counter: what is drawn does not depend on
the device, nor on how a draw is divided among threads. Its additions, rotations and exclusive ors
run on all lanes of a processor, where XLA compiles them: 6.3 million bytes (32 x 12 x 128 x 128)
take 4 ms on one core, as many floats by `tf.random.stateless_uniform`, which `tf.nn.dropout` draws,
35 (tests/benchmarks/fused_functions.py).

Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3,
https://doi.org/10.1145/2063384.2063405; 13 rounds are the fewest that pass all tests there.
"""

import math
from typing import Any

import tensorflow as tf

from tfpt.models.clusters import in_clusters, program

_ROUNDS = 13
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA
# Draws from one seed on one replica.
_MAX_DRAWS = 256
_BYTES_OF_A_BLOCK = 8
_WORD_BITS, _BYTE_BITS = 32, 8


def random_bytes(shape: Any, seed: Any, number: int):
    """uint8 of `shape`, drawn from a seed (2,) and the number of the draw; others on each replica.

    Args:
        shape: Numbers or scalars, below 2**35 bytes.
        seed: Integers (2,) below 2**32.
        number: Of the draw from this seed, in [0, 256).
    """
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    counter = tf.cast(replica, tf.uint32) * _MAX_DRAWS + tf.constant(number, tf.uint32)
    is_static = all(isinstance(size, int) for size in shape)
    size = math.prod(shape) if is_static else tf.reduce_prod(shape)
    draw = program(_bytes, in_clusters() and is_static)
    return tf.reshape(draw(tf.cast(seed, tf.uint32), counter, size), shape)


def _bytes(key, counter, size):
    """uint8 (size,)."""
    num_blocks = (size + _BYTES_OF_A_BLOCK - 1) // _BYTES_OF_A_BLOCK
    blocks = tf.cast(tf.range(num_blocks), tf.uint32)
    words = tf.concat(threefry(key, (blocks, tf.zeros_like(blocks) + counter)), axis=0)
    # Not in the order of memory, which XLA is far slower at.
    shifts = range(0, _WORD_BITS, _BYTE_BITS)
    return tf.concat([tf.cast(_right(words, bits), tf.uint8) for bits in shifts], axis=0)[:size]


def threefry(key, counters, rounds: int = _ROUNDS):
    """The two words of each counter of two words: uint32 (2,), two of uint32 (K,) -> the same."""
    left, right = tf.unstack(key)
    parity = tf.bitwise.bitwise_xor(left, tf.bitwise.bitwise_xor(right, _word(_PARITY)))
    keys = (left, right, parity)
    x, y = counters[0] + left, counters[1] + right
    for number in range(1, rounds + 1):
        x += y
        y = tf.bitwise.bitwise_xor(_rotated(y, _ROTATIONS[(number - 1) % len(_ROTATIONS)]), x)
        if number % 4 == 0:
            passed = number // 4
            x += keys[passed % 3]
            y += keys[(passed + 1) % 3] + _word(passed)
    return x, y


def _rotated(x, bits: int):
    return tf.bitwise.bitwise_or(
        tf.bitwise.left_shift(x, _word(bits)), _right(x, _WORD_BITS - bits)
    )


def _right(x, bits: int):
    return tf.bitwise.right_shift(x, _word(bits))


def _word(number: int):
    return tf.constant(number, tf.uint32)
