"""Steps of a preparation as an Apache Beam pipeline, on whatever machines its runner has.

A step is work on numbered pieces, and begins when the step before is done. What a step makes lies
in a folder that all machines reach; from one to the next, only numbers go through the pipeline, and
what users did wrong.
"""

import functools
import io
import json
import logging
import pickle
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from typing import Any, NamedTuple

from tfpt import __version__
from tfpt.pipelines import shared_folder
from tfpt.pipelines.part_work import UnfinishedError
from tfpt.pipelines.store_process import quiet

_PARTS = "parts.pickle"  # the graph of a job has no room for thousands
# Errors that are told of those that many pieces may have.
_MOST_ERRORS = 20


class Step(NamedTuple):
    """Work on pieces, each on any machine. It may be begun several times, also at once."""

    name: str
    work: Callable[[int], Any]  # takes the number of a piece; can be pickled
    num_pieces: int


def check_beam(options: Sequence[str]) -> None:
    """Raise a ValueError where Apache Beam is not installed, or has no such runner or options."""
    try:
        with _quiet_import():
            import apache_beam  # noqa: F401
    except ImportError:
        raise ValueError(
            "Apache Beam is not installed. Install it by `pip install 'tfpt[beam]'`, or leave the "
            "options of a pipeline out to use the cores of this machine."
        ) from None
    from apache_beam.options.pipeline_options import StandardOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.runner import create_runner

    said = io.StringIO()  # as the parser of a command line says what is wrong, before it ends
    try:
        with redirect_stderr(said):
            parsed = _pipeline_options(options)
            parsed.get_all_options()
        runner = create_runner(parsed.view_as(StandardOptions).runner or "DirectRunner")
        wrong = PipelineOptionsValidator(parsed, runner).validate()
    except SystemExit:
        wrong = said.getvalue().splitlines()[-1:]
    except (ValueError, ImportError) as error:  # no such runner, or what it needs is not installed
        wrong = [str(error)]
    if wrong:
        raise ValueError(f"Apache Beam refuses the options {' '.join(options)}: {' '.join(wrong)}")


def part_identities(parts: Sequence[Any]) -> list[Any]:
    """What tells the parts of a corpus apart; a ValueError where other processes cannot read it."""
    identities = [getattr(part, "identity", None) for part in parts]
    if None in identities:
        raise ValueError(
            "Documents of a source of your own are read by one process only; pass what "
            "`read_documents` gives."
        )
    return identities


def send_parts(parts: Sequence[Any], folder: str) -> None:
    """Write the parts of a corpus for the machines that work on them."""
    shared_folder.write_bytes(f"{folder}/{_PARTS}", pickle.dumps(parts))


def sent_part(folder: str, digest: str, number: int) -> Any:
    """A part that was sent.

    Args:
        folder: Where it was sent to.
        digest: Of what is made there: a process may work on another corpus, in a folder of the
            same name.
        number: Of the part.
    """
    return _sent_parts(folder, digest)[number]


@functools.lru_cache(maxsize=1)
def _sent_parts(folder: str, digest: str) -> list[Any]:
    return pickle.loads(shared_folder.read_bytes(f"{folder}/{_PARTS}"))


def run_steps(folder: str, steps: Sequence[Step], options: Sequence[str]) -> None:
    """Do one step after the other, and wait until all are done.

    Args:
        folder: Where the steps work; all machines reach it.
        steps: What to do.
        options: Of the pipeline, as on a command line: `["--runner=DirectRunner"]`.

    Raises:
        ValueError: What a piece of work raised; names up to 20 of them.
        OSError: The pipeline failed, as where a file cannot be written, or was cancelled.
    """
    import apache_beam as beam

    # Of this job alone: one that was given up may still be at work.
    told_in = f"{folder}/errors.{uuid.uuid4().hex}.json"
    # The processes of the DirectRunner say much before they know what they should say.
    quietly = quiet() if any("multi_processing" in one for one in options) else nullcontext()
    with _failure_named(), quietly, beam.Pipeline(options=_pipeline_options(options)) as pipeline:
        errors = pipeline | "Begin" >> beam.Create([()])
        for step in steps:
            errors = (
                pipeline
                | f"{step.name}: number" >> beam.Create(range(step.num_pieces))
                | f"{step.name}: spread" >> beam.Reshuffle()
                # To have what the step before gave, a step waits for all of it.
                | step.name
                >> beam.FlatMap(_work, step.work, __version__, beam.pvalue.AsSingleton(errors))
                | f"{step.name}: end" >> beam.combiners.Top.Smallest(_MOST_ERRORS)
            )
        _ = errors | "Tell" >> beam.Map(_tell, told_in)
    if not shared_folder.exists(told_in):  # some runners raise nothing for a job that is cancelled
        state = getattr(pipeline.result, "state", "unknown")
        raise OSError(f"The pipeline ended before its work was done; its state is {state}.")
    told = json.loads(shared_folder.read_text(told_in))
    if told:
        more = f" (and {len(told) - 1} more: {' '.join(told[1:])})" if len(told) > 1 else ""
        raise ValueError(f"{told[0]}{more}")


def _work(
    number: int, work: Callable[[int], Any], version: str, errors: Sequence[str]
) -> Sequence[str]:
    """Do a piece of work; gives what was wrong with it, or with the step before."""
    if errors:
        # One piece passes them on: of all of them, the first would come so often that none is left
        # room for.
        return errors if number == 0 else []
    if version != __version__:
        said = f"A worker has tfpt {__version__}, the machine that started the pipeline {version}"
        return [f"{said}. Install the same on both."]
    try:
        work(number)
    except ValueError as error:  # it would be no better when the runner tries again
        return [" ".join(str(error).split())]
    return []


def _tell(errors: Sequence[str], path: str) -> None:
    shared_folder.write_text(path, json.dumps(sorted(set(errors))))


def _pipeline_options(options: Sequence[str]) -> Any:
    """Processes that the DirectRunner starts need not tell of each of their threads."""
    from apache_beam.options.pipeline_options import PipelineOptions

    level = "--default_sdk_harness_log_level"
    runner = [option for option in options if option.startswith("--runner")]
    local = not runner or "DirectRunner" in runner[-1]
    given = any(option.startswith(level) for option in options)
    return PipelineOptions([*options, *([f"{level}=ERROR"] if local and not given else [])])


@contextmanager
def _failure_named() -> Iterator[None]:
    """Each runner has errors of its own, with the traceback of a worker inside."""
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = [line for line in lines if "[while running" in line] or lines or [repr(error)]
        raise OSError(f"The pipeline failed: {said[-1]}") from error


@contextmanager
def work_kept() -> Iterator[None]:
    """Raise what is no fault of the sources, such as a lost connection, as `UnfinishedError`."""
    try:
        yield
    except (ValueError, FileExistsError):
        raise
    except Exception as error:
        raise UnfinishedError(
            f"{str(error).rstrip('.')}. What is done is kept: repeat the command to go on."
        ) from error


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Beam warns of Google's libraries that are not there, also where nothing needs them."""
    handler, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(handler)  # else the warning would set up logging for the whole program
    try:
        yield
    finally:
        root.removeHandler(handler)
