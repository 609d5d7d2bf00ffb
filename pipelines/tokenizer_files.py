"""Reading and writing vocabulary files: one entry a line, and JSON."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def check_entries(entries: Sequence[str], source: str, place: str, *, first: int) -> None:
    """Raise a ValueError for entries that are empty, broken or there twice.

    Args:
        entries: In the order of their ids.
        source: The file, for the message.
        place, first: What an entry's number is called, and the number of the first entry.
    """
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries, first):
        if not entry or "\n" in entry:
            what = "is empty" if not entry else "holds a line break"
            raise ValueError(
                f"{place} {number} of {source} {what}: {entry!r}. Each entry is a piece of a word; "
                "take a whole vocabulary file."
            )
        if entry in seen:
            raise ValueError(
                f"{source} holds {entry!r} twice, at {place} {seen[entry]} and {place} {number}. "
                "Remove one, or rename it to an entry that no text holds, as [unused0], to keep "
                "the ids of the others."
            )
        seen[entry] = number


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file. Only "\\n" ends one: entries of others hold other separators."""
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines[-1] in (b"", b"\r"):
        lines.pop()
    texts = []
    for number, line in enumerate(lines, 1):
        try:
            texts.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number} is not UTF-8: {line!r}.") from error
    return texts


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is damaged: {error}. Take a whole file.") from error


def entries_by_id(ids: Any, source: str) -> list[str]:
    """The entries of a mapping from entry to id, in the order of their ids.

    Raises:
        ValueError: It is no such mapping, or its ids are not 0, 1, 2 and so on.
    """
    if not isinstance(ids, dict) or not all(isinstance(number, int) for number in ids.values()):
        raise ValueError(f"{source} is not a vocabulary: a JSON object from each entry to its id.")
    entries = sorted(ids, key=lambda entry: ids[entry])
    for expected, entry in enumerate(entries):
        if ids[entry] != expected:
            raise ValueError(
                f"{source} gives {entry!r} the id {ids[entry]}, where {expected} comes next: the "
                "ids of a vocabulary count up from 0 without a gap. Take a whole file."
            )
    return entries


def check_fields(expected: Mapping[str, tuple[Any, Any]], source: str) -> None:
    """Raise a ValueError that names the fields of a file which say what is not supported.

    Args:
        expected: By the name of the field, what it says and what it should say.
    """
    others = [
        f"{name} is {json.dumps(received)}, not {json.dumps(wanted)}"
        for name, (received, wanted) in expected.items()
        if received != wanted
    ]
    if others:
        raise ValueError(
            f"{source} cuts texts in a way that cannot be followed exactly: {'; '.join(others)}. "
            "Train a vocabulary of your own (`tfpt vocabulary`), or take one without that."
        )


def digest(*lines: str) -> str:
    """The sha256 of lines."""
    return bytes_digest("\n".join(lines).encode("utf-8"))


def bytes_digest(content: bytes) -> str:
    """The sha256 of the content of a file."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the place of `path` if nothing is raised."""
    beside = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whose lines end in "\\n" on any system."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def file_path(path: str | os.PathLike[str], ending: str, name: str) -> Path:
    """`path` if it ends in `ending`, else the file `name` in the folder `path`.

    Raises:
        ValueError: `path` has the ending of another kind of vocabulary.
    """
    path = Path(path)
    if path.suffix == ending:
        return path
    if path.suffix in (".txt", ".json", ".model") and not path.is_dir():
        raise ValueError(
            f"{path}: a vocabulary of this kind is a file ending in {ending}, or a folder. Name it "
            "so."
        )
    return path / name
