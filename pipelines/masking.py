"""Choosing tokens to predict, and corrupting them.

Shape letters: B rows, T tokens in a row, P mask slots in a row, V vocabulary.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfpt.pipelines import draws
from tfpt.pipelines.settings import Masking

# Shares and chances are whole numbers of this: so many as a float32 holds exactly.
_ONE = 1 << 24


class Masked(NamedTuple):
    """Rows with tokens to predict."""

    token_ids: tf.Tensor  # int32 (B, T), corrupted
    positions: tf.Tensor  # int32 (B, P); 0 where the slot is not used, as `ids`
    ids: tf.Tensor  # int32 (B, P), the original tokens
    weights: tf.Tensor  # float32 (B, P), 1 where the slot is used


class Entries(NamedTuple):
    """What masking knows of a vocabulary."""

    ordinary: np.ndarray  # bool (V,): may be chosen, and random replacements come from them
    mask_id: int


class _Draws(NamedTuple):
    """Random numbers, uint32 each, by what they are for."""

    rounding: tf.Tensor  # (B, 1)
    order: tf.Tensor  # (B, P) for single tokens, else (B, T)
    kind: tf.Tensor  # (B, P), or (B, T) where it is told by span
    replacement: tf.Tensor  # (B, P)
    lengths: tf.Tensor  # (B, T) where spans have more than one unit, else (B, 0)


def entries(vocabulary_size: int, special_ids: Sequence[int], mask_id: int) -> Entries:
    """All entries are ordinary but the special ones."""
    ordinary = np.ones(vocabulary_size, bool)
    ordinary[list(special_ids)] = False
    return Entries(ordinary, mask_id)


def num_bits(masking: Masking, sequence_length: int, max_masks: int) -> int:
    """How many 32-bit draws `mask_tokens` takes for a row; a multiple of 4."""
    return -(-sum(_parts(masking, sequence_length, max_masks)) // 4) * 4


def rate_at(masking: Masking, batch):
    """float32 scalar: the share of tokens to predict in the batch of a number (int64 scalar)."""
    if masking.final_rate is None:
        return tf.constant(masking.rate, tf.float32)
    progress = tf.minimum(tf.cast(batch / masking.rate_steps, tf.float32), 1.0)
    return masking.rate + (masking.final_rate - masking.rate) * progress


def mask_tokens(
    token_ids, bits, *, entries: Entries, masking: Masking, max_masks: int, rate=None, starts=None
) -> Masked:
    """Choose tokens to predict and corrupt them: 80% [MASK], 10% random, 10% kept, or as told.

    Single tokens: of the n places of a row up to its last ordinary token, `rate` * n are drawn, all
    subsets alike, the number rounded up or down by chance so that the share is exact on average; a
    special token that was drawn is not used.

    Words and spans: a row is cut into units, tokens or words, and these into spans with drawn
    lengths. Spans are chosen in random order until they hold `rate` * n of the row's n ordinary
    tokens; the unit in which that number falls is taken or left with the chance that makes the
    share exact on average, so the last span may be cut. A span does not cross a token that is not
    ordinary, so not the end of a text. A word whose beginning was cut off is a word.

    At most `max_masks` tokens are chosen. The same `token_ids` and `bits` give the same masks on
    any machine and at any parallelism.

    Args:
        token_ids: int32 (B, T), T static; B, too, for single tokens. Packed sequences, padding
            included.
        bits: uint32 (B, `num_bits`) random numbers; see `draws.row_bits`.
        entries: See `entries`.
        masking: The settings.
        max_masks: P, at most T; slots that are not used have weight 0, position 0 and id 0.
        rate: float32 scalar, in place of `masking.rate`; see `rate_at`.
        starts: bool (B, T), where a word begins; needed where `masking.unit` is "word".

    Source: Devlin et al. 2019, section 3.1, https://arxiv.org/abs/1810.04805.
    """
    sizes = _parts(masking, token_ids.shape[1], max_masks)
    drawn = _Draws(*tf.split(bits[:, : sum(sizes)], sizes, axis=1))
    maskable = _ordinary(token_ids, entries)  # (B, T)
    rate = masking.rate if rate is None else rate
    if is_plain(masking):
        positions, used = _places(maskable, drawn, rate)
        kind = drawn.kind
    else:
        units, spans = _groups(starts, maskable, drawn.lengths, masking)
        positions, used = _span_places(maskable, (units, spans), drawn, rate, max_masks)
        kind = drawn.kind
        if masking.together:
            kind = tf.gather(kind, tf.gather(spans, positions, batch_dims=1), batch_dims=1)
    original = tf.gather(token_ids, positions, batch_dims=1)
    corrupted = _corrupted(original, kind, drawn.replacement, entries, masking)
    ones = tf.cast(used, tf.int32)
    return Masked(
        _put(token_ids, positions, used, corrupted),
        positions * ones,
        original * ones,
        tf.cast(used, tf.float32),
    )


def is_plain(masking: Masking) -> bool:
    """Whether single tokens are chosen."""
    return masking.unit == "token" and masking.max_span == 1


def _places(maskable, drawn: _Draws, rate):
    """Places drawn without looking at the tokens, int32 (B, P), and which are used, bool (B, P)."""
    column = tf.range(1, maskable.shape[1] + 1)
    length = tf.reduce_max(tf.where(maskable, column, 0), axis=1)  # (B,)
    wanted = _share_of(length, rate) + tf.cast(_high_bits(drawn.rounding[:, 0]), tf.int64)
    count = tf.cast(wanted // _ONE, tf.int32)
    count = tf.minimum(count, tf.minimum(length, drawn.order.shape[1]))
    positions = draws.subset(drawn.order, length, count)
    used = positions >= 0
    positions = tf.maximum(positions, 0)
    return positions, used & tf.gather(maskable, positions, batch_dims=1)


def _share_of(number, rate):
    """int64: `rate` * `number`, in parts of `_ONE`.

    In integers: processors differ in how they round a product that is added to at once.
    """
    return tf.cast(number, tf.int64) * tf.cast(tf.round(rate * float(_ONE)), tf.int64)


def _span_places(maskable, groups, drawn: _Draws, rate, max_masks: int):
    """The same, of whole spans; `groups` as `_groups` gives them."""
    units, spans = groups
    wanted = _share_of(tf.reduce_sum(tf.cast(maskable, tf.int32), axis=1, keepdims=True), rate)
    # The spans with the largest draws; what may not be chosen comes after them, so no place comes
    # twice.
    score = tf.where(maskable, tf.gather(draws.uniform(drawn.order), spans, batch_dims=1), -1.0)
    # One more tells whether the last slot ends its unit.
    _, positions = tf.math.top_k(score, min(max_masks + 1, maskable.shape[1]))
    units = tf.gather(units, positions, batch_dims=1)
    count = _whole_units(units, wanted, _high_bits(drawn.rounding), max_masks)
    return positions[:, :max_masks], tf.range(max_masks, dtype=tf.int64) < count


def _corrupted(original, kind, replacement, entries: Entries, masking: Masking):
    """int32 (B, P): what stands in the place of tokens that were chosen."""
    ordinary = np.flatnonzero(entries.ordinary).astype(np.int32)
    random_ids = tf.gather(tf.constant(ordinary), draws.small_integers(replacement, len(ordinary)))
    kind = _high_bits(kind)
    masked, changed = (
        round(share * _ONE)
        for share in (masking.mask_share, masking.mask_share + masking.random_share)
    )
    return tf.where(kind < masked, entries.mask_id, tf.where(kind < changed, random_ids, original))


def _high_bits(bits):
    """int32, uniform in [0, `_ONE`)."""
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.int32)


def _ordinary(token_ids, entries: Entries):
    """bool (B, T). The special entries mostly are one block or two: faster told than looked up."""
    special = np.flatnonzero(~entries.ordinary)
    blocks = np.split(special, np.flatnonzero(np.diff(special) > 1) + 1)
    if len(blocks) > 4:
        return tf.gather(tf.constant(entries.ordinary), token_ids)
    outside = [
        (token_ids > block[-1])
        if block[0] == 0
        else (token_ids < block[0]) | (token_ids > block[-1])
        for block in blocks
        if len(block)
    ]
    return functools.reduce(tf.logical_and, outside, tf.ones_like(token_ids, tf.bool))


def _parts(masking: Masking, length: int, max_masks: int) -> list[int]:
    """How many draws a row takes of each of `_Draws`."""
    if is_plain(masking):
        return [1, max_masks, max_masks, max_masks, 0]
    kinds = length if masking.together else max_masks
    return [1, length, kinds, max_masks, length if masking.max_span > 1 else 0]


def _groups(starts, maskable, bits, masking: Masking):
    """int32 (B, T) each: the numbers of the unit and of the span of each token, ascending."""
    shape = tf.shape(maskable)
    changes = tf.concat([tf.ones([shape[0], 1], tf.bool), maskable[:, 1:] ^ maskable[:, :-1]], 1)
    begins = starts if masking.unit == "word" else tf.ones(shape, tf.bool)
    units = tf.cumsum(tf.cast(begins | changes, tf.int32), axis=1) - 1
    if masking.max_span == 1:
        return units, units
    # Lengths one after the other, as many as there could be units, and where in them a unit lies.
    chances = tf.constant(np.cumsum(masking.span_chances())[:-1], tf.float32)
    lengths = 1 + tf.searchsorted(chances, tf.reshape(draws.uniform(bits), [-1]), side="right")
    ends = tf.cumsum(tf.reshape(lengths, shape), axis=1)
    spans = tf.searchsorted(ends, units, side="right")  # (B, T)
    # What is not ordinary ends a span.
    new = changes[:, 1:] | (spans[:, 1:] > spans[:, :-1])
    return units, tf.pad(tf.cumsum(tf.cast(new, tf.int32), axis=1), [[0, 0], [1, 0]])


def _whole_units(units, wanted, rounding, max_masks: int):
    """int64 (B, 1): how many of the slots are used, `wanted` on average; whole units only.

    Args:
        units: int32 (B, P + 1), or (B, P) where a row has no more; tokens of one stand together.
        wanted: int64 (B, 1), in parts of `_ONE`.
        rounding: int32 (B, 1), uniform in [0, `_ONE`).
    """
    ends = units[:, 1:] != units[:, :-1]
    ends = tf.pad(ends, [[0, 0], [0, max_masks + 1 - units.shape[1]]], constant_values=True)
    sizes = tf.range(1, max_masks + 1, dtype=tf.int64)
    fits = sizes * _ONE <= wanted
    below = tf.reduce_max(tf.where(ends & fits, sizes, 0), axis=1, keepdims=True)
    above = tf.where(ends & ~fits, sizes, max_masks + 1)
    above = tf.reduce_min(above, axis=1, keepdims=True)
    # Where no unit ends after `wanted`, the slots are full.
    more = tf.cast(rounding, tf.int64) * (above - below) < wanted - below * _ONE
    return tf.where(more & (above <= max_masks), above, below)


def _put(token_ids, positions, used, values):
    """`token_ids` with `values` at those of the `positions`, (B, P) each, that are used."""
    length = tf.shape(token_ids)[1]
    # What is not used lands behind the row.
    column = tf.where(used, positions, length)
    rows = tf.broadcast_to(tf.range(tf.shape(positions)[0])[:, None], tf.shape(positions))
    longer = tf.pad(token_ids, [[0, 0], [0, 1]])
    return tf.tensor_scatter_nd_update(longer, tf.stack([rows, column], -1), values)[:, :length]
