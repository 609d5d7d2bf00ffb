"""Writing a token store by an Apache Beam pipeline. See BEYOND_ONE_MACHINE.md.

`NAME.partial/`, which all machines reach, holds what store_writer.py says, and

    parts.pickle            the parts, since the graph of a job has no room for thousands
    result.json             what was written
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfpt.pipelines import part_work, shared_folder
from tfpt.pipelines.beam_pipeline import (
    Step,
    check_beam,
    part_identities,
    run_steps,
    send_parts,
    sent_part,
    work_kept,
)
from tfpt.pipelines.files import is_remote
from tfpt.pipelines.store_process import import_tensorflow
from tfpt.pipelines.tokenizer import TextTokenizer

_LAST_OF_STORE, _LAST_OF_PART = "store.json", "part.json"
_COUNTS = ("tokens", "sentences", "documents")


def write_store_by_beam(
    documents: Any, tokenizer: TextTokenizer, path: str | Path, options: Sequence[str] = ()
) -> dict[str, int]:
    """Tokenize a corpus once, on the machines of a Beam runner, and write it as a token store.

    The files are those that `write_store` writes, to the byte; but in a bucket, the examples of a
    large store are not found before a training begins. What was killed, stopped by Ctrl-C, or
    failed with its pipeline goes on when the call is repeated with the same sources; what is wrong
    with the sources leaves nothing behind.

    Args:
        documents: As `read_documents` gives them, from paths that all machines reach.
        tokenizer: Its vocabulary is saved inside the store.
        path: The folder to write, which must not exist; all machines reach it. Of a file system
            that they share, or in a bucket, as gs://BUCKET/stores/wiki: to train on such a store,
            copy it to the machines that draw from it.
        options: Of the pipeline, as on a command line: `["--runner=DirectRunner"]`.

    Returns:
        How many `tokens`, `sentences` and `documents` the store holds.

    Raises:
        FileExistsError: There is something at `path` already, or a store begun with other sources
            or another vocabulary.
        ValueError: Beam is not installed, the documents are of a source of your own, the corpus
            holds no text, or what is wrong with the sources or the options; names the first 20.
        OSError: The pipeline failed, or was cancelled.
    """
    from tfpt.pipelines.examples import keep_usual_examples
    from tfpt.pipelines.store import FORMAT, open_store
    from tfpt.pipelines.store_parts import check_segmented

    check_beam(options)
    check_segmented(documents, tokenizer)
    target = str(path).rstrip("/") if is_remote(str(path)) else os.path.abspath(path)
    parts = part_work.parts_of(documents)
    part_identities(parts)  # raises where there are none
    plan = part_work.plan_for(parts, format=FORMAT, vocabulary_sha256=tokenizer.sha256)
    begun = _begun_in_bucket if is_remote(target) else _begun
    with begun(target, plan, tokenizer) as folder, work_kept():
        send_parts(parts, folder)
        digest = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
        work = _Work(folder, target, len(parts), digest)
        write = Step("Tokenize", functools.partial(_write_part, work), len(parts))
        join = Step("Join", functools.partial(_join, work), 1)
        run_steps(folder, [write, join], options)
        result = json.loads(shared_folder.read_text(f"{folder}/result.json"))
    if not is_remote(target):
        keep_usual_examples(open_store(target))
    if hasattr(documents, "encodings"):
        documents.encodings.update(result["encodings"])
    return result["counts"]


class _Work(NamedTuple):
    """What the pieces of work have in common."""

    folder: str
    target: str
    num_parts: int
    digest: str  # of the plan: a process may work on another one, in a folder of the same name


@contextlib.contextmanager
def _begun(target: str, plan: dict[str, Any] | None, tokenizer: TextTokenizer) -> Iterator[str]:
    """The folder to work in."""
    place = Path(target)
    part_work.refuse_existing(place, noun="A store", last=_LAST_OF_STORE, made="joined")
    partial = part_work.partial_folder(place)
    with part_work.begun(partial, plan, tokenizer.save):
        yield str(partial)


@contextlib.contextmanager
def _begun_in_bucket(
    target: str, plan: dict[str, Any] | None, tokenizer: TextTokenizer
) -> Iterator[str]:
    """The same where there are no locks."""
    folder = f"{target}.partial"
    if shared_folder.exists(f"{target}/{_LAST_OF_STORE}"):
        raise FileExistsError(
            f"{target} exists already. A store is never overwritten: remove it, or name another "
            "folder."
        )
    text = json.dumps(plan)
    if shared_folder.exists(f"{folder}/plan.json"):
        if shared_folder.read_text(f"{folder}/plan.json") != text:
            raise FileExistsError(
                f"{folder} was begun with other sources, which may have changed, or another "
                "vocabulary. Remove it to begin anew, or name another folder."
            )
    else:
        with tempfile.TemporaryDirectory() as here:
            tokenizer.save(here)
            Path(here, "plan.json").write_text(text, encoding="utf-8")
            shared_folder.publish(Path(here), folder, "plan.json")
    try:
        yield folder
    except ValueError:
        shared_folder.remove(folder)
        raise
    shared_folder.remove(folder)


def _write_part(work: _Work, number: int) -> None:
    """Write the arrays of a part, where no earlier attempt has."""
    import_tensorflow()
    from tfpt.pipelines.store_parts import write_part, written_counts

    folder = f"{work.folder}/parts/{number:05d}"
    if is_remote(folder):
        if shared_folder.exists(f"{folder}/{_LAST_OF_PART}"):
            return
    elif written_counts(Path(folder)) is not None:
        return
    part = sent_part(work.folder, work.digest, number)
    with tempfile.TemporaryDirectory() as here:
        write_part(part, _tokenizer(work.folder, work.digest), Path(here, "part"))
        shared_folder.publish(Path(here, "part"), folder, _LAST_OF_PART)


def _join(work: _Work, number: int) -> None:
    """Make the store of all parts, and tell what it holds."""
    import_tensorflow()
    from tfpt.pipelines import store_writer

    if shared_folder.exists(f"{work.target}/{_LAST_OF_STORE}"):
        return  # of an earlier attempt
    tokenizer = _tokenizer(work.folder, work.digest)
    with contextlib.ExitStack() as stack:
        partial = Path(work.folder)
        if is_remote(work.folder):
            partial = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            numbers = range(work.num_parts)
            folders = [f"parts/{number:05d}" for number in numbers]
            shared_folder.fetch({f"{work.folder}/{name}": partial / name for name in folders})
        joined = shared_folder.beside(partial / "joined")
        stack.callback(shutil.rmtree, joined, ignore_errors=True)  # where there is an error
        store_writer.join_parts(partial, work.num_parts, tokenizer, joined)
        written = json.loads((joined / _LAST_OF_STORE).read_text(encoding="utf-8"))
        result = {
            "counts": {name: written[f"num_{name}"] for name in _COUNTS},
            "encodings": store_writer.part_encodings(partial, work.num_parts),
        }
        shared_folder.write_text(f"{work.folder}/result.json", json.dumps(result))
        if is_remote(work.target):
            shared_folder.publish(joined, work.target, _LAST_OF_STORE)
        else:
            shared_folder.move(joined, work.target, _LAST_OF_STORE)


@functools.lru_cache(maxsize=1)
def _tokenizer(folder: str, digest: str) -> TextTokenizer:
    """Loaded once in a process, not for each part."""
    return shared_folder.saved_tokenizer(folder)
