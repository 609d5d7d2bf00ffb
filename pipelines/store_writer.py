"""Writing a token store: in parts, by all cores, to be gone on with when it was stopped.

While it is written, `NAME.partial/` beside the store holds

    plan.json, vocab.txt    what is written: a repeated call must be for the same
    parts/NNNNN/            the arrays of each part, with local offsets, and part.json
    joined/                 the store, renamed to its place when it is whole

A part gets its name when it is whole, and is then kept: a process that is killed loses the parts it
was working on.
"""

import contextlib
import errno
import fcntl
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tfpt import __version__
from tfpt.pipelines.store import (
    ARRAYS,
    DOCUMENT_OFFSETS,
    FORMAT,
    SENTENCE_OFFSETS,
    TOKEN_IDS,
    Store,
    checksums,
    open_store,
)
from tfpt.pipelines.store_parts import (
    Counts,
    part_description,
    token_dtype,
    write_part,
    write_whole,
    written_counts,
)
from tfpt.pipelines.store_process import start_process, write_part_in_process
from tfpt.pipelines.tokenizer import TextTokenizer

# Text of a part, in bytes: small enough to show progress and to lose little, large enough that
# starting on it costs nothing.
_PART = 16 << 20
# Below this much text for each process, starting one takes longer than its share.
_WORTH_A_PROCESS = 32 << 20
# Elements of an array of offsets that are shifted at once.
_OFFSETS_AT_ONCE = 1 << 20

# What a file system answers that cannot copy within the kernel.
_NO_SUCH_CALL = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP)
_LOCK = "lock"

Moved = Callable[[int, int], None]


def write_store(
    documents: Iterable[tuple[str, ...]],
    tokenizer: TextTokenizer,
    path: str | Path,
    *,
    num_workers: int | None = None,
    moved: Moved | None = None,
) -> Store:
    """Tokenize a corpus once and write it as a token store.

    The store appears at `path` when it is whole. An error leaves nothing behind. What was killed,
    or stopped by Ctrl-C, goes on when the call is repeated with the same sources, which must not
    have changed; it needs twice the room of the store on disk for a moment at its end. The files
    are the same to the byte, however many processes write them and however often they are stopped.

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
    partial = target.with_name(f"{target.name}.partial")
    if target.exists():
        if (target / "store.json").exists() and not (partial / "joined").exists():
            shutil.rmtree(partial, ignore_errors=True)  # of a process killed after its last step
        raise FileExistsError(
            f"{target} exists already. A store is never overwritten: remove it, or name another "
            "folder."
        )
    parts = documents.parts(_PART) if hasattr(documents, "parts") else [documents]
    plan = _plan(parts, tokenizer)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _begun(partial, plan, tokenizer):
        todo = _parts_to_write(parts, partial, moved or _unheard)
        workers = _num_processes(num_workers, todo.values())
        write = _write_here if workers == 1 else _write_in_processes
        write(todo, partial, tokenizer, workers, moved or _unheard)
        if hasattr(documents, "encodings"):
            documents.encodings.update(_encodings(partial, len(parts)))
        _join(partial, len(parts), tokenizer).rename(target)
    return open_store(target, tokenizer)


def _plan(parts: Sequence[Any], tokenizer: TextTokenizer) -> dict[str, Any] | None:
    """What a repeated call must have in common with the first; None where that cannot be told."""
    identities = [getattr(part, "identity", None) for part in parts]
    if None in identities:
        return None
    return {
        "format": FORMAT,
        "tfpt": __version__,
        "vocabulary_sha256": tokenizer.sha256,
        "parts": identities,
    }


def _encodings(partial: Path, num_parts: int) -> dict[str, str]:
    """What the files of all parts turned out to be written in."""
    found: dict[str, str] = {}
    for number in range(num_parts):
        found |= part_description(_part_folder(partial, number))["encodings"]
    return found


@contextlib.contextmanager
def _begun(partial: Path, plan: dict[str, Any] | None, tokenizer: TextTokenizer) -> Iterator[None]:
    """The folder to work in, new or gone on with; removed at the end, but not when interrupted."""
    partial.mkdir(exist_ok=True)
    with _locked(partial):
        if plan is None or not (partial / "plan.json").exists():
            _clear(partial)
        try:
            if plan is not None and (partial / "plan.json").exists():
                _check_plan(partial, plan)
            else:
                tokenizer.save(partial)
                (partial / "parts").mkdir()
                write_whole(partial / "plan.json", json.dumps(plan))
            yield
        except BaseException as error:
            # What was interrupted, or is of another call, stays.
            if plan is None or not isinstance(error, KeyboardInterrupt | FileExistsError):
                shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(partial)


def _clear(partial: Path) -> None:
    """Remove what a call left that was stopped before its plan was written."""
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


@contextlib.contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Two processes that write one store would destroy each other's work."""
    with open(partial / _LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FileExistsError(
                f"{partial} is being written by another process. Wait for it, or name another "
                "folder."
            ) from error
        yield


def _check_plan(partial: Path, plan: dict[str, Any]) -> None:
    begun = json.loads((partial / "plan.json").read_text(encoding="utf-8"))
    changed = [name for name, value in plan.items() if json.loads(json.dumps(value)) != begun[name]]
    if changed:
        what = "other sources" if changed == ["parts"] else f"another {', '.join(changed)}"
        raise FileExistsError(
            f"{partial} was begun with {what}, or they have changed since. Remove it to begin "
            "anew, or name another folder."
        )


def _num_processes(wanted: int | None, parts: Collection[Any]) -> int:
    if wanted is not None and wanted < 1:
        raise ValueError(f"`num_workers` must be at least 1; received {wanted}.")
    num_bytes = sum(getattr(part, "num_bytes", None) or 0 for part in parts)
    most = wanted or min(os.cpu_count() or 1, num_bytes // _WORTH_A_PROCESS)
    return max(1, min(most, len(parts)))


def _part_folder(partial: Path, number: int) -> Path:
    return partial / "parts" / f"{number:05d}"


def _parts_to_write(parts: Sequence[Any], partial: Path, moved: Moved) -> dict[int, Any]:
    """The parts, by number, that no earlier call has written."""
    todo = {}
    for number, part in enumerate(parts):
        counts = written_counts(_part_folder(partial, number))
        if counts is None:
            todo[number] = part
        else:
            moved(part.num_bytes or 0, counts.num_documents)
    return todo


def _unheard(num_bytes: int, num_documents: int) -> None:
    """Nobody wants to know."""


def _write_here(todo, partial: Path, tokenizer: TextTokenizer, workers: int, moved: Moved) -> None:
    for number, part in todo.items():
        counts = write_part(part, tokenizer, _part_folder(partial, number))
        moved(getattr(part, "num_bytes", None) or 0, counts.num_documents)


def _write_in_processes(
    todo, partial: Path, tokenizer: TextTokenizer, workers: int, moved: Moved
) -> None:
    # A fork would copy TensorFlow's threads in the middle of what they do.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, start_process, (str(partial),)) as pool:
        futures = {
            pool.submit(write_part_in_process, part, str(_part_folder(partial, number))): part
            for number, part in todo.items()
        }
        try:
            for future in as_completed(futures):
                moved(futures[future].num_bytes or 0, future.result().num_documents)
        except BrokenProcessPool as error:
            raise OSError(
                "A process that tokenized was ended from outside, maybe for want of memory. Repeat "
                "with fewer of them (num_workers)."
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _join(partial: Path, num_parts: int, tokenizer: TextTokenizer) -> Path:
    """The parts as one file for each array, with all that a store has, in a folder to rename."""
    joined = partial / "joined"
    shutil.rmtree(joined, ignore_errors=True)
    joined.mkdir()
    folders = [_part_folder(partial, number) for number in range(num_parts)]
    counts = [Counts(**part_description(folder)["counts"]) for folder in folders]
    total = Counts(*np.sum([list(asdict(one).values()) for one in counts], axis=0).tolist())
    if not total.num_tokens:
        raise ValueError("The corpus is empty: no document holds a token. Check the sources.")
    _concatenate([folder / TOKEN_IDS for folder in folders], joined / TOKEN_IDS)
    for name, sizes in (
        (SENTENCE_OFFSETS, [one.num_tokens for one in counts]),
        (DOCUMENT_OFFSETS, [one.num_sentences for one in counts]),
    ):
        _shift([folder / name for folder in folders], sizes, joined / name)
    tokenizer.save(joined)
    files = {}
    for name in ARRAYS:
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
    return joined


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
