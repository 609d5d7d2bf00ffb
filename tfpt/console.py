"""What commands print: progress bars and tables, by rich. Imports no TensorFlow.

Progress goes to standard error, results to standard output.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class _Detail(ProgressColumn):
    """What a task says of itself: megabytes, files, the loss."""

    def render(self, task) -> Text:
        return Text(str(task.fields.get("detail", "")), style="progress.data.speed")


class _Share(ProgressColumn):
    """The percentage, where the total is known."""

    def render(self, task) -> Text:
        return Text(f"{task.percentage:>3.0f}%" if task.total else "    ")


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar; gives a function `(completed, detail, total)` that moves it.

    Args:
        description: What is going on.
        total: Of which `completed` is a part; None where it is not known: the bar pulses.
    """
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        _Share(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        _Detail(),
        console=err,
    )
    task: TaskID = bar.add_task(description, total=total)

    def move(
        completed: float | None = None, detail: str | None = None, total: float | None = None
    ) -> None:
        fields: dict[str, Any] = {} if detail is None else {"detail": detail}
        bar.update(task, completed=completed, total=total, **fields)

    with bar:
        yield move
        known = bar.tasks[0].total or 1
        bar.update(task, completed=known, total=known)


def tracked(documents: Any, description: str) -> Iterator[Any]:
    """Go through documents with a bar in bytes read."""
    total = documents.num_bytes
    with progress(description, total) as move:
        for number, document in enumerate(documents):
            if number % 64 == 0:
                move(documents.bytes_read, f"{documents.bytes_read / 1e6:,.1f} MB")
            yield document
        move(detail=f"{documents.bytes_read / 1e6:,.1f} MB")


class Tracked:
    """Documents that show a bar each time they are gone through."""

    def __init__(self, documents: Any, description: str):
        self.documents, self.description = documents, description

    def __iter__(self) -> Iterator[Any]:
        return tracked(self.documents, self.description)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; the first column is left-aligned, the others to the right."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*row)
    out.print(shown)


def classification_report(title: str, report: dict[str, Any]) -> None:
    """Print what `evaluation.ClassificationReport.to_dict` gives."""
    rows = [
        [
            name,
            *(f"{row[key]:.4f}" for key in ("precision", "recall", "f1")),
            f"{row['num_rows']:,}",
        ]
        for name, row in report["classes"].items()
    ]
    averages = [f"{report[f'macro_{key}']:.4f}" for key in ("precision", "recall", "f1")]
    rows.append(["mean over classes", *averages, f"{report['num_rows']:,}"])
    table(title, ["class", "precision", "recall", "F1", "rows"], rows)
    out.print(
        f"accuracy {report['accuracy']:.4f} (majority class {report['majority_accuracy']:.4f}), "
        f"loss {report['loss']:.4f}"
    )
    names = list(report["classes"])
    if len(names) <= 20:
        confusion = [
            [name, *(f"{count:,}" for count in row)]
            for name, row in zip(names, report["confusion"], strict=True)
        ]
        table("Confusion (rows: true class)", ["", *names], confusion)
