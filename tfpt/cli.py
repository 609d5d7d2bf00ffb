"""The command `tfpt`: one subcommand for each public verb. It parses, calls and prints; no logic.

TensorFlow takes seconds to import, so each subcommand imports what it needs when it runs.
"""

import json
import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

import tfpt
from tfpt import (
    clean_command,
    command,
    recipe_names,
    serve_commands,
    train_commands,
    weight_commands,
)
from tfpt.command import quiet_tensorflow
from tfpt.service_commands import data_service

_COUNTED = ("tokens", "sentences", "documents")  # of a store


@click.group(cls=command.Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tfpt.__version__, prog_name="tfpt")
def main() -> None:
    """Pre-train, fine-tune, export and serve transformers, natively on TensorFlow and Keras 3.

    An error is one sentence; set TFPT_TRACEBACK=1 to see where it came from.
    """


main.add_command(clean_command.clean)


@main.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--size", type=int, default=30_522, show_default=True, help="Entries to train.")
@click.option(
    "--out",
    required=True,
    help="The file to write, such as vocab.txt (bpe: .json, unigram: .model), or a folder.",
)
@click.option(
    "--kind",
    type=click.Choice(["wordpiece", "bpe", "unigram"]),
    default="wordpiece",
    show_default=True,
    help="wordpiece: BERT's. bpe: byte-level byte pairs, as GPT-2's. unigram: SentencePiece.",
)
@click.option("--cased", is_flag=True, help="Keep upper case and accents, as bpe always does.")
@click.option(
    "--min-frequency",
    type=int,
    default=2,
    show_default=True,
    help="How often two pieces must stand side by side to become an entry (not of unigram).",
)
@click.option(
    "--extend",
    help="A WordPiece vocabulary whose entries keep their ids: words of the texts that it cuts "
    "into pieces are appended, up to --size entries in all.",
)
@command.sampling
@command.reading
def vocabulary(
    sources, size, out, kind, cased, min_frequency, extend, max_megabytes, seed, **reading
) -> None:
    """Train a vocabulary on texts, or extend one.

    SOURCES are text files, .jsonl, .csv, .tsv (all of these also as .gz, .bz2, .xz or .zst) or
    .parquet; folders of them, quoted globs, paths such as gs://bucket/name; or tfds:NAME.
    """
    from tfpt import console, pipelines
    from tfpt.pipelines import tokenizer_files

    if Path(out).exists():
        raise FileExistsError(f"{out} exists already; remove it, or name another file.")
    ending = {"wordpiece": ".txt", "bpe": ".json", "unigram": ".model"}[kind]
    tokenizer_files.file_path(out, ending, "")  # raises before the work
    most = {} if max_megabytes is None else {"max_megabytes": max_megabytes}
    if kind == "unigram" and min_frequency != 2:
        warnings.warn("--min-frequency has no effect on a unigram vocabulary.", stacklevel=2)
    train: Any
    if extend:
        train, size = _extension(extend, size, min_frequency, kind=kind, cased=cased)
    else:
        train = {
            "wordpiece": partial(
                pipelines.train_wordpiece, lowercase=not cased, min_frequency=min_frequency
            ),
            "bpe": partial(pipelines.train_byte_pair, min_frequency=min_frequency),
            "unigram": partial(pipelines.train_unigram, lowercase=not cased),
        }[kind]
    documents = command.documents(sources, **reading)
    with console.reading(documents, "Training the vocabulary") as texts:
        tokenizer = train(texts, size, seed=seed, **most)
        written = tokenizer.save(out)
    console.show_encodings(documents.encodings)
    click.echo(f"{written}: {tokenizer.vocabulary_size:,} entries")


@main.command()
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--vocabulary",
    "vocabulary_path",
    help="As `tfpt vocabulary` wrote it, or a vocab.txt, tokenizer.json, vocab.json or .model of "
    "another tool.",
)
@click.option("--out", help="The folder to write.")
@click.option("--workers", type=int, help="Processes that tokenize; by default one for each core.")
@click.option("--verify", is_flag=True, help="SOURCES are stores: compare them with checksums.")
@command.beam
@command.segmented
@command.reading
def store(sources, vocabulary_path, out, workers, verify, beam, **reading) -> None:
    """Tokenize texts once into a token store, or verify one.

    SOURCES are text files, .jsonl, .csv, .tsv (all of these also as .gz, .bz2, .xz or .zst) or
    .parquet; folders of them, quoted globs, paths such as gs://bucket/name; or tfds:NAME. When it
    was stopped, the same command goes on where it was.
    """
    from tfpt import console, pipelines

    if verify:
        command.warn_without_effect("--verify", beam=beam, workers=workers)
        _verify(sources)
        return
    for name, value in (("--vocabulary", vocabulary_path), ("--out", out)):
        if not value:
            raise ValueError(f"{name} is missing; a store is written with --vocabulary and --out.")
    tokenizer = pipelines.load_tokenizer(vocabulary_path)
    documents = command.documents(sources, **reading)
    quiet_tensorflow()
    if beam:
        command.warn_without_effect("--beam", workers=workers)
        with console.waiting("Running the pipeline"):
            counts = pipelines.write_store_by_beam(documents, tokenizer, out, beam)
    else:
        with console.writing(documents, "Writing the store") as moved:
            written = pipelines.write_store(
                documents, tokenizer, out, num_workers=workers, moved=moved
            )
        counts = {name: getattr(written, f"num_{name}") for name in _COUNTED}
    console.show_encodings(documents.encodings)
    click.echo(f"{out}: {', '.join(f'{counts[name]:,} {name}' for name in _COUNTED)}")


@main.command()
@click.argument("recipe")
@command.setting
def show(recipe, assignments) -> None:
    """Print the configuration of a recipe, overrides applied.

    RECIPE is bert, classify, label, score, tag, answer, embed or a module of yours, by the name
    that imports it.
    """
    from tfpt import config

    settings = config.override(recipe_names.find(recipe).config(), assignments)
    click.echo(json.dumps(config.to_dict(settings), indent=2))


@main.command()
@click.argument("recipe")
@command.setting
@click.option(
    "--batch", type=click.IntRange(0), default=0, show_default=True, help="Its number, from 0."
)
@click.option(
    "--rows", type=click.IntRange(1), default=3, show_default=True, help="Rows of it to print."
)
def show_batch(recipe, assignments, batch, rows) -> None:
    """Print a few drawn examples, to be read.

    Words are joined; texts, masks, labels and padding told. RECIPE is bert, classify, label, score,
    tag, answer, embed or a module of yours, by the name that imports it.
    """
    module, settings = recipe_names.settings_of(recipe, assignments, "show-batch")
    quiet_tensorflow()
    from tfpt import console
    from tfpt import show_batch as showing

    drawn, tokenizer, names = showing.recipe_batch(module, settings, batch)
    lines = showing.lines(drawn, tokenizer, number=batch, num_rows=rows, label_names=names)
    width = max(len(line.label) for line in lines)
    for line in lines:
        console.paragraph(line.label, line.text, width)


@main.command()
@click.argument("recipe")
@command.setting
@click.option("--batches", type=click.IntRange(1), required=True, help="How many to write.")
@click.option("--shards", type=click.IntRange(1), help="Files to divide them among; by default 16.")
@click.option("--out", required=True, help="The folder to write; also gs://BUCKET/FOLDER.")
def records(recipe, assignments, batches, shards, out) -> None:
    """Write finished examples, to train from a bucket.

    RECIPE is bert or a module of yours, by the name that imports it. Train on the folder by
    `tfpt pretrain RECIPE --set data.records=FOLDER` and the same settings.
    """
    module, settings = recipe_names.settings_of(recipe, assignments, "records")
    quiet_tensorflow()
    from tfpt import console, pipelines

    data = module.dataset(settings)
    with console.progress("Writing records", total=batches) as move:
        written = pipelines.write_records(
            data.train_batches(0),
            out,
            tokenizer=data.tokenizer,
            num_batches=batches,
            num_shards=shards,
            settings=settings,
            progress=lambda done, total: move(done, f"{done:,} batches"),
        )
    click.echo(f"{out}: {written.num_rows:,} rows in {len(written.shards)} shards")


main.add_command(data_service)


main.add_command(train_commands.pretrain)
main.add_command(train_commands.finetune)


@main.command()
@click.argument("run")
def evaluate(run) -> None:
    """Evaluate the best weights of a run.

    A fine-tuned model is evaluated on its test rows (else its validation rows), a pre-trained one
    on its validation store. The figures are also written to RUN/evaluation.json; of a fine-tuned
    model also for TensorBoard and, with pip install 'tfpt[reports]', as RUN/evaluation.html: with
    curves, calibration and the rows that it is most wrong about.
    """
    quiet_tensorflow()
    module = recipe_names.of_run(run)
    from tfpt import console, evaluation

    with console.progress("Evaluating"):
        report = evaluation.evaluate_run(module, run)
    if isinstance(report, dict):
        console.table(run, ["measure", "value"], [[k, f"{v:.4f}"] for k, v in report.items()])
    else:
        split = json.loads((Path(run) / "evaluation.json").read_text())["split"]
        console.report(f"{run}, {split} rows", report.to_dict(), report.measures)
        if (page := Path(run) / "evaluation.html").exists():
            click.echo(page)


main.add_command(weight_commands.import_)
main.add_command(weight_commands.convert)
main.add_command(weight_commands.features)
main.add_command(serve_commands.export)
main.add_command(serve_commands.serve)
main.add_command(serve_commands.predict)


@main.command()
def check() -> None:
    """Report the environment, as a bug report needs it."""
    variables = dict(os.environ)  # before TensorFlow adds its own
    quiet_tensorflow()
    from tfpt import environment

    click.echo(environment.report(variables))


@main.command()
@click.option("--out", default="demo", show_default=True, help="The folder to work in.")
def demo(out) -> None:
    """Go the whole path on this machine's docstrings, in minutes."""
    quiet_tensorflow()
    from tfpt.recipes import demo as recipe

    recipe.run(Path(out))


def _extension(extend: str, size: int, min_frequency: int, *, kind: str, cased: bool) -> Any:
    """What extends a vocabulary, and by how many entries."""
    from tfpt import pipelines

    before = pipelines.load_tokenizer(extend)
    if kind != "wordpiece" or cased:
        raise ValueError("--extend keeps kind and case of the vocabulary: leave these out.")
    if size <= before.vocabulary_size:
        raise ValueError(
            f"{extend} has {before.vocabulary_size:,} entries, and --size asks for {size:,} in "
            "all; raise it."
        )
    extended = partial(pipelines.extend_wordpiece, before, min_frequency=min_frequency)
    return extended, size - before.vocabulary_size


def _verify(paths: Sequence[str]) -> None:
    """Compare stores with their checksums, behind a bar in bytes."""
    from tfpt import console, pipelines

    quiet_tensorflow()
    for path in paths:
        opened = pipelines.open_store(path)
        with console.progress("Verifying", opened.num_bytes) as move:
            done = 0
            for size in pipelines.verified_blocks(opened):
                done += size
                move(done, f"{done / 1e6:,.0f} MB")
        click.echo(f"{path} is what was written.")
