"""Places in texts, inside the graph: bytes, characters, and the white space around tokens.

Shape letters: N texts, L tokens of a text (ragged), M bytes of all texts.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class Bytes(NamedTuple):
    """The bytes of N texts, one after the other."""

    values: tf.Tensor  # int32 (M,)
    starts: tf.Tensor  # int64 (N,): where each text begins
    lengths: tf.Tensor  # int64 (N,)


def bytes_of(texts: tf.Tensor) -> Bytes:
    """The bytes of string (N,)."""
    lengths = tf.cast(tf.strings.length(texts), tf.int64)
    joined = tf.strings.reduce_join(texts)
    values = tf.cast(tf.io.decode_raw(joined, tf.uint8), tf.int32)
    return Bytes(values, tf.cumsum(lengths, exclusive=True), lengths)


def in_unit(texts: tf.Tensor, starts: Any, ends: Any, unit: str) -> tuple[Any, Any]:
    """Offsets in bytes as offsets in "byte" or "character", RaggedTensors int64 (N, L)."""
    check_unit(unit)
    if unit == "byte":
        return starts, ends
    text = bytes_of(texts)
    is_first = tf.cast(tf.bitwise.bitwise_and(text.values, 0xC0) != 0x80, tf.int64)
    # How many characters begin before each byte, and before the end of all.
    before = tf.concat([[0], tf.cumsum(is_first)], axis=0)  # (M + 1,)
    row = tf.gather(text.starts, starts.value_rowids())
    base = tf.gather(before, row)
    return tuple(
        part.with_values(tf.gather(before, row + part.values) - base) for part in (starts, ends)
    )


def whole_characters(texts: tf.Tensor, starts: Any) -> tuple[Any, Any]:
    """Starts and ends of tokens that follow each other without a gap, as spans of characters.

    Args:
        texts: string (N,).
        starts: RaggedTensor int64 (N, L), in bytes; may be inside a character.

    Returns:
        `(starts, ends)`, RaggedTensors int64 (N, L), in bytes.
    """
    text = bytes_of(texts)
    row = starts.value_rowids()
    base = tf.gather(text.starts, row)
    place = base + starts.values
    size = tf.size(text.values, tf.int64)
    firsts = tf.where(tf.bitwise.bitwise_and(text.values, 0xC0) != 0x80)[:, 0]
    # A text of stray bytes begins with none of a character: its own beginning is one.
    firsts = tf.sort(tf.unique(tf.concat([firsts, text.starts, [size]], axis=0))[0])
    begin = tf.gather(firsts, tf.searchsorted(firsts, place, side="right") - 1)
    # Where the next token begins, or its text ends.
    following = tf.concat([place[1:], [size]], axis=0)[: tf.size(place)]
    end = tf.gather(firsts, tf.searchsorted(firsts, following))
    return starts.with_values(begin - base), starts.with_values(end - base)


def check_unit(unit: str) -> None:
    """Raise a ValueError where a unit of offsets is none."""
    if unit not in ("byte", "character"):
        raise ValueError(f'`unit` is "byte" or "character"; received unit={unit!r}.')


def filled(texts: tf.Tensor, starts: Any, ends: Any, *, keep: tf.Tensor) -> Any:
    """Ends of tokens whose spans are empty, moved to where the next one ends in the same text.

    Args:
        texts: string (N,).
        starts, ends: RaggedTensors int64 (N, L), in bytes; neither ever falls within a text.
        keep: bool (tokens,): tokens that stay as they are.
    """
    text = bytes_of(texts)
    row = ends.value_rowids()
    base = tf.gather(text.starts, row)
    end = base + ends.values
    # The first token that ends behind the place where this one begins.
    following = tf.searchsorted(end, base + starts.values, side="right")
    following = tf.minimum(following, tf.size(end) - 1)
    moved = tf.gather(end, following) - base
    is_empty = (starts.values == ends.values) & ~keep & (tf.gather(row, following) == row)
    return ends.with_values(tf.where(is_empty, moved, ends.values))


def without_leading_space(texts: tf.Tensor, starts: Any, ends: Any) -> Any:
    """Starts moved past blanks, tabs and line breaks, but not past the end of the token.

    A token of white space alone stays as it is.
    """
    text = bytes_of(texts)
    is_space = (text.values == 32) | ((text.values >= 9) & (text.values <= 13))
    row = tf.gather(text.starts, starts.value_rowids())
    visible = tf.concat([tf.where(~is_space)[:, 0], [tf.size(text.values, tf.int64)]], axis=0)
    # The next byte at or after each start that is no white space.
    moved = tf.gather(visible, tf.searchsorted(visible, row + starts.values)) - row
    return starts.with_values(tf.where(moved < ends.values, moved, starts.values))
