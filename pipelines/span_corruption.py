"""Rows from which spans were taken out, each replaced by a sentinel, for a decoder to write.

Shape letters: B rows, T tokens in a row, U in a row of the decoder, W tokens of the corpus in a
row, S spans in a row, M tokens of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import batches, draws
from tfpt.pipelines.batches import Batch, Share
from tfpt.pipelines.settings import SpanDrawing
from tfpt.pipelines.store import Store, store_tokenizer
from tfpt.pipelines.tokenizer import TextTokenizer
from tfpt.pipelines.windows import USED, Windows, entry_id

# A stream of random numbers from one seed; batches.py and epochs.py have 1 to 3.
_SPANS = 4


class Sizes(NamedTuple):
    """What follows from the length of a row."""

    num_tokens: int  # W
    num_targets: int  # U
    taken: np.ndarray  # int32 (W + 1,): how many tokens are taken out of 0, 1, ... tokens
    spans: np.ndarray  # int32 (W + 1,): in how many spans


class Corrupted(NamedTuple):
    """Rows without their spans, and the spans."""

    token_ids: tf.Tensor  # int32 (B, T)
    lengths: tf.Tensor  # int32 (B,): how many of them there are
    targets: tf.Tensor  # int32 (B, U)
    target_lengths: tf.Tensor  # int32 (B,)


def span_corruption(
    store: Store | Sequence[Store],
    *,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    first_batch: int = 0,
    drawing: SpanDrawing | None = None,
    share: Share | None = None,
) -> tf.data.Dataset:
    """Batches of T5's objective, without end: to write the spans that were taken out of a text.

    Rows are cut from the documents as by `causal_lm`, in an order of its own in every epoch; W is
    the most tokens of which T are left. In a row 15% of the tokens are taken out, in spans of 3
    tokens on average; each span is replaced by a sentinel of its own. The targets are the
    sentinels, each followed by the tokens it stands for, and one more sentinel at the end. The
    spans are drawn anew in every epoch. Several stores are mixed as by `masked_lm`.

    Batch N is a pure function of the stores, the settings, the seed and N, as with `masked_lm`.

    Args:
        store: See `open_store`; or several, of one vocabulary.
        sequence_length: T, of the encoder, at least 8. U, of the decoder, follows from it.
        batch_size: B.
        seed: Any int; other seeds give unrelated batches.
        first_batch: The number of the first batch.
        drawing: How a row is drawn; by default `settings.SpanDrawing()`. Where it names no
            sentinels, they are the ids after the vocabulary: a model needs as many entries more as
            `num_sentinels` says.
        share: The part of each batch to draw, for one of several workers.

    Returns:
        An infinite dataset of `(features, labels, weights)` as features.py describes them, with the
        label `span_corruption`.

    Raises:
        ValueError: An argument is out of range, the stores have different vocabularies, or there
            are fewer sentinels than spans.

    Source: Raffel et al. 2020, sections 3.1.4 and 3.3.4, https://arxiv.org/abs/1910.10683.
    """
    drawing, share = drawing or SpanDrawing(), share or Share()
    stores = [store] if isinstance(store, Store) else list(store)
    batches.check_sizes(sequence_length, batch_size, share)
    batches.check_stores(stores, drawing.weights)
    tokenizer = store_tokenizer(stores[0])
    sizes = row_sizes(sequence_length, drawing)
    end_id = entry_id(drawing, "end_id", tokenizer.sep_id, tokenizer.vocabulary_size)
    start_id = entry_id(drawing, "start_id", tokenizer.pad_id, tokenizer.vocabulary_size)
    sentinels = _sentinels(drawing, sizes, tokenizer, end_id)
    windows = Windows(
        stores,
        num_tokens=sizes.num_tokens,
        end_id=end_id,
        pad_id=tokenizer.pad_id,
        weights=drawing.weights,
        seed=seed,
    )

    def draw(batch) -> Batch:
        row = batches.rows_of(batch, batch_size, share)
        window = windows.read(row)
        num_tokens = tf.reduce_sum(tf.cast(window[USED], tf.int32), axis=1)
        bits = draws.row_bits([seed, _SPANS], row[0], row.shape[0], num_bits(sizes))
        corrupted = corrupt_spans(
            window[features.TOKEN_IDS],
            num_tokens,
            bits,
            sizes=sizes,
            sentinel_ids=sentinels,
            sequence_length=sequence_length,
            pad_id=tokenizer.pad_id,
        )
        return _as_batch(corrupted, start_id, tokenizer.pad_id)

    return batches.batch_stream(draw, first_batch, batch_size)


def num_sentinels(sequence_length: int, drawing: SpanDrawing | None = None) -> int:
    """How many sentinels rows of T tokens need: one for each span, and one for the end."""
    return int(row_sizes(sequence_length, drawing or SpanDrawing()).spans.max()) + 1


def row_sizes(sequence_length: int, drawing: SpanDrawing) -> Sizes:
    """The most tokens of the corpus of which T are left, and what is taken out of them."""
    # More than enough: what is taken out is replaced by fewer sentinels.
    lengths = np.arange(int(np.ceil((sequence_length + 2) / (1 - drawing.rate))) + 1)
    taken = np.floor(lengths * drawing.rate + 0.5).astype(np.int64)
    # Of two tokens or more at least one is taken out, and never all.
    taken = np.minimum(np.maximum(taken, 1), np.maximum(lengths - 1, 0))
    spans = np.floor(taken / drawing.mean_span + 0.5).astype(np.int64)
    # Between two spans there is a token.
    spans = np.minimum(np.maximum(spans, np.minimum(taken, 1)), lengths - taken + 1)
    fits = np.maximum.accumulate(lengths - taken + spans) <= sequence_length
    num_tokens = int(np.flatnonzero(fits)[-1])
    taken, spans = taken[: num_tokens + 1], spans[: num_tokens + 1]
    num_targets = int((taken + spans).max()) + 1
    return Sizes(num_tokens, num_targets, taken.astype(np.int32), spans.astype(np.int32))


def num_bits(sizes: Sizes) -> int:
    """How many 32-bit draws `corrupt_spans` takes for a row; a multiple of 4."""
    return -(-(sizes.num_tokens + 1 + int(sizes.taken.max())) // 4) * 4


def corrupt_spans(
    token_ids,
    num_tokens,
    bits,
    *,
    sizes: Sizes,
    sentinel_ids: np.ndarray,
    sequence_length: int,
    pad_id: int,
) -> Corrupted:
    """Take spans out of rows and put sentinels in their place.

    How many tokens and how many spans follows from the length of a row. Of all ways to cut that
    many tokens into that many spans, and of all ways to place the spans with at least one token
    between two of them, each is as likely as the others. (T5's own code never takes out the first
    token of a row, and always the last.)

    Args:
        token_ids: int32 (B, W); what is past `num_tokens` does not count.
        num_tokens: int32 (B,).
        bits: uint32 (B, `num_bits`) random numbers; see `draws.row_bits`.
        sizes: See `row_sizes`.
        sentinel_ids: int32 (S + 1,) or more.
        sequence_length: T.
        pad_id: What stands past the end of a row.
    """
    taken, spans = tf.gather(sizes.taken, num_tokens), tf.gather(sizes.spans, num_tokens)  # (B,)
    is_taken = _placed(num_tokens, taken, spans, bits, sizes)  # (B, W)
    starts = is_taken & ~tf.pad(is_taken[:, :-1], [[0, 0], [1, 0]])
    number = tf.cumsum(tf.cast(starts, tf.int32), axis=1)
    sentinels = tf.constant(sentinel_ids, tf.int32)
    sentinel = tf.gather(sentinels, tf.maximum(number - 1, 0))  # (B, W)

    inside = tf.range(sizes.num_tokens) < num_tokens[:, None]
    left = tf.where(starts, sentinel, token_ids)
    left = tf.ragged.boolean_mask(left, (starts | ~is_taken) & inside)
    # Each token that is taken out, where it is the first of a span behind the sentinel.
    pairs = tf.reshape(tf.stack([sentinel, token_ids], axis=2), [-1, 2 * sizes.num_tokens])
    kept = tf.reshape(tf.stack([starts, is_taken], axis=2), [-1, 2 * sizes.num_tokens])
    last = tf.gather(sentinels, spans)[:, None]
    out = tf.concat([pairs, last], 1), tf.pad(kept, [[0, 0], [0, 1]], constant_values=True)
    return Corrupted(
        left.to_tensor(pad_id, shape=[None, sequence_length]),
        tf.cast(left.row_lengths(), tf.int32),
        tf.ragged.boolean_mask(*out).to_tensor(pad_id, shape=[None, sizes.num_targets]),
        taken + spans + 1,
    )


def _placed(num_tokens, taken, spans, bits, sizes: Sizes):
    """bool (B, W): the tokens that are taken out."""
    most_taken, most_spans = int(sizes.taken.max()), int(sizes.spans.max())
    gap_bits, cut_bits = bits[:, : sizes.num_tokens + 1], bits[:, sizes.num_tokens + 1 :]
    # Each span goes into a gap of its own between the tokens that stay: 0 is before the first.
    gaps = _chosen(gap_bits, num_tokens - taken + 1, spans, most_spans)  # (B, S)
    # The tokens taken out, one behind the other, are cut into spans: behind some, not the last.
    cuts = _chosen(cut_bits[:, : most_taken - 1], taken - 1, spans - 1, most_spans - 1)
    place = tf.range(most_taken)[None, :]
    span = tf.searchsorted(cuts, tf.tile(place, [tf.shape(cuts)[0], 1]), side="left")
    place += tf.gather(gaps, span, batch_dims=1)  # (B, M)
    used = tf.where(tf.range(most_taken) < taken[:, None])  # (N, 2)
    places = tf.stack([used[:, 0], tf.cast(tf.gather_nd(place, used), tf.int64)], axis=1)
    shape = tf.cast(tf.stack([tf.shape(place)[0], sizes.num_tokens]), tf.int64)
    return tf.scatter_nd(places, tf.ones_like(places[:, 0], tf.int32), shape) > 0


def _chosen(bits, limit, count, most: int):
    """int32 (B, `most`): `count` different numbers below `limit`, ascending, then large ones.

    Args:
        bits: uint32 (B, K), K at least `limit`.
        limit, count: int32 (B,).
    """
    score = tf.where(tf.range(bits.shape[1]) < limit[:, None], draws.uniform(bits), -1.0)
    _, numbers = tf.math.top_k(score, most)
    numbers = tf.where(tf.range(most) < count[:, None], numbers, np.iinfo(np.int32).max)
    return tf.sort(numbers, axis=1)


def _sentinels(
    drawing: SpanDrawing, sizes: Sizes, tokenizer: TextTokenizer, end_id: int
) -> np.ndarray:
    needed, size = int(sizes.spans.max()) + 1, tokenizer.vocabulary_size
    given = drawing.sentinel_ids or range(size, size + needed)
    if len(given) < needed:
        raise ValueError(
            f"`sentinel_ids` has {len(given)} ids; rows of these settings have up to {needed - 1} "
            f"spans and need {needed}, one more for the end. Name more, or leave them out."
        )
    if special := {*given} & {*tokenizer.special_ids, end_id}:
        raise ValueError(
            f"`sentinel_ids` names {min(special)}, which stands for something else in a row. Name "
            "entries that no text holds, such as [unused0], or leave them out."
        )
    return np.array(given, np.int32)


def _as_batch(corrupted: Corrupted, start_id: int, pad_id: int) -> Batch:
    def present(rows, lengths):
        return tf.cast(tf.range(rows.shape[1]) < lengths[:, None], tf.int32)

    targets = corrupted.targets
    there = present(targets, corrupted.target_lengths)
    written = tf.pad(targets[:, :-1], [[0, 0], [1, 0]], constant_values=start_id)
    inputs: dict[str, Any] = {
        features.TOKEN_IDS: corrupted.token_ids,
        features.PADDING_MASK: present(corrupted.token_ids, corrupted.lengths),
        features.DECODER_TOKEN_IDS: tf.where(there > 0, written, pad_id),
        features.DECODER_PADDING_MASK: there,
    }
    labels = {features.SPAN_CORRUPTION: targets * there}
    return inputs, labels, {features.SPAN_CORRUPTION: tf.cast(there, tf.float32)}
