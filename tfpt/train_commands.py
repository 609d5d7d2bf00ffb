"""The commands `tfpt pretrain` and `tfpt finetune`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from tfpt import combinations, command, config, recipe_names
from tfpt.command import quiet_tensorflow

_strategy = click.option(
    "--strategy",
    type=click.Choice(config.STRATEGIES),
    help="The devices: auto (a TPU, else all GPUs, else the CPU), one, mirrored, multi_worker or "
    "tpu. As --set training.strategy=NAME.",
)
_out = click.option("--out", help="The run folder, new or to go on with.")


@click.command(cls=command.Command)
@click.argument("recipe")
@click.option("--from", "start", default="", help="The run whose weights it begins with.")
@command.setting
@_strategy
@_out
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only print what would be trained: configuration, devices, operations, memory and the "
    "first batch.",
)
def pretrain(recipe, start, assignments, strategy, out, dry_run) -> None:
    """Pre-train by a recipe into a run folder.

    RECIPE is bert or a module of yours, by the name that imports it. A run that was stopped goes on
    when its command is repeated. With --from, training begins with the weights of a run, as `tfpt
    import` makes one too; new entries of the vocabulary with the mean of their pieces.
    """
    chosen = _with_start(_with_strategy(assignments, strategy), start)
    module, settings = recipe_names.settings_of(recipe, chosen, "pretrain")
    if dry_run:
        _show(module, settings)
    else:
        _train("Pre-training", module, settings, out)


@click.command(cls=command.Command)
@click.argument("recipe")
@click.option("--from", "start", default="", help="The run to take encoder and vocabulary from.")
@command.setting
@_strategy
@_out
@click.option(
    "--seeds",
    type=click.IntRange(2),
    help="Fine-tune so many times, with `seed` and those that follow, into OUT/seed-N; evaluate "
    "each; tell mean and deviation.",
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="FIELD=VALUE,VALUE",
    help="Fine-tune with each of these values, such as training.learning_rate=1e-5,3e-5, into a "
    "folder below OUT; choose by validation; OUT/best is the best run. Of several fields, all "
    "combinations; with --seeds, each with each seed.",
)
def finetune(recipe, start, assignments, strategy, out, seeds, sweeps) -> None:
    """Fine-tune by a recipe into a run folder.

    RECIPE is classify (a class for each text), label (any number of labels), score (a number), tag
    (a class for each word) or a module of yours, by the name that imports it. A run that was
    stopped goes on when its command is repeated, and so does a sweep.
    """
    chosen = _with_start(_with_strategy(assignments, strategy), start, sweeps)
    if sweeps:
        # Only together with the values that are swept are the others to be in range.
        module, defaults = recipe_names.settings_of(recipe, [], "finetune")
        _sweep(module, combinations.plan(defaults, chosen, sweeps, seeds), out)
        return
    module, settings = recipe_names.settings_of(recipe, chosen, "finetune")
    if seeds is None:
        _train("Fine-tuning", module, settings, out)
    else:
        _train_seeds(module, settings, out, range(settings.seed, settings.seed + seeds))


def _with_start(assignments: Sequence[str], start: str, sweeps: Sequence[str] = ()) -> list[str]:
    """The assignments with that of --from."""
    for option, given in (("--set", assignments), ("--sweep", sweeps)):
        if start and (taken := [one for one in given if one.startswith(("model.", "start="))]):
            raise ValueError(
                f"The encoder comes from --from {start}; leave out {option} {taken[0]}."
            )
    return [*assignments, *([f"start={start}"] if start else [])]


def _with_strategy(assignments: Sequence[str], strategy: str | None) -> list[str]:
    """The assignments with that of --strategy."""
    if strategy is None:
        return list(assignments)
    for one in assignments:
        name, _, value = one.partition("=")
        if name.strip() == "training.strategy" and value.strip() != strategy:
            raise ValueError(
                f"--strategy {strategy} and --set {one} differ; leave one of them out."
            )
    return [*assignments, f"training.strategy={strategy}"]


def _show(module: ModuleType, settings: Any) -> None:
    """Print what a pre-training would do."""
    quiet_tensorflow()
    from tfpt import checkpoints, console, dry_run, taking_over

    if getattr(settings, "start", ""):
        source = checkpoints.open_run(settings.start)
        source.weights_path()  # raises where there are none
        settings = taking_over.with_size_of(source, settings, module)
    planned = dry_run.plan(module, settings)
    click.echo(json.dumps(config.to_dict(settings), indent=2))
    width = max(len(line.label) for line in (*planned.facts, *planned.batch))
    for line in (*planned.facts, *planned.batch):
        console.paragraph(line.label, line.text, width)


def _train_seeds(module: ModuleType, settings: Any, out: str | None, seeds: Sequence[int]) -> None:
    """Fine-tune with each seed, and tell what came out."""
    if not out:
        raise click.UsageError("Missing option '--out'.")
    _check_one_worker("--seeds", settings, "seed=N")
    quiet_tensorflow()
    from tfpt import console
    from tfpt import seeds as of_seeds

    for number, seed in enumerate(seeds, 1):
        title = f"Fine-tuning, {number} of {len(seeds)}"
        path = of_seeds.run_path(out, seed)
        _train(title, module, replace(settings, seed=seed), str(path), others_follow=True)
    with console.progress("Evaluating"):
        record = of_seeds.summarize(module, out, seeds)
    measures = {name: record[name] for name in record if name != "seeds"}
    _show_measures(f"{out}, {len(seeds)} seeds", measures)


def _check_one_worker(option: str, settings: Any, single: str) -> None:
    if settings.training.strategy == "multi_worker":
        raise ValueError(
            f"{option} trains several times in one process, which workers cannot: start one "
            f"training after the other, with --set {single}."
        )


def _show_measures(title: str, measures: dict[str, Any]) -> None:
    """Print mean and deviation of each measure."""
    from tfpt import console

    rows = [[name, *_mean_and_deviation(one)] for name, one in measures.items()]
    console.table(title, ["measure", "mean", "deviation"], rows)


def _mean_and_deviation(told: dict[str, Any]) -> list[str]:
    """As they are printed; of a single value there is no deviation."""
    deviation = told["deviation"]
    return [f"{told['mean']:.4f}", "" if deviation is None else f"{deviation:.4f}"]


def _sweep(module: ModuleType, plan: combinations.Plan, out: str | None) -> None:
    """Fine-tune every combination with every seed, and tell which is the best."""
    if not out:
        raise click.UsageError("Missing option '--out'.")
    for combination in plan.combinations:
        _check_one_worker("--sweep", combination.settings, "FIELD=VALUE")
    quiet_tensorflow()
    from tfpt import console
    from tfpt import sweep as sweeping

    def train(number: int, settings: Any, path: Path) -> None:
        try:
            title = f"Fine-tuning, {number} of {plan.num_runs}"
            _train(title, module, settings, str(path), others_follow=True)
        except FloatingPointError as error:
            click.echo(f"Warning: {path} was not trained to its end. {error}", err=True)
            raise

    record = sweeping.sweep(module, plan, out, train)
    with console.progress("Evaluating the best"):
        split, measures = sweeping.evaluate_best(module, record, out)
    _show_sweep(record, out)
    each = _counted(len(plan.seeds), "seed")
    _show_measures(f"The first on its {split} rows, {each}", measures)
    click.echo(f"{Path(out) / sweeping.BEST}: {record['best']['path']}")


def _show_sweep(record: dict[str, Any], out: str) -> None:
    """Print what the validation says of each combination."""
    from tfpt import console

    rows = []
    for rank, one in enumerate(record["combinations"], 1):
        measured = ["diverged", ""] if "failed" in one else _mean_and_deviation(one)
        rows.append([str(rank), *map(_shown, one["settings"].values()), *measured])
    each = _counted(len(record["seeds"]), "seed")
    columns = ["rank", *record["fields"], record["monitor"], "deviation"]
    console.table(f"{out}, {each} each", columns, rows)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _shown(value: Any) -> str:
    """The value of a field as a user writes it."""
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return str(value) if isinstance(value, str | float) else json.dumps(value)


def _train(
    title: str,
    module: ModuleType,
    settings: Any,
    out: str | None,
    *,
    others_follow: bool = False,
) -> None:
    """Train behind a bar; where nothing is left to do, say so."""
    if not out:
        raise click.UsageError("Missing option '--out'.")
    quiet_tensorflow()
    from tfpt import callbacks, console, memory, preemption, training

    train = training.pretrain if title == "Pre-training" else training.finetune
    bar = None
    try:
        with console.progress(title) as move:
            bar = callbacks.Report(move, console.err.print, settings.training.batch_size)
            train(module, settings, out, callbacks=[bar], verbose=0)
    except preemption.Preempted as stop:
        click.echo(stop.message, err=True)
        raise  # with its exit code
    finally:
        if others_follow and bar is not None and bar.model is not None:
            memory.free(bar.model)
    if getattr(bar, "first", None) is None:  # the step that training began at
        click.echo(f"{out} was complete already.", err=True)
    click.echo(out)
