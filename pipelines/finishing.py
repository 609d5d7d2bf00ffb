"""From places in a store to finished rows: tokens, masks, labels and weights.

Where the number of rows is known beforehand this is one program of XLA, which takes the rows once
where each operation by itself would take them all.

Shape letters: B rows, T tokens in a row, P mask slots in a row, S texts (or pairs) in a row,
N tokens of a store, V vocabulary.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import masking, pairing, rows
from tfpt.pipelines.settings import Drawing, Masking
from tfpt.pipelines.tokenizer import TextTokenizer

Batch = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]

# Programs of so many kinds of rows are kept; to make one takes a second.
_MOST_PROGRAMS = 16


class Filled(NamedTuple):
    """Rows of tokens, not masked yet."""

    inputs: dict[str, Any]  # features
    starts: Any  # bool (B, T), where a word begins; bool (B, 0) where nobody asks
    follows: Any  # bool (B, S)
    used: Any  # bool (B, S)


@dataclass(frozen=True)
class RowKind:
    """What rows of one kind have in common; numbers only, so that two can be compared."""

    sequence_length: int
    num_texts: int
    pairing: str
    masking: Masking
    max_masks: int
    specials: rows.Specials
    special_ids: tuple[int, ...]
    mask_id: int
    vocabulary_size: int
    word_starts: bytes  # bool (V,): which entries begin a word; empty where nobody asks

    @property
    def pairs(self) -> bool:
        return self.pairing != "single"

    @property
    def text_bits(self) -> int:
        """The 32-bit draws that the texts of a row take; those of its masks come after them."""
        return self.num_texts * pairing.NUM_BITS

    @property
    def num_bits(self) -> int:
        """All that a row takes."""
        masks = masking.num_bits(self.masking, self.sequence_length, self.max_masks)
        return self.text_bits + masks


def row_kind(
    tokenizer: TextTokenizer, drawing: Drawing, *, sequence_length: int, num_texts: int
) -> RowKind:
    """The kind of rows that settings ask for."""
    whole_words = drawing.masking.unit == "word"
    return RowKind(
        sequence_length=sequence_length,
        num_texts=num_texts,
        pairing=drawing.pairing,
        masking=drawing.masking,
        max_masks=drawing.masking.num_slots(sequence_length - drawing.num_specials),
        specials=rows.Specials(tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id),
        special_ids=tuple(tokenizer.special_ids),
        mask_id=tokenizer.mask_id,
        vocabulary_size=tokenizer.vocabulary_size,
        word_starts=np.asarray(tokenizer.word_starts, bool).tobytes() if whole_words else b"",
    )


def filled(kind: RowKind, tokens: rows.Tokens, texts: pairing.Texts, used) -> Filled:
    """Rows of tokens.

    Args:
        tokens: Of the store.
        texts: Of B * S examples, row by row.
        used: bool (B, S): where there is an example.
    """
    inputs, starts = rows.assemble(
        tokens,
        texts,
        used,
        sequence_length=kind.sequence_length,
        specials=kind.specials,
        pairs=kind.pairs,
    )
    if not kind.word_starts:
        starts = tf.zeros([tf.shape(used)[0], 0], tf.bool)
    elif starts is None:
        table = tf.constant(np.frombuffer(kind.word_starts, bool))
        starts = tf.gather(table, inputs[features.TOKEN_IDS])
    return Filled(inputs, starts, tf.reshape(texts.follows, tf.shape(used)), used)


def masked(kind: RowKind, given: Filled, bits, rate) -> Batch:
    """Batches from rows of tokens.

    Args:
        bits: uint32 (B, `kind.num_bits`).
        rate: float32 scalar, the share of tokens to predict.
    """
    chosen = masking.mask_tokens(
        given.inputs[features.TOKEN_IDS],
        bits[:, kind.text_bits :],
        entries=masking.entries(kind.vocabulary_size, kind.special_ids, kind.mask_id),
        masking=kind.masking,
        max_masks=kind.max_masks,
        rate=rate,
        starts=given.starts if kind.word_starts else None,
    )
    inputs = {
        **given.inputs,
        features.TOKEN_IDS: chosen.token_ids,
        features.MASK_POSITIONS: chosen.positions,
    }
    labels, weights = {features.MASKED_LM: chosen.ids}, {features.MASKED_LM: chosen.weights}
    if kind.pairs:
        labels[kind.pairing] = tf.cast(given.follows & given.used, tf.int32)
        weights[kind.pairing] = tf.cast(given.used, tf.float32)
    return inputs, labels, weights


@functools.lru_cache(_MOST_PROGRAMS)
def finish(kind: RowKind) -> Callable[..., Batch]:
    """`filled` and `masked` as one program: from `(tokens, texts, used, bits, rate)` to batches."""

    def finished(tokens, texts, used, bits, rate) -> Batch:
        return masked(kind, filled(kind, tokens, texts, used), bits, rate)

    return _compiled(finished)


@functools.lru_cache(_MOST_PROGRAMS)
def finish_filled(kind: RowKind) -> Callable[..., Batch]:
    """`masked` as a program: from `(filled, bits, rate)` to batches."""
    return _compiled(functools.partial(masked, kind))


def ensured(kind: RowKind, given: Filled, num_rows: int) -> Filled:
    """The rows, of which the number is known."""
    sizes = {"B": num_rows, "T": kind.sequence_length, "S": kind.num_texts}
    inputs = {
        name: tf.ensure_shape(value, [sizes[letter] for letter in features.FEATURES[name].shape])
        for name, value in given.inputs.items()
    }
    length = kind.sequence_length if kind.word_starts else 0
    return Filled(
        inputs,
        tf.ensure_shape(given.starts, [num_rows, length]),
        tf.ensure_shape(given.follows, [num_rows, kind.num_texts]),
        tf.ensure_shape(given.used, [num_rows, kind.num_texts]),
    )


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Shapes must be static: each new one is compiled anew."""
    return tf.function(function, autograph=False, jit_compile=True)
