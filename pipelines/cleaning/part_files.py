"""What is made of a part: its documents as the steps leave them, and what tells duplicates.

documents.jsonl     a document a line, {"text": [sentence, ...]}
hashes.bin          16 bytes (d,): of each document; where exact duplicates are looked for
signatures.bin      uint32 (d, 128), and
bands.bin           uint64 (bands, d): where near duplicates are looked for
part.json           the report, counts and checksums
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpt.pipelines.cleaning import counts
from tfpt.pipelines.cleaning.duplicates import HASH, document_hash
from tfpt.pipelines.cleaning.long_documents import document_parts
from tfpt.pipelines.cleaning.near_duplicates import NUM_VALUES, band_keys, num_bands, signature
from tfpt.pipelines.cleaning.overlap import EvaluationTexts, load_evaluation_texts
from tfpt.pipelines.cleaning.settings import Cleaning
from tfpt.pipelines.cleaning.steps import clean_document
from tfpt.pipelines.part_work import part_folder, write_whole

DOCUMENTS, HASHES = "documents.jsonl", "hashes.bin"
SIGNATURES, BANDS = "signatures.bin", "bands.bin"
_DESCRIPTION = "part.json"

# Documents whose signatures are held at once.
_AT_ONCE = 4096


def clean_part(
    documents: Iterable[tuple[str, ...]],
    cleaning: Cleaning,
    folder: Path,
    evaluation: EvaluationTexts | None = None,
) -> int:
    """Clean the documents of a part; the folder gets its name when what is in it is whole.

    Args:
        documents: Those of the part.
        cleaning: Which steps are on.
        folder: Where the files are written.
        evaluation: The texts to look for, where the step `overlap` is on.

    Returns:
        The number of documents before.
    """
    beside = folder.with_suffix(".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    report = counts.empty_report(cleaning.steps)
    _write(_cleaned(documents, cleaning, report, evaluation), cleaning, beside)
    num_documents = report["after"]["documents"]
    if cleaning.near_duplicates:
        _write_bands(beside, num_documents, cleaning.near_duplicates)
    description = {
        "report": report,
        "encodings": getattr(documents, "encodings", {}),
        "files": {path.name: _sha256(path) for path in sorted(beside.iterdir())},
    }
    write_whole(beside / _DESCRIPTION, json.dumps(description))
    beside.rename(folder)
    return report["before"]["documents"]


def clean_part_in(partial: str, cleaning: Cleaning, evaluation: str, part: Any, number: int) -> int:
    """`clean_part` for a process: evaluation texts are mapped, from a folder if there is one."""
    texts = load_evaluation_texts(evaluation) if evaluation else None
    return clean_part(part, cleaning, part_folder(Path(partial), number), texts)


def _cleaned(
    documents: Iterable[tuple[str, ...]],
    cleaning: Cleaning,
    report: counts.Report,
    evaluation: EvaluationTexts | None,
) -> Iterator[tuple[str, ...]]:
    for document in filter(None, documents):
        # Before anything is counted, so that the counts are of what is written.
        for part in document_parts(tuple(document), cleaning.unicode):
            after = clean_document(part, cleaning, report, evaluation)
            if after is not None:
                yield after


def _write(documents: Iterator[tuple[str, ...]], cleaning: Cleaning, folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        texts = stack.enter_context(open(folder / DOCUMENTS, "w", encoding="utf-8"))
        hashes = signatures = None
        if cleaning.exact_duplicates:
            hashes = stack.enter_context(open(folder / HASHES, "wb"))
        if cleaning.near_duplicates:
            signatures = stack.enter_context(open(folder / SIGNATURES, "wb"))
        for document in documents:
            texts.write(document_line(document))
            if hashes:
                hashes.write(document_hash(document))
            if signatures:
                signatures.write(signature(document).astype("<u4").tobytes())


def document_line(document: Sequence[str]) -> str:
    """A document as a line of JSON, with its end."""
    return json.dumps({"text": list(document)}, ensure_ascii=False) + "\n"


def _write_bands(folder: Path, num_documents: int, threshold: float) -> None:
    """Each band in a row: so one is read without the others."""
    if not num_documents:  # nothing can be mapped
        (folder / BANDS).touch()
        return
    bands = new_mapped(folder / BANDS, "<u8", (num_bands(threshold), num_documents))
    with open(folder / SIGNATURES, "rb") as file:
        for start in range(0, num_documents, _AT_ONCE):
            rows = np.fromfile(file, "<u4", _AT_ONCE * NUM_VALUES).reshape(-1, NUM_VALUES)
            bands[:, start : start + len(rows)] = band_keys(rows, threshold)
    bands.flush()


def new_mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> np.memmap:
    """A new file that is mapped, to be written by its array; its room on disk is taken at once.

    Else a disk that is full would end the process in the middle of writing, without an error.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:  # as on macOS, where room is taken only as the file is written
            file.truncate(size)
    return np.memmap(path, dtype, "r+", shape=shape)


def cleaned_report(folder: Path) -> counts.Report | None:
    """The report of a part that was cleaned before; None where it was not, or has changed since."""
    if not folder.exists():
        return None
    try:
        description = part_description(folder)
        files = {name: _sha256(folder / name) for name in description["files"]}
    except (FileNotFoundError, ValueError):
        files = None
    if files is None or files != description["files"]:
        shutil.rmtree(folder)
        return None
    return description["report"]


def part_description(folder: Path) -> dict[str, Any]:
    """What part.json holds."""
    return json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def part_hashes(folder: Path) -> Iterator[np.ndarray]:
    """The hashes of a part's documents, in blocks."""
    with open(folder / HASHES, "rb") as file:
        while len(block := np.fromfile(file, HASH, 1 << 16)):
            yield block


def part_band(folder: Path, band: int, num_documents: int) -> Iterator[np.ndarray]:
    """The hashes of one band of a part's documents, in blocks."""
    with open(folder / BANDS, "rb") as file:
        file.seek(8 * band * num_documents)
        for start in range(0, num_documents, 1 << 16):
            yield np.fromfile(file, "<u8", min(1 << 16, num_documents - start))


def part_signatures(folder: Path, places: np.ndarray) -> np.ndarray:
    """The signatures of some of a part's documents: uint32 (n, 128)."""
    mapped = np.memmap(folder / SIGNATURES, "<u4", "r").reshape(-1, NUM_VALUES)
    return np.asarray(mapped[places])


def finish_part(
    folder: Path, target: Path, decisions: dict[str, np.ndarray], cleaning: Cleaning
) -> counts.Report:
    """Write the documents of a part that are no duplicates.

    Args:
        folder: As `clean_part` wrote it.
        target: The file to write.
        decisions: By step, for each document: the number of the earlier one that it repeats, or -1.
            int64 (d,).
        cleaning: Which steps are on.

    Returns:
        The part's report, with duplicates.
    """
    report = part_description(folder)["report"]
    counts.begin_duplicates(report, list(decisions))
    names = list(decisions)
    with open(folder / DOCUMENTS, "rb") as lines, open(target, "wb") as out:
        if not any((earlier >= 0).any() for earlier in decisions.values()):
            shutil.copyfileobj(lines, out, 1 << 20)
        else:
            for line, *earlier in zip(lines, *decisions.values(), strict=True):
                dropped_by = next((place for place, one in enumerate(earlier) if one >= 0), None)
                if dropped_by is None:
                    out.write(line)
                    continue
                counts.take_out_duplicate(
                    report,
                    names[dropped_by:],
                    tuple(json.loads(line)["text"]),
                    earlier=int(earlier[dropped_by]),
                    num_examples=cleaning.num_examples,
                )
        out.flush()
        os.fsync(out.fileno())  # the report, which says that it is whole, comes after it
    return report


def document_at(folder: Path, place: int) -> tuple[str, ...]:
    """One document of a part, by its place."""
    with open(folder / DOCUMENTS, encoding="utf-8") as lines:
        return tuple(json.loads(next(itertools.islice(lines, place, None)))["text"])
