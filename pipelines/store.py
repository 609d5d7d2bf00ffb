"""The token store: a corpus, tokenized once, as flat files that batches are drawn from.

    store.json              counts, vocabulary hash, sha256 of each file, tfpt version
    token_ids.bin           uint16 (N,), or uint32 for vocabularies past 65,536
    sentence_offsets.bin    int64 (S + 1,): sentence s is token_ids[offsets[s]:offsets[s + 1]]
    document_offsets.bin    int64 (D + 1,): document d has sentences offsets[d] to offsets[d + 1]

All little-endian, no headers, one file per array: a tensor can then lie over a file, uncopied.
N tokens, S sentences, D documents.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt import __version__
from tfpt.pipelines.tokenizer import Tokenizer

FORMAT = 1
TOKEN_IDS = "token_ids.bin"
SENTENCE_OFFSETS = "sentence_offsets.bin"
DOCUMENT_OFFSETS = "document_offsets.bin"
# Sentences tokenized at once: enough to keep the kernel busy, little enough to bound the memory.
_SENTENCES_AT_ONCE = 8192


@dataclass(frozen=True)
class Store:
    """A token store that was opened; the arrays are mapped, not read."""

    path: Path
    num_tokens: int
    num_sentences: int
    num_documents: int
    token_dtype: str  # "uint16" or "uint32"
    vocabulary_sha256: str

    @cached_property
    def token_ids(self) -> np.ndarray:
        """uint16 or uint32 (N,)."""
        return np.memmap(self.path / TOKEN_IDS, f"<u{np.dtype(self.token_dtype).itemsize}", "c")

    @cached_property
    def sentence_offsets(self) -> np.ndarray:
        """int64 (S + 1,), in tokens."""
        return np.memmap(self.path / SENTENCE_OFFSETS, "<i8", mode="c")

    @cached_property
    def document_offsets(self) -> np.ndarray:
        """int64 (D + 1,), in sentences."""
        return np.memmap(self.path / DOCUMENT_OFFSETS, "<i8", mode="c")


def tensor_over(array: np.ndarray) -> tf.Tensor:
    """A tensor over a mapped array, without a copy; the file stays mapped as long as it lives."""
    if sys.byteorder != "little":
        raise RuntimeError("Token stores are little-endian; this machine is not.")
    # The file starts at a page, so the pointer is aligned: dlpack aborts the process otherwise.
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def write_store(
    documents: Iterable[tuple[str, ...]], tokenizer: Tokenizer, path: str | Path
) -> Store:
    """Tokenize a corpus once and write it as a token store.

    The store appears at `path` when it is whole; whatever goes wrong before, nothing is left there.

    Args:
        documents: The sentences of each document; see `read_documents`.
        tokenizer: Its vocabulary is saved inside the store.
        path: The folder to write; must not exist.

    Raises:
        FileExistsError: There is something at `path` already.
        ValueError: The corpus holds no text.
        OSError: The disk is full, or the folder cannot be written.
    """
    target = Path(path)
    if target.exists():
        raise FileExistsError(
            f"{target} exists already. A store is never overwritten: remove it, or name another "
            "folder."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    try:
        partial.mkdir()
        tokenizer.save(partial)
        counts = _write_arrays(documents, tokenizer, partial)
        _write_description(partial, counts)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return open_store(target, tokenizer)


def open_store(path: str | Path, tokenizer: Tokenizer | None = None) -> Store:
    """Open a token store.

    Args:
        path: The folder `write_store` wrote.
        tokenizer: Where given, it must be the one the store was written with.

    Raises:
        FileNotFoundError: There is no store at `path`.
        ValueError: The store is damaged, of a newer format, or was written with another vocabulary.
    """
    folder = Path(path)
    try:
        description = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} is no token store: it holds no store.json. Write one with "
            f"`tfpt store TEXTS --vocabulary vocab.txt --out {folder}`."
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{folder / 'store.json'} is damaged ({error}); write the store anew."
        ) from None
    if description["format"] > FORMAT:
        raise ValueError(
            f"{folder} has the store format {description['format']}; this tfpt {__version__} reads "
            f"formats up to {FORMAT}. Upgrade tfpt."
        )
    fields = ("num_tokens", "num_sentences", "num_documents", "token_dtype", "vocabulary_sha256")
    store = Store(folder, **{name: description[name] for name in fields})
    _check_sizes(store, description["files"])
    if tokenizer is not None and tokenizer.sha256 != store.vocabulary_sha256:
        raise ValueError(
            f"The store {folder} was written with another vocabulary (sha256 "
            f"{store.vocabulary_sha256[:12]}, yours {tokenizer.sha256[:12]}). Use "
            f"{folder}/vocab.txt, or write the store anew with yours."
        )
    return store


def verify_store(store: Store) -> None:
    """Read every file of a store and compare its sha256 with what was written.

    Raises:
        ValueError: A file changed since the store was written; names it.
    """
    description = json.loads((store.path / "store.json").read_text(encoding="utf-8"))
    for name, expected in description["files"].items():
        with open(store.path / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                raise ValueError(f"{store.path / name} is damaged; write the store anew.")


@dataclass
class _Counts:
    num_tokens: int
    num_sentences: int
    num_documents: int
    token_dtype: str
    vocabulary_sha256: str


def _write_arrays(documents, tokenizer: Tokenizer, folder: Path) -> _Counts:
    """Stream the documents through the tokenizer into the three files."""
    dtype = np.dtype("<u2" if tokenizer.vocabulary_size <= 1 << 16 else "<u4")
    num_tokens = num_sentences = num_documents = 0
    with (
        open(folder / TOKEN_IDS, "wb") as tokens,
        open(folder / SENTENCE_OFFSETS, "wb") as sentences,
        open(folder / DOCUMENT_OFFSETS, "wb") as borders,
    ):
        sentences.write(np.zeros(1, "<i8").tobytes())
        borders.write(np.zeros(1, "<i8").tobytes())
        for batch in _sentence_batches(documents):
            texts = [sentence for document in batch for sentence in document]
            ragged = tokenizer.tokenize(tf.constant(texts))
            lengths = ragged.row_lengths().numpy()
            document_ids = np.repeat(np.arange(len(batch)), [len(document) for document in batch])
            # A sentence without a token (control characters only, say) is none.
            kept = lengths > 0
            per_document = np.bincount(document_ids[kept], minlength=len(batch))
            per_document = per_document[per_document > 0]
            tokens.write(ragged.values.numpy().astype(dtype).tobytes())
            sentences.write((num_tokens + np.cumsum(lengths[kept])).astype("<i8").tobytes())
            borders.write((num_sentences + np.cumsum(per_document)).astype("<i8").tobytes())
            num_tokens += int(lengths.sum())
            num_sentences += int(kept.sum())
            num_documents += len(per_document)
    if not num_tokens:
        raise ValueError("The corpus is empty: no document holds a token. Check the sources.")
    return _Counts(num_tokens, num_sentences, num_documents, dtype.name, tokenizer.sha256)


def _sentence_batches(documents: Iterable[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    """Whole documents, gathered to about `_SENTENCES_AT_ONCE` sentences."""
    batch: list[tuple[str, ...]] = []
    size = 0
    for document in documents:
        if document:
            batch.append(document)
            size += len(document)
        if size >= _SENTENCES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_description(folder: Path, counts: _Counts) -> None:
    files: dict[str, Any] = {}
    for name in (TOKEN_IDS, SENTENCE_OFFSETS, DOCUMENT_OFFSETS):
        with open(folder / name, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files[name] = {"bytes": (folder / name).stat().st_size, "sha256": digest}
    description = {"format": FORMAT, "tfpt": __version__, **asdict(counts), "files": files}
    (folder / "store.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _check_sizes(store: Store, files: dict[str, Any]) -> None:
    """A file that is too short must not be mapped: reading past its end ends the process."""
    for name, expected in files.items():
        path = store.path / name
        size = path.stat().st_size if path.exists() else None
        if size != expected["bytes"]:
            raise ValueError(
                f"{path} is damaged: {expected['bytes']:,} bytes were written, "
                f"{'none are' if size is None else f'{size:,} are'} there. Write the store anew."
            )
