"""The commands `tfpt pretrain` and `tfpt finetune`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from tfpt import command, config, recipe_names
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
    "swept",
    multiple=True,
    metavar="FIELD=VALUE,VALUE",
    help="Fine-tune with each value, and choose by validation. Repeated, with all combinations. "
    "With --seeds, each so many times. OUT/best-run is the best run, OUT/sweep.json tells all.",
)
def finetune(recipe, start, assignments, strategy, out, seeds, swept) -> None:
    """Fine-tune by a recipe into a run folder.

    RECIPE is classify (a class for each text), label (any number of labels), score (a number), tag
    (a class for each word), answer (the place of an answer), embed (texts that mean the same near
    to each other) or a module of yours, by the name that imports it. A run that was stopped goes on
    when its command is repeated.
    """
    chosen = _with_start(_with_strategy(assignments, strategy), start)
    if swept:
        from tfpt import sweeps

        module = recipe_names.find_for(recipe, "finetune")
        planned = sweeps.combinations(module.config(), chosen, swept, seeds)
        _train_sweep(module, planned, out)
        return
    module, settings = recipe_names.settings_of(recipe, chosen, "finetune")
    if seeds is None:
        _train("Fine-tuning", module, settings, out)
    else:
        _train_seeds(module, settings, out, range(settings.seed, settings.seed + seeds))


def _with_start(assignments: Sequence[str], start: str) -> list[str]:
    """The assignments with that of --from."""
    if start and (taken := [one for one in assignments if one.startswith(("model.", "start="))]):
        raise ValueError(f"The encoder comes from --from {start}; leave out --set {taken[0]}.")
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
    _refuse_workers("--seeds", settings)
    quiet_tensorflow()
    from tfpt import console
    from tfpt import seeds as of_seeds

    for number, seed in enumerate(seeds, 1):
        title = f"Fine-tuning, {number} of {len(seeds)}"
        path = of_seeds.run_path(out, seed)
        _train(title, module, replace(settings, seed=seed), str(path))
    with console.progress("Evaluating"):
        record = of_seeds.summarize(module, out, seeds)
    measures = {name: record[name] for name in record if name != "seeds"}
    of_seeds.show(f"{out}, {len(seeds)} seeds", measures)


def _train_sweep(module: ModuleType, planned: Sequence[Any], out: str | None) -> None:
    """Fine-tune with each combination and seed, choose one, and tell what came out."""
    if not out:
        raise click.UsageError("Missing option '--out'.")
    for one in planned:
        _refuse_workers("--sweep", one.settings)
    quiet_tensorflow()
    from tfpt import console, sweeps

    sweeps.check(module, planned, out)
    runs = [run for one in planned for run in one.runs(out).items()]
    stopped = {}
    for number, (path, settings) in enumerate(runs, 1):
        try:
            _train(f"Fine-tuning, {number} of {len(runs)}", module, settings, str(path))
        except FloatingPointError as error:  # of a learning rate that is too high: a result too
            stopped[path] = str(error)
            click.echo(f"{path}: {error}", err=True)
    with console.progress("Evaluating"):
        record = sweeps.summarize(module, planned, out, stopped)
    sweeps.show(record, out)
    click.echo(Path(out) / record["chosen"]["best_run"])


def _refuse_workers(option: str, settings: Any) -> None:
    if settings.training.strategy == "multi_worker":
        raise ValueError(
            f"{option} trains several times in one process, which workers cannot: start one "
            "training after the other, with --set."
        )


def _train(title: str, module: ModuleType, settings: Any, out: str | None) -> None:
    """Train behind a bar; where nothing is left to do, say so."""
    if not out:
        raise click.UsageError("Missing option '--out'.")
    quiet_tensorflow()
    from tfpt import callbacks, console, distribution, preemption, training

    train = training.finetune if hasattr(module, "report") else training.pretrain
    try:
        with console.progress(title) as move:
            bar = callbacks.Report(move, console.err.print, settings.training.batch_size)
            try:
                train(module, settings, out, callbacks=[bar], verbose=0)
            finally:
                distribution.release(bar.model)  # others may be trained after it
    except preemption.Preempted as stop:
        click.echo(stop.message, err=True)
        raise  # with its exit code
    if getattr(bar, "first", None) is None:  # the step that training began at
        click.echo(f"{out} was complete already.", err=True)
    click.echo(out)
