"""Weights of others under the names of ours, and the other way, by the tables of tables.py."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfpt.weights.tables import Line, Style

_LISTED = 6  # names that an error shows before it counts the rest

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One weight here, and what it is there."""

    ours: str
    theirs: tuple[str, ...]  # parts side by side along the last axis
    group: str
    transposed: bool = False
    num_before: int = 0  # rows of theirs that come before the first of ours
    by_entry: bool = False  # theirs may have rows past the last entry of the vocabulary
    swaps: bool = False  # the two columns have each other's place


def rules(table: Sequence[Line], style: Style, num_layers: int) -> list[Rule]:
    """A table written out: each variable of each layer."""
    found = []
    for line in table:
        numbers = range(num_layers) if "{n}" in line.ours else range(1)
        for number in numbers:
            ours = line.ours.format(n=number)
            theirs = tuple(name.format(n=number) for name in line.theirs)
            for our_ending, their_ending, transposed in _variables(line.kind, style):
                found.append(
                    Rule(
                        ours=ours + our_ending,
                        theirs=tuple(name + their_ending for name in theirs),
                        group=line.group,
                        transposed=transposed,
                        num_before=line.num_before,
                        by_entry=line.by_entry,
                        swaps=line.swaps,
                    )
                )
    return found


def _variables(kind: str, style: Style) -> list[tuple[str, str, bool]]:
    """What a layer of this kind holds: endings of names here and there, whether it is turned."""
    if kind == "linear":
        return [("/kernel", style.kernel, style.transposes), ("/bias", style.bias, False)]
    if kind == "norm":
        return [("/scale", style.scale, False), ("/offset", style.offset, False)]
    if kind == "rows":
        return [("/embeddings", style.rows, False)]
    return [("", "", kind == "transposed")]


def groups_in(all_rules: Sequence[Rule], names: Iterable[str]) -> frozenset[str]:
    """The groups of which anything is there."""
    there = set(names)
    return frozenset(rule.group for rule in all_rules if rule.group and there & {*rule.theirs})


def check_names(
    all_rules: Sequence[Rule],
    names: Iterable[str],
    *,
    groups: Iterable[str],
    ignored: Sequence[str],
    source: str,
) -> None:
    """Raise a ValueError that names what is missing, or what no rule knows.

    Args:
        all_rules: Of the whole table.
        names: Of the tensors that are there.
        groups: Those that are there; each has to be there as a whole.
        ignored: Patterns of names that stand for nothing of the model.
        source: Where the tensors are, for the message.
    """
    there, chosen = set(names), {"", *groups}
    needed = {name for rule in all_rules if rule.group in chosen for name in rule.theirs}
    if missing := sorted(needed - there):
        raise ValueError(
            f"{source} lacks {_listed(missing)}. Take a whole checkpoint of one of the families "
            "that tfpt reads."
        )
    known = {name for rule in all_rules for name in rule.theirs}
    unknown = sorted(
        name for name in there - known if not any(re.fullmatch(one, name) for one in ignored)
    )
    if unknown:
        raise ValueError(
            f"{source} holds {_listed(unknown)}, which tfpt's models do not have. To take the "
            "encoder alone and leave heads out, pass heads=False (--without-heads)."
        )


def to_ours(rule: Rule, read: Callable[[str], np.ndarray], shape: Shape, source: str) -> np.ndarray:
    """The value of a weight here, float32 of its shape.

    Raises:
        ValueError: A tensor has another shape than it should.
    """
    parts = []
    for name, expected in zip(rule.theirs, part_shapes(rule, shape), strict=True):
        part = read(name)
        if rule.by_entry and part.shape[1:] == expected[1:]:
            part = part[: expected[0]]  # tables are often filled up to a round number
        if rule.by_entry and len(part) < expected[0]:
            raise ValueError(
                f"{source}: the vocabulary has {expected[0]:,} entries, {name} only {len(part):,} "
                "rows. They are of different models; take both from one."
            )
        if part.shape != expected and not _is_split(part.shape, expected, rule.transposed):
            raise ValueError(
                f"{source}: {name} is {part.shape}, where the configuration asks for {expected}. "
                "Configuration and weights are of different models; take both from one."
            )
        part = part.reshape(expected).astype(np.float32)
        parts.append(part.T if rule.transposed else part[rule.num_before :])
    value = np.concatenate(parts, axis=-1)
    return np.ascontiguousarray(value[..., ::-1]) if rule.swaps else value


def to_theirs(rule: Rule, value: np.ndarray) -> dict[str, np.ndarray]:
    """What a weight here is there, float32."""
    values = {}
    value = value[..., ::-1] if rule.swaps else value
    for name, part in zip(rule.theirs, np.split(value, len(rule.theirs), axis=-1), strict=True):
        if rule.num_before:
            before = np.zeros((rule.num_before, *part.shape[1:]), part.dtype)
            part = np.concatenate([before, part])
        values[name] = np.ascontiguousarray(part.T if rule.transposed else part)
    return values


def part_shapes(rule: Rule, shape: Shape) -> list[Shape]:
    """The shapes there of a weight of a shape here; heads have no axis of their own."""
    part = (*shape[:-1], shape[-1] // len(rule.theirs))
    if rule.transposed:
        part = part[::-1]
    elif rule.num_before:
        part = (part[0] + rule.num_before, *part[1:])
    return [part] * len(rule.theirs)


def _is_split(found: Shape, expected: Shape, transposed: bool) -> bool:
    """Whether one axis of a kernel or a bias stands as two: heads, and the width of each."""
    if transposed or len(found) != len(expected) + 1 or np.prod(found) != np.prod(expected):
        return False
    return found[0] == expected[0] or found[-1] == expected[-1] or len(expected) == 1


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def all_theirs(
    all_rules: Sequence[Rule], values: Mapping[str, np.ndarray], *, format_name: str
) -> dict[str, np.ndarray]:
    """What weights here are there.

    Raises:
        ValueError: A weight has no place there, or one that every model has is not given.
    """
    known = {rule.ours: rule for rule in all_rules}
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(
            f"{format_name} has no place for {_listed(unknown)}. Write the encoder alone "
            "(--without-heads), or another format."
        )
    groups = {known[path].group for path in values}
    for rule in all_rules:
        if rule.ours not in values and rule.group in {"", *groups}:
            raise ValueError(f"The model has no {rule.ours}, which {format_name} asks for.")
    tensors: dict[str, np.ndarray] = {}
    for path, value in values.items():
        tensors |= to_theirs(known[path], value)
    return tensors
