"""Two ways to do one thing, timed in turns: A B A B, each in a process of its own on one core.

The machines that measure are shared: a ratio of what ran side by side says more than two times.
"""

import json
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence

# Libraries that start threads of their own read these; one core is all they get.
_ONE_THREAD = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OMP_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def compare(commands: Mapping[str, Sequence[str]], *, rounds: int = 5) -> dict[str, list[float]]:
    """Run commands in turns; each prints a number, what it did in a second, as its last word.

    Returns:
        The numbers of each command, by its name.
    """
    figures: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            figures[name].append(_run(command))
    return figures


def report(title: str, unit: str, figures: Mapping[str, Sequence[float]]) -> None:
    """Print medians, and the median of the ratios of the first to each other."""
    first, *others = figures
    print(title)
    for name, values in figures.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"  {name:<40} {statistics.median(values):>12,.0f} {unit} ({spread})")
    for other in others:
        ratios = [a / b for a, b in zip(figures[first], figures[other], strict=True)]
        print(f"  {first} / {other}: {statistics.median(ratios):.2f}")
    print(json.dumps({title: figures}), flush=True)


def _run(command: Sequence[str]) -> float:
    result = subprocess.run(
        command,
        env={**os.environ, **_ONE_THREAD},
        preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return float(result.stdout.split()[-1])
