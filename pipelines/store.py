"""The token store: a corpus, tokenized once, as flat files that batches are drawn from.

    store.json              counts, vocabulary hash, sha256 of each 64 MiB, tfpt version
    token_ids.bin           uint16 (N,), or uint32 for vocabularies past 65,536
    sentence_offsets.bin    int64 (S + 1,): sentence s is token_ids[offsets[s]:offsets[s + 1]]
    word_starts.bin         uint8 (N,), where the texts were segmented: 1 where a word begins
    document_offsets.bin    int64 (D + 1,): document d has sentences offsets[d] to offsets[d + 1]

All little-endian, no headers, one file per array: a tensor can then lie over a file, uncopied.
N tokens, S sentences, D documents.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt import __version__
from tfpt.pipelines.tokenizer import TextTokenizer, load_tokenizer

FORMAT = 2
TOKEN_IDS = "token_ids.bin"
SENTENCE_OFFSETS = "sentence_offsets.bin"
DOCUMENT_OFFSETS = "document_offsets.bin"
WORD_STARTS = "word_starts.bin"
# A folder: where the examples of an epoch start; see examples.py.
EXAMPLES = "examples"
ARRAYS = (TOKEN_IDS, SENTENCE_OFFSETS, DOCUMENT_OFFSETS)
_FIELDS = ("num_tokens", "num_sentences", "num_documents", "token_dtype", "vocabulary_sha256")
# Of a file, in bytes: each has a checksum, so that damage can be placed.
BLOCK = 64 << 20


@dataclass(frozen=True)
class Store:
    """A token store that was opened; the arrays are mapped, not read."""

    path: Path
    num_tokens: int
    num_sentences: int
    num_documents: int
    token_dtype: str  # "uint16" or "uint32"
    vocabulary_sha256: str

    @property
    def num_bytes(self) -> int:
        """On disk, of all that has checksums."""
        return sum(path.stat().st_size for path in checked_files(self))

    @cached_property
    def identity(self) -> str:
        """The sha256 of its description, which has the checksums of its arrays."""
        return hashlib.sha256((self.path / "store.json").read_bytes()).hexdigest()

    @cached_property
    def token_ids(self) -> np.ndarray:
        """uint16 or uint32 (N,)."""
        return np.memmap(self.path / TOKEN_IDS, f"<u{np.dtype(self.token_dtype).itemsize}", "c")

    @cached_property
    def word_starts(self) -> np.ndarray | None:
        """uint8 (N,): 1 where a word begins; None where only the vocabulary tells."""
        path = self.path / WORD_STARTS
        return np.memmap(path, np.uint8, mode="c") if path.exists() else None

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
    tensor = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    tensor.mapped = array  # so that `data_service` can have another machine map the file
    return tensor


def open_store(path: str | Path, tokenizer: TextTokenizer | None = None) -> Store:
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
    except NotADirectoryError:
        raise FileNotFoundError(f"{folder} is a file; a token store is a folder.") from None
    except FileNotFoundError:
        if not folder.exists():
            raise FileNotFoundError(
                f"There is no folder {folder}; a token store is needed."
            ) from None
        raise FileNotFoundError(
            f"{folder} is no token store: it holds no store.json. Write one with "
            f"`tfpt store TEXTS --vocabulary vocab.txt --out {folder}`."
        ) from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(
            f"{folder / 'store.json'} is damaged ({error}); write the store anew."
        ) from None
    try:
        if description["format"] > FORMAT:
            raise ValueError(
                f"{folder} has the store format {description['format']}; this tfpt {__version__} "
                f"reads formats up to {FORMAT}. Upgrade tfpt."
            )
        store = Store(folder, **{name: description[name] for name in _FIELDS})
        _check_sizes(store, description["files"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / 'store.json'} is damaged: what it holds is not what tfpt writes ({error}). "
            "Write the store anew."
        ) from None
    if tokenizer is not None and tokenizer.sha256 != store.vocabulary_sha256:
        raise ValueError(
            f"The store {folder} was written with another vocabulary (sha256 "
            f"{store.vocabulary_sha256[:12]}, yours {tokenizer.sha256[:12]}). Use the one in "
            f"{folder}, or write the store anew with yours."
        )
    return store


def store_tokenizer(store: Store) -> TextTokenizer:
    """The tokenizer that a store was written with, from the vocabulary inside it.

    Raises:
        FileNotFoundError, ValueError: The vocabulary is gone, or not what was written.
    """
    tokenizer = load_tokenizer(store.path)
    if tokenizer.sha256 != store.vocabulary_sha256:
        raise ValueError(
            f"The vocabulary in {store.path} is not the one that the store was written with "
            f"(sha256 {tokenizer.sha256[:12]}, not {store.vocabulary_sha256[:12]}): it was changed "
            "or is damaged. Put back the one it was, or write the store anew."
        )
    return tokenizer


def verify_store(store: Store) -> None:
    """Read every file of a store and compare it, block by block, with what was written.

    Raises:
        ValueError: A file changed since the store was written; names it and the place.
    """
    for _ in verified_blocks(store):
        pass


def verified_blocks(store: Store, num_threads: int | None = None) -> Iterator[int]:
    """`verify_store` step by step: gives the bytes of each block that is as it was written."""
    store_tokenizer(store)
    for path, blocks in checked_files(store).items():
        for number, (size, digest) in enumerate(block_checksums(path, num_threads)):
            if number >= len(blocks) or digest != blocks[number]:
                first = number * BLOCK
                remedy = "Remove it" if path.parent.name == EXAMPLES else "Copy the file anew"
                raise ValueError(
                    f"{path} is damaged in block {number}, bytes {first:,} to {first + size:,}: it "
                    f"is not what was written. {remedy}, or write the store anew."
                )
            yield size


def checked_files(store: Store) -> dict[Path, list[str]]:
    """The files of a store with the sha256 of each of their blocks.

    Its arrays, and where the examples of an epoch start, for the lengths that were used.
    """
    description = json.loads((store.path / "store.json").read_text(encoding="utf-8"))
    found = {store.path / name: file["blocks"] for name, file in description["files"].items()}
    for path in sorted((store.path / EXAMPLES).glob("*.bin")):
        if (blocks := kept_blocks(path, store)) is not None:
            found[path] = blocks
    return found


def kept_blocks(path: Path, store: Store) -> list[str] | None:
    """The sha256 of the blocks of a file of examples; None where it is not whole, or of another."""
    try:
        kept = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        size = path.stat().st_size
        is_whole = kept["store"] == store.identity and kept["bytes"] == size
        return list(kept["blocks"]) if is_whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def checksums(path: Path) -> list[str]:
    """The sha256 of each block of a file."""
    return [digest for _, digest in block_checksums(path)]


def block_checksums(path: Path, num_threads: int | None = None) -> Iterator[tuple[int, str]]:
    """Size in bytes and sha256 of each block of a file; as many at once as there are threads.

    Args:
        num_threads: By default one for each core.
    """

    def checksum(first: int) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with open(path, "rb") as file:
            file.seek(first)
            while size < BLOCK and (chunk := file.read(min(1 << 20, BLOCK - size))):
                digest.update(chunk)
                size += len(chunk)
        return size, digest.hexdigest()

    # hashlib lets other threads run.
    num_threads = num_threads or os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as pool:
        firsts = range(0, path.stat().st_size, BLOCK)
        for place in range(0, len(firsts), num_threads):
            yield from pool.map(checksum, firsts[place : place + num_threads])


def _check_sizes(store: Store, files: dict[str, Any]) -> None:
    """A file that is too short must not be mapped: reading past its end ends the process."""
    for name in (*ARRAYS, *(set(files) - set(ARRAYS))):
        path, expected = store.path / name, files[name]
        size = path.stat().st_size if path.exists() else None
        if size != expected["bytes"]:
            raise ValueError(
                f"{path} is damaged: {expected['bytes']:,} bytes were written, "
                f"{'none are' if size is None else f'{size:,} are'} there. Write the store anew."
            )
