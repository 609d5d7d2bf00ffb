"""A sweep: the same fine-tuning with several values of some fields, and one of them chosen.

Nothing is chosen by looking at the test rows. A run is measured by the recipe's MONITOR at its best
epoch, which is a measure on the validation rows; a combination of values by the mean over its
seeds. Only the runs of the combination that was chosen are evaluated on the test rows, after the
choice. What is the best of several on the validation rows is a little too good there, by chance;
the measures on the test rows are not.

OUT/FIELD=VALUE,FIELD=VALUE/seed-N   the run of a combination and a seed
OUT/sweep.json                       what each run measured, and what was chosen
OUT/events.out.tfevents...           which settings TensorBoard compares under HPARAMS
OUT/best-run                         a link to the best run: of the combination that was chosen the
                                     seed that is best on the validation rows
"""

import itertools
import json
import os
import urllib.parse
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from tfpt import config, console, seeds
from tfpt.record_files import read_json, write_json

RECORD = "sweep.json"
BEST_RUN = "best-run"
_SEED = "seed"
# Of any recipe; one may name others by CHANGES_MONITOR.
_VALIDATION_ROWS = ("data.name", "data.validation")
_MOST_BYTES = 255  # of a name, on the usual file systems


@dataclass(frozen=True, kw_only=True)
class Combination:
    """A value of each field that is swept."""

    values: dict[str, Any]  # by the dotted name of the field, as JSON has them
    settings: Any  # the recipe's configuration with them; its seed is the first of `seeds`
    seeds: Sequence[int]

    @property
    def name(self) -> str:
        """The name of its folder, in whatever order fields are given; empty of the seed alone."""
        return ",".join(
            f"{field}={urllib.parse.quote(_text(value), safe='+')}"
            for field, value in sorted(self.values.items())
            if field != _SEED
        )

    def runs(self, out: str | Path) -> dict[Path, Any]:
        """The run folders of its seeds, and their configurations.

        A run has the same folder in any sweep of the same fields, so that values and seeds can be
        added later.
        """
        folder = Path(out) / self.name
        return {
            seeds.run_path(folder, seed): replace(self.settings, seed=seed) for seed in self.seeds
        }


def combinations(
    template: Any,
    assignments: Sequence[str],
    sweeps: Sequence[str],
    num_seeds: int | None = None,
) -> list[Combination]:
    """All combinations of the values of a sweep, checked; the last field changes first.

    Args:
        template: The recipe's configuration.
        assignments: Such as `training.epochs=4`, the same for all; see `config.override`.
        sweeps: Such as `training.learning_rate=1e-5,3e-5`.
        num_seeds: Runs of each combination, with `seed` and those that follow; None is one.

    Raises:
        ValueError: A sweep is not written so, a field is unknown, set besides, swept twice or has
            several values itself; a value is of the wrong type, out of range or there twice; the
            seed is swept beside `num_seeds`.
    """
    fields = _fields(assignments, sweeps)
    if _SEED in fields and num_seeds is not None:
        raise ValueError(
            "--sweep seed=... and --seeds both choose the seeds; leave one of them out."
        )
    found = []
    for chosen_texts in itertools.product(*fields.values()):
        chosen = [f"{field}={text}" for field, text in zip(fields, chosen_texts, strict=True)]
        settings = config.override(template, [*assignments, *chosen])
        there = dict(config.flatten(config.to_dict(settings)))
        one = Combination(
            values={field: there[field] for field in fields},
            settings=settings,
            seeds=range(settings.seed, settings.seed + (num_seeds or 1)),
        )
        _check_combination(one)
        found.append(one)
    for field, texts in fields.items():
        different = {_text(one.values[field]) for one in found}
        if len(different) < len(texts):
            raise ValueError(
                f"--sweep {field}={','.join(texts)} has the same value twice; write each once."
            )
    return found


def _fields(assignments: Sequence[str], sweeps: Sequence[str]) -> dict[str, list[str]]:
    """The values of each field, as text."""
    given = {one.partition("=")[0].strip(): one for one in assignments}
    fields: dict[str, list[str]] = {}
    for sweep in sweeps:
        field, equals, values = sweep.partition("=")
        field = field.strip()
        if not equals or not field:
            raise ValueError(f"Write a sweep as FIELD=VALUE,VALUE; received --sweep {sweep}.")
        if field in fields:
            raise ValueError(f"`{field}` is swept twice; write all its values behind one --sweep.")
        if field in given:
            raise ValueError(
                f"`{field}` is swept, and {given[field]} sets it too; leave one of them out."
            )
        fields[field] = [value.strip() for value in values.split(",")]
        if len(fields[field]) < 2:
            raise ValueError(
                f"--sweep {sweep} has one value; a sweep chooses among several. Use --set {sweep}."
            )
    return fields


def _check_combination(one: Combination) -> None:
    for field, value in one.values.items():
        if isinstance(value, list):
            raise ValueError(
                f"`{field}` has several values itself, separated by commas, so it cannot be swept: "
                "train once for each, with --set."
            )
        if field.startswith("model.") and one.settings.start:
            raise ValueError(
                f"The size of the model comes from {one.settings.start}; leave out --sweep "
                f"{field}=..."
            )
    if (length := len(one.name.encode())) > _MOST_BYTES:
        raise ValueError(
            f"A folder for {one.name} would have a name of {length} bytes, more than the "
            f"{_MOST_BYTES} of a file system; sweep shorter values, such as paths from here."
        )


def check(recipe: ModuleType, planned: Sequence[Combination], out: str | Path) -> None:
    """Raise what is wrong with a sweep before anything of it is trained.

    Raises:
        FileExistsError: OUT is a run folder, or something else has the place of the link in it.
        ValueError, FileNotFoundError: A field decides what the MONITOR measures; or as
            `preparation.fine_tuning` raises them, of any combination.
    """
    from tfpt import preparation  # which loads TensorFlow

    for field in planned[0].values:
        if field in (*_VALIDATION_ROWS, *getattr(recipe, "CHANGES_MONITOR", ())):
            raise ValueError(
                f"`{field}` changes what {recipe.MONITOR} is measured on or means, so that no "
                "value of it can be chosen by it: train once for each, with --set."
            )
    if (Path(out) / "config.json").exists():
        raise FileExistsError(f"{out} is a run folder; name another for the runs of a sweep.")
    link = Path(out) / BEST_RUN
    if link.exists() and not link.is_symlink():
        raise FileExistsError(
            f"{link} is in the place of the link to the best run; name another folder."
        )
    checked = []
    for one in planned:
        # Once for what is the same: weights are compared with their checksums, data is read.
        if (parts := _what_is_prepared(one.settings)) not in checked:
            preparation.fine_tuning(recipe, one.settings)
            checked.append(parts)


def _what_is_prepared(settings: Any) -> Any:
    """The settings without what neither data nor weights nor devices depend on."""
    training = settings.training
    numbers = config.FineTuning(
        batch_size=training.batch_size,
        strategy=training.strategy,
        adaptation=training.adaptation,
        transfer=training.transfer,
        step=training.step,
    )
    others = {"dropout_rate": 0.0} if hasattr(settings, "dropout_rate") else {}
    return replace(settings, seed=0, training=numbers, **others)


def choose(
    planned: Sequence[Combination],
    out: str | Path,
    monitor: str,
    stopped: Mapping[Path, str] | None = None,
) -> dict[str, Any]:
    """Choose a combination and its best run by validation; among equals the first.

    Args:
        planned: What was trained, into `Combination.runs` of `out`.
        out: The folder of the sweep.
        monitor: The recipe's MONITOR; `epoch_records.best_epoch` tells if more of it is better.
        stopped: Runs whose loss was not finite, and why. Their combinations are not chosen.

    Returns:
        Ready for JSON: `monitor`; `runs`, each with its folder in `out`, the swept `values`, the
        `seed` and `validation`, the measure at its best `epoch`, None where it was `stopped`;
        `combinations`, each with `values`, `mean` and `deviation` of the measure over the seeds;
        `chosen`, with `values`, `seeds` and `best_run`.

    Raises:
        ValueError: No combination was trained to its end with all seeds.
    """
    runs: list[dict[str, Any]] = []
    tried: list[dict[str, Any]] = []
    for one in planned:
        own = [
            {
                "run": path.relative_to(out).as_posix(),
                "values": one.values,
                "seed": settings.seed,
                **_validation(path, monitor, (stopped or {}).get(path)),
            }
            for path, settings in one.runs(out).items()
        ]
        values = [run["validation"] for run in own]
        told = {"mean": None, "deviation": None} if None in values else seeds.spread(values)
        tried.append({"values": one.values, **told, "runs": own})
        runs += own
    finite = [one for one in tried if one["mean"] is not None]
    if not finite:
        raise ValueError(
            f"There is nothing to choose in {out}: of each combination a run was stopped, since "
            "its loss was not finite. Sweep lower learning rates."
        )
    chosen = _best(finite, "mean", monitor)
    best_run = _best(chosen["runs"], "validation", monitor)
    return {
        "monitor": monitor,
        "runs": runs,
        "combinations": [
            {name: one[name] for name in ("values", "mean", "deviation")} for one in tried
        ],
        "chosen": {
            "values": chosen["values"],
            "seeds": [run["seed"] for run in chosen["runs"]],
            "best_run": best_run["run"],
        },
    }


def _validation(path: Path, monitor: str, stopped: str | None) -> dict[str, Any]:
    """The measure of a run at its best epoch."""
    from tfpt import checkpoints, epoch_records  # which load TensorFlow

    if stopped is not None:
        return {"validation": None, "stopped": stopped}
    records = epoch_records.history(checkpoints.open_run(path))
    best = records[epoch_records.best_epoch(records, monitor)]
    return {"epoch": best["epoch"], "validation": best[monitor]}


def _best(found: Sequence[dict[str, Any]], measure: str, monitor: str) -> dict[str, Any]:
    from tfpt import epoch_records  # which loads TensorFlow

    return found[epoch_records.best_epoch([{monitor: one[measure]} for one in found], monitor)]


def summarize(
    recipe: ModuleType,
    planned: Sequence[Combination],
    out: str | Path,
    stopped: Mapping[Path, str] | None = None,
) -> dict[str, Any]:
    """Choose by validation, evaluate what was chosen, write what lies in OUT beside the runs.

    Args:
        recipe: Of the runs.
        planned, out, stopped: As of `choose`.

    Returns:
        What is written: what `choose` gives; and in `chosen` the `split` that was evaluated, test
        unless the data has no test rows, and what `seeds.measured` gives as `measures`.

    Raises:
        ValueError: As `choose` raises it.
    """
    from tfpt import watching  # which loads TensorFlow

    record = choose(planned, out, recipe.MONITOR, stopped)
    chosen = record["chosen"]
    (one,) = [one for one in planned if one.values == chosen["values"]]
    paths = list(one.runs(out))
    measures = seeds.measured(recipe, paths)
    chosen |= {"split": read_json(paths[0] / "evaluation.json")["split"], "measures": measures}
    write_json(Path(out) / RECORD, record)
    _link(Path(out) / BEST_RUN, chosen["best_run"])
    fields = {field: [one.values[field] for one in planned] for field in chosen["values"]}
    fields[_SEED] = [seed for one in planned for seed in one.seeds]
    watching.write_comparison(Path(out), fields, recipe.MONITOR)
    return record


def _link(link: Path, target: str) -> None:
    """Make a link, relative so that the folder can be moved; weights are not copied."""
    partial = link.with_name(f".{link.name}.tmp-{os.getpid()}")
    try:
        partial.symlink_to(target, target_is_directory=True)
        partial.replace(link)
    except OSError as error:
        partial.unlink(missing_ok=True)
        warnings.warn(
            f"{link} could not be made: {error.strerror}. The best run is {link.parent / target}.",
            stacklevel=2,
        )


def show(record: dict[str, Any], out: str | Path) -> None:
    """Print what came out: the combinations by validation, and the chosen one's measures."""
    chosen = record["chosen"]
    with_deviation = len(chosen["seeds"]) > 1
    rows = [
        [
            *map(_text, one["values"].values()),
            *seeds.numbers(one, with_deviation),
            "chosen" if one["values"] == chosen["values"] else "",
        ]
        for one in record["combinations"]
    ]
    measure = record["monitor"].removeprefix("val_").replace("_", " ")
    columns = [*chosen["values"], *(["mean", "deviation"] if with_deviation else [measure]), ""]
    console.table(f"{out}, by validation: {measure}", columns, rows)
    of_what = "test rows"
    if chosen["split"] == "validation":
        of_what = "validation rows, by which it was chosen: there are no test rows"
    seeds.show(f"The chosen one, {of_what}", chosen["measures"])


def _text(value: Any) -> str:
    """A value as `--set` takes it."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
