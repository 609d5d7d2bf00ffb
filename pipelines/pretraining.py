"""Pre-training batches from a token store: masked words and next sentences.

Shape letters: B rows, T tokens in a row, P mask slots in a row, E examples of an epoch.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import draws, masking, pairing
from tfpt.pipelines.epochs import shuffled_rows
from tfpt.pipelines.store import Store, open_store, tensor_over
from tfpt.pipelines.tokenizer import Tokenizer, load_tokenizer

# [CLS] A [SEP] B [SEP]
NUM_SPECIALS = 3


def mlm_nsp(
    store: Store,
    *,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    first_batch: int = 0,
    mask_rate: float = 0.15,
    max_masks: int | None = None,
) -> tf.data.Dataset:
    """Batches of sentence pairs with masked words, drawn anew in every epoch, without end.

    Batch N is a pure function of the store, the seed and N: the same on any machine and at any
    parallelism, and to start at N costs nothing. An epoch visits every example (a stretch of at
    most `sequence_length` - 3 tokens of a document; see `pairing.example_starts`) once, in random
    order; a batch may cross epochs. Random texts B come from the whole corpus. A document of one
    sentence is cut in two at a random token; one of a single token only serves as a random B.

    Args:
        store: See `open_store`.
        sequence_length: T, at least 8.
        batch_size: B.
        seed: Any int; other seeds give unrelated batches.
        first_batch: The number of the first batch.
        mask_rate: Share of ordinary tokens to predict, in (0, 1).
        max_masks: P; by default `mask_rate` of a full row and 5% of slack, 20 at T = 128.

    Returns:
        An infinite dataset of `(features, labels, weights)` as features.py describes them, with the
        labels `masked_lm` and `next_sentence`.

    Raises:
        ValueError: An argument is out of range, or the store holds fewer than two documents.
    """
    budget = sequence_length - NUM_SPECIALS
    if max_masks is None:
        max_masks = max(1, int(np.ceil(budget * mask_rate * 1.05)))
    _check(store, sequence_length, batch_size, mask_rate, max_masks)
    tokenizer = load_tokenizer(store.path)
    starts = pairing.example_starts(store.sentence_offsets, store.document_offsets, budget)
    if not len(starts):
        raise ValueError(f"The store {store.path} holds no document of two tokens or more.")
    num_starts = len(starts)
    starts = tf.constant(starts)
    token_ids, sentences, documents = (
        tensor_over(array)
        for array in (store.token_ids, store.sentence_offsets, store.document_offsets)
    )
    ordinary = masking.ordinary_tokens(tokenizer.vocabulary_size, tokenizer.special_ids)
    mask_bits = masking.num_bits(sequence_length, max_masks)

    def draw(batch):
        first_row = batch * batch_size
        row = first_row + tf.range(batch_size, dtype=tf.int64)
        place = shuffled_rows(row % num_starts, row // num_starts, seed=seed, size=num_starts)
        first_sentence = tf.gather(starts, place)
        bits = draws.row_bits([seed, 1], first_row, batch_size, pairing.NUM_BITS + mask_bits)
        pair_bits, other_bits = tf.split(bits, [pairing.NUM_BITS, mask_bits], axis=1)
        pair = pairing.draw_pairs(
            first_sentence, pair_bits, sentences, documents, num_tokens=budget
        )
        row, segments, mask = _assemble(token_ids, pair, sequence_length, tokenizer)
        row, positions, labels, weights = masking.mask_tokens(
            row,
            other_bits,
            ordinary=ordinary,
            mask_id=tokenizer.mask_id,
            rate=mask_rate,
            max_masks=max_masks,
        )
        inputs = {
            features.TOKEN_IDS: row,
            features.SEGMENT_IDS: segments,
            features.PADDING_MASK: mask,
            features.MASK_POSITIONS: positions,
        }
        is_next = tf.cast(pair.is_next, tf.int32)[:, None]
        return (
            inputs,
            {features.MASKED_LM: labels, features.NEXT_SENTENCE: is_next},
            {features.MASKED_LM: weights, features.NEXT_SENTENCE: tf.ones([batch_size, 1])},
        )

    dataset = tf.data.Dataset.range(first_batch, np.iinfo(np.int64).max // batch_size)
    dataset = dataset.map(draw, num_parallel_calls=2, deterministic=True).prefetch(4)
    return dataset.with_options(_mapped_options())


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What a pre-training run draws from."""

    tokenizer: Tokenizer
    train_batches: Callable[[int], tf.data.Dataset]  # the infinite stream from a batch number on
    validation: tf.data.Dataset | None  # finite, the same batches each time


def pretraining_batches(
    store: str | Path,
    validation_store: str | Path | None,
    *,
    sequence_length: int,
    batch_size: int,
    validation_steps: int,
    seed: int = 0,
    mask_rate: float = 0.15,
) -> Pretraining:
    """Batches of `mlm_nsp` from one store to train on, and from another to validate on.

    Args:
        store: The folder of the token store to train on.
        validation_store: One of other texts and the same vocabulary, or None.
        validation_steps: Batches in a validation; always the same, whatever the seed.

    Raises:
        FileNotFoundError, ValueError: As `open_store` and `mlm_nsp`; the vocabularies differ.
    """
    opened = open_store(store)
    tokenizer = load_tokenizer(opened.path)
    stream = functools.partial(
        mlm_nsp, sequence_length=sequence_length, batch_size=batch_size, mask_rate=mask_rate
    )
    train = functools.partial(stream, opened, seed=seed)
    train(first_batch=0)  # what is wrong shows now, not after the model was built
    validation = None
    if validation_store:
        validation = stream(open_store(validation_store, tokenizer)).take(validation_steps)
    return Pretraining(
        tokenizer=tokenizer,
        train_batches=lambda first: train(first_batch=first),
        validation=validation,
    )


def num_examples(store: Store, *, sequence_length: int) -> int:
    """How many examples `mlm_nsp` visits in an epoch."""
    budget = sequence_length - NUM_SPECIALS
    return len(pairing.example_starts(store.sentence_offsets, store.document_offsets, budget))


def _check(store, sequence_length, batch_size, mask_rate, max_masks) -> None:
    if sequence_length < 8:
        raise ValueError(
            f"`sequence_length` must be at least 8 tokens; received {sequence_length}."
        )
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1 row; received {batch_size}.")
    if not 0 < mask_rate < 1:
        raise ValueError(
            f"`mask_rate` is a share of tokens, in (0, 1); received {mask_rate}. For 15% pass 0.15."
        )
    if not 1 <= max_masks <= sequence_length:
        raise ValueError(
            f"`max_masks` must be from 1 to sequence_length={sequence_length}; received "
            f"{max_masks}."
        )
    if store.num_documents < 2:
        raise ValueError(
            f"The store {store.path} holds {store.num_documents} document; next-sentence pairs "
            "need at least 2, since a random text never comes from the same document. Separate "
            "documents by blank lines, or give several files."
        )


def _assemble(token_ids, pair: pairing.Pair, sequence_length: int, tokenizer: Tokenizer):
    """[CLS] A [SEP] B [SEP] from the token file: ids, segments and mask, int32 (B, T) each."""
    column = tf.range(sequence_length, dtype=tf.int64)[None, :]
    a_end = 1 + pair.a_length[:, None]  # the column of the first [SEP]
    b_end = a_end + 1 + pair.b_length[:, None]  # the column of the second
    in_a = (column >= 1) & (column < a_end)
    in_b = (column > a_end) & (column < b_end)
    source = tf.where(
        in_a,
        pair.a_start[:, None] + column - 1,
        tf.where(in_b, pair.b_start[:, None] + column - a_end - 1, 0),
    )
    row = tf.cast(tf.gather(token_ids, source), tf.int32)
    row = tf.where(in_a | in_b, row, tokenizer.pad_id)
    row = tf.where(column == 0, tokenizer.cls_id, row)
    row = tf.where((column == a_end) | (column == b_end), tokenizer.sep_id, row)
    segments = tf.cast((column > a_end) & (column <= b_end), tf.int32)
    return row, segments, tf.cast(column <= b_end, tf.int32)


def _mapped_options() -> tf.data.Options:
    """Keep `tf.data` from copying the mapped tokens into memory, to optimize and autotune."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    options.deterministic = True
    return options
