"""Texts, labelled or not, from a file: CSV with a header or without, TSV, JSON Lines, Parquet.

The ending of the file's name says which; a compression may come behind it, as in .csv.gz. CSV has
the standard quoting, TSV has none. All are UTF-8; a byte order mark is passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfpt.pipelines.decoding import read_lines
from tfpt.pipelines.files import is_file
from tfpt.pipelines.records import ENDINGS, check_records, read_columns, row_place
from tfpt.pipelines.streams import split_ending, whole_file


@dataclass
class Table:
    """Labelled texts, and where each came from."""

    source: str  # the file, or the data set's name and split; stands in error messages
    rows: list[tuple[str, ...]] = field(default_factory=list)  # one or two texts each
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # of the file, from 1; of other sources, rows

    def append(self, texts: tuple[str, ...], label: str, line: int) -> None:
        """Add a row; its label must not be empty."""
        if not label:
            raise ValueError(
                f"{self.source}:{line}: the label is empty. Write one, or remove the row."
            )
        self.rows.append(texts)
        self.labels.append(label)
        self.lines.append(line)

    def select(self, indices: Sequence[int]) -> "Table":
        """The rows at `indices`, in that order."""
        return Table(
            self.source,
            [self.rows[i] for i in indices],
            [self.labels[i] for i in indices],
            [self.lines[i] for i in indices],
        )

    def placed_labels(self) -> list[list[tuple[str, int]]]:
        """The label of each row and its line; see `splits.Rows`."""
        return [[one] for one in zip(self.labels, self.lines, strict=True)]

    def __len__(self) -> int:
        return len(self.rows)


def read_table(path: str | Path, *, text: Sequence[str], label: str) -> Table:
    """Read a file of labelled texts.

    Args:
        path: A file that ends in .csv, .tsv, .jsonl or .parquet; the first three also compressed:
            .csv.gz, .bz2, .xz or .zst. With `://` it is read through `tf.io.gfile`.
        text: The columns of the texts, one or two: names from the header (of a JSON Lines file, the
            names of the fields). Where a CSV or TSV file has no header, the numbers of the columns,
            counted from zero: "0".
        label: The column of the label.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The ending is another one, a column is missing, a row is broken, or there is
            none; names file, line and column.
    """
    path = _checked(path, ENDINGS)
    extent = whole_file(path)
    table = Table(path)
    for row, (*texts, value) in read_columns(extent, [*text, label], "utf-8"):
        if problem := _problem_of(texts, text) or _label_problem(value, label):
            place = row_place(extent, "utf-8", row)
            raise ValueError(f"{place}: {problem}")
        table.append(tuple(texts), _label(value), row)
    if not table.rows:
        raise ValueError(f"{table.source}: there is no row in it.")
    return table


def read_texts(path: str | Path, *, text: Sequence[str] = ("text",)) -> list[tuple[str, ...]]:
    """Read a file of texts without labels.

    Args:
        path: As of `read_table`; or one that ends in .txt, of which each line is a text.
        text: As of `read_table`; of a .txt there is one text in a row, whatever its name.

    Returns:
        One or two texts of each row, in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As `read_table`.
    """
    path = _checked(path, (*ENDINGS, ".txt"))
    extent = whole_file(path)
    if split_ending(path)[0] == ".txt":
        if len(text) > 1:
            raise ValueError(f"{path}: a line of a .txt is one text; received {tuple(text)}.")
        # Only "\n" ends a line here: texts hold other separators.
        lines = "".join(read_lines(extent, "utf-8")).split("\n")
        return [(line,) for line in (lines if lines[-1] else lines[:-1])]
    rows = []
    for row, texts in read_columns(extent, text, "utf-8"):
        if problem := _problem_of(texts, text):
            raise ValueError(f"{row_place(extent, 'utf-8', row)}: {problem}")
        rows.append(tuple(texts))
    if not rows:
        raise ValueError(f"{path}: there is no row in it.")
    return rows


def _checked(path: str | Path, endings: Sequence[str]) -> str:
    path = str(path)
    if split_ending(path)[0] not in endings:
        raise ValueError(f"{path}: the name must end in {', '.join(endings)}.")
    if not is_file(path):
        raise FileNotFoundError(f"There is no file {path}.")
    check_records(path)
    return path


def _problem_of(texts: Sequence[Any], names: Sequence[str]) -> str:
    return "".join(_text_problem(value, name) for value, name in zip(texts, names, strict=True))


def _text_problem(value: Any, name: str) -> str:
    """What is wrong with a text; empty if nothing is."""
    if not isinstance(value, str):
        return f"the field `{name}` must be text; received {value!r:.60}."
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can write half a character, as "\ud83d"; no UTF-8 text can hold it.
        return f"the field `{name}` holds half of a surrogate pair."
    return ""


def _label_problem(value: Any, name: str) -> str:
    if isinstance(value, str | int):
        return _text_problem(str(value), name)
    return (
        f"the field `{name}` must be text, a whole number, true or false; received {value!r:.60}."
    )


def _label(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()
