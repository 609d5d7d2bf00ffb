"""Documents that were there before, found on disk in bounded memory.

The first of equal documents stays, in the order of the corpus. What is equal has the same key; keys
are written to files by their first bits, so that each file is looked through on its own.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

# Of a document: two halves, so that NumPy can sort it.
HASH = np.dtype([("high", "<u8"), ("low", "<u8")])

# Keys that are looked at at once, in bytes with their documents' numbers.
SORT_BYTES = 1 << 28
_MOST_FILES = 4096
# Of the records that are sorted: with the table of keys, the order and the sorted ones.
_COPIES = 4


def document_hash(document: tuple[str, ...]) -> bytes:
    """16 bytes of the text, letter case and white space aside."""
    text = " ".join(" ".join(document).casefold().split())
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def earlier_documents(
    keys: Iterable[tuple[np.ndarray, np.ndarray]], folder: Path, sort_bytes: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The documents whose key an earlier one has, and the first that has it.

    Memory: about `sort_bytes`, for up to 4,096 times as many bytes of keys, and however often a key
    comes. On disk a key takes its own size and 8 bytes until it was looked at; twice for a moment.

    Args:
        keys: In blocks, in the order of the corpus: uint64 (n,) or `HASH`, well mixed in the high
            bits, and the numbers of the documents, int64 (n,).
        folder: Where the files are written, and removed again.
        sort_bytes: By default 256 MB.

    Returns:
        Blocks of numbers of documents, and of the first with the same key: two int64 (n,).
    """
    sort_bytes = SORT_BYTES if sort_bytes is None else sort_bytes
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        paths, dtype = _spread(keys, Path(inside), sort_bytes)
        for path in paths:
            yield from _earlier_in_file(path, dtype, sort_bytes)
            path.unlink()


def _spread(
    keys: Iterable[tuple[np.ndarray, np.ndarray]], folder: Path, sort_bytes: int
) -> tuple[list[Path], np.dtype]:
    """Write the keys with their documents' numbers to files, by the first bits of the key.

    All go to one file first, since only then their number is known.
    """
    whole, dtype = folder / "all", np.dtype([("key", "<u8"), ("document", "<i8")])
    with open(whole, "wb") as out:
        for block, numbers in keys:
            dtype = np.dtype([("key", block.dtype), ("document", "<i8")])
            records = np.empty(len(block), dtype)
            records["key"], records["document"] = block, numbers
            records.tofile(out)
    num_bits = _num_bits(whole.stat().st_size, sort_bytes)
    if not num_bits:
        return [whole], dtype
    paths = [folder / f"{number:03x}" for number in range(1 << num_bits)]
    for path in paths:
        path.touch()
    for records in _blocks(whole, dtype, sort_bytes):
        high = records["key"]["high"] if dtype["key"].names else records["key"]
        places = (high >> np.uint64(64 - num_bits)).astype(np.int64)
        records = records[np.argsort(places, kind="stable")]
        borders = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=len(paths)))])
        for place in np.flatnonzero(np.diff(borders)):
            with open(paths[place], "ab") as out:
                records[borders[place] : borders[place + 1]].tofile(out)
    whole.unlink()
    return paths, dtype


def _num_bits(num_bytes: int, sort_bytes: int) -> int:
    """The first bits of keys that tell their file, so that a block of `_blocks` holds a file."""
    num_files = min(-(-_COPIES * num_bytes // sort_bytes), _MOST_FILES)
    return max(num_files - 1, 0).bit_length()


def _blocks(path: Path, dtype: np.dtype, sort_bytes: int) -> Iterator[np.ndarray]:
    size = max(1, sort_bytes // (_COPIES * dtype.itemsize))
    with open(path, "rb") as file:
        while len(records := np.fromfile(file, dtype, size)):
            yield records


def _earlier_in_file(
    path: Path, dtype: np.dtype, sort_bytes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `earlier_documents`, of one file, whose different keys fit into memory.

    It is read in blocks, and a table holds the first document of each key: a key that comes a
    million times takes no more room than one that comes once.
    """
    table = np.empty(0, dtype)
    for records in _blocks(path, dtype, sort_bytes):
        # Both are in the order of the corpus within a key, and sorting keeps that.
        both = np.concatenate([table, records])
        key = both["key"]
        order = np.lexsort((key["low"], key["high"]) if key.dtype.names else (key,))
        both = both[order]
        is_first = np.ones(len(both), bool)
        is_first[1:] = both["key"][1:] != both["key"][:-1]
        first = both[is_first]["document"][np.cumsum(is_first) - 1]
        if not is_first.all():
            yield both["document"][~is_first], first[~is_first]
        table = both[is_first]
