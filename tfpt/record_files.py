"""Small files, text and JSON, written as a whole or not at all."""

import json
import uuid
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    # Others may write the same file, on other machines too.
    partial = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk does not tell which file it was
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as a whole or not at all."""
    write_text(path, to_json(value))


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is damaged: {error}.") from error


def to_json(value: Any) -> str:
    """As it is written."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
