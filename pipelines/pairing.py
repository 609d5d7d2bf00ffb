"""The texts of an example: one, or two that follow each other or do not.

Shape letters: N examples, S sentences of the store, D documents, E examples of an epoch.
"""

from typing import NamedTuple

import tensorflow as tf

from tfpt.pipelines import draws
from tfpt.pipelines.examples import MIN_TOKENS

# 32-bit draws that an example takes; a multiple of 4.
NUM_BITS = 12
# Share of the pairs with a shorter target length (Devlin et al. 2019, appendix A.2).
SHORT_RATE = 0.1


class Texts(NamedTuple):
    """Where the texts of each example stand in the store; int64 (N,) but for the last."""

    a_start: tf.Tensor  # first token of A
    a_length: tf.Tensor  # tokens of A, at least 1
    b_start: tf.Tensor
    b_length: tf.Tensor  # 0 where there is no B
    a_sentence: tf.Tensor  # the sentence that A comes from
    b_sentence: tf.Tensor
    follows: tf.Tensor  # bool (N,): whether B follows A


def draw_texts(
    first_sentence, bits, sentence_offsets, document_offsets, *, num_tokens, pairing: str
) -> Texts:
    """Draw the texts of each example, at most `num_tokens` tokens.

    "single": whole sentences from `first_sentence` on, as many as fit; of a sentence that is too
    long a stretch drawn uniformly.

    "next_sentence": A is one or more whole sentences from `first_sentence` on, their number drawn
    uniformly among those that leave at least one sentence of the target length to B. B follows in
    the document, or, in half of the examples, starts at a sentence drawn uniformly from all other
    documents; it runs to the first sentence end at which the target length is reached, or to its
    document's end. What is too long together is cut from the longer text, a uniformly drawn part of
    it at the front. Where `first_sentence` is the last of its document, it is cut at a uniformly
    drawn token: A is the first part, and what follows it the second.

    "sentence_order": B always follows; in half of the examples the two change places.

    Args:
        first_sentence: int64 (N,), see `examples.find_examples`.
        bits: uint32 (N, NUM_BITS); see `draws.row_bits`.
        sentence_offsets: int64 (S + 1,).
        document_offsets: int64 (D + 1,); for "next_sentence" of at least two documents.
        num_tokens: int, or int64 (N,): most tokens of the texts together. For pairs the target is
            shorter with probability 0.1, uniform from 2 to `num_tokens`.
        pairing: One of `settings.PAIRINGS`.

    Source: Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805, and its code; Lan et
    al. 2020, section 3.1, https://arxiv.org/abs/1909.11942, for the order of sentences.
    """
    bit = tf.unstack(bits, NUM_BITS, axis=1)
    num_tokens = tf.broadcast_to(tf.cast(num_tokens, tf.int64), tf.shape(first_sentence))
    document = _number_of(document_offsets, first_sentence)
    document_end = tf.gather(document_offsets, document + 1)
    if pairing == "single":
        return _one_text(first_sentence, document_end, sentence_offsets, num_tokens, bit)
    document_start = tf.gather(document_offsets, document)
    target = _target_length(bit[0], bit[1], num_tokens)
    start = tf.gather(sentence_offsets, first_sentence)

    # The stretch that the pair is made of: whole sentences, until the target length is reached.
    stretch_end = tf.minimum(_sentence_end(sentence_offsets, start + target), document_end)
    most = tf.maximum(stretch_end - first_sentence - 1, 1)
    next_sentence = first_sentence + 1 + draws.integers(bit[2], bit[3], most)
    a_end = tf.gather(sentence_offsets, tf.minimum(next_sentence, document_end))
    # The last sentence of a document is cut inside.
    is_last = next_sentence >= document_end
    inside = start + 1 + draws.integers(bit[2], bit[3], tf.maximum(a_end - start - 1, 1))
    a_end = tf.where(is_last, inside, a_end)

    heads = bit[4] < tf.constant(1 << 31, tf.uint32)
    b_sentence = tf.where(is_last, first_sentence, next_sentence)
    b_start, b_text_end = a_end, tf.gather(sentence_offsets, document_end)
    if pairing == "next_sentence":
        other, other_text_end = _other_document(
            document_start, document_end, bit, sentence_offsets, document_offsets
        )
        b_sentence = tf.where(heads, b_sentence, other)
        b_start = tf.where(heads, b_start, tf.gather(sentence_offsets, other))
        b_text_end = tf.where(heads, b_text_end, other_text_end)
    wanted = tf.maximum(target - (a_end - start), 1)
    b_end = tf.gather(sentence_offsets, _sentence_end(sentence_offsets, b_start + wanted))
    b_end = tf.minimum(b_end, b_text_end)

    kept = _trim(start, a_end - start, b_start, b_end - b_start, target, bit[7:11])
    a_start, a_length, b_start, b_length = kept
    texts = Texts(a_start, a_length, b_start, b_length, first_sentence, b_sentence, heads)
    return _in_drawn_order(texts) if pairing == "sentence_order" else texts


def _one_text(first_sentence, document_end, sentence_offsets, num_tokens, bit) -> Texts:
    start = tf.gather(sentence_offsets, first_sentence)
    end = _number_of(sentence_offsets, start + num_tokens)
    end = tf.minimum(tf.maximum(end, first_sentence + 1), document_end)
    length = tf.gather(sentence_offsets, end) - start
    none = tf.zeros_like(start)
    a_start, a_length, _, _ = _trim(start, length, none, none, num_tokens, bit[7:11])
    follows = tf.ones_like(start, tf.bool)
    return Texts(a_start, a_length, none, none, first_sentence, first_sentence, follows)


def _other_document(document_start, document_end, bit, sentence_offsets, document_offsets):
    """A sentence from all other documents, and the end of its document in tokens; int64 (N,)."""
    # Uniform over the sentences outside of the document, without a loop of rejections.
    size = document_end - document_start
    total = tf.shape(sentence_offsets, out_type=tf.int64)[0] - 1
    other = draws.integers(bit[5], bit[6], tf.maximum(total - size, 1))
    other = tf.where(other >= document_start, other + size, other)
    following = _number_of(document_offsets, other) + 1
    return other, tf.gather(sentence_offsets, tf.gather(document_offsets, following))


def _in_drawn_order(texts: Texts) -> Texts:
    """Where B does not follow A, it now stands before it."""
    order, swapped = texts.follows, (2, 3, 0, 1, 5, 4)
    places = [tf.where(order, texts[place], texts[other]) for place, other in enumerate(swapped)]
    return Texts._make([*places, order])


def _number_of(offsets, position):
    """The number of the stretch, of those that begin at `offsets`, in which a position lies."""
    return tf.searchsorted(offsets, position, side="right", out_type=tf.int64) - 1


def _target_length(short_bits, length_bits, num_tokens: int):
    short = draws.uniform(short_bits) < SHORT_RATE
    span = tf.cast(num_tokens - MIN_TOKENS + 1, tf.float32)
    length = MIN_TOKENS + tf.cast(draws.uniform(length_bits) * span, tf.int64)
    return tf.where(short, tf.minimum(length, num_tokens), num_tokens)


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
