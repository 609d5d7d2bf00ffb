"""Texts in groups of those that mean the same: pairs, labelled texts, or each text alone.

Shape letters: N rows of a split, C texts of a row, U different texts, G groups.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfpt.pipelines.connected import components
from tfpt.pipelines.embedding_columns import LABELS, PAIRS
from tfpt.pipelines.labelled_rows import TEXTS_AT_ONCE
from tfpt.pipelines.splits import divide_by
from tfpt.pipelines.tables import Table
from tfpt.pipelines.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True, eq=False)
class TextGroups:
    """The texts of a split, tokenized, and the group of each.

    Texts are equal where their tokens are, as far as a row holds them: a model cannot tell them
    apart, and they are one text here.
    """

    kind: str  # of `embedding_columns.KINDS`
    tokens: tf.RaggedTensor  # int32 (U, None): each different text once
    rows: np.ndarray  # int32 (N, C): the texts of each row of the file, by number
    groups: np.ndarray  # int32 (U,): of each text, from 0 to G - 1
    num_cut: int = 0  # texts of the rows that are longer than a row of tokens

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_texts(self) -> int:
        """U."""
        return len(self.groups)

    @cached_property
    def sizes(self) -> np.ndarray:
        """int32 (G,): the texts of each group."""
        return np.bincount(self.groups).astype(np.int32)

    @cached_property
    def members(self) -> np.ndarray:
        """int32 (U,): the texts, group by group."""
        return np.argsort(self.groups, kind="stable").astype(np.int32)

    @cached_property
    def starts(self) -> np.ndarray:
        """int32 (G,): where each group begins in `members`."""
        return (np.cumsum(self.sizes) - self.sizes).astype(np.int32)

    @cached_property
    def places(self) -> np.ndarray:
        """int32 (U,): where each text stands among the members of its group, from 0."""
        found = np.empty(self.num_texts, np.int32)
        places = np.arange(self.num_texts) - self.starts[self.groups[self.members]]
        found[self.members] = places
        return found

    @cached_property
    def first_rows(self) -> np.ndarray:
        """int64 (U, 2): the row of the file in which each text stands first, and its column."""
        _, first = np.unique(self.rows, return_index=True)
        return np.stack(np.divmod(first, self.rows.shape[1]), axis=1)


def group_texts(table: Table, kind: str, tokenizer: TextTokenizer, longest: int) -> TextGroups:
    """Tell the groups of the texts of a table.

    Args:
        table: Of pairs two columns, or three: the third one is no text of the pair's group. Of the
            other kinds one.
        kind: "pairs": the texts of a pair are of one group, and so are pairs that share a text,
            and those that share one with these. "labels": the texts of a label are one group; a
            text that has several labels is of the one it has first. "alone": each text is a group.
        tokenizer: Of any kind.
        longest: Tokens that a row holds.

    Raises:
        ValueError: A text is empty, or the third text of a pair is one of the first two; names file
            and line.
    """
    tokens, rows, num_cut = number_texts(table, tokenizer, longest)
    num_texts = int(tokens.nrows())
    if kind == PAIRS:
        if rows.shape[1] > 2:
            _check_negatives(table, rows)
        groups = components(rows[:, :2], num_texts)
    elif kind == LABELS:
        first: dict[int, str] = {}
        for text, label in zip(rows[:, 0].tolist(), table.labels, strict=True):
            first.setdefault(text, label)
        names = [first[text] for text in range(num_texts)]
        numbers = {name: number for number, name in enumerate(sorted(set(names)))}
        groups = np.array([numbers[name] for name in names], np.int32)
    else:
        groups = np.arange(num_texts, dtype=np.int32)
    return TextGroups(kind=kind, tokens=tokens, rows=rows, groups=groups, num_cut=num_cut)


def divide_pairs(table: Table, shares: Mapping[str, float]) -> dict[str, Table]:
    """Deal pairs out to splits so that texts which pairs join, however far, are of one split.

    The division follows from the texts alone: a group falls where its first one in the order of
    the alphabet does; one that is larger than the smallest share is of the first split. Texts are
    compared as they are written but for capitals and white space.

    Args:
        table: Of two columns, or of three, whose third text joins nothing.
        shares: By the name of the split.

    Raises:
        ValueError: A split has no pair.
    """
    numbers: dict[str, int] = {}
    pairs = np.array(
        [
            [numbers.setdefault(" ".join(one.casefold().split()), len(numbers)) for one in row[:2]]
            for row in table.rows
        ]
    )
    groups = components(pairs, len(numbers)).tolist()
    first: dict[int, str] = {}
    for text, group in zip(numbers, groups, strict=True):
        first[group] = min(text, first.get(group, text))
    keys = [(first[groups[one]],) for one in pairs[:, 0].tolist()]
    return divide_by(table, keys, shares)


class NumberedTexts(NamedTuple):
    """The texts of a table, each different one once."""

    tokens: tf.RaggedTensor  # int32 (U, None), in the order in which texts come first
    rows: np.ndarray  # int32 (N, C): the number of each text of each row
    num_cut: int  # texts, each time they come, that are longer than a row


def number_texts(table: Table, tokenizer: TextTokenizer, longest: int) -> NumberedTexts:
    """Tokenize the texts of a table.

    Raises:
        ValueError: A text is empty, or nothing of it is left; names file and line.
    """
    flat = [text for row in table.rows for text in row]
    num_columns = len(table.rows[0])
    known: dict[bytes, int] = {}
    numbers: list[int] = []
    num_cut = 0
    for begin in range(0, len(flat), TEXTS_AT_ONCE):
        some = tokenizer.tokenize(tf.constant(flat[begin : begin + TEXTS_AT_ONCE]))
        num_cut += int(np.sum(some.row_lengths().numpy() > longest))
        some = some[:, :longest]
        values = tf.cast(some.values, tf.int32).numpy()
        for first, end in itertools.pairwise(some.row_splits.numpy().tolist()):
            if first == end:
                raise table.empty_text(*divmod(len(numbers), num_columns))
            numbers.append(known.setdefault(values[first:end].tobytes(), len(known)))
    tokens = tf.RaggedTensor.from_row_lengths(
        np.frombuffer(b"".join(known), np.int32), [len(key) // 4 for key in known]
    )
    rows = np.array(numbers, np.int32).reshape(len(table), num_columns)
    return NumberedTexts(tokens, rows, num_cut)


def count_ambiguous(table: Table, rows: np.ndarray) -> int:
    """Of the texts of a table, those that have more than one label.

    Args:
        table: With labels.
        rows: int32 (N, 1), from `number_texts`.
    """
    labels: dict[int, set[str]] = {}
    for text, label in zip(rows[:, 0].tolist(), table.labels, strict=True):
        labels.setdefault(text, set()).add(label)
    return sum(len(of_text) > 1 for of_text in labels.values())


def _check_negatives(table: Table, rows: np.ndarray) -> None:
    """Raise where the third text of a pair is one of its two."""
    wrong = np.flatnonzero((rows[:, 2:] == rows[:, :2]).any(axis=1))
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"{table.source}:{table.lines[row]}: the third text is to mean something else than the "
            f"first two, and is equal to one of them: {table.rows[row][2]!r:.60}. Remove the row."
        )
