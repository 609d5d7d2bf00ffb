"""Texts that mean the same -> batches of (features, labels, weights) to learn embeddings from.

Shape letters: B rows in a batch, T tokens in a row, N rows of a split, C rows of a batch for each
of these, U different texts.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines import draws
from tfpt.pipelines.batches import untuned
from tfpt.pipelines.embedding_columns import ALONE, LABELS, PAIRS, EmbeddingColumns
from tfpt.pipelines.epochs import shuffled_rows
from tfpt.pipelines.labelled_rows import RowBatches, warn_of_cut
from tfpt.pipelines.packing import check_sequence_length
from tfpt.pipelines.scored_pairs import NUM_SPECIALS, ScoredPairs, features_of, texts_in_order
from tfpt.pipelines.special_tokens import require_roles
from tfpt.pipelines.split_batches import SplitBatches
from tfpt.pipelines.splits import TRAIN, VALIDATION, Source, read_splits, sources_of
from tfpt.pipelines.tables import Table
from tfpt.pipelines.text_groups import TextGroups, count_ambiguous, divide_pairs, group_texts
from tfpt.pipelines.tokenizer import TextTokenizer
from tfpt.pipelines.values import class_of, score_of

# Streams of random numbers from one seed; see `batches`, `epochs` and
# `span_corruption` for the others.
_PARTNERS, _FIXED_ORDER = 5, 1
# Of the rows that nobody trains on: batches of them are the same for any seed.
_FIXED_SEED = 0
# From this share of the texts on, a group is too large to be meant.
_LARGE_GROUP = 0.1
_MANY_TEXTS = 50


@dataclass(frozen=True, kw_only=True, eq=False)
class JudgedTexts:
    """What embeddings are judged by: the texts of a split, and which of them belong together."""

    groups: TextGroups
    texts: tf.data.Dataset  # every different text once, labelled by its number
    scored: ScoredPairs | None


@dataclass(frozen=True, kw_only=True, eq=False)
class TextEmbedding(SplitBatches):
    """Texts in groups of those that mean the same, ready to train an embedder on and judge it.

    The label of a row is the number of its text's group; see `objectives.contrastive`. Texts with
    the same tokens are always of one group. A batch of B rows holds, of

        pairs   B / 2 pairs: first their first texts, then in the same order their second ones;
                where pairs have a third text, B / 3 and these behind them, with weight 0;
        labels  B / 2 texts, then in the same order for each another text of its label, drawn anew
                in each batch; where the label has no other text the text itself, both with weight
                0: it is only told from the others;
        alone   B / 2 texts, then the same ones again.

    What is in a batch is the same whatever number of devices it is divided among. Validation and
    test rows come in an order that is neither that of the file, which may be sorted by label, nor
    changed by the seed; their last batch is filled up with rows of the first, with weight 0. Where
    that is the same batch these are copies, of no group: a copy is nothing to be told from.
    """

    splits: dict[str, TextGroups]  # "train", "validation" and, where there is one, "test"
    scored: ScoredPairs | None = None
    tokenizer: TextTokenizer
    sequence_length: int  # T
    # The rows of the file of "validation" and "test", as they are written.
    written: Mapping[str, Sequence[tuple[str, ...]]] = field(default_factory=dict)
    label_names: ClassVar[tuple[str, ...]] = ()  # an embedding has no names

    def source_rows(self, split: str) -> Sequence[tuple[str, ...]]:
        """The texts of each row of "validation" or "test", in the order of the file."""
        return self.written[split]

    def judged(self, name: str) -> JudgedTexts:
        """What embeddings are judged by: the texts of a split, and the scored pairs."""
        groups = self.splits[name]
        texts = texts_in_order(groups.tokens, self.tokenizer, self.sequence_length, self.batch_size)
        return JudgedTexts(groups=groups, texts=texts, scored=self.scored)

    def _rows(self, name: str) -> RowBatches:
        """The rows of the file, so many to a batch."""
        groups = self.splits[name]
        return RowBatches(
            num_rows=len(groups),
            batch_size=self.batch_size // _copies(groups),
            seed=self.seed,
            draw=lambda row, weights: (row, weights),
        )

    def _finished(self, name: str, drawn: tf.data.Dataset, first_batch: int = 0) -> tf.data.Dataset:
        """Batches of texts, of the rows of the file that were drawn."""
        seed = self.seed if name == TRAIN else _FIXED_SEED
        batch = _BatchOf(self.splits[name], self.batch_size, seed, is_shuffled=name == TRAIN)

        def draw(rows, number):
            row, weights = rows
            return self._packed(batch, *batch.draw(row, weights, number))

        numbers = tf.data.Dataset.range(first_batch, np.iinfo(np.int64).max)
        numbered = tf.data.Dataset.zip((drawn, numbers))
        # There is no `if` on a tensor to convert.
        batches = numbered.map(
            tf.autograph.experimental.do_not_convert(draw),
            num_parallel_calls=2,
            deterministic=True,
        )
        return untuned(batches.prefetch(4))

    def _packed(self, batch: "_BatchOf", texts, groups, weights) -> Any:
        """Texts and their groups, int32 (B,), as `(features, labels, weights)`."""
        inputs = features_of(
            batch.tokens, texts, self.tokenizer, self.sequence_length, self.batch_size
        )
        shape = [self.batch_size]
        labels = {features.CONTRASTIVE: tf.ensure_shape(groups, shape)}
        return inputs, labels, {features.CONTRASTIVE: tf.ensure_shape(weights, shape)}


class _BatchOf:
    """Which texts are in a batch of a split: a function of the rows it holds and its number."""

    def __init__(self, split: TextGroups, batch_size: int, seed: int, *, is_shuffled: bool):
        self.tokens, self.kind, self.seed = split.tokens, split.kind, seed
        self.num_rows, self.copies = len(split), _copies(split)
        self.size = batch_size // self.copies
        self.rows, self.groups = tf.constant(split.rows), tf.constant(split.groups)
        self.sizes, self.starts = tf.constant(split.sizes), tf.constant(split.starts)
        self.members, self.places = tf.constant(split.members), tf.constant(split.places)
        # RowBatches has shuffled the training rows; the others stand as in the file.
        self.order = None if is_shuffled else _fixed_order(self.num_rows)

    def draw(self, row, weights, number):
        """Draw the batch of a number.

        Args:
            row: int64 (B / C,), of the file.
            weights: float32 (B / C,), 0 for those that fill up.
            number: int64 scalar.

        Returns:
            The numbers of texts and their groups, int32 (B,); their weights, float32 (B,).
        """
        texts, weights = self._texts(row, weights, number)
        groups = tf.gather(self.groups, texts)
        is_copy = tf.tile(tf.range(self.size) >= self.num_rows, [self.copies])
        return texts, tf.where(is_copy, features.NO_GROUP, groups), weights

    def _texts(self, row, weights, number):
        # The last row again would be one of its own group, and nothing to be told from.
        filler = tf.range(self.size, dtype=tf.int64) % self.num_rows
        row = tf.where(weights > 0, row, filler)
        if self.order is not None:
            row = tf.gather(self.order, row)
        texts = tf.gather(self.rows, row)  # (B / C, columns)
        if self.kind == PAIRS:
            columns = tf.unstack(texts, axis=1)
            nothing = [tf.zeros_like(weights)] * (len(columns) - 2)
            return tf.concat(columns, axis=0), tf.concat([weights, weights, *nothing], axis=0)
        first = texts[:, 0]
        second = first
        if self.kind == LABELS:
            second, has_other = self._partners(first, number)
            weights = weights * tf.cast(has_other, tf.float32)
        return tf.concat([first, second], axis=0), tf.concat([weights, weights], axis=0)

    def _partners(self, texts, number):
        """Another text of the group of each, int32 (B / C,), itself where it is alone; and whether
        there is another, bool."""
        group = tf.gather(self.groups, texts)
        size = tf.gather(self.sizes, group)
        bits = draws.row_bits([self.seed, _PARTNERS], number * self.size, self.size, 4)[:, 0]
        place = draws.small_integers(bits, tf.maximum(size - 1, 1))
        # Its own place is passed over.
        place += tf.cast(place >= tf.gather(self.places, texts), tf.int32)
        place = tf.minimum(place, size - 1)
        return tf.gather(self.members, tf.gather(self.starts, group) + place), size > 1


def text_embedding(
    name: Source,
    tokenizer: TextTokenizer,
    *,
    sequence_length: int,
    batch_size: int,
    columns: EmbeddingColumns | None = None,
    seed: int = 0,
) -> TextEmbedding:
    """Texts that mean the same from files or TensorFlow Datasets, tokenized, as batches.

    Which texts mean the same, the columns tell:

        two columns of text     the two of a row do, and of rows that share a text all of them;
                                a third column means something else, though it may look alike;
                                where there is a column of scores, rows of small ones are left out;
        one and a label         the texts of a label do;
        one alone               none but a text and itself, which dropout makes two of (SimCSE).

    Args:
        name: As `text_classification` takes it; where there is no label files may be .txt, too, of
            which each line is a text. Labels of validation and test rows need not be those of the
            training rows. Of one file of pairs those that share a text, or are joined by others
            that do, fall into one split; texts are compared as they are written but for capitals
            and white space.
        tokenizer: Texts are tokenized once, here, and packed anew in each batch.
        sequence_length: T, at least 3; longer texts are cut.
        batch_size: B, a multiple of 2, or of the 3 columns, and at least twice that.
        columns: Of texts, label and score; by default each text of the column `text` is alone.
        seed: Of the order of the training rows and of what is drawn beside them.

    Raises:
        FileNotFoundError: There is no such file or folder, or no training file in it.
        ValueError: An argument is out of range; a file, line or column is broken; a text is empty;
            a pair has the same text as its third; nothing is there to be told apart, or to be near
            to each other.
    """
    columns = columns or EmbeddingColumns()
    _check_sizes(tokenizer, sequence_length, batch_size, max(2, len(columns.text)))
    tables = _read(name, columns)
    longest = sequence_length - NUM_SPECIALS
    splits = {
        split: group_texts(table, columns.kind, tokenizer, longest)
        for split, table in tables.items()
    }
    _check_groups(tables[TRAIN], splits[TRAIN])
    _check_rows(tables[TRAIN], splits[TRAIN], batch_size)
    if splits[VALIDATION].kind == LABELS and splits[VALIDATION].sizes.max() < 2:
        raise ValueError(
            f"{tables[VALIDATION].source}: no label of the {VALIDATION} rows has two different "
            "texts, so that their loss is nothing in every epoch and tells none from another. Hold "
            "out more rows of fewer labels."
        )
    for split, table in tables.items():
        _warn(table, splits[split], split)
    if any(split.num_cut for split in splits.values()):
        counts = {name: split.num_cut for name, split in splits.items()}
        warn_of_cut(tables[TRAIN].source, counts, sequence_length, stacklevel=3)
    return TextEmbedding(
        sources=sources_of(tables),
        splits=splits,
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        batch_size=batch_size,
        written={split: table.rows for split, table in tables.items() if split != TRAIN},
        seed=seed,
    )


def _read(source: Source, columns: EmbeddingColumns) -> dict[str, Table]:
    """The rows of each split, of pairs those whose score is large enough."""
    least = columns.least_score

    def divide(table: Table, shares: Mapping[str, float]) -> dict[str, Table]:
        # First, since pairs that do not mean the same join nothing.
        return divide_pairs(table if least is None else _alike(table, least), shares)

    tables = read_splits(
        source,
        text=columns.text,
        label=columns.label or columns.score,
        read_label=score_of if columns.score else class_of,
        known_labels=False,
        divide=divide if columns.kind == PAIRS else None,
    )
    if least is None:
        return tables
    return {split: _alike(table, least) for split, table in tables.items()}


def _alike(table: Table, least: float) -> Table:
    chosen = [row for row, score in enumerate(table.labels) if score >= least]
    if not chosen:
        raise ValueError(
            f"{table.source}: no pair has a score of {least:g} or more; the largest is "
            f"{max(table.labels):g}. Lower `least_score`."
        )
    return table.select(chosen)


def _fixed_order(num_rows: int) -> tf.Tensor:
    """int64 (N,): an order of rows that does not depend on the seed of a run."""
    places = tf.range(num_rows, dtype=tf.int64)
    return shuffled_rows(
        places, tf.zeros_like(places), seed=_FIXED_SEED, size=num_rows, stream=_FIXED_ORDER
    )


def _copies(groups: TextGroups) -> int:
    """C: rows of a batch for each row of the file."""
    return max(2, groups.rows.shape[1])


def _check_sizes(
    tokenizer: TextTokenizer, sequence_length: int, batch_size: int, copies: int
) -> None:
    check_sequence_length(sequence_length, 1)
    require_roles(tokenizer, "pad", "cls", "sep")
    if batch_size < 2 * copies or batch_size % copies:
        raise ValueError(
            f"`batch_size` counts rows, {copies} of them for each "
            f"{'pair and its third text' if copies == 3 else 'pair, or text and its partner'}: a "
            f"multiple of {copies}, at least {2 * copies}; received {batch_size}."
        )


def _check_groups(table: Table, groups: TextGroups) -> None:
    """Raise where nothing can be learned from the training rows."""
    if len(groups.sizes) < 2:
        what = {
            PAIRS: "all pairs are joined to one group by texts that they share",
            LABELS: f"every row has the label {table.labels[0]!r}",
            ALONE: "all texts are the same",
        }
        raise ValueError(
            f"{table.source}: {what[groups.kind]}; there is nothing to tell apart. Check the "
            "columns."
        )
    if groups.kind == LABELS and groups.sizes.max() < 2:
        raise ValueError(
            f"{table.source}: no label has two different texts; nothing is to be near to each "
            "other. Check the column of the label, or leave it out."
        )


def _check_rows(table: Table, groups: TextGroups, batch_size: int) -> None:
    """Raise where a batch would hold a training row twice, which is not to be told from itself."""
    copies = _copies(groups)
    if len(groups) < batch_size // copies:
        raise ValueError(
            f"{table.source}: a batch of {batch_size} texts is made of {batch_size // copies} "
            f"rows, and there are {len(groups)} to train on. Lower `batch_size` to "
            f"{len(groups) * copies}, or less."
        )


def _warn(table: Table, groups: TextGroups, split: str) -> None:
    """Say once what of a split is not as it may be meant."""
    told = []
    if groups.kind == LABELS:
        if count := int(np.sum(groups.sizes == 1)):
            told.append(
                f"{count:,} of {len(groups.sizes):,} labels have a single text, which is only told "
                "from the others"
            )
        if count := count_ambiguous(table, groups.rows):
            told.append(f"{count:,} texts have several labels, and count as of the first one")
    if groups.kind == PAIRS:
        largest = int(groups.sizes.max())
        if largest >= max(_MANY_TEXTS, _LARGE_GROUP * groups.num_texts):
            told.append(
                f"{largest:,} of {groups.num_texts:,} texts are joined to one group by texts that "
                "pairs share, and count as the same. Take such texts out, as an answer like 'yes'"
            )
        of_rows = groups.groups[groups.rows]  # (N, columns)
        if count := int(np.sum(of_rows[:, 2:] == of_rows[:, :1])):
            told.append(
                f"{count:,} third texts are joined to the pair they stand with by other pairs, and "
                "count as of its group"
            )
    for one in told:
        warnings.warn(f"{table.source}, {split} rows: {one}.", stacklevel=3)
