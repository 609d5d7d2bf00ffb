"""The combinations of a sweep: the values that fields take, each with its configuration.

Imports no TensorFlow.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfpt import config

SEED = "seed"
# Of the name of a folder, in bytes; what is longer is cut, and told apart by a checksum.
_LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True)
class Combination:
    """A value of each field that is swept."""

    values: dict[str, Any]  # by dotted name, without the seed
    settings: Any  # the recipe's configuration with them

    @property
    def name(self) -> str:
        """Of its folder, such as `training.learning_rate=3e-05`; "" where only seeds differ.

        It depends on nothing but these values: a sweep with more of them finds its folders again.
        """
        ordered = dict(sorted(self.values.items()))
        told = [f"{field}={_as_name(value)}" for field, value in ordered.items()]
        return _bounded(",".join(told), ordered)

    def with_seed(self, seed: int) -> Any:
        """The configuration with a seed."""
        return replace(self.settings, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep trains: each combination with each seed."""

    fields: dict[str, list[Any]]  # the values of each field, without the seed
    combinations: list[Combination]
    seeds: list[int]

    @property
    def num_runs(self) -> int:
        """Trainings in all."""
        return len(self.combinations) * len(self.seeds)


def plan(
    template: Any, assignments: Sequence[str], sweeps: Sequence[str], num_seeds: int | None = None
) -> Plan:
    """Every combination of the values of some fields, checked as a configuration.

    Args:
        template: The recipe's configuration.
        assignments: Overrides of all, such as `training.epochs=3`.
        sweeps: A field and its values each, such as `training.learning_rate=1e-5,3e-5`. Where a
            value has a comma in it, semicolons separate: `data.text=title;title,body`. The values
            of `seed` are the seeds.
        num_seeds: Trainings of each combination, with `seed` and those that follow; None: one.

    Raises:
        ValueError: A field is unknown, is swept twice, or set too; a value has the wrong type, is
            out of range, occurs twice, or does not go with others; a field has only one value.
    """
    values: dict[str, dict[str, Any]] = {}  # of each field, by what was written
    for sweep in sweeps:
        name, found = _values(template, sweep)
        if name in values:
            raise ValueError(f"`{name}` is swept twice; name all its values in one --sweep.")
        values[name] = found
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name.strip() in values:
            raise ValueError(
                f"`{name.strip()}` is swept, but also set to {text.strip()}; leave one of them out."
            )
    seeds = list(values.pop(SEED, {}).values())
    if seeds and num_seeds is not None:
        raise ValueError("`seed` is swept; leave out --seeds, or the sweep of `seed`.")
    combinations = [
        Combination(
            values=dict(zip(values, (values[field][text] for field, text in texts), strict=True)),
            settings=config.override(
                template, [*assignments, *(f"{field}={text}" for field, text in texts)]
            ),
        )
        for texts in itertools.product(
            *([(field, text) for text in found] for field, found in values.items())
        )
    ]
    first = combinations[0].settings.seed
    return Plan(
        fields={field: list(found.values()) for field, found in values.items()},
        combinations=combinations,
        seeds=seeds or list(range(first, first + (num_seeds or 1))),
    )


def _values(template: Any, sweep: str) -> tuple[str, dict[str, Any]]:
    """The field of `field=value,value`, and its values by their texts."""
    name, equals, text = sweep.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ValueError(f"Write a sweep as field=value,value; received {sweep!r}.")
    texts = [part.strip() for part in text.split(";" if ";" in text else ",")]
    found: dict[str, Any] = {}
    for one in texts:
        value = config.parse(template, name, one)
        for before, other in found.items():
            if other == value:
                raise ValueError(f"`{name}` has the same value twice: {before!r} and {one!r}.")
        found[one] = value
    if len(found) < 2:
        raise ValueError(
            f"A sweep of `{name}` needs two values or more, as {name}=VALUE,VALUE; received "
            f"{text!r}. A single one is set by --set."
        )
    return name, found


def _as_name(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_as_name, value))
    return str(value) if isinstance(value, str | float) else json.dumps(value)


def _bounded(name: str, values: dict[str, Any]) -> str:
    """A name that is one of a folder on any file system, and of no other values."""
    safe = re.sub(r"[^\w.,=+-]", "_", name)
    cut = safe.encode()[:_LONGEST_NAME].decode(errors="ignore")
    if cut == name:
        return name
    return f"{cut}-{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]}"
