"""The kind of command that `tfpt` has, and options that several share.

Its errors are one sentence, its warnings one line.
"""

import errno
import os
import re
import shlex
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import click

_INTERRUPTED = 130  # the exit code, in a shell, of what Ctrl-C ended
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TO_GO_ON = {
    "clean": " Repeat the command to go on with the cleaning.",
    "store": " Repeat the command to go on with the store.",
    **dict.fromkeys(
        ("pretrain", "finetune"),
        " Repeat the command to go on from the last checkpoint; each epoch ends with one.",
    ),
}
setting = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a number of the recipe, such as model.num_layers=4. May be repeated.",
)
_MAX_MEGABYTES = click.option(
    "--max-megabytes",
    type=float,
    help="The most text to look at; of more, a sample is taken by a hash of each document. By "
    "default 500, of unigram 100.",
)
_SEED = click.option("--seed", type=int, default=0, show_default=True, help="Of the sample.")
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
    help="The field of JSONL, Parquet or TFDS, or the column of CSV or TSV, that is the text. 0, 1 "
    "and so on: a column of a CSV or TSV file without a header.",
)
_ENCODING = click.option(
    "--encoding",
    default="utf-8",
    show_default=True,
    help="Of the files. auto: detected, and reported.",
)
_LANGUAGE = click.option(
    "--language",
    default="en",
    show_default=True,
    help="ISO 639 code, for splitting running text into sentences.",
)

segmented = click.option(
    "--segmented",
    is_flag=True,
    help="White space separates the words, as in Chinese text that a word segmenter wrote; so that "
    "whole words can be masked.",
)


def _beam_options(context: click.Context, option: click.Parameter, values: Any) -> list[str]:
    text = " ".join(values)
    try:
        return shlex.split(text)
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}") from None


beam = click.option(
    "--beam",
    multiple=True,
    metavar="OPTIONS",
    callback=_beam_options,
    help="Work on the machines of an Apache Beam runner, as '--runner=DirectRunner'. May be "
    "repeated. Needs `pip install 'tfpt[beam]'`.",
)

# What errors of the Python API name is here an option.
_ARGUMENT = re.compile(r'\b(encoding|field|language|layout)="([^"]*)"')
_STEPS = (
    "unicode|min_words|max_words|repetition|keep_languages|count_languages|min_confidence|"
    "overlap|overlap_field|overlap_words|personal_data|phone_regions|exact_duplicates|near_duplicates"
)
_STEP = re.compile(rf"`({_STEPS})`(?: of Cleaning)?()|\b({_STEPS})(=)")
_OPTIONS = {
    "`segmented`": "--segmented",
    "`vocabulary_size`": "--size",
    "vocabulary_size=": "--size ",
    "vocabulary_size": "--size",
    "min_frequency=": "--min-frequency ",
    "min_frequency": "--min-frequency",
    "num_workers": "--workers",
    "rest_port": "--rest-port",
    "grpc_port": "--grpc-port",
}


class Command(click.Command):
    """A command whose errors are one sentence, not a traceback."""

    def invoke(self, context: click.Context) -> Any:
        from tfpt.serving import RequestError

        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(context)
            except KeyboardInterrupt:
                click.echo(f"Stopped.{_TO_GO_ON.get(self.name or '', '')}", err=True)
                context.exit(_INTERRUPTED)
            except (ValueError, OSError, FloatingPointError, RequestError) as error:
                if os.environ.get("TFPT_TRACEBACK"):
                    raise
                raise click.ClickException(_sentence(error, context)) from error


class Group(click.Group):
    """Lists its commands in the order of the path, not of the alphabet."""

    command_class = Command

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


def _sentence(error: BaseException, context: click.Context) -> str:
    if isinstance(error, OSError) and error.strerror:
        if error.errno in _NO_SPACE:  # the error does not tell where
            return f"{context.params.get('out', 'A file')} could not be written: {error.strerror}."
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    # A server that speaks another protocol answers in bytes that no terminal should get.
    printable = "".join(letter if letter.isprintable() else " " for letter in str(error))
    text = _with_options(" ".join(printable.split()) or type(error).__name__)
    return text if text.endswith((".", "?")) else f"{text}."


def _with_options(text: str) -> str:
    """A message of the Python API in the words of the command line."""
    text = _ARGUMENT.sub(lambda found: f"--{found[1]} {found[2]}", text)
    text = _STEP.sub(_step_option, text)
    for name, option in _OPTIONS.items():
        text = text.replace(name, option)
    return text


def _step_option(found: re.Match[str]) -> str:
    name, equals = found[1] or found[3], found[2] or found[4]
    return f"--{name.replace('_', '-')}{' ' if equals else ''}"


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    click.echo(f"Warning: {_with_options(str(message))}", err=True)


def reading(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that tell how texts are read, by all that read them."""
    for option in (_LANGUAGE, _ENCODING, _FIELD, _LAYOUT):  # help shows the last one first
        function = option(function)
    return function


def sampling(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that tell how much text a training of a vocabulary looks at."""
    return _MAX_MEGABYTES(_SEED(function))


def documents(sources: Sequence[str], **reading: Any) -> Any:
    """The documents of a command; `reading` as `read_documents` takes it."""
    from tfpt import pipelines

    if any("://" in source or source.startswith("tfds:") for source in sources):
        quiet_tensorflow()
    return pipelines.read_documents(list(sources), **reading)


def warn_without_effect(beside: str, **given: Any) -> None:
    """Warn of options that were given but have no effect beside another."""
    for name, value in given.items():
        if value or value == 0:
            warnings.warn(f"--{name} has no effect with {beside}.", stacklevel=2)


def quiet_tensorflow() -> None:
    """Import TensorFlow without the lines it prints at its start."""
    if os.environ.get("TF_USE_LEGACY_KERAS", "0").lower() in ("1", "true"):
        raise ValueError("TF_USE_LEGACY_KERAS is set, but tfpt needs Keras 3; unset it.")
    from tfpt import console
    from tfpt.serving.quiet_import import import_tensorflow

    with console.waiting("Starting TensorFlow"):
        import_tensorflow()
