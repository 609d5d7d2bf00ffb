"""Batches as functions of their number: which rows, which texts, which masks.

Shape letters: B rows, T tokens in a row, P mask slots in a row, S texts (or pairs) in a row,
K stores.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt.pipelines import draws, finishing, masking, mixing, pairing, rows
from tfpt.pipelines.examples import example_lengths, find_examples
from tfpt.pipelines.finishing import Batch
from tfpt.pipelines.settings import Drawing
from tfpt.pipelines.store import Store
from tfpt.pipelines.tokenizer import TextTokenizer

SHORTEST_ROW = 8  # tokens

# Streams of random numbers from one seed (epochs.py has 2): of rows, and of duplicates.
_ROWS, _DUPLICATES = 1, 3
# Orders of one seed: of the lengths of rows; the others by the number of the length and the store.
_LENGTHS = 0
_MOST_STORES = 1 << 10


@dataclass(frozen=True)
class Share:
    """The part of each batch that a worker draws."""

    index: int = 0  # of the worker, from 0
    num_workers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.num_workers:
            raise ValueError(
                f"`index` of a share is from 0 to num_workers - 1; received index={self.index}, "
                f"num_workers={self.num_workers}."
            )


def rows_of(batch, batch_size: int, share: Share):
    """int64 (B / workers,): the numbers, in the stream, of a worker's rows of a batch."""
    num_rows = batch_size // share.num_workers
    return batch * batch_size + share.index * num_rows + tf.range(num_rows, dtype=tf.int64)


def batch_stream(
    draw: Callable[[Any], Batch], first_batch: int, batch_size: int
) -> tf.data.Dataset:
    """Batches without end, each drawn by its number, int64 scalar, in the graph."""
    last = np.iinfo(np.int64).max // batch_size
    if not 0 <= first_batch < last:
        raise ValueError(f"`first_batch` is a number from 0 to {last:,}; received {first_batch:,}.")
    dataset = tf.data.Dataset.range(first_batch, last)
    # There is no `if` on a tensor to convert, and to look for one takes seconds.
    draw = tf.autograph.experimental.do_not_convert(draw)
    dataset = dataset.map(draw, num_parallel_calls=2, deterministic=True).prefetch(4)
    stream = untuned(dataset)
    stream.draw = draw  # what `data_service.served` lets other machines do
    return stream


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same in its order, without the optimizer and the autotuning of `tf.data`.

    They copy the arrays that a dataset captured, such as mapped tokens, into memory. And the thread
    that tunes sleeps for 10 ms, 20, 40, up to a minute; at the end of `fit` the iterator at times
    waits until it wakes up (TensorFlow 2.21), as long as all of `fit` took at worst.
    """
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    options.deterministic = True
    return dataset.with_options(options)


def check_sizes(sequence_length: int, batch_size: int, share: Share) -> None:
    """Raise a ValueError where there is no such batch."""
    if sequence_length < SHORTEST_ROW:
        raise ValueError(
            f"`sequence_length` must be at least {SHORTEST_ROW} tokens; received {sequence_length}."
        )
    if batch_size < 1 or batch_size % share.num_workers:
        raise ValueError(
            f"`batch_size` must be at least 1 row, and a multiple of the {share.num_workers} "
            f"worker(s) that share it; received {batch_size}."
        )


def check_stores(stores: Sequence[Store], weights: Sequence[float] | None) -> None:
    """Raise a ValueError where stores cannot be mixed."""
    if not stores:
        raise ValueError("`store` is an empty list; name at least one token store.")
    if weights is not None and len(weights) != len(stores):
        raise ValueError(
            f"`weights` has {len(weights)} numbers for {len(stores)} store(s); give one for each."
        )
    for store in stores:
        if store.vocabulary_sha256 != stores[0].vocabulary_sha256:
            raise ValueError(
                f"The stores {stores[0].path} and {store.path} have different vocabularies (sha256 "
                f"{stores[0].vocabulary_sha256[:12]} and {store.vocabulary_sha256[:12]}); they "
                "cannot be mixed. Write one of them anew with the vocabulary of the other."
            )


class Shape:
    """The rows of one length: batches of them, by their number among those of this length."""

    def __init__(
        self,
        sources: Sequence["Source"],
        counts: np.ndarray,
        settings: "Settings",
        *,
        number: int,
        sequence_length: int,
        batch_size: int,
    ):
        """What a draw needs.

        Args:
            sources: The stores that have such rows.
            counts: int64 (K,): rows of each of them in a cycle; see `mixing`.
            number: Of this length among all; its draws are unrelated to those of the others.
        """
        self.batch_size = batch_size
        self.num_rows = int(counts.sum())  # of a cycle
        self._sources, self._counts, self._number = sources, counts, number
        self._drawing, self._seed = settings.drawing, settings.seed
        self._kind = finishing.row_kind(
            settings.tokenizer,
            settings.drawing,
            sequence_length=sequence_length,
            num_texts=sources[0].examples.num_texts,
        )

    def draw(self, batch, rate, share: Share) -> Batch:
        """Draw a worker's share of the batch of a number.

        Args:
            batch: int64 scalar.
            rate: float32 scalar, the share of tokens to predict.
        """
        row = rows_of(batch, self.batch_size, share)
        order = _order(self._number, 0)
        stream, index = mixing.stream_rows(row, self._counts, seed=self._seed, stream=order)
        seed = [self._seed, _ROWS + (self._number << 8)]
        bits = draws.row_bits(seed, row[0], row.shape[0], self._kind.num_bits)
        if len(self._sources) == 1:
            texts, used, bits = self._texts(0, index, bits)
            finish = finishing.finish(self._kind)
            return finish(self._sources[0].arrays.tokens, texts, used, bits, rate)
        given, bits = self._stitched(stream, index, bits)
        given = finishing.ensured(self._kind, given, row.shape[0])
        bits = tf.ensure_shape(bits, [row.shape[0], self._kind.num_bits])
        return finishing.finish_filled(self._kind)(given, bits, rate)

    def _texts(self, store: int, index, bits):
        """The texts of rows of one store, which of them are used, and the rows' bits."""
        source, drawing = self._sources[store], self._drawing
        if drawing.duplicates:
            # The same numbers whenever a version of an example comes round.
            num_rows = source.examples.num_rows
            version = index // num_rows % drawing.duplicates
            seed = [self._seed, _DUPLICATES + (_order(self._number, source.number) << 8)]
            number = version * num_rows + source.examples.place(index)
            bits = draws.hashed_bits(seed, number, self._kind.num_bits)
        sentence, room = source.examples.draw(index)  # (B, S)
        used = room > 0
        texts = pairing.draw_texts(
            tf.reshape(sentence, [-1]),
            tf.reshape(bits[:, : self._kind.text_bits], [-1, pairing.NUM_BITS]),
            source.arrays.sentence_offsets,
            source.arrays.document_offsets,
            num_tokens=tf.reshape(room, [-1]),
            pairing=drawing.pairing,
        )
        return texts, used, bits

    def _stitched(self, stream, index, bits):
        """Rows of tokens from several stores, each from its own, and their bits."""

        def drawn(store, place):
            texts, used, of_rows = self._texts(
                store, tf.gather(index, place), tf.gather(bits, place)
            )
            tokens = self._sources[store].arrays.tokens
            return finishing.filled(self._kind, tokens, texts, used), of_rows

        return mixing.stitched(stream, len(self._sources), drawn)


@dataclass(frozen=True)
class Settings:
    """What all rows have in common."""

    tokenizer: TextTokenizer
    drawing: Drawing
    seed: int


@dataclass(frozen=True)
class Source:
    """A store's rows of one length."""

    number: int  # of the store
    arrays: rows.Arrays
    examples: rows.Examples


def draw_function(
    stores: Sequence[Store],
    settings: Settings,
    *,
    sequence_length: int,
    batch_size: int,
    share: Share,
) -> Callable[[Any], Batch]:
    """A function from the number of a batch, int64 scalar, to a worker's share of it."""
    workers = share.num_workers
    shapes = _shapes(stores, settings, sequence_length, batch_size, workers)
    counts = np.array([max(1, round(shape.num_rows / shape.batch_size)) for shape in shapes])

    def draw(batch):
        rate = masking.rate_at(settings.drawing.masking, batch)
        if len(shapes) == 1:
            return shapes[0].draw(batch, rate, share)
        shape, index = mixing.stream_rows(batch[None], counts, seed=settings.seed, stream=_LENGTHS)
        branches = [functools.partial(one.draw, index[0], rate, share) for one in shapes]
        return tf.switch_case(shape[0], branches)

    return draw


def num_rows(stores: Sequence[Store], settings: Settings, sequence_length: int) -> int:
    """How many rows an epoch has, over all lengths and stores."""
    shapes = _shapes(stores, settings, sequence_length, batch_size=1, multiple=1)
    return sum(shape.num_rows for shape in shapes)


def _shapes(
    stores: Sequence[Store],
    settings: Settings,
    sequence_length: int,
    batch_size: int,
    multiple: int,
) -> list[Shape]:
    """The lengths of rows that there are; the rows of a batch are a multiple of `multiple`."""
    drawing = settings.drawing
    opened = [_Opened(store, drawing, sequence_length) for store in stores]
    shapes, shortest = [], 0
    for number, length in enumerate(_row_lengths(sequence_length, drawing)):
        found = _sources(opened, range(shortest, length + 1), settings, number)
        if found:
            # About as many tokens in every batch.
            size = batch_size * sequence_length // length // multiple * multiple
            sources, counts = found
            shapes.append(
                Shape(
                    sources,
                    counts,
                    settings,
                    number=number,
                    sequence_length=length,
                    batch_size=size,
                )
            )
        shortest = length + 1
    return shapes


def _starts(store: Store, drawing: Drawing, sequence_length: int) -> np.ndarray:
    """uint32 or int64 (E,): the sentences that the examples of an epoch start with."""
    starts = find_examples(store, sequence_length - drawing.num_specials, drawing.min_tokens)
    if not len(starts):
        raise ValueError(
            f"The store {store.path} holds no document of {drawing.min_tokens} tokens or more."
        )
    return starts


class _Opened:
    """A store with its examples, and how long they are where that matters."""

    def __init__(self, store: Store, drawing: Drawing, sequence_length: int):
        self.arrays = rows.map_arrays(store)
        self.starts = _starts(store, drawing, sequence_length)
        self.lengths = np.zeros(0, np.int64)
        if drawing.layout != "padded":
            budget = sequence_length - drawing.num_specials
            self.lengths = example_lengths(
                self.starts, store.sentence_offsets, store.document_offsets, budget
            )


def _sources(
    opened: Sequence[_Opened], lengths: range, settings: Settings, number: int
) -> tuple[list[Source], np.ndarray] | None:
    """The rows of some lengths, of all stores that have any, and how many of each in a cycle."""
    drawing, found, parts = settings.drawing, [], []
    for place, store in enumerate(opened):
        order = {"seed": settings.seed, "stream": _order(number, place + 1)}
        budget = lengths[-1] - drawing.num_specials
        starts, share = store.starts, 1.0
        examples: rows.Examples
        if drawing.layout == "packed":
            examples = rows.PackedExamples(
                starts,
                store.lengths,
                budget,
                specials=drawing.num_specials,
                max_texts=drawing.max_texts,
                **order,
            )
        else:
            if drawing.layout == "bucketed":
                full = store.lengths + drawing.num_specials
                starts = starts[(full >= lengths[0]) & (full <= lengths[-1])]
                share = len(starts) / len(store.starts)
            if not len(starts):
                continue
            examples = rows.Examples(starts, budget, **order)
        found.append(Source(place, store.arrays, examples))
        parts.append(drawing.weights[place] * share if drawing.weights else examples.num_rows)
    if not found:
        return None
    num_rows = sum(source.examples.num_rows for source in found)
    counts = mixing.shares(parts, num_rows) if drawing.weights else np.array(parts, np.int64)
    return found, counts


def _row_lengths(sequence_length: int, drawing: Drawing) -> list[int]:
    """Ascending; each the half of the next, in steps of 8 tokens."""
    lengths = [sequence_length]
    while drawing.layout == "bucketed" and len(lengths) < drawing.num_buckets:
        half = -(-lengths[-1] // 2 // SHORTEST_ROW) * SHORTEST_ROW
        if half in lengths:
            break
        lengths.append(half)
    return lengths[::-1]


def _order(number: int, store: int) -> int:
    """The number of an order: of the rows of a length, of a store (from 1; 0 is their mix)."""
    return 1 + number * _MOST_STORES + store
