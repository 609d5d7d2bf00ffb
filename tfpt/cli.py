"""The command `tfpt`: one subcommand for each public verb. It parses, calls and prints; no logic.

TensorFlow takes seconds to import, so each subcommand imports what it needs when it runs.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import tfpt

_SET = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a number of the recipe, such as model.num_layers=4. May be repeated.",
)
_LAYOUT = click.option(
    "--layout",
    type=click.Choice(["lines", "text"]),
    default="lines",
    show_default=True,
    help="lines: one sentence a line, blank lines between documents. text: running text, each file "
    "a document.",
)
_FIELD = click.option(
    "--field",
    default="text",
    show_default=True,
    help="The field of JSONL or TFDS that is the text.",
)
_ENCODING = click.option("--encoding", default="utf-8", show_default=True, help="Of text files.")


class _Command(click.Command):
    """A command whose errors are one sentence, not a traceback."""

    def invoke(self, context: click.Context) -> Any:
        from tfpt.serving import RequestError

        try:
            return super().invoke(context)
        except (ValueError, OSError, FloatingPointError, RequestError) as error:
            if os.environ.get("TFPT_TRACEBACK"):
                raise
            raise click.ClickException(_sentence(error)) from error


class _Group(click.Group):
    command_class = _Command


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return str(error) or type(error).__name__


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tfpt.__version__, prog_name="tfpt")
def main() -> None:
    """Pre-train, fine-tune, export and serve transformers, natively on TensorFlow and Keras 3.

    An error is one sentence; set TFPT_TRACEBACK=1 to see where it came from.
    """


@main.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--size", type=int, default=30_522, show_default=True, help="Entries to train.")
@click.option("--out", required=True, help="The file to write, such as vocab.txt.")
@click.option("--cased", is_flag=True, help="Keep upper case and accents.")
@click.option("--min-frequency", type=int, default=2, show_default=True)
@_LAYOUT
@_FIELD
@_ENCODING
def vocabulary(sources, size, out, cased, min_frequency, layout, field, encoding) -> None:
    """Train a WordPiece vocabulary on texts: files, globs, folders, .jsonl, tfds:NAME."""
    from tfpt import console, pipelines

    if Path(out).exists():
        raise FileExistsError(f"{out} exists already; remove it, or name another file.")
    documents = pipelines.read_documents(
        list(sources), layout=layout, field=field, encoding=encoding
    )
    tokenizer = pipelines.train_wordpiece(
        console.Tracked(documents, "Training the vocabulary"),
        size,
        lowercase=not cased,
        min_frequency=min_frequency,
    )
    tokenizer.save(out)
    console.out.print(f"{out}: {tokenizer.vocabulary_size:,} entries")


@main.command()
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--vocabulary", "vocabulary_path", required=True, help="As `tfpt vocabulary` wrote it."
)
@click.option("--out", required=True, help="The folder to write.")
@_LAYOUT
@_FIELD
@_ENCODING
def store(sources, vocabulary_path, out, layout, field, encoding) -> None:
    """Tokenize texts once into a token store."""
    from tfpt import console, pipelines

    tokenizer = pipelines.load_tokenizer(vocabulary_path)
    documents = pipelines.read_documents(
        list(sources), layout=layout, field=field, encoding=encoding
    )
    _quiet_tensorflow()
    written = pipelines.write_store(console.Tracked(documents, "Writing the store"), tokenizer, out)
    console.out.print(
        f"{out}: {written.num_tokens:,} tokens, {written.num_sentences:,} sentences, "
        f"{written.num_documents:,} documents"
    )


@main.command()
@click.argument("recipe")
@_SET
def show(recipe, assignments) -> None:
    """Print the resolved configuration of a recipe, such as bert or classify."""
    from tfpt import config

    settings = config.override(_recipe(recipe).config(), assignments)
    click.echo(json.dumps(config.to_dict(settings), indent=2))


@main.command()
@click.argument("recipe")
@_SET
@click.option("--out", required=True, help="The run folder; an unfinished run is gone on with.")
def pretrain(recipe, assignments, out) -> None:
    """Pre-train by a recipe, such as bert, into a run folder."""
    from tfpt import config, console

    module = _recipe(recipe)
    settings = config.override(module.config(), assignments)
    _quiet_tensorflow()
    from tfpt import callbacks, training

    with console.progress("Pre-training") as move:
        bar = callbacks.Report(move, console.err.print, settings.training.batch_size)
        training.pretrain(module, settings, out, callbacks=[bar], verbose=0)
    console.out.print(out)


@main.command()
@click.argument("recipe")
@click.option("--from", "start", default="", help="The run to take encoder and vocabulary from.")
@_SET
@click.option("--out", required=True, help="The run folder; an unfinished run is gone on with.")
def finetune(recipe, start, assignments, out) -> None:
    """Fine-tune by a recipe, such as classify, into a run folder."""
    from tfpt import config, console

    module = _recipe(recipe)
    chosen = [*assignments, *([f"start={start}"] if start else [])]
    settings = config.override(module.config(), chosen)
    _quiet_tensorflow()
    from tfpt import callbacks, training

    with console.progress("Fine-tuning") as move:
        bar = callbacks.Report(move, console.err.print, settings.training.batch_size)
        training.finetune(module, settings, out, callbacks=[bar], verbose=0)
    console.out.print(out)


@main.command()
@click.argument("run")
def evaluate(run) -> None:
    """Evaluate the best weights of a run, on its test rows or validation data."""
    _quiet_tensorflow()
    module = _recipe_of(run)
    from tfpt import console, evaluation

    with console.progress("Evaluating"):
        report = evaluation.evaluate_run(module, run)
    if isinstance(report, dict):
        console.table(run, ["measure", "value"], [[k, f"{v:.4f}"] for k, v in report.items()])
    else:
        console.classification_report(run, report.to_dict())


@main.command()
@click.argument("run")
@click.option(
    "--out", required=True, help="The folder of the model's versions, such as models/sst2."
)
def export(run, out) -> None:
    """Write a fine-tuned run as a SavedModel that takes plain strings."""
    _quiet_tensorflow()
    module = _recipe_of(run)
    from tfpt import console
    from tfpt import export as exporting

    with console.progress("Exporting"):
        written = exporting.export_run(module, run, out)
    console.out.print(str(written))


@main.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: every interface.")
@click.option("--rest-port", default=8501, show_default=True)
@click.option("--grpc-port", default=8500, show_default=True)
def serve(models, host, rest_port, grpc_port) -> None:
    """Serve model folders by TF Serving's REST and gRPC interfaces, until interrupted.

    MODELS are folders of versions, such as models/sst2; each is served under its folder's name.
    """
    from tfpt import console, serving

    named = {Path(model).resolve().name: model for model in models}
    if len(named) < len(models):
        raise ValueError(f"Two of the folders share a name, under which they are served: {models}.")
    with serving.Server(named, host=host, rest_port=rest_port, grpc_port=grpc_port) as server:
        console.out.print(
            f"Serving {', '.join(named)}: REST {server.address}, gRPC {server.grpc_address}. "
            "Stop with Ctrl-C."
        )
        server.wait()


@main.command()
@click.argument("address")
@click.argument("model")
@click.argument("texts", nargs=-1, required=True)
@click.option("--grpc", is_flag=True, help="Ask by gRPC; ADDRESS is then that port.")
@click.option("--version", type=int, help="The version to ask; by default the newest.")
@click.option("--pair", is_flag=True, help="TEXTS are pairs: A B A B ...")
def predict(address, model, texts, grpc, version, pair) -> None:
    """Ask a server at ADDRESS, such as localhost:8501, about TEXTS; prints a JSON line for each."""
    from tfpt import serving

    client = serving.Client(address, model, protocol="grpc" if grpc else "rest", version=version)
    inputs: Any = list(texts)
    if pair:
        if len(texts) % 2:
            raise ValueError(f"--pair takes an even number of texts; received {len(texts)}.")
        inputs = {"text_a": list(texts[::2]), "text_b": list(texts[1::2])}
    answer = client.predict(inputs)
    columns = {name: values.tolist() for name, values in answer.items()}
    for row in zip(*columns.values(), strict=True):
        click.echo(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False))


@main.command()
def check() -> None:
    """Report the environment, as a bug report needs it."""
    _quiet_tensorflow()
    from tfpt import environment

    click.echo(environment.report())


@main.command()
@click.option("--out", default="demo", show_default=True, help="The folder to work in.")
def demo(out) -> None:
    """From this machine's docstrings to a served classifier, in minutes."""
    _quiet_tensorflow()
    from tfpt.recipes import demo as recipe

    recipe.run(Path(out))


def _recipe(name: str) -> ModuleType:
    """A recipe by the name of its module: one of tfpt.recipes, or any importable one."""
    sys.path.insert(0, os.getcwd())
    for module in (f"tfpt.recipes.{name}", name):
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise
            continue
        if hasattr(found, "config"):
            return found
    raise ValueError(
        f"There is no recipe {name!r}: neither tfpt.recipes.{name} nor an importable module {name} "
        "with a function `config`. tfpt brings bert and classify."
    )


def _recipe_of(path: str) -> ModuleType:
    """The recipe that a run folder names."""
    from tfpt import checkpoints

    return _recipe(checkpoints.open_run(path).recipe)


def _quiet_tensorflow() -> None:
    """Import TensorFlow without the lines it prints at its start."""
    if os.environ.get("TF_USE_LEGACY_KERAS", "0").lower() in ("1", "true"):
        raise ValueError("TF_USE_LEGACY_KERAS is set, but tfpt needs Keras 3; unset it.")
    from tfpt.serving.quiet_import import import_tensorflow

    import_tensorflow()
