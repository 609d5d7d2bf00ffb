"""Sentences with a tag for each word -> batches of (features, labels, weights).

Shape letters: B rows in a batch, T tokens in a row, N sentences of a split, L tokens of a sentence.
"""

import itertools
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.pipelines.labelled_rows import TEXTS_AT_ONCE, RowBatches, packed_features
from tfpt.pipelines.packing import check_sequence_length
from tfpt.pipelines.special_tokens import require_roles
from tfpt.pipelines.split_batches import SplitBatches
from tfpt.pipelines.splits import TRAIN, Source, sources_of
from tfpt.pipelines.tagged_words import Sentences, TagColumns, read_tagged
from tfpt.pipelines.tags import count_loose, has_ends, sorted_tags
from tfpt.pipelines.tokenizer import TextTokenizer

# A token that is not the first one of a word.
_NO_LABEL = -1
# Tokens of a row that are none of its sentence.
_NUM_SPECIALS = 2


class TaggedSentence(NamedTuple):
    """The words of a sentence, those without a token of their own too."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    has_label: np.ndarray  # bool (words,): whether a token of the row stands for it


@dataclass(frozen=True)
class TaggedSplit:
    """The sentences of a split, tokenized, in the order of the file."""

    tokens: tf.RaggedTensor  # int32 (N, None)
    labels: tf.RaggedTensor  # int32 (N, None): of each token that begins a word, else -1
    num_cut: int  # sentences that are longer than a row
    num_unseen: int  # words without a token of their own in the row: cut off, or of no token
    sentences: Sequence[TaggedSentence] = ()  # those of training are let go

    def __len__(self) -> int:
        return int(self.tokens.nrows())


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenClassification(SplitBatches):
    """Sentences with tagged words, ready to train on, validate and test.

    Validation and test sentences come in the order of the file. Every batch has B rows: the last
    one of a split is filled up with rows of weight 0. The label of a word stands at its first
    token; all other tokens have weight 0.
    """

    label_names: tuple[str, ...]  # the tag of each label, by its id; see `tags.sorted_tags`
    label_counts: dict[str, dict[str, int]]  # words of each tag, by split and tag
    splits: dict[str, TaggedSplit]  # "train", "validation" and, where there is one, "test"
    tokenizer: TextTokenizer
    sequence_length: int  # T

    def source_rows(self, split: str) -> Sequence[tuple[str, ...]]:
        """The words of each sentence of "validation" or "test", in order.

        Those of the training sentences, which nothing tells of later, are not kept.
        """
        return [one.words for one in self.splits[split].sentences]

    def _rows(self, name: str) -> RowBatches:
        split = self.splits[name]
        return RowBatches(
            num_rows=len(split),
            batch_size=self.batch_size,
            seed=self.seed,
            draw=lambda row, weights: self._batch(split, row, weights),
        )

    def _batch(self, split: TaggedSplit, row, weights):
        """The rows as `(features, labels, weights)`."""
        inputs = packed_features(
            [tf.gather(split.tokens, row)],
            self.tokenizer,
            batch_size=self.batch_size,
            sequence_length=self.sequence_length,
        )
        shape = [self.batch_size, self.sequence_length - _NUM_SPECIALS]
        labels = tf.gather(split.labels, row).to_tensor(_NO_LABEL, shape=shape)
        labels = tf.pad(labels, [[0, 0], [1, 1]], constant_values=_NO_LABEL)  # (B, T)
        counts = tf.cast(labels != _NO_LABEL, tf.float32) * weights[:, None]
        name = features.TOKEN_CLASSIFICATION
        return inputs, {name: tf.maximum(labels, 0)}, {name: counts}


def token_classification(
    name: Source,
    tokenizer: TextTokenizer,
    *,
    sequence_length: int,
    batch_size: int,
    columns: TagColumns | None = None,
    separator: str = " ",
    seed: int = 0,
) -> TokenClassification:
    """Sentences with a tag for each word, from CoNLL or JSON Lines files, as batches.

    Words are joined to a text, which is tokenized as any other, so that an exported model that
    takes texts meets what it was trained on. The tag of a word is the label of the first token
    that begins within it; its other tokens have weight 0. A word without such a token has no label
    and is warned about: one that the normalization leaves nothing of, one that shares the token of
    the word before it, one past the end of a row. In reports it counts as tagged O.

    Args:
        name: A folder (or a glob) with a file for each split, whose name is or ends in "train";
            "validation", "valid", "val" or "dev"; "test"; with the ending conll, bio, iob, tsv, txt
            or jsonl, also compressed, or without one (ner.train). Or a dict from "train",
            "validation" and "test" to files of any name. Or one file: sentences are divided 80 : 10
            : 10 by a hash of their words. Where there are no validation sentences, 10% of the
            training ones become them.
        tokenizer: Of any kind; sentences are tokenized once, here, and packed anew in each batch.
        sequence_length: T, at least 3; longer sentences are cut. It is warned about where a word
            is lost by it.
        batch_size: B.
        columns: Where words and tags stand; see `TagColumns`. Tags are BIO or BIOES.
        separator: What stands between two words of a text; "" where each word is a character of
            Chinese or Japanese.
        seed: Of the order of the training sentences.

    Raises:
        FileNotFoundError: There is no such file or folder, or no training file in it.
        ValueError: An argument is out of range; a file, line, column or tag is broken; a tag of the
            validation or test sentences never occurs in the training sentences, or only O does.
    """
    check_sequence_length(sequence_length, 1)
    require_roles(tokenizer, "pad", "cls", "sep")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1 row; received {batch_size}.")
    if separator not in ("", " "):
        raise ValueError(f"`separator` is a blank or nothing; received {separator!r}.")
    sentences = read_tagged(name, columns or TagColumns())
    label_names = _label_names(sentences[TRAIN])
    ids = {tag: number for number, tag in enumerate(label_names)}
    longest = sequence_length - _NUM_SPECIALS
    splits = {
        split: _encode(rows, ids, tokenizer, separator, longest)
        for split, rows in sentences.items()
    }
    splits[TRAIN] = replace(splits[TRAIN], sentences=())
    counts = {
        split: Counter(tag for tags in rows.tags for tag in tags)
        for split, rows in sentences.items()
    }
    _warn(sentences, splits, label_names, sequence_length)
    return TokenClassification(
        label_names=label_names,
        label_counts={
            split: {tag: count[tag] for tag in label_names} for split, count in counts.items()
        },
        sources=sources_of(sentences),
        splits=splits,
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
    )


class Text(NamedTuple):
    """A sentence as one text, and where its words stand in it."""

    text: str
    starts: np.ndarray  # int64 (words,), in characters
    ends: np.ndarray  # int64 (words,)


def join_words(words: Sequence[str], separator: str) -> Text:
    """Join the words of a sentence to a text."""
    lengths = np.array([len(word) for word in words], np.int64)
    ends = np.cumsum(lengths + len(separator)) - len(separator)
    return Text(separator.join(words), ends - lengths, ends)


def first_tokens(text: Text, starts: Sequence[int], ends: Sequence[int]) -> np.ndarray:
    """The first token that begins within each word.

    Args:
        text: Of at least one word.
        starts, ends: Of tokens, in characters; see `TextTokenizer.encode`.

    Returns:
        int64 (words,); -1 where a word has none.
    """
    begins, stops = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    word = np.searchsorted(text.starts, begins, side="right") - 1
    # A token may stand for nothing, or for white space between words.
    own = np.flatnonzero((begins < stops) & (word >= 0) & (begins < text.ends[word]))
    first = np.full(len(text.starts), -1, np.int64)
    # Backwards, so that the first one stays.
    first[word[own[::-1]]] = own[::-1]
    return first


def _label_names(sentences: Sentences) -> tuple[str, ...]:
    names = {tag for tags in sentences.tags for tag in tags}
    if len(names) < 2:
        raise ValueError(
            f"{sentences.source}: every word has the tag {names.pop()!r}; there is nothing to tell "
            "apart. Check the column of the tag."
        )
    return sorted_tags(names)


def _encode(
    sentences: Sentences,
    ids: dict[str, int],
    tokenizer: TextTokenizer,
    separator: str,
    longest: int,
) -> TaggedSplit:
    """Tokenize the sentences of a split; of each, `longest` tokens are kept."""
    tokens: list[list[int]] = []
    labels: list[np.ndarray] = []
    kept: list[TaggedSentence] = []
    num_cut = num_unseen = 0
    texts = [join_words(words, separator) for words in sentences.rows]
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[begin : begin + TEXTS_AT_ONCE]
        encodings = tokenizer.encode([text.text for text in some])
        for text, encoding in zip(some, encodings, strict=True):
            words, tags = sentences.rows[len(tokens)], sentences.tags[len(tokens)]
            first = first_tokens(text, encoding.starts, encoding.ends)
            seen = (first >= 0) & (first < longest)
            row = np.full(len(encoding.ids[:longest]), _NO_LABEL, np.int32)
            row[first[seen]] = [ids[tag] for tag in itertools.compress(tags, seen)]
            kept.append(TaggedSentence(tuple(words), tuple(tags), seen))
            tokens.append(encoding.ids[:longest])
            labels.append(row)
            num_cut += len(encoding.ids) > longest
            num_unseen += int(np.sum(~seen))
    return TaggedSplit(_ragged(tokens), _ragged(labels), num_cut, num_unseen, kept)


def _ragged(rows: Sequence[Sequence[int] | np.ndarray]) -> tf.RaggedTensor:
    """int32 (N, None)."""
    flat = np.concatenate([np.zeros(0, np.int32), *(np.asarray(row, np.int32) for row in rows)])
    return tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in rows])


def _warn(
    sentences: dict[str, Sentences],
    splits: dict[str, TaggedSplit],
    label_names: Sequence[str],
    sequence_length: int,
) -> None:
    """Say once what of the data is not learned or not counted."""
    source = sentences[TRAIN].source
    if unseen := {name: split.num_unseen for name, split in splits.items() if split.num_unseen}:
        cut = sum(split.num_cut for split in splits.values())
        told = ", ".join(f"{count:,} ({name})" for name, count in unseen.items())
        warnings.warn(
            f"{source} and its other splits: {cut:,} of {sum(map(len, splits.values())):,} "
            f"sentences are longer than the {sequence_length - _NUM_SPECIALS} tokens of a row, and "
            "are cut. Words without a token of their own, by this or because nothing is left of "
            f"them: {told}. They are not learned, and reports count them as tagged O.",
            stacklevel=3,
        )
    ends = has_ends(label_names)
    loose = sum(count_loose(tags, ends=ends) for rows in sentences.values() for tags in rows.tags)
    if loose:
        warnings.warn(
            f"{source} and its other splits: {loose:,} words have a tag of an entity, but belong "
            f"to none by the strict reading of {'BIOES' if ends else 'BIO'}, as an I- without a "
            "B- before it. No evaluation finds them; write an entity's first word with B-.",
            stacklevel=3,
        )
