"""A part of a token store: the arrays of some documents, with offsets of their own.

token_ids.bin           uint16 (n,) or uint32
sentence_offsets.bin    int64 (s,): where each sentence ends, in tokens of the part
document_offsets.bin    int64 (d,): where each document ends, in sentences of the part
word_starts.bin         uint8 (n,), of segmented texts: 1 where a word begins
part.json               counts, and sha256 of each 64 MiB
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfpt.pipelines.part_work import write_whole
from tfpt.pipelines.store import ARRAYS, WORD_STARTS, checksums
from tfpt.pipelines.tokenizer import TextTokenizer

# What is tokenized at once: enough to keep the kernel busy, little enough to bound the memory, some
# 40 bytes a character. A sentence may have a million characters.
_SENTENCES_AT_ONCE = 8192
_CHARACTERS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Counts:
    """What a part or a store holds."""

    num_tokens: int
    num_sentences: int
    num_documents: int


class Tokenized(NamedTuple):
    """Sentences as tokens."""

    ids: np.ndarray  # int32 (n,)
    lengths: np.ndarray  # int64, one for each sentence
    starts: np.ndarray = np.zeros(0, np.uint8)  # (n,), 1 where a word begins, where that is told


def write_part(documents, tokenizer: TextTokenizer, folder: Path) -> Counts:
    """Write the arrays of a part; the folder gets its name when they are whole."""
    beside = folder.with_suffix(".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    counts = _write_arrays(documents, tokenizer, beside)
    files = {name: checksums(beside / name) for name in _names(documents)}
    description = {
        "counts": asdict(counts),
        "encodings": getattr(documents, "encodings", {}),
        "files": files,
    }
    write_whole(beside / "part.json", json.dumps(description))
    beside.rename(folder)
    return counts


def written_counts(folder: Path) -> Counts | None:
    """What a part holds that was written before; None where it was not, or has changed since."""
    if not folder.exists():
        return None
    try:
        description = part_description(folder)
        files = {name: checksums(folder / name) for name in description["files"]}
    except (FileNotFoundError, ValueError):
        files = None
    if files is None or files != description["files"]:
        shutil.rmtree(folder)
        return None
    return Counts(**description["counts"])


def part_description(folder: Path) -> dict[str, Any]:
    """What part.json holds."""
    return json.loads((folder / "part.json").read_text(encoding="utf-8"))


def check_segmented(documents, tokenizer: TextTokenizer) -> None:
    """Raise a ValueError where words that white space separates would not come out as words."""
    if getattr(documents, "segmented", False) and tokenizer.kind != "wordpiece":
        raise ValueError(
            f"`segmented` texts need a WordPiece vocabulary, received one of the kind "
            f"{tokenizer.kind}: to it the white space between words is text. Leave `segmented` out."
        )


def _names(documents) -> tuple[str, ...]:
    return (*ARRAYS, WORD_STARTS) if getattr(documents, "segmented", False) else ARRAYS


def _write_arrays(documents, tokenizer: TextTokenizer, folder: Path) -> Counts:
    """Stream the documents through the tokenizer into the files; offsets without the 0."""
    dtype = token_dtype(tokenizer)
    names = _names(documents)
    tokenized = _tokenized_words if WORD_STARTS in names else _tokenized
    num_tokens = num_sentences = num_documents = 0
    owner = None  # the document of the last sentence
    with contextlib.ExitStack() as stack:
        tokens, sentences, borders, *words = (
            stack.enter_context(open(folder / name, "wb")) for name in names
        )
        for texts, numbers in _sentence_batches(documents):
            ids, lengths, starts = tokenized(texts, tokenizer)
            # A sentence without a token (control characters only, say) is none.
            kept = lengths > 0
            owners = np.array(numbers)[kept]
            if not len(owners):
                continue
            # A document ends where a sentence of another one follows.
            owner = owners[0] if owner is None else owner
            ends = np.flatnonzero(np.diff(owners, prepend=owner))
            owner = owners[-1]
            tokens.write(ids.astype(dtype).tobytes())
            sentences.write((num_tokens + np.cumsum(lengths[kept])).astype("<i8").tobytes())
            borders.write((num_sentences + ends).astype("<i8").tobytes())
            for file in words:
                file.write(starts.tobytes())
            num_tokens += len(ids)
            num_sentences += len(owners)
            num_documents += len(ends)
        if num_sentences:
            borders.write(np.array(num_sentences, "<i8").tobytes())
            num_documents += 1
    return Counts(num_tokens, num_sentences, num_documents)


def _tokenized(texts: list[str], tokenizer: TextTokenizer) -> Tokenized:
    """The tokens of sentences, and how many each has."""
    import tensorflow as tf

    ragged = tokenizer.tokenize(tf.constant(texts))
    return Tokenized(ragged.values.numpy(), ragged.row_lengths().numpy())


def _tokenized_words(texts: list[str], tokenizer: TextTokenizer) -> Tokenized:
    """The same of texts whose words are separated by white space, and where these begin."""
    words = [text.split() for text in texts]
    num_words = [len(one) for one in words]
    ids, sizes, _ = _tokenized([word for one in words for word in one], tokenizer)
    starts = np.zeros(len(ids), np.uint8)
    # A word that gives no token begins nowhere.
    starts[(np.cumsum(sizes) - sizes)[sizes > 0]] = 1
    ends = np.concatenate([[0], np.cumsum(sizes)])[np.cumsum(num_words)]
    return Tokenized(ids, np.diff(ends, prepend=0), starts)


def _sentence_batches(
    documents: Iterable[tuple[str, ...]],
) -> Iterator[tuple[list[str], list[int]]]:
    """Sentences to tokenize at once, with the numbers of the documents that they are of."""
    texts: list[str] = []
    numbers: list[int] = []
    size = 0
    for number, document in enumerate(documents):
        for sentence in document:
            texts.append(sentence)
            numbers.append(number)
            size += len(sentence)
            if len(texts) >= _SENTENCES_AT_ONCE or size >= _CHARACTERS_AT_ONCE:
                yield texts, numbers
                texts, numbers, size = [], [], 0
    if texts:
        yield texts, numbers


def token_dtype(tokenizer: TextTokenizer) -> np.dtype:
    return np.dtype("<u2" if tokenizer.vocabulary_size <= 1 << 16 else "<u4")
