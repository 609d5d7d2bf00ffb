"""Choosing tokens to predict, and corrupting them.

Shape letters: B rows, T tokens in a row, P mask slots in a row.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpt.pipelines import draws

# Of the chosen tokens, shares replaced by [MASK] and by a random token; the rest is kept.
# Devlin et al. 2019, section 3.1.
MASK_RATE = 0.8
RANDOM_RATE = 0.1


def num_bits(sequence_length: int, max_masks: int) -> int:
    """How many 32-bit draws `mask_tokens` takes for a row; a multiple of 4."""
    return -(-(1 + sequence_length + 2 * max_masks) // 4) * 4


def ordinary_tokens(vocabulary_size: int, special_ids: Sequence[int]) -> np.ndarray:
    """bool (V,): the entries that may be chosen and that random replacements come from."""
    ordinary = np.ones(vocabulary_size, bool)
    ordinary[list(special_ids)] = False
    return ordinary


def mask_tokens(
    token_ids, bits, *, ordinary, mask_id: int, rate: float = 0.15, max_masks: int = 20
):
    """Choose tokens to predict and corrupt them: 80% [MASK], 10% random, 10% kept.

    Of n ordinary tokens in a row, `rate` * n are chosen, rounded up or down at random so that the
    share is exact on average, at most `max_masks`. The same `token_ids` and `bits` give the same
    masks on any machine and at any parallelism.

    Args:
        token_ids: int32 (B, T). Packed sequences, padding included.
        bits: uint32 (B, at least `num_bits(T, P)`) random numbers; see `draws.row_bits`.
        ordinary: bool (V,), False for the entries that are never chosen; see `ordinary_tokens`.
        mask_id: The id of [MASK].
        rate: Share of ordinary tokens to choose, in (0, 1).
        max_masks: P, at most T; slots past the chosen count have weight 0, position 0 and label 0.

    Returns:
        `(token_ids (B, T), mask_positions (B, P), mask_ids (B, P), mask_weights (B, P))`: int32,
        and float32 weights.

    Source: Devlin et al. 2019, section 3.1, https://arxiv.org/abs/1810.04805.
    """
    length = token_ids.shape[1]
    rounding, order, kind, replacement = tf.split(
        bits[:, : 1 + length + 2 * max_masks], [1, length, max_masks, max_masks], axis=1
    )
    maskable = tf.gather(tf.constant(ordinary), token_ids)  # (B, T)
    wanted = rate * tf.reduce_sum(tf.cast(maskable, tf.float32), axis=1, keepdims=True)
    count = tf.cast(tf.floor(wanted + draws.uniform(rounding)), tf.int32)  # (B, 1)

    # The ordinary tokens with the largest draws; others come after them, so slots never collide.
    score = tf.where(maskable, draws.uniform(order), -1.0)
    _, positions = tf.math.top_k(score, max_masks)  # (B, P)
    chosen = tf.range(max_masks) < count
    original = tf.gather(token_ids, positions, batch_dims=1)

    kind = draws.uniform(kind)
    candidates = tf.constant(np.flatnonzero(ordinary).astype(np.int32))
    random_ids = tf.gather(
        candidates, tf.cast(draws.uniform(replacement) * len(candidates), tf.int32)
    )
    corrupted = tf.where(kind < MASK_RATE, mask_id, original)
    corrupted = tf.where(
        (kind >= MASK_RATE) & (kind < MASK_RATE + RANDOM_RATE), random_ids, corrupted
    )
    corrupted = tf.where(chosen, corrupted, original)
    rows = tf.broadcast_to(tf.range(tf.shape(positions)[0])[:, None], tf.shape(positions))
    token_ids = tf.tensor_scatter_nd_update(
        token_ids, tf.stack([rows, positions], axis=-1), corrupted
    )
    used = tf.cast(chosen, tf.int32)
    return token_ids, positions * used, original * used, tf.cast(chosen, tf.float32)
