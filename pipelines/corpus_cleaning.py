"""Cleaning a corpus: in parts, by all cores, to be gone on with when it was stopped.

While it is cleaned, `NAME.partial/` beside the folder holds what `part_work` says, and

    evaluation/             what to look for of evaluation texts
    parts/NNNNN/            each part after the steps that look at one document at a time
    exact_duplicates.bin, near_duplicates.bin       the decisions over all parts
    finished/NNNNN.json     the report of each part
    joined/                 the cleaned corpus, renamed to its place when it is whole
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial as bound
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfpt import config
from tfpt.pipelines import part_work
from tfpt.pipelines.cleaning import counts
from tfpt.pipelines.cleaning.decisions import decide_duplicates, part_decisions
from tfpt.pipelines.cleaning.languages import check_languages
from tfpt.pipelines.cleaning.overlap import (
    evaluation_texts,
    load_evaluation_texts,
    save_evaluation_texts,
)
from tfpt.pipelines.cleaning.page import write_page
from tfpt.pipelines.cleaning.part_files import (
    clean_part_in,
    cleaned_report,
    document_at,
    finish_part,
    part_description,
)
from tfpt.pipelines.cleaning.personal_data import check_regions
from tfpt.pipelines.cleaning.report import corpus_report, report_text
from tfpt.pipelines.cleaning.settings import (
    Cleaning,
    Repetition,
    check_cleaning,
    library_versions,
)
from tfpt.pipelines.documents import Documents, read_documents
from tfpt.pipelines.part_work import Moved, part_folder, write_whole

__all__ = ["CleanedCorpus", "Cleaning", "Repetition", "clean_documents"]

REPORT, PAGE = "report.json", "report.html"


class CleanedCorpus(NamedTuple):
    """A cleaned corpus, and what was done to it."""

    path: Path
    documents: Documents
    report: dict[str, Any]  # what report.json holds


def clean_documents(
    documents: Iterable[tuple[str, ...]],
    path: str | Path,
    cleaning: Cleaning,
    *,
    num_workers: int | None = None,
    moved: Moved | None = None,
) -> CleanedCorpus:
    """Clean a corpus by the steps that are on, and write it with a report.

    The folder appears at `path` when it is whole: a file of JSON Lines for each part of the
    sources, which `read_documents` reads; report.json and report.html. An error leaves nothing
    behind. What was killed, or stopped by Ctrl-C, goes on when the call is repeated with the same
    sources and settings. The files are the same to the byte, however many processes write them.

    Of a document whose line of JSON would have more than 16 million characters, each part of at
    most so many is a document of its own, in the counts too: so what is written can be read.

    The steps, in their order: Unicode normalization, length, repetition, languages, overlap with
    evaluation texts, personal data, exact duplicates, near duplicates. Of duplicates the first in
    the corpus stays.

    Memory does not grow with the corpus: a process holds one document, of at most 16 million
    characters, and 256 MB where it looks for duplicates. These take
    at most `cleaning.bytes_per_document` on disk for each document that is left by the steps
    before. The text of these is on disk too, and that of the cleaned corpus beside it at the end.

    Args:
        documents: The sentences of each document; see `read_documents`. Any other iterable is
            cleaned by this process, and cannot be gone on with.
        path: The folder to write; must not exist.
        cleaning: Which steps are on.
        num_workers: Processes; by default one for each core, fewer for little text. A script that
            calls this must guard its own work by `if __name__ == "__main__":`.
        moved: Called with the bytes of text and the documents that were looked at.

    Raises:
        FileExistsError: There is something at `path` already, or a folder begun otherwise.
        ValueError: No step is on, a library is missing, a language is not known, an evaluation
            source holds no text that can be looked for, or no document is left.
        OSError: The disk is full, or the folder cannot be written.
    """
    part_work.check_num_workers(num_workers)
    with begun_cleaning(documents, path, cleaning) as begun:
        partial, parts, evaluation = begun
        workers = part_work.num_processes(num_workers, parts)
        work = bound(clean_part_in, str(partial), cleaning, evaluation)
        _clean_parts(parts, partial, work, workers, moved or part_work.unheard)
        starts = part_starts(partial, len(parts))
        decide_duplicates(partial, np.diff(starts).tolist(), cleaning, workers)
        _finish_parts(partial, starts, cleaning, workers)
        return end_cleaning(documents, path, cleaning, begun, starts)


class Begun(NamedTuple):
    """A cleaning that was begun."""

    partial: Path  # the folder to work in
    parts: list[Any]
    evaluation: str  # the folder with what to look for of evaluation texts; empty: none


@contextlib.contextmanager
def begun_cleaning(documents: Any, path: str | Path, cleaning: Cleaning) -> Iterator[Begun]:
    """What is done before parts are cleaned; see `clean_documents`."""
    target = Path(path)
    partial = part_work.partial_folder(target)
    part_work.refuse_existing(target, noun="A cleaned corpus", last=REPORT, made="joined")
    check_cleaning(cleaning)
    check_languages(cleaning.keep_languages)
    if cleaning.personal_data:
        check_regions(cleaning.phone_regions)
    sources = {
        source: read_documents(source, field=cleaning.overlap_field, encoding="auto")
        for source in cleaning.overlap
    }
    parts = part_work.parts_of(documents)
    plan = part_work.plan_for(
        parts,
        cleaning=config.to_dict(cleaning),
        installation=library_versions(cleaning),
        evaluation=[source.identity for source in sources.values()],
    )
    with part_work.begun(partial, plan):
        yield Begun(partial, parts, _evaluation(partial, sources, cleaning))


def end_cleaning(
    documents: Any, path: str | Path, cleaning: Cleaning, begun: Begun, starts: list[int]
) -> CleanedCorpus:
    """What is done when all parts are finished; see `clean_documents`.

    Args:
        documents, path, cleaning: As of `clean_documents`.
        begun: As `begun_cleaning` gives it.
        starts: As `part_starts` gives them.
    """
    partial, target = begun.partial, Path(path)
    numbers = range(len(begun.parts))
    if hasattr(documents, "encodings"):
        documents.encodings.update(_encodings(partial, len(numbers)))
    reports = (json.loads(finished_path(partial, number).read_text()) for number in numbers)
    report = _report(partial, reports, starts, cleaning, begun.evaluation)
    write_whole(partial / "joined" / REPORT, report_text(report))
    write_page(report, partial / "joined" / PAGE)
    (partial / "joined").rename(target)
    return CleanedCorpus(target, read_documents(target), report)


def _evaluation(partial: Path, sources: dict[str, Documents], cleaning: Cleaning) -> str:
    """The folder with what to look for of evaluation texts; empty where there are none."""
    folder = partial / "evaluation"
    if not sources:
        return ""
    if not folder.exists():
        beside = folder.with_suffix(".tmp")
        shutil.rmtree(beside, ignore_errors=True)
        save_evaluation_texts(evaluation_texts(sources.items(), cleaning.overlap_words), beside)
        beside.rename(folder)
    load_evaluation_texts.cache_clear()  # a folder of this name may have been another's
    return str(folder)


def _clean_parts(parts: Sequence[Any], partial: Path, work, workers: int, moved: Moved) -> None:
    """Clean all parts that no earlier call has cleaned."""
    todo = {}
    for number, part in enumerate(parts):
        report = cleaned_report(part_folder(partial, number))
        if report is None:
            todo[number] = part
        else:
            moved(part.num_bytes or 0, report["before"]["documents"])
    part_work.work_on(todo, work, moved, min(workers, max(1, len(todo))))


def _encodings(partial: Path, num_parts: int) -> dict[str, str]:
    """What the files of all parts turned out to be written in."""
    found: dict[str, str] = {}
    for number in range(num_parts):
        found |= part_description(part_folder(partial, number))["encodings"]
    return found


def part_starts(partial: Path, num_parts: int) -> list[int]:
    """The number of the first document of each part, and that of all."""
    folders = [part_folder(partial, number) for number in range(num_parts)]
    sizes = [part_description(folder)["report"]["after"]["documents"] for folder in folders]
    return np.cumsum([0, *sizes]).tolist()


def _finish_parts(partial: Path, starts: list[int], cleaning: Cleaning, workers: int) -> None:
    """Write the final files of all parts that no earlier call has written."""
    for name in ("joined", "finished"):
        (partial / name).mkdir(exist_ok=True)
    numbers = range(len(starts) - 1)
    # Each part with its own place alone: with that of all, their number would count twice.
    todo = {
        number: tuple(starts[number : number + 2])
        for number in numbers
        if not finished_path(partial, number).exists()
    }
    work = bound(finish_part_in, str(partial), len(numbers), cleaning)
    part_work.work_on(todo, work, part_work.unheard, min(workers, max(1, len(todo))))


def finish_part_in(
    partial: str, num_parts: int, cleaning: Cleaning, part: tuple[int, int], number: int
) -> int:
    """`finish_part` for a process; what was written has a report beside it when it is whole.

    Args:
        partial: The folder to work in.
        num_parts: Of the corpus.
        cleaning: Which steps are on.
        part: The number of its first document, and of the first behind it.
        number: That of the part.

    Returns:
        0, since no document of the sources is done by it.
    """
    folder = Path(partial)
    decisions = part_decisions(folder, *part, cleaning)
    file = folder / "joined" / part_name(number, num_parts)
    report = finish_part(part_folder(folder, number), file, decisions, cleaning)
    write_whole(finished_path(folder, number), json.dumps(report))
    return 0


def part_name(number: int, num_parts: int) -> str:
    """The name of a part's file in a cleaned corpus; sorted by name, they are in order."""
    return f"{number:0{max(5, len(str(num_parts - 1)))}d}.jsonl"


def finished_path(partial: Path, number: int) -> Path:
    """Where the report of a finished part lies."""
    return partial / "finished" / f"{number:05d}.json"


def _report(
    partial: Path,
    reports: Iterable[counts.Report],
    starts: list[int],
    cleaning: Cleaning,
    evaluation: str,
) -> dict[str, Any]:
    """The report of the corpus; earlier documents are shown beside those that repeat them."""

    def text_of(number: int) -> str:
        part = int(np.searchsorted(starts, number, "right")) - 1
        document = document_at(part_folder(partial, part), number - starts[part])
        return counts.shortened(" ".join(document))

    merged = counts.merge_reports(reports, cleaning.num_examples)
    texts = load_evaluation_texts(evaluation) if evaluation else None
    return corpus_report(merged, cleaning, texts, text_of)
