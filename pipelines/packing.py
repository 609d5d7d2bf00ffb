"""One or two texts to a row: [CLS] a [SEP], or [CLS] a [SEP] b [SEP].

Fine-tuning and the exported model pack by this one function, with operations of TensorFlow's core
only: TF Serving up to 2.19 ships a TF-Text without the trimming operation that keras-hub's packer
puts into the graph.

Shape letters: B rows, T tokens in a row.
"""

from collections.abc import Sequence

import tensorflow as tf


def pack_segments(
    segments: Sequence[tf.RaggedTensor],
    *,
    sequence_length: int,
    cls_id: int,
    sep_id: int,
    pad_id: int = 0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pack one or two texts into a row of fixed length, padded at its end.

    What is too long is cut at its end. Of two texts the longer one is cut first: the places are
    dealt out in turns, one token to a, one to b, until one of them has no tokens left.

    Args:
        segments: One or two int32 (B, None): the tokens of the texts, without special tokens.
        sequence_length: T, at least 3 for one text and 5 for two.
        cls_id: The token that begins the row.
        sep_id: The token that ends each text.
        pad_id: The token that fills the row up.

    Returns:
        `(token_ids, segment_ids, padding_mask)`, int32 (B, T) each: see features.py.

    Raises:
        ValueError: There are not one or two texts, or T leaves no room for a token of each.

    Source: Devlin et al. 2019, section 3, https://arxiv.org/abs/1810.04805.
    """
    check_sequence_length(sequence_length, len(segments))
    budget = sequence_length - 1 - len(segments)
    # No more than T tokens of a text can stay.
    dense = [segment.to_tensor(0, shape=[None, sequence_length]) for segment in segments]
    a_length, b_length = _kept_lengths(segments, budget)

    column = tf.range(sequence_length)[None, :]
    a_end = 1 + a_length[:, None]  # (B, 1), the column of the first [SEP]
    row = tf.pad(dense[0], [[0, 0], [1, 0]], constant_values=cls_id)[:, :sequence_length]
    row = tf.where(column < a_end, row, tf.where(column == a_end, sep_id, pad_id))
    if len(segments) == 1:
        padding_mask = tf.cast(column <= a_end, tf.int32)
        return row, tf.zeros_like(row), padding_mask
    b_end = a_end + 1 + b_length[:, None]  # (B, 1), the column of the second [SEP]
    source = tf.clip_by_value(column - a_end - 1, 0, sequence_length - 1)  # (B, T)
    b_row = tf.gather(dense[1], source, batch_dims=1)
    b_row = tf.where(column < b_end, b_row, tf.where(column == b_end, sep_id, pad_id))
    row = tf.where(column <= a_end, row, b_row)
    padding_mask = tf.cast(column <= b_end, tf.int32)
    return row, padding_mask * tf.cast(column > a_end, tf.int32), padding_mask


def check_sequence_length(sequence_length: int, num_segments: int) -> None:
    """Raise a ValueError where `pack_segments` could not place a token of each text."""
    if num_segments not in (1, 2):
        raise ValueError(f"A row holds one or two texts; received {num_segments}.")
    smallest = 1 + 2 * num_segments
    if sequence_length < smallest:
        raise ValueError(
            f"`sequence_length` must be at least {smallest}, for the special tokens and a token of "
            f"each of {num_segments} text(s); received {sequence_length}."
        )


def _kept_lengths(segments, budget: int):
    """int32 (B,) for a and b: how many tokens stay, in closed form instead of turn by turn."""
    a = tf.cast(segments[0].row_lengths(), tf.int32)
    if len(segments) == 1:
        return tf.minimum(a, budget), tf.zeros_like(a)
    b = tf.cast(segments[1].row_lengths(), tf.int32)
    # a gets its half (the odd place too, since it begins) and what b leaves over; b the rest.
    a = tf.minimum(a, tf.maximum((budget + 1) // 2, budget - b))
    return a, tf.minimum(b, budget - a)
