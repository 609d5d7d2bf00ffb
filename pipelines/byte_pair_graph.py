"""Byte-level byte pair encoding inside the TensorFlow graph, with operations of its core only.

There is no fast op for it, neither in TensorFlow nor in tensorflow-text; keras-hub's goes through
regular expressions and caches strings in a table that changes. Here a batch is worked on as flat
arrays: its characters are cut into words by GPT-2's rule, words that are an entry are looked up as
a whole, and in all others at once the pair that was learned first is merged, until none is left.

Shape letters: N texts, C characters, M bytes, W words and S symbols of all texts, V entries.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfpt.pipelines import spans

# Kinds of characters that GPT-2's rule tells apart.
_OTHER, _LETTER, _NUMBER, _BLANK, _SPACE = range(5)
_NONE = -1  # before the first and after the last character of a text

# A longer word is not looked up as a whole.
_LONGEST_LOOKUP = 32
_NO_RANK = np.iinfo(np.int32).max


class Tables(NamedTuple):
    """What the graph looks up, as arrays that become constants in it."""

    kind_pages: np.ndarray  # int32 (0x1100,): the page of 256 code points with that high part
    kinds: np.ndarray  # int32 (pages * 256,)
    id_of_byte: np.ndarray  # int32 (256,)
    pairs: np.ndarray  # int64, sorted: left * V + right
    ranks: np.ndarray  # int32: the rank of each of `pairs`
    merged: np.ndarray  # int32, by rank: what the pair becomes
    merges_at_once: np.ndarray  # bool, by rank: whether all its places may be merged in one step
    num_entries: int  # V
    lookup: "Lookup"


class Lookup(NamedTuple):
    """Words that are an entry, found by a hash of their bytes."""

    hashes: np.ndarray  # int64, sorted, each once
    ids: np.ndarray  # int32
    starts: np.ndarray  # int64, into `bytes`
    lengths: np.ndarray  # int64
    bytes: np.ndarray  # int32


def tables(
    id_of_byte: np.ndarray,
    merges: Sequence[tuple[int, int, int]],
    words: dict[bytes, int],
    size: int,
) -> Tables:
    """Prepare what `tokenize` looks up.

    Args:
        id_of_byte: int32 (256,).
        merges: Left, right and what they become, in the order in which they were learned.
        words: The entries that are cut into nothing but themselves, and their ids.
        size: V.
    """
    triples = np.array(merges, np.int64).reshape(-1, 3)
    pairs = triples[:, 0] * size + triples[:, 1]
    order = np.argsort(pairs, kind="stable")
    ranks = np.arange(len(triples))
    # Where a later merge makes a piece that an earlier one takes up, the leftmost place goes first.
    first_use = np.full(size, _NO_RANK, np.int64)
    for column in (0, 1):
        np.minimum.at(first_use, triples[:, column], ranks)
    pages, page_of = np.unique(character_kinds().reshape(-1, 256), axis=0, return_inverse=True)
    return Tables(
        kind_pages=page_of.reshape(-1).astype(np.int32),
        kinds=pages.reshape(-1).astype(np.int32),
        id_of_byte=id_of_byte.astype(np.int32),
        # One that is never asked for, so that a vocabulary without merges has a table too.
        pairs=np.append(pairs[order], np.iinfo(np.int64).max),
        ranks=np.append(order, _NO_RANK).astype(np.int32),
        merged=np.append(triples[:, 2], 0).astype(np.int32),
        merges_at_once=np.append(first_use[triples[:, 2]] > ranks, True),
        num_entries=size,
        lookup=_lookup(words),
    )


@functools.cache
def character_kinds() -> np.ndarray:
    """int8 (0x110000,): the kind of each code point, as the `tokenizers` library tells them apart.

    Its classes, not those of Python: both follow Unicode, in versions of their own.
    """
    import tokenizers

    kinds = np.full(0x110000, _OTHER, np.int8)
    # Past the third plane there is no letter, no number and no space.
    codes = np.array([c for c in range(0x40000) if not 0xD800 <= c < 0xE000])
    every = "".join(map(chr, codes))
    for pattern, kind in ((r"\p{L}", _LETTER), (r"\p{N}", _NUMBER), (r"\s", _SPACE)):
        # The mark is none of the three, so what became one was matched.
        replace = tokenizers.normalizers.Replace(tokenizers.Regex(pattern), "\0")
        marked = np.frombuffer(replace.normalize_str(every).encode("utf-32-le"), np.uint32)
        kinds[codes[(marked == 0) & (codes > 0)]] = kind
    kinds[ord(" ")] = _BLANK
    return kinds


def tokenize(texts: tf.Tensor, table: Tables) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Cut texts into the ids of entries.

    Args:
        texts: string (N,). Bytes that are no UTF-8 become the entries of bytes.

    Returns:
        `(ids, starts)`, RaggedTensors (N, None): int32, and int64 where each token begins, in
        bytes. It ends where the next one begins.
    """
    text = spans.bytes_of(texts)
    size = tf.size(text.values, tf.int64)
    starts = _word_starts(texts, text, table)  # (W,)
    lengths = tf.concat([starts[1:], [size]], axis=0)[: tf.size(starts)] - starts
    whole, ids_of_whole = _whole_words(text.values, starts, lengths, table.lookup)
    places, ids = _merge(
        text.values,
        starts[~whole],
        lengths[~whole],
        (tf.boolean_mask(starts, whole), tf.boolean_mask(ids_of_whole, whole)),
        table,
    )
    # By place: each byte begins a token or none.
    at_byte = tf.scatter_nd(places[:, None], ids + 1, [size])
    begins = tf.where(at_byte > 0)[:, 0]
    row = tf.searchsorted(text.starts + text.lengths, begins, side="right", out_type=tf.int64)
    counts = tf.math.bincount(tf.cast(row, tf.int32), minlength=tf.size(texts), dtype=tf.int64)
    ids = tf.RaggedTensor.from_row_lengths(tf.gather(at_byte, begins) - 1, counts, validate=False)
    return ids, ids.with_values(begins - tf.gather(text.starts, row))


def _word_starts(texts: tf.Tensor, text: spans.Bytes, table: Tables) -> tf.Tensor:
    """Where words begin, int64 (W,): places among the bytes of all texts.

    GPT-2's rule is 's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+, and of white
    space \\s+(?!\\S)|\\s+: whether a word begins at a character depends on its neighbours only.
    """
    codes, offsets = tf.strings.unicode_decode_with_offsets(texts, "UTF-8", errors="replace")
    row, offset, code = codes.value_rowids(), offsets.values, codes.values
    page = tf.gather(table.kind_pages, tf.bitwise.right_shift(code, 8))
    kind = tf.gather(table.kinds, page * 256 + tf.bitwise.bitwise_and(code, 255))

    def neighbour(values, distance, missing):
        """The values `distance` places on, `missing` where the text does not go so far."""
        count = tf.size(values)
        there = tf.roll(values, -distance, 0)
        place = tf.range(count) + distance
        same = (place >= 0) & (place < count) & (tf.roll(row, -distance, 0) == row)
        return tf.where(same, there, missing)

    before, after = neighbour(kind, -1, _NONE), neighbour(kind, 1, _NONE)
    is_space = kind >= _BLANK
    starts = tf.where(
        is_space,
        # White space is a word, but for its last character where something follows.
        (before < _BLANK) | ((after != _NONE) & (after < _BLANK)),
        # A blank belongs to what follows it.
        (before != _BLANK) & (before != kind),
    )
    one, two = neighbour(code, 1, 0), neighbour(code, 2, 0)
    short = tf.reduce_any([tf.equal(one, ord(letter)) for letter in "stmd"], axis=0)
    pairs = [(one == ord(pair[0])) & (two == ord(pair[1])) for pair in ("re", "ve", "ll")]
    opens = (code == ord("'")) & (before != _OTHER) & (before != _BLANK)
    short, long = opens & short, opens & tf.reduce_any(pairs, axis=0)
    inside = neighbour(short | long, -1, False) | neighbour(long, -2, False)
    behind = neighbour(short, -2, False) | neighbour(long, -3, False)
    starts = (starts & ~inside) | behind
    return tf.boolean_mask(tf.gather(text.starts, row) + offset, starts)


def _whole_words(values, starts, lengths, lookup: Lookup) -> tuple[tf.Tensor, tf.Tensor]:
    """Which words are an entry as a whole, bool (W,), and the ids of those, int32 (W,)."""
    if not len(lookup.ids):
        return tf.zeros_like(starts, tf.bool), tf.zeros_like(starts, tf.int32)
    is_short = lengths <= _LONGEST_LOOKUP
    word = tf.boolean_mask(tf.range(tf.size(starts)), is_short)
    place, index, number = _bytes_of_words(tf.gather(starts, word), tf.gather(lengths, word))
    byte = tf.gather(values, place)
    by_byte, by_index = _hash_factors()
    parts = tf.gather(by_byte, byte) * tf.gather(by_index, index)
    # Words are in order and none is empty, so there is a segment for each.
    found = tf.searchsorted(lookup.hashes, tf.math.segment_sum(parts, number))
    found = tf.minimum(found, len(lookup.hashes) - 1)  # one entry of the lookup for each word
    # A hash is no proof: the bytes are.
    fits = tf.gather(lookup.lengths, found) == tf.gather(lengths, word)
    there = tf.gather(tf.gather(lookup.starts, found), number) + index
    there = tf.gather(lookup.bytes, tf.minimum(there, len(lookup.bytes) - 1))
    fits &= tf.math.segment_min(tf.cast(there == byte, tf.int32), number) > 0
    where = tf.cast(word[:, None], tf.int64)
    shape = tf.shape(starts, tf.int64)
    return (
        tf.scatter_nd(where, tf.cast(fits, tf.int32), shape) > 0,
        tf.scatter_nd(where, tf.gather(lookup.ids, found), shape),
    )


def _bytes_of_words(starts, lengths) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """For each byte of words: its place, its index in the word, the number of the word."""
    number = tf.repeat(tf.range(tf.size(starts)), lengths)
    before = tf.cumsum(lengths, exclusive=True)
    index = tf.range(tf.size(number, tf.int64)) - tf.gather(before, number)
    return tf.gather(starts, number) + index, index, number


def _merge(values, starts, lengths, done, table: Tables) -> tuple[tf.Tensor, tf.Tensor]:
    """Merge the bytes of words, in each word the pair of the lowest rank, until there is none.

    Args:
        done: Places and ids that are there already.

    Returns:
        `(places, ids)` of all tokens, int64 and int32 (tokens,), in no order.
    """
    place, _, word = _bytes_of_words(starts, lengths)
    symbol = tf.gather(table.id_of_byte, tf.gather(values, place))
    arrays = [
        tf.TensorArray(
            dtype, size=1, dynamic_size=True, infer_shape=False, element_shape=[None]
        ).write(0, part)
        for dtype, part in zip((tf.int64, tf.int32), done, strict=True)
    ]

    def step(number, symbol, place, word, places, ids):
        count = tf.size(symbol)
        pair = tf.cast(symbol, tf.int64) * table.num_entries + tf.cast(
            tf.roll(symbol, -1, 0), tf.int64
        )
        found = tf.searchsorted(table.pairs, pair)
        known = (tf.gather(table.pairs, found) == pair) & (word == tf.roll(word, -1, 0))
        known &= tf.range(count) < count - 1
        rank = tf.where(known, tf.gather(table.ranks, found), _NO_RANK)
        best = tf.gather(tf.math.segment_min(rank, word), word)
        goes_on = best < _NO_RANK
        places = places.write(number, tf.boolean_mask(place, ~goes_on))
        ids = ids.write(number, tf.boolean_mask(symbol, ~goes_on))
        symbol, place, word, rank, best = (
            tf.boolean_mask(part, goes_on) for part in (symbol, place, word, rank, best)
        )
        word = _numbered(word)
        taken = _taken(rank == best, word, tf.gather(table.merges_at_once, best))
        symbol = tf.where(taken, tf.gather(table.merged, best), symbol)
        stays = ~(tf.roll(taken, 1, 0) & (tf.range(tf.size(taken)) > 0))
        symbol, place, word = (tf.boolean_mask(part, stays) for part in (symbol, place, word))
        return number + 1, symbol, place, word, places, ids

    flat = tf.TensorShape([None])
    state = tf.while_loop(
        lambda number, symbol, *_: tf.size(symbol) > 0,
        step,
        (tf.constant(1), symbol, place, word, *arrays),
        shape_invariants=(tf.TensorShape([]), flat, flat, flat, None, None),
    )
    return state[-2].concat(), state[-1].concat()


def _taken(chosen, word, at_once) -> tf.Tensor:
    """Of the places where the pair to be merged stands, those where it is merged in this step.

    Of places that overlap ("aaa") every second one, from the left. And only the first of the word
    where what comes of it may be taken up before the other places are.
    """
    place = tf.range(tf.size(chosen))
    far = tf.where(chosen, place, _NO_RANK)
    run = tf.cumsum(tf.cast(~chosen, tf.int32))
    first_of_run = tf.gather(tf.math.segment_min(far, run), run)
    first_of_word = tf.gather(tf.math.segment_min(far, word), word)
    return chosen & ((place - first_of_run) % 2 == 0) & (at_once | (place == first_of_word))


def _numbered(word) -> tf.Tensor:
    """Numbers of words without the gaps that words which are done leave."""
    is_new = (word != tf.roll(word, 1, 0)) | (tf.range(tf.size(word)) == 0)
    return tf.cumsum(tf.cast(is_new, tf.int32)) - 1


def _lookup(words: dict[bytes, int]) -> Lookup:
    by_byte, by_index = _hash_factors()
    hashes: dict[int, bytes] = {}
    for word in words:
        if len(word) <= _LONGEST_LOOKUP:
            values = np.frombuffer(word, np.uint8)
            with np.errstate(over="ignore"):
                number = int(np.sum(by_byte[values] * by_index[: len(values)], dtype=np.int64))
            hashes.setdefault(number, word)  # a second one of the same hash is merged, as others
    order = sorted(hashes)
    entries = [hashes[number] for number in order]
    lengths = np.array([len(entry) for entry in entries], np.int64)
    return Lookup(
        hashes=np.array(order, np.int64),
        ids=np.array([words[entry] for entry in entries], np.int32),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        bytes=np.frombuffer(b"".join(entries), np.uint8).astype(np.int32),
    )


@functools.cache
def _hash_factors() -> tuple[np.ndarray, np.ndarray]:
    """Odd random numbers, the same in every process: a hash is a sum of their products."""
    random = np.random.Generator(np.random.PCG64(0))
    numbers = random.integers(-(1 << 63), (1 << 63) - 1, 256 + _LONGEST_LOOKUP, np.int64) | 1
    return numbers[:256], numbers[256:]
