"""Steps of a preparation as an Apache Beam pipeline, on whatever machines its runner has.

A step is work on numbered pieces, and begins when the step before is done. What a step makes lies
in a folder that all machines reach; from one to the next, only numbers go through the pipeline, and
what users did wrong.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

from tfpt import __version__
from tfpt.pipelines import shared_folder
from tfpt.pipelines.store_process import quiet

_ERRORS = "errors.json"
# Errors that are told of those that many pieces may have.
_MOST_ERRORS = 20


class Step(NamedTuple):
    """Work on pieces, each on any machine. It may be begun several times, also at once."""

    name: str
    work: Callable[[int], Any]  # takes the number of a piece; can be pickled
    num_pieces: int


def check_beam() -> None:
    """Raise a ValueError where Apache Beam is not installed."""
    try:
        with _quiet_import():
            import apache_beam  # noqa: F401
    except ImportError:
        raise ValueError(
            "Apache Beam is not installed. Install it by `pip install 'tfpt[beam]'`, or leave the "
            "options of a pipeline out to use the cores of this machine."
        ) from None


def run_steps(folder: str, steps: Sequence[Step], options: Sequence[str]) -> None:
    """Do one step after the other, and wait until all are done.

    Args:
        folder: Where the steps work; all machines reach it.
        steps: What to do.
        options: Of the pipeline, as on a command line: `["--runner=DirectRunner"]`.

    Raises:
        ValueError: What a piece of work raised; names up to 20 of them.
        OSError: The pipeline failed, as where a file cannot be written.
    """
    check_beam()
    import apache_beam as beam

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
        _ = errors | "Tell" >> beam.Map(_tell, f"{folder}/{_ERRORS}")
    told = json.loads(shared_folder.read_text(f"{folder}/{_ERRORS}"))
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
    except (ValueError, OSError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = [line for line in lines if "[while running" in line] or lines or [repr(error)]
        raise OSError(f"The pipeline failed: {said[-1]}") from error


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Beam warns of Google's libraries that are not there, also where nothing needs them."""
    handler, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(handler)  # else the warning would set up logging for the whole program
    try:
        yield
    finally:
        root.removeHandler(handler)
