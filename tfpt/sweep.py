"""A small sweep: a run for each combination of values and seed; the best one by validation.

Settings are chosen by what the validation rows say, the mean over the seeds; the test rows are
looked at once, after the choice and only for what was chosen. A test measure that took part in the
choice, or was there to be peeked at, would tell too much good of it.

OUT/training.learning_rate=3e-05/seed-0   a run, to be used as any other; its name tells its values
OUT/best                                  a link to the best run
OUT/sweep.json                            settings and validation of every run, and the choice
OUT/events...                             which settings TensorBoard's HPARAMS compares
"""

import functools
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfpt import checkpoints, config, seeds, watching
from tfpt.combinations import SEED, Plan
from tfpt.epoch_records import best_epoch, history, larger_is_better
from tfpt.record_files import read_json, to_json, write_json

BEST = "best"
RECORD = "sweep.json"
# Fine-tunes with some settings into a run folder; the number of the training, from 1, comes first.
Train = Callable[[int, Any, Path], None]


def sweep(recipe: ModuleType, plan: Plan, out: str | Path, train: Train) -> dict[str, Any]:
    """Fine-tune every combination with every seed, and choose by validation.

    Repeated, it goes on where it was stopped, and passes over the runs that are finished. A run
    whose loss is not finite any more is told of and passed over: its combination is not chosen.

    Args:
        recipe: Of `training.finetune`; its `MONITOR` chooses.
        plan: What to train; see `combinations.plan`.
        out: The folder of the runs.
        train: Called for each run that is not finished.

    Returns:
        What is written into `sweep.json`. `combinations` are the best ones first, and `best` is the
        run of the first of them with the best seed.

    Raises:
        FileExistsError: `out` is a run folder, or `out/best` is no link.
        FloatingPointError: No combination was trained to its end.
    """
    folder = Path(out)
    _check_folder(folder)
    before = {run["path"]: run for run in _read(folder).get("runs", [])}
    record: dict[str, Any] = {
        "recipe": recipe.__name__,
        "monitor": recipe.MONITOR,
        "larger_is_better": larger_is_better(recipe.MONITOR),
        "fields": plan.fields,
        "seeds": plan.seeds,
        "runs": [],
    }
    every = itertools.product(plan.combinations, plan.seeds)
    for number, (combination, seed) in enumerate(every, 1):
        settings = combination.with_seed(seed)
        path = seeds.run_path(folder / combination.name, seed)
        run = {
            "path": path.relative_to(folder).as_posix(),
            "settings": {**combination.values, SEED: seed},
            "config_sha256": _checksum(settings),
        }
        found = before.get(run["path"], {})
        if not _is_finished(found, run, path):
            found = _trained(recipe, path, functools.partial(train, number, settings, path))
        record["runs"].append({**found, **run})
        write_json(folder / RECORD, record)
        if number == 1:
            _write_hparams(folder, plan, recipe.MONITOR)
    record["combinations"] = _ranked(record, plan)
    record["best"] = _best(record, folder)
    write_json(folder / RECORD, record)
    _link(folder, record["best"]["path"])
    return record


def evaluate_best(
    recipe: ModuleType, record: dict[str, Any], out: str | Path
) -> tuple[str, dict[str, Any]]:
    """Evaluate the combination that was chosen, with every seed; `sweep.json` tells it too.

    Args:
        recipe: Of the runs.
        record: From `sweep`.
        out: The folder of the runs.

    Returns:
        The split whose rows were evaluated, "test" where there is one; and of each measure of the
        recipe's report its `values`, `mean` and `deviation` over the seeds.
    """
    folder = Path(out)
    measured = seeds.summarize(recipe, folder / record["combinations"][0]["name"], record["seeds"])
    measures = {name: value for name, value in measured.items() if name != "seeds"}
    run = checkpoints.open_run(folder / record["best"]["path"])
    split = run.read_record("evaluation.json")["split"]
    write_json(folder / RECORD, {**record, "best": {**record["best"], split: measures}})
    return split, measures


def _check_folder(folder: Path) -> None:
    """Raise where something is in the place of what a sweep writes."""
    if (folder / "config.json").exists():
        raise FileExistsError(
            f"{folder} is a run; the runs of a sweep need a folder of their own. Name another one."
        )
    if (folder / BEST).exists() and not (folder / BEST).is_symlink():
        raise FileExistsError(
            f"{folder / BEST} exists and is no link that a sweep made. Name another folder."
        )


def _read(folder: Path) -> dict[str, Any]:
    return read_json(folder / RECORD) if (folder / RECORD).exists() else {}


def _checksum(settings: Any) -> str:
    return hashlib.sha256(to_json(config.to_dict(settings)).encode()).hexdigest()


def _is_finished(found: dict[str, Any], run: dict[str, Any], path: Path) -> bool:
    """Whether a run was trained to its end, or its failure, with the same configuration."""
    is_same = found.get("config_sha256") == run["config_sha256"]
    return is_same and (path / "config.json").exists()


def _trained(recipe: ModuleType, path: Path, train: Callable[[], None]) -> dict[str, Any]:
    """Train a run, or go on with it; what its best epoch measured, or how it failed."""
    try:
        train()
    except FloatingPointError as error:
        return {"failed": str(error)}
    records = history(checkpoints.open_run(path))
    best = records[best_epoch(records, recipe.MONITOR)]
    measured = {name: value for name, value in best.items() if name.startswith("val_")}
    return {"epoch": best["epoch"], "step": best["step"], "validation": measured}


def _ranked(record: dict[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """The combinations, the best mean first; those with a run that failed come last."""
    runs = iter(record["runs"])
    found = []
    for combination in plan.combinations:
        own = [next(runs) for _ in plan.seeds]
        told: dict[str, Any] = {"name": combination.name, "settings": combination.values}
        if failed := [run["path"] for run in own if "failed" in run]:
            found.append({**told, "failed": failed})
            continue
        values = [run["validation"][record["monitor"]] for run in own]
        found.append({**told, "values": values, **seeds.mean_and_deviation(values)})
    sign = -1 if record["larger_is_better"] else 1
    return sorted(found, key=lambda one: sign * one["mean"] if "mean" in one else float("inf"))


def _best(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The best run of the best combination."""
    chosen = record["combinations"][0]
    if "failed" in chosen:
        raise FloatingPointError(
            f"No combination was trained to its end with every seed; {folder / RECORD} tells of "
            f"each. The first: {next(run['failed'] for run in record['runs'] if 'failed' in run)}"
        )
    of_seeds = [{record["monitor"]: value} for value in chosen["values"]]
    seed = record["seeds"][best_epoch(of_seeds, record["monitor"])]
    return {
        "path": seeds.run_path(chosen["name"], seed).as_posix(),
        "settings": {**chosen["settings"], SEED: seed},
    }


def _link(folder: Path, path: str) -> None:
    """Let `best` lead to a run: a link, not a copy.

    It costs no second copy of the weights, and what is evaluated or gone on with there stays one
    run. It is relative, so that the folder can be moved.
    """
    place, partial = folder / BEST, folder / f".{BEST}.tmp"
    partial.unlink(missing_ok=True)
    partial.symlink_to(path, target_is_directory=True)
    partial.replace(place)


def _write_hparams(folder: Path, plan: Plan, monitor: str) -> None:
    """Tell TensorBoard's HPARAMS which settings to compare, of all that a run notes, and by what.

    Each run has its settings and its curves in its own logs; see watching.py.
    """
    fields = {**plan.fields, SEED: plan.seeds}
    metric = f"epoch/{monitor.removeprefix('val_')}"
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with tf.summary.create_file_writer(str(folder)).as_default():
        hparams.hparams_config(
            hparams=[hparams.HParam(name, _domain(values)) for name, values in fields.items()],
            metrics=[hparams.Metric(metric, group="validation", display_name=monitor)],
        )


def _domain(values: list[Any]) -> hparams.Discrete | None:
    """The values of a field; None where they are of several kinds, as numbers and none."""
    told = [watching.hyperparameter(value) for value in values]
    return hparams.Discrete(told) if len(set(map(type, told))) == 1 else None
