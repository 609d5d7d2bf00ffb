"""The same fine-tuning with several seeds: what of a result is chance.

The seed draws the order of the rows, the first weights of the head and dropout; on small data sets
that alone moves the accuracy by a point and more. Source: Dodge et al. 2020,
https://arxiv.org/abs/2002.06305.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tfpt import console
from tfpt.record_files import write_json


def run_path(out: str | Path, seed: int) -> Path:
    """The run folder of a seed."""
    return Path(out) / f"seed-{seed}"


def summarize(recipe: ModuleType, out: str | Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Evaluate the runs of all seeds, and write `seeds.json` beside them.

    Args:
        recipe: The recipe of the runs.
        out: The folder that holds `run_path` of each seed.
        seeds: At least two.

    Returns:
        What is written: `seeds`, and what `measured` gives.
    """
    paths = [run_path(out, seed) for seed in seeds]
    record = {"seeds": list(seeds), **measured(recipe, paths)}
    write_json(Path(out) / "seeds.json", record)
    return record


def measured(recipe: ModuleType, paths: Sequence[Path]) -> dict[str, Any]:
    """Evaluate runs that differ in nothing but the seed; see `evaluation.evaluate_run`.

    Returns:
        Of each measure of the recipe's report the `values`, and what `spread` gives of them.
    """
    from tfpt import evaluation  # which loads TensorFlow

    reports = [evaluation.evaluate_run(recipe, path) for path in paths]
    told = [one if isinstance(one, dict) else one.measures for one in reports]
    values = {measure: [one[measure] for one in told] for measure in told[0]}
    return {measure: {"values": found, **spread(found)} for measure, found in values.items()}


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """The `mean` and, with n - 1, the standard `deviation`, which of one value is None."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation}


def show(title: str, measures: dict[str, Any]) -> None:
    """Print a table of what `measured` gave."""
    with_deviation = all(one["deviation"] is not None for one in measures.values())
    rows = [[name, *numbers(one, with_deviation)] for name, one in measures.items()]
    columns = ["mean", "deviation"] if with_deviation else ["value"]
    console.table(title, ["measure", *columns], rows)


def numbers(spread: dict[str, Any], with_deviation: bool) -> list[str]:
    """Mean and deviation as a table shows them; a mean that is None was of what is not finite."""
    values = [spread["mean"], spread["deviation"]][: 1 + with_deviation]
    return ["not finite" if one is None else f"{one:.4f}" for one in values]
