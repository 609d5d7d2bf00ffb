"""A part of a token store: the arrays of some documents, with offsets of their own.

token_ids.bin           uint16 (n,) or uint32
sentence_offsets.bin    int64 (s,): where each sentence ends, in tokens of the part
document_offsets.bin    int64 (d,): where each document ends, in sentences of the part
part.json               counts, and sha256 of each 64 MiB
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfpt.pipelines.part_work import write_whole
from tfpt.pipelines.store import ARRAYS, checksums
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


def write_part(documents, tokenizer: TextTokenizer, folder: Path) -> Counts:
    """Write the arrays of a part; the folder gets its name when they are whole."""
    beside = folder.with_suffix(".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    counts = _write_arrays(documents, tokenizer, beside)
    files = {name: checksums(beside / name) for name in ARRAYS}
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
        files = {name: checksums(folder / name) for name in ARRAYS}
    except (FileNotFoundError, ValueError):
        files = None
    if files is None or files != description["files"]:
        shutil.rmtree(folder)
        return None
    return Counts(**description["counts"])


def part_description(folder: Path) -> dict[str, Any]:
    """What part.json holds."""
    return json.loads((folder / "part.json").read_text(encoding="utf-8"))


def _write_arrays(documents, tokenizer: TextTokenizer, folder: Path) -> Counts:
    """Stream the documents through the tokenizer into the three files; offsets without the 0."""
    import tensorflow as tf

    dtype = token_dtype(tokenizer)
    num_tokens = num_sentences = num_documents = 0
    owner = None  # the document of the last sentence
    with contextlib.ExitStack() as stack:
        tokens, sentences, borders = (
            stack.enter_context(open(folder / name, "wb")) for name in ARRAYS
        )
        for texts, numbers in _sentence_batches(documents):
            ragged = tokenizer.tokenize(tf.constant(texts))
            lengths = ragged.row_lengths().numpy()
            # A sentence without a token (control characters only, say) is none.
            kept = lengths > 0
            owners = np.array(numbers)[kept]
            if not len(owners):
                continue
            # A document ends where a sentence of another one follows.
            owner = owners[0] if owner is None else owner
            ends = np.flatnonzero(np.diff(owners, prepend=owner))
            owner = owners[-1]
            tokens.write(ragged.values.numpy().astype(dtype).tobytes())
            sentences.write((num_tokens + np.cumsum(lengths[kept])).astype("<i8").tobytes())
            borders.write((num_sentences + ends).astype("<i8").tobytes())
            num_tokens += int(lengths.sum())
            num_sentences += len(owners)
            num_documents += len(ends)
        if num_sentences:
            borders.write(np.array(num_sentences, "<i8").tobytes())
            num_documents += 1
    return Counts(num_tokens, num_sentences, num_documents)


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
