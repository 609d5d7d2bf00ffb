"""Words of texts, and entities of their tags, inside the graph, with operations of its core only.

Shape letters: B texts, L tokens of a text (ragged), M bytes of all texts, W words of all texts that
have a token, E entities of all texts, C tags.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfpt.pipelines import spans
from tfpt.pipelines.tags import BEGIN, END, INSIDE, OUTSIDE, SINGLE, has_ends, parse_tag

# White space past ASCII, by its bytes in UTF-8.
_WIDE_SPACES = (
    ("[\u0085\u00a0]", "  "),
    ("[\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]", "   "),
)
# What is written at a word without a blank between them, and is no part of a name.
_OPENING = '[(\\[{"\u201c\u00ab]+'
_CLOSING = '[,;:!?)\\]}"\u201d\u00bb]+[.]*$'
# The full stop of a sentence; one of "U.S." stays.
_STOP = "^([^.]*[^.])[.]$"


class Words(NamedTuple):
    """The words of all texts that have a token, from left to right."""

    text: Any  # int64 (W,): to which it belongs
    token: Any  # int64 (W,): its first one, counted within its text
    start: Any  # int64 (W,), in bytes of its text
    end: Any  # int64 (W,)


class Entities(NamedTuple):
    """The entities of all texts, from left to right."""

    text: Any  # int64 (E,): to which it belongs
    kind: Any  # int32 (E,)
    score: Any  # float32 (E,)
    start: Any  # int64 (E,), in bytes of its text
    end: Any  # int64 (E,)


def find_words(texts: tf.Tensor, starts: Any, ends: Any, *, separator: str) -> Words:
    """The words of texts, and the first token that begins within each.

    What stands between blanks, tabs or line breaks is a word; without a separator, each character
    is one, and with it those behind it that share its token. The first token is that of
    `pipelines.token_classification`, but that tokens of brackets or quotes which open a word are
    passed over: most data have them as words of their own. Where data keep them at the word, a
    token is read that was not trained itself.

    Args:
        texts: string (B,).
        starts, ends: Of the tokens, RaggedTensors int64 (B, L), in bytes.
        separator: "" where each character is a word.
    """
    starts, ends = (part.with_row_splits_dtype(tf.int64) for part in (starts, ends))
    for pattern, blanks in _WIDE_SPACES:
        texts = tf.strings.regex_replace(texts, pattern, blanks)  # as many bytes
    text = spans.bytes_of(texts)
    is_space = (text.values == 32) | ((text.values >= 9) & (text.values <= 13))
    row = tf.repeat(tf.range(tf.size(text.lengths, tf.int64)), text.lengths)  # (M,)
    is_first = row != _before(row, -1)
    begins = is_first | _before(is_space, True)
    if not separator:
        begins |= tf.bitwise.bitwise_and(text.values, 0xC0) != 0x80
    begins &= ~is_space
    stops = ~is_space & _behind(begins | is_space | is_first, True)
    word_starts, word_ends = tf.where(begins)[:, 0], tf.where(stops)[:, 0] + 1
    word_of_byte = tf.cumsum(tf.cast(begins, tf.int64)) - 1  # (M,)

    owner = starts.value_rowids()
    base = tf.gather(text.starts, owner)
    # A token may stand for nothing, or for white space between words.
    own = tf.where(starts.values < ends.values)[:, 0]
    place = tf.gather(base + starts.values, own)
    own = tf.boolean_mask(own, ~tf.gather(is_space, place))
    word = tf.gather(word_of_byte, tf.gather(base + starts.values, own))
    count = tf.size(starts.values, tf.int64)
    num_words = tf.size(word_starts, tf.int64)
    first = tf.math.unsorted_segment_min(own, word, num_words)
    if separator:
        told = tf.gather(texts, tf.gather(owner, own))
        begin = tf.gather(starts.values, own)
        told = tf.strings.substr(told, begin, tf.gather(ends.values, own) - begin)
        speaks = ~tf.strings.regex_full_match(told, rf"\s*{_OPENING}")
        own, word = tf.boolean_mask(own, speaks), tf.boolean_mask(word, speaks)
        speaking = tf.math.unsorted_segment_min(own, word, num_words)
        first = tf.where(speaking < count, speaking, first)
    seen = tf.where(first < count)[:, 0]
    first = tf.gather(first, seen)
    owner, base = tf.gather(owner, first), tf.gather(base, first)
    end = tf.gather(word_ends, seen) - base
    if not separator:
        # The characters behind the first one of a token have none of their own: they are its.
        end = tf.maximum(end, tf.gather(ends.values, first))
    return Words(
        text=owner,
        token=first - tf.gather(starts.row_starts(), owner),
        start=tf.gather(word_starts, seen) - base,
        end=end,
    )


class Tags:
    """The tags of a model as numbers that the graph reads; see `pipelines.tags`."""

    def __init__(self, names: Sequence[str]):
        """Take tags apart.

        Raises:
            ValueError: One is none of BIO or BIOES.
        """
        tags = [parse_tag(name) for name in names]
        self.kinds = tuple(sorted({tag.kind for tag in tags} - {""}))
        self._ends = has_ends(names)
        order = (OUTSIDE, BEGIN, INSIDE, END, SINGLE)
        self._place_of = [order.index(tag.place) for tag in tags]
        self._kind_of = [self.kinds.index(tag.kind) if tag.kind else -1 for tag in tags]
        self._begin, self._inside, self._end, self._single = range(1, len(order))

    def find_entities(self, words: Words, tags: tf.Tensor, scores: tf.Tensor) -> Entities:
        """The entities that tags spell, by the strict reading of `pipelines.tags`.

        Args:
            words: Of all texts.
            tags: int64 (W,): the tag of each.
            scores: float32 (W,): its probability; an entity has the mean of its words.
        """
        place = tf.gather(tf.constant(self._place_of, tf.int32), tags)
        kind = tf.gather(tf.constant(self._kind_of, tf.int32), tags)
        before = _before(place, 0)
        goes_on = (place == self._inside) | (place == self._end)
        goes_on &= (before == self._begin) | (before == self._inside)
        goes_on &= (kind == _before(kind, -1)) & (words.text == _before(words.text, -1))
        # Words in a chain: each but the first goes on with the one before it.
        chain = tf.cumsum(tf.cast(~goes_on, tf.int64)) - 1
        first = tf.where(~goes_on)[:, 0]
        last = tf.concat([first, [tf.size(tags, tf.int64)]], axis=0)[1:] - 1
        head, tail = tf.gather(place, first), tf.gather(place, last)
        is_whole = head == self._begin
        if self._ends:
            is_whole = (is_whole & (tail == self._end)) | (head == self._single)
        score = tf.boolean_mask(tf.math.segment_mean(scores, chain), is_whole)
        first, last = tf.boolean_mask(first, is_whole), tf.boolean_mask(last, is_whole)
        return Entities(
            text=tf.gather(words.text, first),
            kind=tf.gather(kind, first),
            score=score,
            start=tf.gather(words.start, first),
            end=tf.gather(words.end, last),
        )


def without_punctuation(texts: tf.Tensor, entities: Entities) -> Entities:
    """The same without brackets, quotes and signs of a sentence at their ends.

    They are a part of the word that they stand at, since no blank is between them. An entity of
    such signs alone stays as it is.
    """
    whole = spoken(texts, entities)
    inner = tf.strings.regex_replace(whole, f"^{_OPENING}", "")
    start = entities.start + _num_bytes(whole) - _num_bytes(inner)
    inner = tf.strings.regex_replace(inner, _CLOSING, "")
    inner = tf.strings.regex_replace(inner, _STOP, "\\1")
    is_left = _num_bytes(inner) > 0
    return entities._replace(
        start=tf.where(is_left, start, entities.start),
        end=tf.where(is_left, start + _num_bytes(inner), entities.end),
    )


def spoken(texts: tf.Tensor, entities: Entities) -> tf.Tensor:
    """string (E,): the text of each entity."""
    length = entities.end - entities.start
    return tf.strings.substr(tf.gather(texts, entities.text), entities.start, length)


def _num_bytes(texts: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(texts), tf.int64)


def _before(values: tf.Tensor, first: Any) -> tf.Tensor:
    """What stands one place before each value; `first` before the first one."""
    return tf.concat([tf.cast([first], values.dtype), values], axis=0)[:-1]


def _behind(values: tf.Tensor, last: Any) -> tf.Tensor:
    """What stands one place behind each value; `last` behind the last one."""
    return tf.concat([values, tf.cast([last], values.dtype)], axis=0)[1:]
