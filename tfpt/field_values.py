"""Values of the fields of a configuration, from text and from JSON, by the type of the field."""

import math
import types
import typing
from typing import Any


def parse(text: str, kind: Any, name: str) -> Any:
    """The text of an override as a value of the field's type.

    Raises:
        ValueError: It is none; the message names the field.
    """
    options = typing.get_args(kind) if _is_union(kind) else (kind,)
    if type(None) in options and text.lower() in ("none", ""):
        return None
    for option in options:
        if option is str:
            return text
        if option is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if option is int:
            try:
                return int(text.replace("_", ""))
            except ValueError:
                continue
        if option is float:
            try:
                return convert(float(text), float, name)
            except ValueError:
                continue
        if typing.get_origin(option) is tuple:
            (item, *_) = typing.get_args(option)
            return [parse(part.strip(), item, name) for part in text.split(",") if part.strip()]
    raise ValueError(f"`{name}` takes {_kind_name(kind)}; received {text!r}.")


def convert(value: Any, kind: Any, name: str) -> Any:
    """A JSON value as a value of the field's type.

    Raises:
        ValueError: It has another type; the message names the field.
    """
    options = typing.get_args(kind) if _is_union(kind) else (kind,)
    for option in options:
        if option is type(None) and value is None:
            return None
        if option is float and _is_finite(value):
            return float(value)
        if option is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if option in (str, bool) and isinstance(value, option):
            return value
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            (item, *_) = typing.get_args(option)
            return tuple(convert(part, item, name) for part in value)
    raise ValueError(f"`{name}` takes {_kind_name(kind)}; received {value!r}.")


def _is_finite(value: Any) -> bool:
    """Whether it is a number; JSON has no infinity, but Python's reader and writer take it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _kind_name(kind: Any) -> str:
    if _is_union(kind):
        return " or ".join(map(_kind_name, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return f"{_kind_name(typing.get_args(kind)[0])}, or several separated by commas"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, "none")
