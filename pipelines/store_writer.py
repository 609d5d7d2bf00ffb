"""Writing a token store: in parts, by all cores, to be gone on with when it was stopped.

While it is written, `NAME.partial/` beside the store holds what `part_work` says, and

    vocab.txt               the vocabulary
    parts/NNNNN/            the arrays of each part, with local offsets, and part.json
    joined/                 the store, renamed to its place when it is whole
"""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np

from tfpt import __version__
from tfpt.pipelines import part_work
from tfpt.pipelines.examples import keep_usual_examples
from tfpt.pipelines.part_work import Moved, part_folder, write_whole
from tfpt.pipelines.store import (
    DOCUMENT_OFFSETS,
    FORMAT,
    SENTENCE_OFFSETS,
    TOKEN_IDS,
    WORD_STARTS,
    Store,
    checksums,
    open_store,
)
from tfpt.pipelines.store_parts import (
    Counts,
    check_segmented,
    part_description,
    token_dtype,
    write_part,
    written_counts,
)
from tfpt.pipelines.store_process import start_process, write_part_in_process
from tfpt.pipelines.tokenizer import TextTokenizer

# Elements of an array of offsets that are shifted at once.
_OFFSETS_AT_ONCE = 1 << 20

# Tokens on average; English sentences have 20 to 30.
_LONG_SENTENCE = 100

# What a file system answers that cannot copy within the kernel.
_NO_SUCH_CALL = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP)


def write_store(
    documents: Iterable[tuple[str, ...]],
    tokenizer: TextTokenizer,
    path: str | Path,
    *,
    num_workers: int | None = None,
    moved: Moved | None = None,
) -> Store:
    """Tokenize a corpus once and write it as a token store.

    The store appears at `path` when it is whole. An error leaves nothing behind. What was stopped
    by Ctrl-C, or killed, or lost a process, goes on when the call is repeated with the same
    sources, which must not have changed; it needs twice the room of the store on disk for a moment
    at its end. The files are the same to the byte, however many processes write them and however
    often they are stopped.

    Memory does not grow with the corpus: at most a part, 16 MB of text, is in the hands of a
    process, and of a document no more than 16 million characters.

    Args:
        documents: The sentences of each document; see `read_documents`. Any other iterable is
            written by this process, and cannot be gone on with.
        tokenizer: Its vocabulary is saved inside the store.
        path: The folder to write; must not exist.
        num_workers: Processes that tokenize; by default one for each core, fewer for little text.
            A script that calls this must guard its own work by `if __name__ == "__main__":`, since
            the processes import it.
        moved: Called with the bytes of text and the documents that were added.

    Raises:
        FileExistsError: There is something at `path` already, or a store begun with other sources
            or another vocabulary.
        ValueError: The corpus holds no text.
        OSError: The disk is full, or the folder cannot be written.
    """
    target = Path(path)
    partial = part_work.partial_folder(target)
    part_work.refuse_existing(target, noun="A store", last="store.json", made="joined")
    part_work.check_num_workers(num_workers)
    check_segmented(documents, tokenizer)
    parts = part_work.parts_of(documents)
    plan = part_work.plan_for(parts, format=FORMAT, vocabulary_sha256=tokenizer.sha256)
    with part_work.begun(partial, plan, tokenizer.save):
        _write_parts(parts, partial, tokenizer, num_workers, moved or part_work.unheard)
        if hasattr(documents, "encodings"):
            documents.encodings.update(part_encodings(partial, len(parts)))
        joined = partial / "joined"
        join_parts(partial, len(parts), tokenizer, joined)
        joined.rename(target)
    store = open_store(target, tokenizer)
    if store.num_tokens > _LONG_SENTENCE * store.num_sentences:
        warnings.warn(
            f"The sentences of {target} have {store.num_tokens // store.num_sentences:,} tokens on "
            'average. Paragraphs are split into sentences by layout="text", where sentences end.',
            stacklevel=2,
        )
    keep_usual_examples(store)
    return store


def _write_parts(
    parts: Sequence[Any],
    partial: Path,
    tokenizer: TextTokenizer,
    num_workers: int | None,
    moved: Moved,
) -> None:
    """Write the arrays of all parts that no earlier call has written."""
    todo = {}
    for number, part in enumerate(parts):
        counts = written_counts(part_folder(partial, number))
        if counts is None:
            todo[number] = part
        else:
            moved(part.num_bytes or 0, counts.num_documents)
    workers = part_work.num_processes(num_workers, todo.values())
    if workers == 1:

        def write(part: Any, number: int) -> int:
            return write_part(part, tokenizer, part_folder(partial, number)).num_documents

        part_work.work_here(todo, write, moved)
        return
    part_work.work_in_processes(
        todo,
        bound(write_part_in_process, str(partial)),
        moved,
        num_workers=workers,
        start=bound(start_process, str(partial)),
    )


def part_encodings(partial: Path, num_parts: int) -> dict[str, str]:
    """What the files of all parts turned out to be written in."""
    found: dict[str, str] = {}
    for number in range(num_parts):
        found |= part_description(part_folder(partial, number))["encodings"]
    return found


def join_parts(partial: Path, num_parts: int, tokenizer: TextTokenizer, joined: Path) -> None:
    """Write the parts as one file for each array, with all that a store has, into `joined`."""
    shutil.rmtree(joined, ignore_errors=True)
    joined.mkdir()
    folders = [part_folder(partial, number) for number in range(num_parts)]
    parts = [part_description(folder) for folder in folders]
    counts = [Counts(**part["counts"]) for part in parts]
    total = Counts(*np.sum([list(asdict(one).values()) for one in counts], axis=0).tolist())
    if not total.num_tokens:
        raise ValueError("The corpus is empty: no document holds a token. Check the sources.")
    names = list(parts[0]["files"])
    for name in {TOKEN_IDS, WORD_STARTS}.intersection(names):
        _concatenate([folder / name for folder in folders], joined / name)
    for name, sizes in (
        (SENTENCE_OFFSETS, [one.num_tokens for one in counts]),
        (DOCUMENT_OFFSETS, [one.num_sentences for one in counts]),
    ):
        _shift([folder / name for folder in folders], sizes, joined / name)
    tokenizer.save(joined)
    files = {}
    for name in names:
        size = (joined / name).stat().st_size
        files[name] = {"bytes": size, "blocks": checksums(joined / name)}
    description = {
        "format": FORMAT,
        "tfpt": __version__,
        **asdict(total),
        "token_dtype": token_dtype(tokenizer).name,
        "vocabulary_sha256": tokenizer.sha256,
        "files": files,
    }
    write_whole(joined / "store.json", json.dumps(description, indent=2) + "\n")


def _concatenate(paths: Sequence[Path], target: Path) -> None:
    """The kernel copies, or shares blocks where the file system can."""
    with open(target, "wb") as out:
        for path in paths:
            with open(path, "rb") as file:
                left = os.fstat(file.fileno()).st_size
                try:
                    while left:
                        left -= os.copy_file_range(file.fileno(), out.fileno(), left)
                except OSError as error:
                    if error.errno in _NO_SUCH_CALL:
                        shutil.copyfileobj(file, out, 1 << 20)
                        out.flush()
                        continue
                    raise


def _shift(paths: Sequence[Path], sizes: Sequence[int], target: Path) -> None:
    """Local offsets to those of the whole: each part begins where those before it end."""
    base = 0
    with open(target, "wb") as out:
        out.write(np.zeros(1, "<i8").tobytes())
        for path, size in zip(paths, sizes, strict=True):
            with open(path, "rb") as file:
                while len(offsets := np.fromfile(file, "<i8", _OFFSETS_AT_ONCE)):
                    out.write((offsets + base).tobytes())
            base += size
