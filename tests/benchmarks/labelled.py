"""Rows with a class that benchmarks train on, and the difference of what two models got right."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tfpt.pipelines import splits


def write_rows(
    folder: Path, source: str, *, text: str, label: str, num_train: int | None = None
) -> Path:
    """Write each split of a data set as FOLDER/SPLIT.jsonl, with the fields `text` and `label`.

    Args:
        folder: To write, with those above it.
        source: As `splits.read_splits` takes it.
        text, label: Columns of one text and of its class.
        num_train: So many random training rows, always the same; None: all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in splits.read_splits(source, text=[text], label=label).items():
        rows = list(zip(table.rows, table.labels, strict=True))
        if name == splits.TRAIN and num_train is not None:
            rows = random.Random(0).sample(rows, num_train)
        lines = (json.dumps({"text": text, "label": label}) for (text,), label in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def keep_options(folder: Path, options: Mapping[str, Any]) -> None:
    """Write what a benchmark was begun with; stop where its folder holds results of other numbers.

    Args:
        folder: Of results that are not made again.
        options: Those that change a result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, told = folder / "options.json", json.dumps(options, indent=1, default=str)
    if file.exists() and file.read_text(encoding="utf-8") != told:
        raise SystemExit(f"{folder} holds results of other options, see {file}; name another.")
    file.write_text(told, encoding="utf-8")


def print_accuracies(correct: Mapping[str, Sequence[Sequence[bool]]]) -> None:
    """Print mean and deviation over seeds, and the difference of two with its 95% interval.

    The interval is that of a bootstrap over texts, paired: each text brings its mean correctness
    over the seeds of both.

    Args:
        correct: By the name of each of two models, of each seed which texts it got right.
    """
    (one, there), (_, here) = both = [
        (name, np.array(rows, float)) for name, rows in correct.items()
    ]
    for name, rows in both:
        accuracies = rows.mean(axis=1)
        spread = f", deviation {accuracies.std(ddof=1):.4f}" if len(rows) > 1 else ""
        print(f"{name}: {accuracies.mean():.4f}{spread}")
    difference = there.mean(axis=0) - here.mean(axis=0)
    interval = stats.bootstrap(
        (difference,), np.mean, n_resamples=10_000, rng=np.random.default_rng(0)
    ).confidence_interval
    print(
        f"{one} minus the other: {100 * difference.mean():.2f} points, 95% interval "
        f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"
    )
