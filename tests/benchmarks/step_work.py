"""The work of a training step in numbers, and how its time is taken; the same for all that do it.

Imports neither TensorFlow nor torch: the peers run in environments of their own.

Shape letters: B rows, T tokens in a row, P mask slots in a row.
"""

import dataclasses
import itertools
import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Work:
    """One optimizer step of BERT: masked words at P places of each row, and next sentences."""

    num_layers: int
    hidden_dim: int
    num_heads: int
    intermediate_dim: int
    batch_size: int
    sequence_length: int = 128
    num_masks: int = 20
    vocabulary_size: int = 30_522
    dropout_rate: float = 0.1

    @classmethod
    def read(cls, text: str) -> "Work":
        return cls(**json.loads(text))

    def written(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @property
    def name(self) -> str:
        shape = f"{self.num_layers} x {self.hidden_dim}"
        return f"{shape}, {self.batch_size} rows of {self.sequence_length}"

    def batch(self) -> dict[str, np.ndarray]:
        """int64, random and without padding: tokens and segments (B, T); positions and labels of
        masks (B, P); next (B,)."""
        random = np.random.default_rng(0)
        rows, slots = (self.batch_size, self.sequence_length), (self.batch_size, self.num_masks)
        places = np.tile(np.arange(1, self.sequence_length), (self.batch_size, 1))
        return {
            "tokens": random.integers(5, self.vocabulary_size, rows),
            "segments": np.sort(random.integers(0, 2, rows), axis=1),
            "positions": np.sort(random.permuted(places, axis=1)[:, : self.num_masks], axis=1),
            "labels": random.integers(5, self.vocabulary_size, slots),
            "next": random.integers(0, 2, self.batch_size),
        }


def _size(num_layers: int, hidden_dim: int, num_heads: int, batch_size: int) -> Work:
    return Work(
        num_layers=num_layers,
        hidden_dim=hidden_dim,
        num_heads=num_heads,
        intermediate_dim=4 * hidden_dim,
        batch_size=batch_size,
    )


SIZES = {
    "mini": _size(4, 256, 4, 64),
    "small": _size(6, 384, 12, 32),
    "base": _size(12, 768, 12, 8),
}


def lengths(work: Work, tokens: int = 4_096) -> list[Work]:
    """Rows of 128 to 2,048 tokens, as many tokens, and masks, in each batch."""
    return [
        dataclasses.replace(
            work,
            batch_size=tokens // length,
            sequence_length=length,
            num_masks=work.num_masks * length // work.sequence_length,
        )
        for length in (128, 256, 512, 1024, 2048)
    ]


def sizes() -> list[Work]:
    """Models of BERT's family from 2 x 128 to 12 x 768, the same rows for each."""
    shapes = ((2, 128, 2), (4, 256, 4), (6, 384, 12), (8, 512, 8), (12, 768, 12))
    return [_size(*shape, batch_size=16) for shape in shapes]


class Clock:
    """Takes the time of steps; the first ones, in which things are made ready, do not count."""

    def __init__(self, warmup: int):
        self.warmup = warmup
        self.marks: list[tuple[float, float]] = []

    def tick(self) -> None:
        """Call it after each step."""
        self.marks.append((time.perf_counter(), time.process_time()))

    def result(self) -> dict[str, float]:
        """Median wall time of a step and mean processor time of all threads, in milliseconds."""
        marks = self.marks[self.warmup - 1 :]
        number = len(marks) - 1
        if number < 1:
            raise ValueError(f"{len(self.marks)} steps are no more than the warm-up.")
        wall = [after[0] - before[0] for before, after in itertools.pairwise(marks)]
        return {
            "wall_ms": 1e3 * statistics.median(wall),
            "mean_wall_ms": 1e3 * (marks[-1][0] - marks[0][0]) / number,
            "cpu_ms": 1e3 * (marks[-1][1] - marks[0][1]) / number,
            "steps": number,
        }


def peak_memory() -> float:
    """The most memory this process ever held at once, in MB (VmHWM of Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM.")


def cores() -> list[int]:
    """The cores this process may run on."""
    return sorted(os.sched_getaffinity(0))
