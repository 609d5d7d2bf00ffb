r"""All weights, or little beside them: each method of `training.adaptation`, on the same rows.

    python tests/benchmarks/adaptation.py --from runs/minilm --data sst2 --text 0 --label 1 \
        --rows 2000 --out runs/methods --set data.sequence_length=64

Each method is fine-tuned with the same numbers and seeds, but for its learning rate: what begins at
nothing takes larger steps than weights that were trained. So each takes the rate that is best on
the validation rows with seed 0 (`--rates lora=1e-3,3e-3` for others than those below). `--rows`
trains on a random part, the same for all; validation and test rows stay as they are.

Each training is a process of its own, for its memory, and the seeds are gone through one after the
other, so that all methods meet the machine as it is at that time. What was finished before is not
repeated. Writes `table.json` into OUT and prints the rows of a table of Markdown:

    what is trained, the head of the classes included, as a share of all weights and in float32; the
    most memory of the process; the time of a step beside that of all weights, the median over
    seeds; accuracy on the test rows, mean and deviation over seeds; the learning rate.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import labelled
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfpt import checkpoints, config, evaluation
from tfpt.recipes import classify

ALL = "none"
RATES = {
    ALL: (1e-4, 3e-4),
    "lora": (1e-3, 3e-3),
    "adalora": (1e-2, 3e-2),
    "adapters": (1e-3, 3e-3),
    "prefix_tuning": (1e-2, 3e-2),
    "prompt_tuning": (1e-2, 3e-2),
    "ia3": (1e-2, 3e-2),
    "bitfit": (3e-3, 1e-2),
}
MONITOR = classify.MONITOR


def main() -> None:
    arguments = _parse()
    names = ("start", "data", "text", "label", "rows", "assignments")
    labelled.keep_options(arguments.out, {name: getattr(arguments, name) for name in names})
    data = labelled.write_rows(
        arguments.out / "data",
        arguments.data,
        text=arguments.text,
        label=arguments.label,
        num_train=arguments.rows,
    )
    rates = {**RATES, **dict(arguments.rates)}
    chosen = {}
    for method in arguments.methods:
        found = {rate: _trained(arguments, data, method, rate, 0) for rate in rates[method]}
        chosen[method] = max(found, key=lambda rate: found[rate]["validation"])
    # Again those of seed 0, which are finished.
    rows: dict[str, list[dict[str, Any]]] = {method: [] for method in arguments.methods}
    for seed in range(arguments.seeds):
        for method, rate in chosen.items():
            rows[method].append(_trained(arguments, data, method, rate, seed))
    (arguments.out / "table.json").write_text(json.dumps({"rates": chosen, "rows": rows}, indent=1))
    _print(rows, chosen)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="start", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--rows", type=int, help="training rows; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--rates", nargs="+", type=_rates, default=[])
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _rates(text: str) -> tuple[str, tuple[float, ...]]:
    method, _, listed = text.partition("=")
    if method not in RATES:
        raise argparse.ArgumentTypeError(f"{method} is none of {', '.join(RATES)}")
    return method, tuple(map(float, listed.split(",")))


def _trained(
    arguments: argparse.Namespace, data: Path, method: str, rate: float, seed: int
) -> dict[str, Any]:
    """Train and evaluate once, if that was not done before; what a row of the table is made of."""
    path = arguments.out / method / f"{rate:g}" / f"seed-{seed}"
    record = path / "measured.json"
    if record.exists():
        return json.loads(record.read_text())
    numbers = {
        "data.name": data,
        "training.adaptation.method": method,
        "training.learning_rate": rate,
        "seed": seed,
    }
    assigned = [*arguments.assignments, *(f"{name}={value}" for name, value in numbers.items())]
    command = [sys.executable, "-m", "tfpt", "finetune", "classify", "--from", arguments.start]
    command += [word for one in assigned for word in ("--set", one)]
    subprocess.run([*command, "--out", path], check=True, stdout=subprocess.DEVNULL)
    found = _measured(path)
    record.write_text(json.dumps(found))
    print(f"{method} {rate:g} {seed}: {found['accuracy']:.4f}", flush=True)
    return found


def _measured(path: Path) -> dict[str, Any]:
    history = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    run = checkpoints.open_run(path)
    settings = config.from_dict(classify.config(), run.settings)
    model = checkpoints.load(
        path, build=lambda run: classify.model(settings, run.tokenizer, run.label_names)
    )
    counts = [sum(weight.shape.num_elements() for weight in model.trainable_variables)]
    counts.append(sum(weight.shape.num_elements() for weight in model.weights))
    del model
    logs = EventAccumulator(str(path / "logs" / "train"), {"tensors": 0, "scalars": 0})
    logs.Reload()
    speeds, peaks = (
        [float(tf.make_ndarray(point.tensor_proto)) for point in logs.Tensors(f"speed/{name}")]
        for name in ("tokens_per_second", "peak_memory_gigabytes")
    )
    return {
        "trained": counts[0],
        "weights": counts[1],
        "gigabytes": max(peaks),
        "tokens_per_second": statistics.median(speeds[1:] or speeds),
        "validation": max(one[MONITOR] for one in history),
        "accuracy": evaluation.evaluate_run(classify, path).measures["accuracy"],
    }


def _print(rows: dict[str, list[dict[str, Any]]], rates: dict[str, float]) -> None:
    """The table of Markdown; the time of a step beside that of all weights."""
    for method, own in rows.items():
        one = own[0]
        accuracies = [row["accuracy"] for row in own]
        deviation = statistics.stdev(accuracies) if len(own) > 1 else 0.0
        step = "-"
        if ALL in rows:
            of_all = zip(rows[ALL], own, strict=True)
            ratios = [
                other["tokens_per_second"] / row["tokens_per_second"] for other, row in of_all
            ]
            step = f"{statistics.median(ratios):.2f}"
        print(
            f"| {method} | {one['trained'] / one['weights']:.2%} | {one['trained'] * 4e-6:.1f} MB"
            f" | {statistics.median(row['gigabytes'] for row in own):.2f} GB | {step}"
            f" | {statistics.mean(accuracies):.2%} ± {100 * deviation:.2f} | {rates[method]:g} |"
        )


if __name__ == "__main__":
    main()
