"""Cleaning a corpus by an Apache Beam pipeline. See BEYOND_ONE_MACHINE.md.

`NAME.partial/`, which all machines reach, holds what corpus_cleaning.py says, and

    parts.pickle            the parts, since the graph of a job has no room for thousands
    starts.json             the number of the first document of each part
    repeated/               which documents are exact duplicates, of each share of the hashes
"""

import functools
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfpt.pipelines import corpus_cleaning, part_work, shared_folder
from tfpt.pipelines.beam_pipeline import (
    Step,
    check_beam,
    part_identities,
    run_steps,
    send_parts,
    sent_part,
    work_kept,
)
from tfpt.pipelines.cleaning import decisions
from tfpt.pipelines.cleaning.duplicates import earlier_documents
from tfpt.pipelines.cleaning.near_duplicates import num_bands
from tfpt.pipelines.cleaning.overlap import EvaluationTexts, load_evaluation_texts
from tfpt.pipelines.cleaning.part_files import clean_part, cleaned_report, finish_part
from tfpt.pipelines.cleaning.settings import Cleaning, library_versions
from tfpt.pipelines.corpus_cleaning import CleanedCorpus
from tfpt.pipelines.files import is_remote

# Machines that look for exact duplicates, each among its share of all hashes.
_SHARES = 16


def clean_documents_by_beam(
    documents: Any, path: str | Path, cleaning: Cleaning, options: Sequence[str] = ()
) -> CleanedCorpus:
    """Clean a corpus on the machines of a Beam runner.

    The files are those that `clean_documents` writes, to the byte. What was killed, stopped by
    Ctrl-C, or failed with its pipeline goes on when the call is repeated with the same sources;
    what is wrong with the sources leaves nothing behind.

    Args:
        documents: As `read_documents` gives them, from paths that all machines reach.
        path: The folder to write, which must not exist, of a file system that all machines share.
        cleaning: Which steps are on.
        options: Of the pipeline, as on a command line: `["--runner=DirectRunner"]`.

    Raises:
        FileExistsError: There is something at `path` already, or a folder begun otherwise.
        ValueError: As `clean_documents`; or Beam is not installed, `path` is in a bucket, or the
            documents are of a source of your own.
        OSError: The pipeline failed, or was cancelled.
    """
    check_beam(options)
    if is_remote(str(path)):
        raise ValueError(
            f"{path}: a corpus is cleaned in a folder of a file system that all machines share, "
            "such as NFS. Clean into one, and copy the result to the bucket."
        )
    target = Path(path).absolute()
    with corpus_cleaning.begun_cleaning(documents, target, cleaning) as begun, work_kept():
        identities = part_identities(begun.parts)
        send_parts(begun.parts, str(begun.partial))
        work = _Work(
            folder=begun.partial,
            digest=hashlib.sha256(f"{identities}{cleaning}".encode()).hexdigest(),
            num_parts=len(begun.parts),
            cleaning=cleaning,
            evaluation=begun.evaluation,
            libraries=library_versions(cleaning),
        )
        run_steps(str(begun.partial), _steps(work), options)
        return corpus_cleaning.end_cleaning(documents, target, cleaning, begun, _starts(work))


class _Work(NamedTuple):
    """What the pieces of work have in common."""

    folder: Path
    digest: str  # a process may work on another corpus, in a folder of the same name
    num_parts: int
    cleaning: Cleaning
    evaluation: str
    libraries: Any  # the versions of what decides


def _steps(work: _Work) -> list[Step]:
    def step(name: str, function: Any, num_pieces: int) -> Step:
        return Step(name, functools.partial(function, work), num_pieces)

    steps = [step("Clean", _clean, work.num_parts), step("Count", _count, 1)]
    if work.cleaning.exact_duplicates:
        steps += [
            step("Find duplicates", _find_exact, _SHARES),
            step("Decide on duplicates", _decide_exact, 1),
        ]
    if work.cleaning.near_duplicates:
        steps += [
            step("Find near duplicates", _find_near, num_bands(work.cleaning.near_duplicates)),
            step("Decide on near duplicates", _decide_near, 1),
        ]
    return [*steps, step("Finish", _finish, work.num_parts)]


def _clean(work: _Work, number: int) -> None:
    """The steps that look at one document at a time, of a part."""
    folder = part_work.part_folder(work.folder, number)
    if cleaned_report(folder) is not None:
        return
    here, there = library_versions(work.cleaning), work.libraries
    if here != there:
        raise ValueError(
            f"A worker has other libraries ({here}) than the machine that started the pipeline "
            f"({there}), and might clean otherwise. Install the same on both."
        )
    part = sent_part(str(work.folder), work.digest, number)
    evaluation = _evaluation(work.evaluation, work.digest) if work.evaluation else None
    with tempfile.TemporaryDirectory() as inside:
        clean_part(part, work.cleaning, Path(inside, "part"), evaluation)
        shared_folder.publish(Path(inside, "part"), str(folder), "part.json")


def _count(work: _Work, piece: int) -> None:
    """Number the documents that are left."""
    for name in ("repeated", "pairs", "finished", "joined"):
        (work.folder / name).mkdir(exist_ok=True)
    starts = corpus_cleaning.part_starts(work.folder, work.num_parts)
    shared_folder.write_text(f"{work.folder}/starts.json", json.dumps(starts))


def _find_exact(work: _Work, share: int) -> None:
    """Exact duplicates among a share of the hashes."""
    keys = (
        (block[mine], numbers[mine])
        for block, numbers in decisions.exact_keys(work.folder, _starts(work))
        for mine in [block["low"] % np.uint64(_SHARES) == share]
    )
    target = _repeated(work, share)
    written = shared_folder.beside(target)
    with tempfile.TemporaryDirectory() as inside, open(written, "wb") as file:
        for pair in earlier_documents(keys, Path(inside)):
            np.stack(pair, 1).astype("<i8").tofile(file)
    written.rename(target)


def _decide_exact(work: _Work, piece: int) -> None:
    found = (decisions.read_pairs(_repeated(work, share)) for share in range(_SHARES))
    decisions.write_decisions(work.folder, "exact_duplicates", _starts(work)[-1], found)


def _find_near(work: _Work, band: int) -> None:
    """Near duplicates among those that have the same values in a band."""
    decisions.find_pairs(str(work.folder), tuple(_starts(work)), work.cleaning, None, band)


def _decide_near(work: _Work, piece: int) -> None:
    bands = range(num_bands(work.cleaning.near_duplicates))
    found = (decisions.read_pairs(decisions.pairs_path(work.folder, band)) for band in bands)
    decisions.write_decisions(work.folder, "near_duplicates", _starts(work)[-1], found)


def _finish(work: _Work, number: int) -> None:
    """Write the final file of a part, then its report."""
    report_path = corpus_cleaning.finished_path(work.folder, number)
    if report_path.exists():
        return
    starts = _starts(work)
    decided = decisions.part_decisions(
        work.folder, starts[number], starts[number + 1], work.cleaning
    )
    written = shared_folder.beside(report_path)
    folder = part_work.part_folder(work.folder, number)
    report = finish_part(folder, written, decided, work.cleaning)
    written.rename(work.folder / "joined" / corpus_cleaning.part_name(number, work.num_parts))
    shared_folder.write_text(str(report_path), json.dumps(report))


def _repeated(work: _Work, share: int) -> Path:
    return work.folder / "repeated" / f"{share:03d}.bin"


def _starts(work: _Work) -> list[int]:
    return json.loads(shared_folder.read_text(f"{work.folder}/starts.json"))


@functools.lru_cache(maxsize=1)
def _evaluation(folder: str, digest: str) -> EvaluationTexts:
    load_evaluation_texts.cache_clear()
    return load_evaluation_texts(folder)
