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

from tfpt import evaluation
from tfpt.record_files import write_json


def run_path(out: str | Path, seed: int) -> Path:
    """The run folder of a seed."""
    return Path(out) / f"seed-{seed}"


def summarize(recipe: ModuleType, out: str | Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Evaluate the runs of all seeds, and write `seeds.json` beside them.

    Args:
        recipe: The recipe of the runs.
        out: The folder that holds `run_path` of each seed.
        seeds: One or more.

    Returns:
        What is written: `seeds`; and of each measure of the recipe's report the `values`, their
        `mean` and, with n - 1, their standard `deviation`, None of a single one.
    """
    reports = [evaluation.evaluate_run(recipe, run_path(out, seed)) for seed in seeds]
    told = [one if isinstance(one, dict) else one.measures for one in reports]
    record: dict[str, Any] = {"seeds": list(seeds)}
    for measure in told[0]:
        values = [one[measure] for one in told]
        record[measure] = {"values": values, **mean_and_deviation(values)}
    write_json(Path(out) / "seeds.json", record)
    return record


def mean_and_deviation(values: Sequence[float]) -> dict[str, float | None]:
    """The `mean` of values, and their standard `deviation` with n - 1, None of a single one."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation}
