"""Byte-level byte pair encoding, as of GPT-2 and RoBERTa: no text has an unknown token.

Shape letters: N texts, L tokens of a text (ragged).
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfpt.pipelines import outside_graph, tokens_and_texts
from tfpt.pipelines.outside_graph import Encoding
from tfpt.pipelines.special_tokens import (
    all_special_ids,
    find_roles,
    missing_tokens,
    special_id,
)
from tfpt.pipelines.tokenizer_files import (
    check_entries,
    digest,
    entries_by_id,
    file_path,
    read_json,
    read_lines,
    replacing,
    write_text,
)

FILE_NAME = "tokenizer.json"
_WHITE_SPACE = " \t\n\v\f\r"


class BytePair:
    """Byte-level byte pair encoding.

    Texts are cut into words by GPT-2's rule (a word takes the blank before it along), words into
    bytes, and pairs of bytes and pieces are merged in the order in which they were learned. Entries
    are written as GPT-2 does: a printable character for each byte, "Ġ" for a blank. The special
    tokens are never read out of a text.

    `tokenize` is made of TensorFlow's core operations (see byte_pair_graph.py): an exported model
    needs no tensorflow-text. Ids and spans equal those of the `tokenizers` library for every text
    that is Unicode; bytes that are no UTF-8 become the entries of bytes.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2;
    Sennrich et al. 2016, https://arxiv.org/abs/1508.07909.
    """

    kind = "byte pair"
    in_graph = True

    def __init__(
        self,
        vocabulary: Sequence[str],
        merges: Sequence[tuple[str, str]],
        *,
        special_tokens: Sequence[str] = (),
    ):
        """Check and take a vocabulary.

        Args:
            vocabulary: The entries in the order of their ids.
            merges: The pairs of entries to merge, the first one first.
            special_tokens: Entries that no text gives, besides those of known names.

        Raises:
            ValueError: An entry is empty or there twice, one of the 256 bytes is missing, or a
                merge is of or to something that is no entry.
        """
        self.vocabulary = tuple(vocabulary)
        self.merges = tuple((left, right) for left, right in merges)
        self._ids = {entry: number for number, entry in enumerate(self.vocabulary)}
        _check(self.vocabulary, self._ids, self.merges)
        self.roles = find_roles(self._ids)
        others = [self._ids[token] for token in special_tokens]
        self.special_ids = all_special_ids(self.roles, others)

    pad_id = special_id("pad")
    unknown_id = special_id("unknown")
    cls_id = special_id("cls")
    sep_id = special_id("sep")
    mask_id = special_id("mask")

    def __repr__(self) -> str:
        return f"BytePair({self.vocabulary_size} entries, {len(self.merges)} merges)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BytePair) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def vocabulary_size(self) -> int:
        """The number of entries, special tokens included."""
        return len(self.vocabulary)

    @cached_property
    def sha256(self) -> str:
        """Identity of the tokenizer: a hash of its entries, its merges and their order."""
        special = " ".join(map(str, self.special_ids))
        merges = [f"{left} {right}" for left, right in self.merges]
        return digest(self.kind, special, *self.vocabulary, "", *merges)

    @property
    def resources(self) -> tuple[Any, ...]:
        """What a SavedModel has to own besides the graph: nothing."""
        return ()

    @cached_property
    def word_starts(self) -> np.ndarray:
        """bool (vocabulary_size,): the entries that begin with white space, and special tokens.

        Punctuation belongs to the word before it, and the first word of a text has no mark.
        """
        marks = tuple(_CHARACTERS[ord(one)] for one in _WHITE_SPACE)
        starts = np.array([entry.startswith(marks) for entry in self.vocabulary])
        starts[list(self.special_ids)] = True
        return starts

    def with_special_tokens(self) -> "BytePair":
        """The same with the special tokens it lacks at the end, named as BERT does."""
        missing = missing_tokens(self.roles)
        special = [self.vocabulary[number] for number in self.special_ids]
        return BytePair([*self.vocabulary, *missing], self.merges, special_tokens=special)

    def tokenize(self, texts: Any) -> Any:
        """Turn texts into ids, without any special token added.

        Args:
            texts: string (N,), or a list of strings.

        Returns:
            RaggedTensor int32 (N, L).
        """
        from tfpt.pipelines import byte_pair_graph

        return byte_pair_graph.tokenize(tokens_and_texts.batch_of_texts(texts), self._tables)[0]

    def tokenize_with_offsets(self, texts: Any, *, unit: str = "byte") -> tuple[Any, Any, Any]:
        """Turn texts into ids and say where each token stands.

        White space at a token's beginning is no part of its span, unless there is nothing else; a
        token that is a part of a character has the span of the whole character.

        Args:
            texts: As `tokenize` takes them.
            unit: What offsets count, "byte" or "character".

        Returns:
            `(ids, starts, ends)`, RaggedTensors (N, L): int32, and int64 for `text[start:end]`.
        """
        from tfpt.pipelines import byte_pair_graph, spans

        spans.check_unit(unit)
        texts = tokens_and_texts.batch_of_texts(texts)
        ids, starts = byte_pair_graph.tokenize(texts, self._tables)
        starts, ends = spans.whole_characters(texts, starts)
        starts = spans.without_leading_space(texts, starts, ends)
        return ids, *spans.in_unit(texts, starts, ends, unit)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Turn strings into ids and spans by the `tokenizers` library, without TensorFlow.

        Ids are those of `tokenize`, offsets those of `tokenize_with_offsets`, in characters.
        """
        encodings = self._reference.encode_batch(list(texts), add_special_tokens=False)
        return [
            outside_graph.encoding(one.ids, [_trimmed(text, *span) for span in one.offsets])
            for text, one in zip(texts, encodings, strict=True)
        ]

    def ids_to_tokens(self, ids: Any) -> Any:
        """The vocabulary entry of each id; see `tokens_and_texts.entries_of_ids`."""
        return tokens_and_texts.entries_of_ids(self.vocabulary, ids)

    def detokenize(self, ids: Any) -> Any:
        """The bytes that tokens stand for: of the ids of a text the text itself.

        Args:
            ids: RaggedTensor int (N, L), or lists of ids. Special tokens are left out.

        Returns:
            string (N,).
        """
        return tokens_and_texts.joined(ids, self._bytes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the tokenizer as the `tokenizers` library does, so that it reads it too.

        There, special tokens that stand in a text are found, here they are not.

        Args:
            path: A folder (gets `tokenizer.json`; made if missing) or a file ending in .json.

        Returns:
            The path of the file.
        """
        target = file_path(path, ".json", FILE_NAME)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as beside:
            write_text(beside, json.dumps(self._content, ensure_ascii=False, indent=1) + "\n")
        return target

    @property
    def _content(self) -> dict[str, Any]:
        byte_level = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
        special = [
            {
                "id": number,
                "content": self.vocabulary[number],
                **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
                "special": True,
            }
            for number in sorted(self.special_ids)
        ]
        model = {
            "type": "BPE",
            **PLAIN_MODEL,
            "vocab": self._ids,
            "merges": [f"{left} {right}" for left, right in self.merges],
        }
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": byte_level,
            "decoder": byte_level,
            "model": model,
        }

    @cached_property
    def _bytes(self) -> list[bytes]:
        """What each entry stands for; nothing for special tokens and entries that no text gives."""
        special = set(self.special_ids)
        return [
            b"" if number in special else bytes(_BYTES.get(one, 0) for one in entry)
            for number, entry in enumerate(self.vocabulary)
        ]

    @cached_property
    def _reference(self) -> Any:
        import tokenizers

        reference = tokenizers.Tokenizer(_model(self._ids, self.merges))
        reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return reference

    @cached_property
    def _tables(self) -> Any:
        from tfpt.pipelines import byte_pair_graph

        model = _model(self._ids, self.merges)
        reachable = [entry for entry in self.vocabulary if all(one in _BYTES for one in entry)]
        words = {
            bytes(_BYTES[one] for one in entry): self._ids[entry]
            for entry in reachable
            if [token.id for token in model.tokenize(entry)] == [self._ids[entry]]
        }
        ids_of_merges = [
            (self._ids[left], self._ids[right], self._ids[left + right])
            for left, right in self.merges
        ]
        id_of_byte = np.array([self._ids[_CHARACTERS[byte]] for byte in range(256)])
        return byte_pair_graph.tables(id_of_byte, ids_of_merges, words, self.vocabulary_size)


def byte_alphabet() -> tuple[str, ...]:
    """The character that stands for each byte, by its number.

    Printable bytes of Latin-1 are their own; the others get the characters from U+0100 on.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(256))


_CHARACTERS = byte_alphabet()
_BYTES = {character: byte for byte, character in enumerate(_CHARACTERS)}
# What a BPE model of the `tokenizers` library has to say to be cut alike here.
PLAIN_MODEL = {
    **dict.fromkeys(("dropout", "continuing_subword_prefix", "end_of_word_suffix")),
    **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False),
}


def load_byte_pair(path: Path) -> BytePair:
    """Read `vocab.json` and `merges.txt`, or `encoder.json` and `vocab.bpe`, as GPT-2 has them.

    Raises:
        FileNotFoundError: One of the two is missing.
        ValueError: One is broken, or they do not fit each other.
    """
    names = ["vocab.bpe", "merges.txt"] if path.name == "encoder.json" else ["merges.txt"]
    beside = next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    if not path.is_file() or beside is None:
        raise FileNotFoundError(
            f"{path} is one of two files: it goes with {' or '.join(names)} beside it, where both "
            "must be. Or pass a tokenizer.json."
        )
    lines = read_lines(beside)
    first = 1 if lines and lines[0].startswith("#version") else 0
    merges = _pairs(lines[first:], str(beside), first + 1)
    return _named(entries_by_id(read_json(path), str(path)), merges, (), str(path))


def _named(entries, merges, special: Sequence[str], source: str) -> BytePair:
    try:
        return BytePair(entries, merges, special_tokens=special)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _pairs(lines: Sequence[str], source: str, first: int) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(lines, first):
        left, _, right = line.partition(" ")
        if line and not (left and right and " " not in right):
            raise ValueError(f"{source}, line {number} is not a pair of entries: {line!r}.")
        if line:
            pairs.append((left, right))
    return pairs


def _check(vocabulary, ids: Mapping[str, int], merges) -> None:
    check_entries(vocabulary, "the vocabulary", "entry", first=0)
    if missing := [byte for byte in range(256) if _CHARACTERS[byte] not in ids]:
        raise ValueError(
            f"The vocabulary lacks {len(missing)} of the 256 bytes, the first is {missing[0]:#04x} "
            f"({_CHARACTERS[missing[0]]!r}). A byte-level one has an entry for each."
        )
    seen = set()
    for number, (left, right) in enumerate(merges):
        if absent := [entry for entry in (left, right, left + right) if entry not in ids]:
            raise ValueError(
                f"Merge {number} is of {left!r} and {right!r}, but {absent[0]!r} is no entry of "
                "the vocabulary. Take the vocabulary and the merges of the same tokenizer."
            )
        if (left, right) in seen:
            raise ValueError(f"{left!r} and {right!r} are merged twice, the second time {number}.")
        seen.add((left, right))


def _model(ids: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> Any:
    import tokenizers

    return tokenizers.models.BPE(dict(ids), list(merges))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the white space at its beginning, unless there is nothing else."""
    first = start
    while first < end and text[first] in _WHITE_SPACE:
        first += 1
    return (first, end) if first < end else (start, end)
