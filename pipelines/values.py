"""What stands in the columns of labelled texts: a text, a class, several classes, a score.

Each reader takes a value as `records.read_columns` gives it and the name of its column, and raises
a ValueError that names the column; who reads a file adds the place.
"""

from collections.abc import Callable, Iterable
from typing import Any

# A class, several, or a score.
Label = str | float | tuple[str, ...]
ReadLabel = Callable[[Any, str], Label]

_LARGEST = 3.4e38  # of float32, in which scores are trained on


def text_of(value: Any, column: str) -> str:
    """A text, which may be empty."""
    if not isinstance(value, str):
        raise ValueError(f"the field `{column}` must be text; received {value!r:.60}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can write half a character, as "\ud83d"; no UTF-8 text can hold it.
        raise ValueError(f"the field `{column}` holds half of a surrogate pair.") from None
    return value


def class_of(value: Any, column: str) -> str:
    """The name of a class: text, a whole number, true or false."""
    if not isinstance(value, str | int):
        raise ValueError(
            f"the field `{column}` must be text, a whole number, true or false; received "
            f"{value!r:.60}."
        )
    name = str(value).lower() if isinstance(value, bool) else text_of(str(value), column).strip()
    if not name:
        raise ValueError("the label is empty. Write one, or remove the row.")
    return name


def classes_of(value: Any, column: str, *, separator: str) -> tuple[str, ...]:
    """The names of classes, each once: a list of them, or text with a separator between two.

    An empty list and a blank text name none.
    """
    if not isinstance(value, str | list):
        raise ValueError(
            f"the field `{column}` must be a list of labels, or text with {separator!r} between "
            f"two of them; received {value!r:.60}. A row without a label has an empty list or text."
        )
    if isinstance(value, str):
        value = text_of(value, column)
        parts: list[Any] = value.split(separator) if value.strip() else []
    else:
        parts = value
    if any(isinstance(part, str) and not part.strip() for part in parts):
        raise ValueError(
            f"the field `{column}` has an empty label among others: {value!r:.60}. Take it out."
        )
    return tuple(dict.fromkeys(class_of(part, column) for part in parts))


def score_of(value: Any, column: str) -> float:
    """A finite number, or the text of one."""
    if isinstance(value, str) and not value.strip():
        raise ValueError(f"the field `{column}` is empty. Write a number, or remove the row.")
    try:
        score = float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        score = float("nan")
    if not abs(score) <= _LARGEST:  # nor NaN
        raise ValueError(
            f"the field `{column}` must be a finite number; received {value!r:.60}. Correct it, or "
            "remove the row."
        )
    return score


def classes_in(label: Label) -> tuple[str, ...]:
    """The classes that a label names: one, several, or none where it is a score."""
    if isinstance(label, tuple):
        return label
    return (label,) if isinstance(label, str) else ()


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes in a fixed order: whole numbers by size, anything else by the alphabet."""
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(names))
