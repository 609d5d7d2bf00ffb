"""Processes in turns, A B A B, each with all cores to itself; each prints what it measured as JSON.

The machines that measure are shared: a ratio of what ran side by side says more than two times.
Beside each run stands what others took of the machine meanwhile.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

Runs = dict[str, list[dict[str, float]]]

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}


def take_turns(commands: Mapping[str, Sequence[str]], *, rounds: int) -> Runs:
    """Run commands in turns; the last line each prints is a JSON object of numbers.

    Returns:
        The objects of each command, by its name, with `others`: the share of the machine's time
        that was taken by other processes.
    """
    runs: Runs = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            runs[name].append(_run(command))
    return runs


def median(runs: Sequence[Mapping[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def ratio(runs: Runs, name: str, first: str, key: str) -> float:
    """The median, over the rounds, of a figure of `name` divided by that of `first`."""
    pairs = zip(runs[name], runs[first], strict=True)
    return statistics.median(one[key] / other[key] for one, other in pairs)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; all columns but the first are of numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _run(command: Sequence[str]) -> dict[str, float]:
    busy, began = _busy(), time.perf_counter()
    own = _children()
    result = subprocess.run(
        command, env={**os.environ, **_QUIET}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        told = f"{' '.join(command)} failed with {result.returncode}"
        raise SystemExit(f"{told}:\n{result.stderr[-3000:]}")
    others = (_busy() - busy) - (_children() - own)
    seconds = (time.perf_counter() - began) * (os.cpu_count() or 1)
    figures = json.loads(result.stdout.strip().splitlines()[-1])
    return {**figures, "others": max(0.0, others / seconds)}


def _busy() -> float:
    """Processor time of the whole machine, in seconds."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, interrupts, soft, steal = map(int, file.readline().split()[1:9])
    ticks = user + nice + system + interrupts + soft + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system
