"""Work on the parts of a corpus: by all cores, to be gone on with when it was stopped.

While the folder `NAME` is made, `NAME.partial/` beside it holds

    lock            held by the process that works
    plan.json       what is made: a repeated call must be for the same
    parts/NNNNN     what was made of each part

What is made of a part gets its name when it is whole, and is then kept: a process that is killed
loses the parts it was working on.
"""

import contextlib
import errno
import fcntl
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tfpt import __version__

# Text of a part, in bytes: small enough to show progress and to lose little, large enough that
# starting on it costs nothing.
PART_BYTES = 16 << 20
# Below this much text for each process, starting one takes longer than its share.
_WORTH_A_PROCESS = 32 << 20
# What a file system answers that has no locks: NFS without its lock service, Lustre, some of FUSE.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_BUCKET = re.compile(r"[a-z][a-z0-9]+:/", re.IGNORECASE)  # `Path` makes one slash of two
_LOCK = "lock"
_PLAN = "plan.json"

Moved = Callable[[int, int], None]


class UnfinishedError(OSError):
    """Work ended before it was done, by no fault of the sources: what is done of it stays."""


def unheard(num_bytes: int, num_documents: int) -> None:
    """A `moved` for when nobody wants to know."""


def parts_of(documents: Any) -> list[Any]:
    """The parts of documents as `read_documents` gives them; any other iterable is one part."""
    return documents.parts(PART_BYTES) if hasattr(documents, "parts") else [documents]


def plan_for(parts: Sequence[Any], **settings: Any) -> dict[str, Any] | None:
    """What a repeated call must have in common with the first; None where that cannot be told."""
    identities = [getattr(part, "identity", None) for part in parts]
    if None in identities:
        return None
    return {**settings, "tfpt": __version__, "parts": identities}


def refuse_existing(target: Path, *, noun: str, last: str, made: str) -> None:
    """Raise FileExistsError where there is something at `target`; ValueError where it is a bucket.

    Args:
        target: The folder to make.
        noun: What it is to be, as "A store".
        last: The file without which it would not be whole.
        made: Where it lies in `NAME.partial/` until it is renamed.
    """
    if _BUCKET.match(str(target)):
        raise ValueError(
            f"{str(target).replace(':/', '://', 1)}: {noun.lower()} is written to a folder of this "
            "machine. Name one, and copy the result to the bucket; a store is also written to a "
            "bucket by a pipeline (--beam, `write_store_by_beam`)."
        )
    if not target.exists():
        return
    partial = partial_folder(target)
    if (target / last).exists() and not (partial / made).exists():
        shutil.rmtree(partial, ignore_errors=True)  # of a process killed after its last step
    raise FileExistsError(
        f"{target} exists already. {noun} is never overwritten: remove it, or name another folder."
    )


def partial_folder(target: Path) -> Path:
    """Where `target` is made."""
    return target.with_name(f"{target.name}.partial")


def part_folder(partial: Path, number: int) -> Path:
    """Where what was made of a part lies."""
    return partial / "parts" / f"{number:05d}"


@contextlib.contextmanager
def begun(
    partial: Path, plan: dict[str, Any] | None, prepare: Callable[[Path], Any] | None = None
) -> Iterator[None]:
    """The folder to work in, new or gone on with; removed at the end, and where there is an error.

    It stays after an interruption or an `UnfinishedError`: hours of work may be in the parts.

    Args:
        partial: As `partial_folder` gives it.
        plan: As `plan_for` gives it; with None, nothing is gone on with.
        prepare: Called with `partial` where it is new.

    Raises:
        FileExistsError: Another process works in it, or it was begun by another plan.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.mkdir(exist_ok=True)
    with _locked(partial):
        if plan is None or not (partial / _PLAN).exists():
            _clear(partial)
        try:
            if plan is not None and (partial / _PLAN).exists():
                _check_plan(partial, plan)
            else:
                if prepare is not None:
                    prepare(partial)
                (partial / "parts").mkdir()
                write_whole(partial / _PLAN, json.dumps(plan))
            yield
        except BaseException as error:
            # A FileExistsError: it is of another call.
            stays = isinstance(error, KeyboardInterrupt | FileExistsError | UnfinishedError)
            if plan is None or not stays:
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
    """Two processes that write one folder would destroy each other's work."""
    with open(partial / _LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(
                f"{partial} is being written by another process. Wait for it, or name another "
                "folder."
            ) from error
        except OSError as error:
            # Without locks nobody could work there at all; who starts two calls at once can know.
            if error.errno not in _NO_LOCKS:
                raise OSError(error.errno, error.strerror, file.name) from error
        yield


def _check_plan(partial: Path, plan: dict[str, Any]) -> None:
    begun_with = json.loads((partial / _PLAN).read_text(encoding="utf-8"))
    now = json.loads(json.dumps(plan))
    # A folder of another kind has other fields.
    changed = [name for name in now if name not in begun_with or now[name] != begun_with[name]]
    if changed:
        what = "other sources" if changed == ["parts"] else f"another {', '.join(changed)}"
        raise FileExistsError(
            f"{partial} was begun with {what}, or they have changed since. Remove it to begin "
            "anew, or name another folder."
        )


def write_whole(path: Path, text: str) -> None:
    """A file that is there is whole, also after the machine lost its power."""
    beside = path.with_name(f"{path.name}.tmp")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def check_num_workers(num_workers: int | None) -> None:
    """Raise ValueError for a number of processes that cannot be."""
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"`num_workers` must be at least 1; received {num_workers}.")


def num_processes(wanted: int | None, parts: Collection[Any]) -> int:
    """How many processes work on these parts: at most `wanted`, or one for each core."""
    num_bytes = sum(getattr(part, "num_bytes", None) or 0 for part in parts)
    most = wanted or min(os.cpu_count() or 1, num_bytes // _WORTH_A_PROCESS)
    return max(1, min(most, len(parts)))


def start_process() -> None:
    """What a process that works on parts does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot tell; nobody would take what is written."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def work_on(
    todo: Mapping[int, Any], work: Callable[[Any, int], int], moved: Moved, num_workers: int
) -> None:
    """Do all parts in this process where `num_workers` is 1, else in so many others."""
    if num_workers == 1:
        work_here(todo, work, moved)
    else:
        work_in_processes(todo, work, moved, num_workers=num_workers)


def work_here(todo: Mapping[int, Any], work: Callable[[Any, int], int], moved: Moved) -> None:
    """Do all parts in this process, one after the other.

    Args:
        todo: Parts by number.
        work: Takes a part and its number, gives the number of documents that were done.
        moved: Called with the bytes and the documents of each part that was done.
    """
    for number, part in todo.items():
        num_documents = work(part, number)
        moved(getattr(part, "num_bytes", None) or 0, num_documents)


def work_in_processes(
    todo: Mapping[int, Any],
    work: Callable[[Any, int], int],
    moved: Moved,
    *,
    num_workers: int,
    start: Callable[[], None] = start_process,
) -> None:
    """Do all parts in several processes, which end with this one.

    Args:
        todo: Parts by number; can be pickled.
        work: As of `work_here`; can be pickled.
        moved: As of `work_here`; called in this process, in the order of completion.
        num_workers: How many processes.
        start: Called at the start of each process; calls `start_process`.

    Raises:
        UnfinishedError: A process was ended from outside.
    """
    # A fork would copy TensorFlow's threads in the middle of what they do.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, start) as pool:
        futures = {pool.submit(work, part, number): part for number, part in todo.items()}
        try:
            for future in as_completed(futures):
                moved(getattr(futures[future], "num_bytes", None) or 0, future.result())
        except BrokenProcessPool as error:
            raise UnfinishedError(
                "A process that worked on a part was ended from outside, maybe for want of memory. "
                "Repeat it with fewer of them (num_workers): it goes on where it was."
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
