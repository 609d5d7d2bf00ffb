"""What each epoch of a run measured, and which of them was the best."""

import json
from collections.abc import Sequence

from tfpt.checkpoints import Run

HISTORY = "history.jsonl"


def history(run: Run) -> list[dict[str, float]]:
    """What each epoch of a run measured, in order."""
    path = run.path / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def larger_is_better(monitor: str) -> bool:
    """Whether the best value of a measure, such as "val_loss", is the largest, by its name."""
    return monitor.endswith("accuracy")


def best_epoch(records: Sequence[dict[str, float]], monitor: str) -> int:
    """The place of the best record; the first of equals."""
    values = [record[monitor] for record in records]
    return values.index(max(values) if larger_is_better(monitor) else min(values))


def weights_step(run: Run) -> int:
    """The step of the weights that a run is evaluated and exported with; 0 where there are none."""
    path = run.best_path() or run.checkpoint_path()
    return int(path.name.removeprefix("step-")) if path else 0
