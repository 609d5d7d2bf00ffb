"""Pre-training batches from token stores: masked words, and next sentences or their order."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tfpt import config, features
from tfpt.pipelines import batches, windows
from tfpt.pipelines.batches import Share
from tfpt.pipelines.settings import CausalDrawing, Drawing, SpanDrawing
from tfpt.pipelines.span_corruption import row_sizes
from tfpt.pipelines.special_tokens import require_roles
from tfpt.pipelines.store import Store, open_store, store_tokenizer, verify_store
from tfpt.pipelines.tfrecords import Records, open_records, read_records
from tfpt.pipelines.tokenizer import TextTokenizer

# Bytes of a store that is read in less than a second. Larger ones are compared with their checksums
# while training goes on.
_VERIFIED_FIRST = 256 << 20


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
    `examples.example_starts`) once, in random order; a batch may cross epochs. Random texts B come
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
    tokenizer = store_tokenizer(stores[0])
    require_roles(tokenizer, "pad", "cls", "sep", "mask")
    draw = batches.draw_function(
        stores,
        batches.Settings(tokenizer, drawing, seed),
        sequence_length=sequence_length,
        batch_size=batch_size,
        share=share,
    )
    return batches.batch_stream(draw, first_batch, batch_size)


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
    store: Store | Sequence[Store],
    *,
    sequence_length: int,
    drawing: Drawing | CausalDrawing | SpanDrawing | None = None,
) -> int:
    """How many rows are drawn until every example was visited once.

    Args:
        store, sequence_length: As of `masked_lm`, `causal_lm` or `span_corruption`.
        drawing: The kind of it tells which of the three; by default that of `masked_lm`.
    """
    stores = [store] if isinstance(store, Store) else list(store)
    drawing = drawing or Drawing()
    if isinstance(drawing, CausalDrawing | SpanDrawing):
        batches.check_sizes(sequence_length, 1, Share())
        batches.check_stores(stores, drawing.weights)
        if isinstance(drawing, SpanDrawing):
            return windows.num_rows(stores, row_sizes(sequence_length, drawing).num_tokens)
        return windows.num_rows(stores, sequence_length)
    _check(stores, drawing, sequence_length, 1, Share())
    settings = batches.Settings(store_tokenizer(stores[0]), drawing, seed=0)
    return batches.num_rows(stores, settings, sequence_length)


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What a pre-training run draws from."""

    tokenizer: TextTokenizer
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
    opened = [_open_whole(folder) for folder in folders]
    tokenizer = store_tokenizer(opened[0])
    stream = functools.partial(masked_lm, sequence_length=sequence_length, batch_size=batch_size)
    train = functools.partial(stream, opened, seed=seed, drawing=drawing)
    train(first_batch=0)  # what is wrong shows now, not after the model was built
    validation = None
    held_out = [_open_whole(validation_store, tokenizer)] if validation_store else []
    if held_out:
        validation = stream(held_out, drawing=_of_one_store(drawing)).take(validation_steps)
    return Pretraining(
        tokenizer=tokenizer,
        train_batches=lambda first: train(first_batch=first),
        validation=validation,
        stores=(*opened, *held_out),
    )


def recorded_batches(
    path: str | Path,
    validation_store: str | Path | None,
    *,
    sequence_length: int,
    batch_size: int,
    validation_steps: int,
    drawing: Drawing | None = None,
) -> Pretraining:
    """Batches to train on as `write_records` wrote them, and others from a store to validate on.

    Args:
        path: The folder of the records.
        validation_store: One of other texts and the same vocabulary, or None.
        sequence_length, drawing: Those of the records; of the validation, too.
        validation_steps: Batches in a validation.

    Raises:
        FileNotFoundError, ValueError: As `open_records` and `masked_lm`; the records were drawn in
            another way, or with another vocabulary.
    """
    records = open_records(path)
    drawing = drawing or Drawing()
    _check_drawn(records, drawing, sequence_length)
    tokenizer = records.tokenizer()
    read_records(records, batch_size=batch_size)  # what is wrong shows now
    validation = None
    held_out = [_open_whole(validation_store, tokenizer)] if validation_store else []
    if held_out:
        validation = masked_lm(
            held_out,
            sequence_length=sequence_length,
            batch_size=batch_size,
            drawing=_of_one_store(drawing),
        ).take(validation_steps)
    return Pretraining(
        tokenizer=tokenizer,
        train_batches=lambda first: read_records(records, batch_size=batch_size, first_batch=first),
        validation=validation,
        stores=tuple(held_out),
    )


def _check_drawn(records: Records, drawing: Drawing, sequence_length: int) -> None:
    """That records are what would be drawn from a store."""
    inputs, labels = records.columns_of("features"), records.columns_of("labels")
    expected = {features.MASKED_LM} | ({drawing.pairing} - {"single"})
    length = inputs[features.TOKEN_IDS].shape[0] if features.TOKEN_IDS in inputs else 0
    is_packed = features.TEXT_IDS in inputs
    wrong = []
    if labels.keys() != expected:
        there, here = (", ".join(sorted(names)) for names in (labels, expected))
        wrong.append(f"the labels are {there} there, {here} here")
    elif "drawing" in records.settings:
        drawn = config.to_dict(config.from_dict(Drawing(), records.settings["drawing"]))
        fields = config.changed_fields(drawn, config.to_dict(drawing))
        wrong += [
            f"drawing.{name} is {before!r} there, {after!r} here"
            for name, (before, after) in fields.items()
        ]
    elif is_packed != (drawing.layout == "packed"):
        texts = "several texts" if is_packed else "one text, or pair,"
        wrong.append(f"a row holds {texts} there, and drawing.layout is {drawing.layout!r} here")
    if length != sequence_length:
        wrong.append(f"data.sequence_length is {length} there, {sequence_length} here")
    if wrong:
        raise ValueError(
            f"The records {records.path} were drawn in another way: {'; '.join(wrong)}. Set what "
            "they have, or write records anew."
        )


def _open_whole(folder: str | Path, tokenizer: TextTokenizer | None = None) -> Store:
    """Open a store; compare it with its checksums where that takes no time."""
    store = open_store(folder, tokenizer)
    if store.num_bytes <= _VERIFIED_FIRST:
        verify_store(store)
    return store


def _of_one_store(drawing: Drawing | None) -> Drawing | None:
    return None if drawing is None else dataclasses.replace(drawing, weights=None)


def _check(
    stores: Sequence[Store], drawing: Drawing, sequence_length: int, batch_size: int, share: Share
) -> None:
    batches.check_sizes(sequence_length, batch_size, share)
    batches.check_stores(stores, drawing.weights)
    for store in stores:
        if store.num_documents < 2 and drawing.pairing == "next_sentence":
            raise ValueError(
                f"The store {store.path} holds {store.num_documents} document; next-sentence pairs "
                "need at least 2, since a random text never comes from the same document. Separate "
                "documents by blank lines, or give several files."
            )
