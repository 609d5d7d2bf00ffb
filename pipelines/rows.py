"""The rows of one store: what stands in each of them, and the tokens themselves.

Shape letters: B rows, T tokens in a row, S texts (or pairs) in a row, E examples of an epoch.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import packs, pairing
from tfpt.pipelines.epochs import shuffled_rows
from tfpt.pipelines.store import Store, tensor_over

# Orders of a stream have its number; what turns its lists of texts, this more.
_TURNS = 1 << 40


class Tokens(NamedTuple):
    """The tokens of a store."""

    ids: Any  # uint16 or uint32 (N,)
    starts: Any  # uint8 (N,): 1 where a word begins; None where only the vocabulary tells


@dataclass(frozen=True)
class Arrays:
    """The arrays of a store as tensors over the mapped files."""

    tokens: Tokens
    sentence_offsets: Any  # int64 (S + 1,)
    document_offsets: Any  # int64 (D + 1,)


def map_arrays(store: Store) -> Arrays:
    """Without a copy; the files stay mapped as long as the tensors live."""
    starts = None if store.word_starts is None else tensor_over(store.word_starts)
    return Arrays(
        Tokens(tensor_over(store.token_ids), starts),
        tensor_over(store.sentence_offsets),
        tensor_over(store.document_offsets),
    )


class Specials(NamedTuple):
    """The special tokens that every row has."""

    pad_id: int
    cls_id: int
    sep_id: int


class Examples:
    """Which examples stand in the rows of an epoch, and in what order."""

    def __init__(self, starts: np.ndarray, num_tokens: int, *, seed: int, stream: int):
        """One example to a row.

        Args:
            starts: uint32 or int64 (E,), see `examples.find_examples`.
            num_tokens: Most tokens of an example.
            seed, stream: Of the orders; see `shuffled_rows`.
        """
        self.num_rows = len(starts)
        self.num_texts = 1
        is_mapped = isinstance(starts, np.memmap)
        self._starts = tensor_over(starts) if is_mapped else tf.constant(starts)
        self._num_tokens = num_tokens
        self._seed, self._stream = seed, stream

    def draw(self, index):
        """The examples of rows, by their numbers in the stream of all epochs.

        Args:
            index: int64 (B,).

        Returns:
            `(sentence, num_tokens)`, int64 (B, S) each: where an example starts and how many tokens
            it has room for, 0 where there is none.
        """
        sentence = self._start(self.place(index))[:, None]
        return sentence, tf.fill(tf.shape(sentence), tf.constant(self._num_tokens, tf.int64))

    def _start(self, number):
        return tf.cast(tf.gather(self._starts, number), tf.int64)

    def place(self, index):
        """int64 (B,): which row of its epoch each is."""
        return shuffled_rows(
            index % self.num_rows,
            index // self.num_rows,
            seed=self._seed,
            size=self.num_rows,
            stream=self._stream,
        )


class PackedExamples(Examples):
    """Several examples to a row, as `packs` plans them; others share a row in every epoch."""

    def __init__(self, starts, lengths, num_tokens: int, *, specials: int, max_texts: int, **order):
        """As above.

        Args:
            lengths: int64 (E,), tokens of each example, from 1 to `num_tokens`.
            specials: How many special tokens go with an example.
            max_texts: S.
        """
        by_length = np.argsort(lengths, kind="stable")
        super().__init__(starts[by_length], num_tokens, **order)
        counts = np.bincount(lengths + specials, minlength=num_tokens + specials + 1)
        self._first = tf.constant(np.cumsum(counts) - counts)  # of each length, in the sorted list
        self._counts = tf.constant(counts)
        plan = packs.plan_packs(counts, capacity=num_tokens + specials, max_texts=max_texts)
        self.num_rows, self.num_texts = plan.num_packs, max_texts
        self._plan, self._specials = plan, specials

    def draw(self, index):
        place = self.place(index)
        kind = tf.searchsorted(tf.constant(self._plan.first_pack), place, side="right") - 1
        lengths = tf.gather(tf.constant(self._plan.lengths), kind)  # (B, S)
        rank = tf.gather(tf.constant(self._plan.first_rank), kind)
        rank += (place - tf.gather(tf.constant(self._plan.first_pack), kind))[:, None]
        used = tf.where(lengths > 0)  # (N, 2)
        length = tf.gather_nd(lengths, used)
        epoch = tf.gather(index // self.num_rows, used[:, 0])
        # The list of the texts of one length is turned in every epoch, by a number of its own.
        turn = shuffled_rows(
            tf.cast(length, tf.int64),
            epoch,
            seed=self._seed,
            size=1 << 40,
            stream=self._stream + _TURNS,
        )
        rank = (tf.gather_nd(rank, used) + turn) % tf.gather(self._counts, length)
        sentence = self._start(tf.gather(self._first, length) + rank)
        room = tf.cast(length - self._specials, tf.int64)
        shape = tf.shape(lengths, out_type=tf.int64)
        return tf.scatter_nd(used, sentence, shape), tf.scatter_nd(used, room, shape)


def assemble(
    tokens: Tokens,
    texts: pairing.Texts,
    used,
    *,
    sequence_length: int,
    specials: Specials,
    pairs: bool,
) -> tuple[dict[str, Any], Any]:
    """Rows of tokens: [CLS] A [SEP] B [SEP], or [CLS] A [SEP], once or several times in a row.

    Args:
        tokens: Of the store.
        texts: Of B * S examples, row by row.
        used: bool (B, S): where there is an example; those of a row stand first.
        sequence_length: T.
        pairs: Whether there is a text B.

    Returns:
        The features `token_ids`, `segment_ids`, `padding_mask`; where S > 1 also `text_ids`,
        `position_ids` and `text_positions`; see features.py. And where a word begins, bool (B, T);
        None where the store does not tell.
    """
    column = tf.range(sequence_length)[None, :]
    if used.shape[1] == 1:
        parts = [getattr(texts, name)[:, None] for name in _PLACES]
        return _filled(tokens, column, parts, specials, pairs)
    used = tf.cast(used, tf.int32)
    parts = [tf.reshape(getattr(texts, name), tf.shape(used)) for name in _PLACES]
    a_length, b_length = tf.cast(parts[1], tf.int32), tf.cast(parts[3], tf.int32)
    ends = tf.cumsum((a_length + b_length + (3 if pairs else 2)) * used, axis=1)  # (B, S)
    number = tf.searchsorted(ends, tf.tile(column, [tf.shape(ends)[0], 1]), side="right")  # (B, T)
    begins = tf.pad(ends, [[0, 0], [1, 0]])  # (B, S + 1)
    position = column - tf.gather(begins, number, batch_dims=1)
    # Past the last example, one that is nowhere: its length is such that no column is in it.
    parts = [tf.gather(tf.pad(part, [[0, 0], [0, 1]]), number, batch_dims=1) for part in parts]
    inside = number < used.shape[1]
    filled, starts = _filled(tokens, position, parts, specials, pairs)
    ids = {name: tf.where(inside, value, 0) for name, value in filled.items()}
    ids[features.TOKEN_IDS] = tf.where(inside, filled[features.TOKEN_IDS], specials.pad_id)
    places = {
        features.TEXT_IDS: tf.where(inside, number + 1, 0),
        features.POSITION_IDS: tf.where(inside, position, 0),
        features.TEXT_POSITIONS: begins[:, :-1] * used,
    }
    return {**ids, **places}, starts


_PLACES = ("a_start", "a_length", "b_start", "b_length")


def _filled(tokens: Tokens, position, parts, specials: Specials, pairs: bool):
    """The tokens at `position` (B, T) of each column's example; `parts` are (B, 1) or (B, T)."""
    num_tokens = tokens.ids.shape[0]
    # Places in a file of fewer than 2**31 tokens fit into 32 bits, which is faster.
    places = tf.int32 if num_tokens < 1 << 31 else tf.int64
    a_start, b_start = tf.cast(parts[0], places), tf.cast(parts[2], places)
    a_end = 1 + tf.cast(parts[1], tf.int32)  # the position of the first [SEP]
    b_end = a_end + 1 + tf.cast(parts[3], tf.int32) if pairs else a_end  # of the last
    in_b = position > a_end
    # Where a text would have to begin for its tokens to lie at their positions.
    origin = a_start - 1
    if pairs:
        origin = tf.where(in_b, b_start - tf.cast(a_end, places) - 1, origin)
    # What is no token of a text is read from somewhere, and written over.
    source = tf.cast(position, places) + origin
    source = tf.clip_by_value(source, 0, tf.cast(num_tokens - 1, places))
    row = tf.cast(tf.gather(tokens.ids, source), tf.int32)
    mask = position <= b_end
    row = tf.where(mask, row, specials.pad_id)
    is_end = (position == a_end) | (position == b_end) if pairs else position == a_end
    row = tf.where(is_end, specials.sep_id, row)
    row = tf.where(position == 0, specials.cls_id, row)
    mask = tf.cast(mask, tf.int32)
    segments = tf.cast(in_b, tf.int32) * mask if pairs else tf.zeros_like(row)
    inputs = {
        features.TOKEN_IDS: row,
        features.SEGMENT_IDS: segments,
        features.PADDING_MASK: mask,
    }
    return inputs, None if tokens.starts is None else tf.gather(tokens.starts, source) > 0
