"""Pre-training batches from token stores: masked words, and next sentences or their order."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpt.pipelines import batches
from tfpt.pipelines.batches import Share
from tfpt.pipelines.settings import Drawing
from tfpt.pipelines.store import Store, open_store
from tfpt.pipelines.tokenizer import Tokenizer, load_tokenizer


def masked_lm(
    store: Store | Sequence[Store],
    *,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    first_batch: int = 0,
    drawing: Drawing | None = None,
    share: Share | None = None,
) -> tf.data.Dataset:
    """Batches with masked words, drawn anew in every epoch, without end.

    Batch N is a pure function of the stores, the settings, the seed and N: the same on any machine
    and at any parallelism, and to start at N costs nothing. An epoch visits every example (a
    stretch of whole sentences of a document, of at most a row's tokens; see
    `pairing.example_starts`) once, in random order; a batch may cross epochs. Random texts B come
    from the whole store. A document of one sentence is cut in two at a random token; one of a
    single token only serves as a random B.

    Several stores are mixed row by row: a row is of one store. Without `drawing.weights` an epoch
    of the mix visits every example of all of them once; with weights the shares of rows hold
    exactly over as many rows, and each store goes through epochs of its own.

    Args:
        store: See `open_store`; or several, of one vocabulary.
        sequence_length: T, at least 8.
        batch_size: B. With the layout "bucketed", of the longest rows: shorter ones come in batches
            of about as many tokens.
        seed: Any int; other seeds give unrelated batches.
        first_batch: The number of the first batch.
        drawing: How a row is drawn; by default `settings.Drawing()`, BERT's.
        share: The part of each batch to draw, for one of several workers: together they draw the
            batch, each row once.

    Returns:
        An infinite dataset of `(features, labels, weights)` as features.py describes them, with the
        label `masked_lm` and, for pairs, `next_sentence` or `sentence_order`.

    Raises:
        ValueError: An argument is out of range, the stores have different vocabularies, or hold too
            few documents.
    """
    drawing, share = drawing or Drawing(), share or Share()
    stores = [store] if isinstance(store, Store) else list(store)
    _check(stores, drawing, sequence_length, batch_size, share)
    draw = batches.draw_function(
        stores,
        batches.Settings(load_tokenizer(stores[0].path), drawing, seed),
        sequence_length=sequence_length,
        batch_size=batch_size,
        share=share,
    )
    dataset = tf.data.Dataset.range(first_batch, np.iinfo(np.int64).max // batch_size)
    # There is no `if` on a tensor to convert, and to look for one takes seconds.
    draw = tf.autograph.experimental.do_not_convert(draw)
    dataset = dataset.map(draw, num_parallel_calls=2, deterministic=True).prefetch(4)
    return dataset.with_options(_mapped_options())


def mlm_nsp(
    store: Store | Sequence[Store],
    *,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    first_batch: int = 0,
    drawing: Drawing | None = None,
    share: Share | None = None,
) -> tf.data.Dataset:
    """Batches of sentence pairs with masked words: BERT's pre-training. See `masked_lm`.

    Raises:
        ValueError: As `masked_lm`; or `drawing` has another pairing.
    """
    drawing = drawing or Drawing()
    if drawing.pairing != "next_sentence":
        raise ValueError(
            f"`mlm_nsp` draws next sentences; received pairing={drawing.pairing!r}. Use "
            "`masked_lm` for others."
        )
    return masked_lm(
        store,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
        first_batch=first_batch,
        drawing=drawing,
        share=share,
    )


def epoch_rows(
    store: Store | Sequence[Store], *, sequence_length: int, drawing: Drawing | None = None
) -> int:
    """How many rows `masked_lm` draws until it has visited every example once."""
    stores = [store] if isinstance(store, Store) else list(store)
    drawing = drawing or Drawing()
    _check(stores, drawing, sequence_length, 1, Share())
    settings = batches.Settings(load_tokenizer(stores[0].path), drawing, seed=0)
    return batches.num_rows(stores, settings, sequence_length)


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What a pre-training run draws from."""

    tokenizer: Tokenizer
    train_batches: Callable[[int], tf.data.Dataset]  # the infinite stream from a batch number on
    validation: tf.data.Dataset | None  # finite, the same batches each time
    stores: tuple[Store, ...] = ()  # what is read; verified while training goes on


def pretraining_batches(
    stores: str | Path | Sequence[str | Path],
    validation_store: str | Path | None,
    *,
    sequence_length: int,
    batch_size: int,
    validation_steps: int,
    seed: int = 0,
    drawing: Drawing | None = None,
) -> Pretraining:
    """Batches of `masked_lm` from stores to train on, and from another to validate on.

    Args:
        stores: The folder of the token store to train on, or several.
        validation_store: One of other texts and the same vocabulary, or None.
        validation_steps: Batches in a validation; always the same, whatever the seed.

    Raises:
        FileNotFoundError, ValueError: As `open_store` and `masked_lm`; the vocabularies differ.
    """
    folders = [stores] if isinstance(stores, str | Path) else list(stores)
    opened = [open_store(folder) for folder in folders]
    tokenizer = load_tokenizer(opened[0].path)
    stream = functools.partial(masked_lm, sequence_length=sequence_length, batch_size=batch_size)
    train = functools.partial(stream, opened, seed=seed, drawing=drawing)
    train(first_batch=0)  # what is wrong shows now, not after the model was built
    validation = None
    held_out = [open_store(validation_store, tokenizer)] if validation_store else []
    if held_out:
        validation = stream(held_out, drawing=_of_one_store(drawing)).take(validation_steps)
    return Pretraining(
        tokenizer=tokenizer,
        train_batches=lambda first: train(first_batch=first),
        validation=validation,
        stores=(*opened, *held_out),
    )


def _of_one_store(drawing: Drawing | None) -> Drawing | None:
    return None if drawing is None else dataclasses.replace(drawing, weights=None)


def _check(
    stores: Sequence[Store], drawing: Drawing, sequence_length: int, batch_size: int, share: Share
) -> None:
    if not stores:
        raise ValueError("`store` is an empty list; name at least one token store.")
    if sequence_length < batches.SHORTEST_ROW:
        raise ValueError(
            f"`sequence_length` must be at least {batches.SHORTEST_ROW} tokens; received "
            f"{sequence_length}."
        )
    if batch_size < 1 or batch_size % share.num_workers:
        raise ValueError(
            f"`batch_size` must be at least 1 row, and a multiple of the {share.num_workers} "
            f"worker(s) that share it; received {batch_size}."
        )
    if drawing.weights is not None and len(drawing.weights) != len(stores):
        raise ValueError(
            f"`weights` has {len(drawing.weights)} numbers for {len(stores)} store(s); give one "
            "for each."
        )
    for store in stores:
        if store.vocabulary_sha256 != stores[0].vocabulary_sha256:
            raise ValueError(
                f"The stores {stores[0].path} and {store.path} have different vocabularies (sha256 "
                f"{stores[0].vocabulary_sha256[:12]} and {store.vocabulary_sha256[:12]}); they "
                "cannot be mixed. Write one of them anew with the vocabulary of the other."
            )
        if store.num_documents < 2 and drawing.pairing == "next_sentence":
            raise ValueError(
                f"The store {store.path} holds {store.num_documents} document; next-sentence pairs "
                "need at least 2, since a random text never comes from the same document. Separate "
                "documents by blank lines, or give several files."
            )


def _mapped_options() -> tf.data.Options:
    """Keep `tf.data` from copying the mapped tokens into memory, to optimize and autotune."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    options.deterministic = True
    return options
