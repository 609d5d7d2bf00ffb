"""plan.json of a run folder: how many steps its training takes, and whether it came to its end."""

import warnings
from collections.abc import Callable
from pathlib import Path

from tfpt.record_files import read_json, write_json

_NAME = "plan.json"


def begin(path: Path, steps: int | None) -> None:
    """Keep how many steps a training is going to take; None where the clock ends it."""
    write_json(path / _NAME, {"steps": steps, "ended_at": None})


def end(path: Path, step: int) -> None:
    """Keep that a training has come to its end, at that step; one of before has no plan."""
    if (path / _NAME).exists():
        write_json(path / _NAME, {**read_json(path / _NAME), "ended_at": step})


def warn_if_stopped(path: Path, steps_done: Callable[[Path], int]) -> None:
    """Say so where a run was stopped, with the step it is at; one of before knows no plan."""
    plan = read_json(path / _NAME) if (path / _NAME).exists() else None
    if plan is None or plan["ended_at"] is not None:
        return
    planned = f" of {plan['steps']:,}" if plan["steps"] else ""
    warnings.warn(
        f"{path} was stopped before its end, at step {steps_done(path):,}{planned}: these "
        "are its best weights so far. Go on with it by the command that began it.",
        stacklevel=5,
    )
