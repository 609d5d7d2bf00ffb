"""Sentence pairs as BERT pre-trains on them: half follow each other, half do not.

Shape letters: B rows, S sentences of the store, D documents.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfpt.pipelines import draws

# 32-bit draws that a pair takes; a multiple of 4.
NUM_BITS = 12
# Share of the pairs with a shorter target length (Devlin et al. 2019, appendix A.2).
SHORT_RATE = 0.1
MIN_TARGET = 2


class Pair(NamedTuple):
    """Where the two texts of each row stand in the store; int64 (B,) but for the last."""

    a_start: tf.Tensor  # first token of A
    a_length: tf.Tensor  # tokens of A, at least 1
    b_start: tf.Tensor
    b_length: tf.Tensor
    a_sentence: tf.Tensor  # the sentence the example starts with
    b_sentence: tf.Tensor  # the sentence B comes from
    is_next: tf.Tensor  # bool (B,): whether B follows A


def example_starts(sentence_offsets, document_offsets, num_tokens: int) -> np.ndarray:
    """The sentence each example of an epoch starts with.

    A document is cut greedily at sentence ends into stretches of at most `num_tokens` tokens (a
    longer sentence is a stretch of its own). Documents of a single token give no example, since
    they cannot be cut in two.

    Args:
        sentence_offsets: int64 (S + 1,), in tokens.
        document_offsets: int64 (D + 1,), in sentences.
        num_tokens: Most tokens in a stretch.

    Returns:
        int64 (E,), ascending.
    """
    current = np.asarray(document_offsets[:-1])
    ends = np.asarray(document_offsets[1:])
    offsets = np.asarray(sentence_offsets)
    long_enough = offsets[ends] - offsets[current] >= MIN_TARGET
    current, ends = current[long_enough], ends[long_enough]
    starts = []
    # One stretch of every document at a time: as many rounds as the longest document has stretches.
    while len(current):
        starts.append(current)
        following = np.searchsorted(offsets, offsets[current] + num_tokens, side="right") - 1
        following = np.minimum(np.maximum(following, current + 1), ends)
        # A last sentence of a single token cannot be cut in two: it stays with the stretch before.
        more = (following < ends) & (offsets[ends] - offsets[following] >= MIN_TARGET)
        current, ends = following[more], ends[more]
    return np.sort(np.concatenate(starts)) if starts else np.zeros(0, np.int64)


def draw_pairs(
    first_sentence, bits, sentence_offsets, document_offsets, *, num_tokens: int
) -> Pair:
    """Draw text A and text B for each example.

    A is one or more whole sentences from `first_sentence` on, their number drawn uniformly among
    those that leave at least one sentence of the target length to B. B follows in the document, or,
    in half of the rows, starts at a sentence drawn uniformly from all other documents; it runs to
    the first sentence end at which the target length is reached, or to its document's end. What is
    too long together is cut from the longer text, a uniformly drawn part of it at the front. Where
    `first_sentence` is the last of its document, it is cut at a uniformly drawn token: A is the
    first part, and what follows it the second.

    Args:
        first_sentence: int64 (B,), from `example_starts`.
        bits: uint32 (B, NUM_BITS); see `draws.row_bits`.
        sentence_offsets: int64 (S + 1,).
        document_offsets: int64 (D + 1,), of at least two documents.
        num_tokens: Most tokens of A and B together. With probability 0.1 the target is shorter,
            uniform from 2 to `num_tokens`.

    Source: Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805.
    """
    bit = tf.unstack(bits, NUM_BITS, axis=1)
    target = _target_length(bit[0], bit[1], num_tokens)

    document = (
        tf.searchsorted(document_offsets, first_sentence, side="right", out_type=tf.int64) - 1
    )
    document_start = tf.gather(document_offsets, document)
    document_end = tf.gather(document_offsets, document + 1)
    start = tf.gather(sentence_offsets, first_sentence)
    text_end = tf.gather(sentence_offsets, document_end)

    # The stretch that the pair is made of: whole sentences, until the target length is reached.
    stretch_end = tf.minimum(_sentence_end(sentence_offsets, start + target), document_end)
    most = tf.maximum(stretch_end - first_sentence - 1, 1)
    next_sentence = first_sentence + 1 + draws.integers(bit[2], bit[3], most)
    a_end = tf.gather(sentence_offsets, tf.minimum(next_sentence, document_end))
    # The last sentence of a document is cut inside.
    is_last = next_sentence >= document_end
    inside = start + 1 + draws.integers(bit[2], bit[3], tf.maximum(a_end - start - 1, 1))
    a_end = tf.where(is_last, inside, a_end)

    is_next = bit[4] < tf.constant(1 << 31, tf.uint32)
    # Uniform over the sentences outside of the document, without a loop of rejections.
    size = document_end - document_start
    total = tf.cast(tf.shape(sentence_offsets, out_type=tf.int64)[0], tf.int64) - 1
    other = draws.integers(bit[5], bit[6], tf.maximum(total - size, 1))
    other = tf.where(other >= document_start, other + size, other)
    other_document = tf.searchsorted(document_offsets, other, side="right", out_type=tf.int64) - 1
    other_end = tf.gather(sentence_offsets, tf.gather(document_offsets, other_document + 1))

    b_sentence = tf.where(is_next, tf.where(is_last, first_sentence, next_sentence), other)
    b_start = tf.where(is_next, a_end, tf.gather(sentence_offsets, other))
    b_text_end = tf.where(is_next, text_end, other_end)
    wanted = tf.maximum(target - (a_end - start), 1)
    b_end = _sentence_end(sentence_offsets, b_start + wanted)
    b_end = tf.minimum(tf.gather(sentence_offsets, b_end), b_text_end)

    a_start, a_length, b_start, b_length = _trim(
        start, a_end - start, b_start, b_end - b_start, target, bit[7:11]
    )
    return Pair(a_start, a_length, b_start, b_length, first_sentence, b_sentence, is_next)


def _target_length(short_bits, length_bits, num_tokens: int):
    short = draws.uniform(short_bits) < SHORT_RATE
    span = num_tokens - MIN_TARGET + 1
    length = MIN_TARGET + tf.cast(draws.uniform(length_bits) * span, tf.int64)
    return tf.where(short, length, num_tokens)


def _sentence_end(sentence_offsets, token):
    """The number of the first sentence that starts at or after a token: where a stretch ends."""
    number = tf.searchsorted(sentence_offsets, token, side="left", out_type=tf.int64)
    last = tf.shape(sentence_offsets, out_type=tf.int64)[0] - 1
    return tf.minimum(number, last)


def _trim(a_start, a_length, b_start, b_length, target, bits):
    """Cut what is over the target length, from the longer text first."""
    half = (target + 1) // 2
    a_kept = tf.minimum(a_length, tf.maximum(target - b_length, half))
    b_kept = tf.minimum(b_length, target - a_kept)
    a_cut = draws.integers(bits[0], bits[1], a_length - a_kept + 1)
    b_cut = draws.integers(bits[2], bits[3], b_length - b_kept + 1)
    return a_start + a_cut, a_kept, b_start + b_cut, b_kept
