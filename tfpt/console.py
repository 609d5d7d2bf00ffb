"""What commands show while they work, and tables, by rich. Imports no TensorFlow.

Progress goes to standard error, results to standard output. Where standard error is no terminal, a
bar is one line at its end: how long it took, and what was said last.
"""

import functools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

# Of tables in a file or a pipe, which have no width.
_WIDTH_WITHOUT_TERMINAL = 200
# Of the files of one encoding that are named.
_MOST_PATHS = 3
# Of a confusion matrix that is printed; a larger one is in evaluation.json.
_MOST_CLASSES = 20


def _console(*, stderr: bool) -> Console:
    """Words wrap at the width of a terminal; in a file and a pipe a line stays whole."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.soft_wrap, console.width = True, _WIDTH_WITHOUT_TERMINAL
    return console


out = _console(stderr=False)
err = _console(stderr=True)

Move = Callable[..., None]


@functools.cache
def tell_once(text: str) -> None:
    """Print a line on standard error, the same one once in a process."""
    err.print(text, markup=False)


class _Share(ProgressColumn):
    """The percentage, where the total is known."""

    def render(self, task) -> Text:
        return Text(f"{task.percentage:>3.0f}%" if task.total else "    ")


class _Line(Progress):
    """Leaves room for the ^C that a terminal writes: past the last column it begins a new line."""

    def get_renderable(self) -> RenderableType:
        return Constrain(super().get_renderable(), err.width - 2)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Move]:
    """A progress bar; gives a function `(completed, detail, total)` that moves it.

    Args:
        description: What is going on.
        total: Of which `completed` is a part; None where it is not known: the bar pulses.
    """
    if not _is_live():
        with _logged(description) as log:
            yield log
        return
    bar = _bar()
    task = bar.add_task(description, total=total, detail="")

    def move(
        completed: float | None = None, detail: str | None = None, total: float | None = None
    ) -> None:
        fields: dict[str, Any] = {} if detail is None else {"detail": detail}
        bar.update(task, completed=completed, total=total, **fields)

    with bar:
        yield move
        known = bar.tasks[0].total or 1
        bar.update(task, completed=known, total=known)


@contextmanager
def reading(documents: Any, description: str) -> Iterator[Iterable[Any]]:
    """Documents to go through, with a bar in bytes read that stays until the block is left."""
    with progress(description, documents.num_bytes) as move:

        def followed() -> Iterator[Any]:
            for number, document in enumerate(documents):
                if number % 64 == 0:
                    move(documents.bytes_read, f"{documents.bytes_read / 1e6:,.1f} MB")
                yield document
            move(documents.bytes_read, f"{documents.bytes_read / 1e6:,.1f} MB")

        yield followed()


@contextmanager
def writing(documents: Any, description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar in bytes of text; gives a function that adds bytes and documents to it."""
    began, num_bytes, num_documents = time.monotonic(), 0, 0
    with progress(description, documents.num_bytes) as move:

        def moved(more_bytes: int, more_documents: int) -> None:
            nonlocal num_bytes, num_documents
            num_bytes, num_documents = num_bytes + more_bytes, num_documents + more_documents
            speed = num_bytes / 1e6 / max(time.monotonic() - began, 1e-3)
            move(num_bytes, f"{num_documents:,} documents, {speed:,.1f} MB/s")

        yield moved


def show_encodings(encodings: dict[str, str]) -> None:
    """Print what files turned out to be written in, by path: a line for each encoding."""
    paths: dict[str, list[str]] = {}
    for path, name in encodings.items():
        paths.setdefault(name, []).append(path)
    for name, found in sorted(paths.items()):
        more = f" and {len(found) - _MOST_PATHS:,} more" if len(found) > _MOST_PATHS else ""
        err.print(f"Detected {name}: {', '.join(found[:_MOST_PATHS])}{more}", markup=False)


class Tracked:
    """Documents that show a bar each time they are gone through."""

    def __init__(self, documents: Any, description: str):
        self.documents, self.description = documents, description

    def __iter__(self) -> Iterator[Any]:
        with reading(self.documents, self.description) as documents:
            yield from documents


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """A spinner that goes on while standard error is redirected, as at the import of TensorFlow."""
    if not _is_live():
        yield
        return
    with os.fdopen(os.dup(2), "w") as terminal, Console(file=terminal).status(description):
        yield


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; the first column is left-aligned, the others to the right."""
    if title:
        out.print(Text(title, style="bold"))
    out.print(_table(columns, rows))


def paragraph(label: str, text: Text, width: int) -> None:
    """Print a text behind its label; on a terminal its lines stay clear of the labels.

    Args:
        label: Indented; without one the text begins at the left.
        width: Of the labels, in characters.
    """
    if not label:
        out.print(text)
    elif out.is_terminal:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=width + 2, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(f"  {label}"), text)
        out.print(grid)
    else:
        out.print(Text.assemble(f"  {label:<{width}}  ", text))


def report(title: str, report: dict[str, Any], measures: dict[str, float]) -> None:
    """Print a report: a table of its classes, and of what was taken for what, if any; measures.

    Args:
        title: Above it.
        report: From `evaluation.Report.to_dict`.
        measures: From `evaluation.Report.measures`.
    """
    if "classes" in report:
        _classes(title, report)
    elif title:
        out.print(Text(title, style="bold"))
    if "confusion" in report:
        _confusion(list(report["classes"]), report["confusion"])
    told = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in measures.items()]
    if "majority_accuracy" in report:
        told[0] += f" (majority class {report['majority_accuracy']:.4f})"
    out.print(", ".join(told), markup=False)


def _classes(title: str, report: dict[str, Any]) -> None:
    counted = "entities" if "num_entities" in report else "rows"
    rows = [
        [
            name,
            *(f"{row[key]:.4f}" for key in ("precision", "recall", "f1")),
            f"{row[f'num_{counted}']:,}",
        ]
        for name, row in report["classes"].items()
    ]
    averages = [f"{report[f'macro_{key}']:.4f}" for key in ("precision", "recall", "f1")]
    rows.append(["mean over classes", *averages, f"{report[f'num_{counted}']:,}"])
    table(title, ["class", "precision", "recall", "F1", counted], rows)


def _confusion(names: list[str], counts: list[list[int]]) -> None:
    """Print a confusion matrix, with numbered columns where the names make it too wide.

    One that is too wide even so is left out: it is in the run's evaluation.json.
    """
    if len(names) > _MOST_CLASSES:
        return
    numbers = [str(number) for number in range(1, len(names) + 1)]
    numbered = [f"{number} {name}" for number, name in zip(numbers, names, strict=True)]
    unlimited = out.options.update(max_width=sys.maxsize)
    for heads, classes in ((names, names), (numbers, numbered)):
        columns = ["true class", *heads]
        rows = [
            [name, *(f"{count:,}" for count in row)]
            for name, row in zip(classes, counts, strict=True)
        ]
        if Measurement.get(out, unlimited, _table(columns, rows)).maximum <= out.width:
            table("Confusion: rows by true class, columns by answer", columns, rows)
            return


def _table(columns: list[str], rows: list[list[str]]) -> Table:
    # Names come from users' data: a bracket in one is no markup.
    shown = Table()
    for number, column in enumerate(columns):
        shown.add_column(escape(column), justify="right" if number else "left")
    for row in rows:
        shown.add_row(*map(escape, row))
    return shown


def _bar() -> Progress:
    """One line: what is too long for a narrow terminal comes off the bar itself."""
    description = "{task.description:<24}" if err.width >= 100 else "{task.description}"
    whole = Column(no_wrap=True)
    return _Line(
        SpinnerColumn(),
        TextColumn(description),
        BarColumn(bar_width=30),
        _Share(table_column=whole),
        TimeElapsedColumn(table_column=whole),
        TimeRemainingColumn(compact=True, table_column=whole),
        TextColumn("{task.fields[detail]}", style="progress.data.speed", markup=False),
        console=err,
    )


@contextmanager
def _logged(description: str) -> Iterator[Move]:
    """`progress` for a file or a pipe."""
    began, said = time.monotonic(), ""

    def move(
        completed: float | None = None, detail: str | None = None, total: float | None = None
    ) -> None:
        nonlocal said
        said = detail or said

    yield move
    took = timedelta(seconds=round(time.monotonic() - began))
    err.print(", ".join(filter(None, [f"{description}: {took}", said])), markup=False)


def _is_live() -> bool:
    """Whether a line on standard error can be written anew; FORCE_COLOR alone is no terminal."""
    return err.is_interactive and err.file.isatty()
