"""Which documents are duplicates, decided over all parts.

Documents are numbered in the order of the corpus. The decisions are files in the working folder,
int64 (d,) for each step: the number of the earlier document that one repeats, or -1. They are
mapped, not held in memory.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial as bound
from pathlib import Path

import numpy as np

from tfpt.pipelines import part_work
from tfpt.pipelines.cleaning.duplicates import earlier_documents
from tfpt.pipelines.cleaning.near_duplicates import NUM_VALUES, num_bands, similarity
from tfpt.pipelines.cleaning.part_files import (
    new_mapped,
    part_band,
    part_hashes,
    part_signatures,
)
from tfpt.pipelines.cleaning.settings import DUPLICATE_STEPS, Cleaning
from tfpt.pipelines.part_work import part_folder
from tfpt.pipelines.shared_folder import beside

# Pairs of documents that are compared at once: 512 bytes for each of both.
_PAIRS_AT_ONCE = 1 << 14


def decide_duplicates(
    partial: Path, num_documents: Sequence[int], cleaning: Cleaning, num_workers: int
) -> None:
    """Write the decisions of the steps of duplicates that are on.

    Args:
        partial: Holds the parts, as `clean_part` wrote them.
        num_documents: Of each part.
        cleaning: Which steps are on.
        num_workers: Processes that look through the bands of near duplicates.
    """
    starts = np.cumsum([0, *num_documents])
    total = int(starts[-1])
    if cleaning.exact_duplicates and not _path(partial, "exact_duplicates").exists():
        keys = exact_keys(partial, starts.tolist())
        write_decisions(partial, "exact_duplicates", total, [earlier_documents(keys, partial)])
    if cleaning.near_duplicates and not _path(partial, "near_duplicates").exists():
        pairs = partial / "pairs"
        pairs.mkdir(exist_ok=True)
        numbers = range(num_bands(cleaning.near_duplicates))
        todo = {number: None for number in numbers if not pairs_path(partial, number).exists()}
        work = bound(find_pairs, str(partial), tuple(starts.tolist()), cleaning)
        part_work.work_on(todo, work, part_work.unheard, num_workers)
        found = (read_pairs(pairs_path(partial, number)) for number in numbers)
        write_decisions(partial, "near_duplicates", total, found)
        shutil.rmtree(pairs)


def _path(partial: Path, step: str) -> Path:
    return partial / f"{step}.bin"


def pairs_path(partial: Path, band: int) -> Path:
    """Where the pairs of a band lie."""
    return partial / "pairs" / f"{band:03d}.bin"


def exact_keys(partial: Path, starts: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The hashes of all documents, in blocks with the numbers of the documents."""
    for number, start in enumerate(starts[:-1]):
        for block in part_hashes(part_folder(partial, number)):
            yield block, np.arange(start, start + len(block))
            start += len(block)


def write_decisions(
    partial: Path, step: str, total: int, found: Iterable[Iterable[tuple[np.ndarray, np.ndarray]]]
) -> None:
    """Write the decisions of a step; of several earlier documents, the first is named."""
    written = beside(_path(partial, step))
    earlier = new_mapped(written, "<i8", (max(total, 1),))
    earlier[:] = -1
    for pairs in found:
        for documents, firsts in pairs:
            named = earlier[documents]
            earlier[documents] = np.where((named < 0) | (firsts < named), firsts, named)
    earlier.flush()
    os.rename(written, _path(partial, step))


def find_pairs(
    partial: str, starts: tuple[int, ...], cleaning: Cleaning, part: object, band: int
) -> int:
    """Write which documents are near duplicates of the first with the same values in a band.

    Args:
        partial: Holds the parts and the decisions on exact duplicates, which are passed over.
        starts: The number of the first document of each part, and that of all.
        cleaning: Which steps are on.
        part: Nothing.
        band: Its number.

    Returns:
        0, since no document is done yet.
    """
    folder, threshold = Path(partial), cleaning.near_duplicates
    written = beside(pairs_path(folder, band))
    with open(written, "wb") as file:
        for pairs in earlier_documents(_band_keys(folder, starts, cleaning, band), folder):
            for start in range(0, len(pairs[0]), _PAIRS_AT_ONCE):
                documents, firsts = (one[start : start + _PAIRS_AT_ONCE] for one in pairs)
                one, other = (_signatures(folder, starts, them) for them in (documents, firsts))
                near = similarity(one, other) >= threshold
                np.stack([documents[near], firsts[near]], 1).astype("<i8").tofile(file)
    os.rename(written, pairs_path(folder, band))
    return 0


def _band_keys(
    partial: Path, starts: Sequence[int], cleaning: Cleaning, band: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    exact = _mapped(partial, "exact_duplicates") if cleaning.exact_duplicates else None
    for number, start in enumerate(starts[:-1]):
        size = starts[number + 1] - start
        for block in part_band(part_folder(partial, number), band, size):
            numbers = np.arange(start, start + len(block))
            start += len(block)
            kept = slice(None) if exact is None else exact[numbers] < 0
            yield block[kept], numbers[kept]


def _signatures(partial: Path, starts: Sequence[int], documents: np.ndarray) -> np.ndarray:
    """The signatures of documents of any parts: uint32 (n, 128)."""
    parts = np.searchsorted(starts, documents, "right") - 1
    found = np.empty((len(documents), NUM_VALUES), np.uint32)
    for number in np.unique(parts):
        is_here = parts == number
        places = documents[is_here] - starts[number]
        found[is_here] = part_signatures(part_folder(partial, int(number)), places)
    return found


def read_pairs(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Documents and those that they repeat, in blocks, as `find_pairs` wrote them."""
    with open(path, "rb") as file:
        while len(block := np.fromfile(file, "<i8", 2 << 16).reshape(-1, 2)):
            yield block[:, 0], block[:, 1]


def _mapped(partial: Path, step: str) -> np.ndarray:
    return np.memmap(_path(partial, step), "<i8", "r")


def part_decisions(
    partial: Path, start: int, end: int, cleaning: Cleaning
) -> dict[str, np.ndarray]:
    """The decisions on the documents of a part, by step, in the order of the steps."""
    on = [step for step in DUPLICATE_STEPS if step in cleaning.steps]
    return {step: np.asarray(_mapped(partial, step)[start:end]) for step in on}
