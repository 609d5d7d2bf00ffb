"""Texts, labelled or not, from a file: CSV with a header or without, TSV, JSON Lines, Parquet.

The ending of the file's name says which; a compression may come behind it, as in .csv.gz. CSV has
the standard quoting, TSV has none. All are UTF-8; a byte order mark is passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfpt.pipelines import records
from tfpt.pipelines.decoding import read_lines
from tfpt.pipelines.files import is_file
from tfpt.pipelines.records import check_records, read_columns, row_place
from tfpt.pipelines.streams import Extent, split_ending, whole_file
from tfpt.pipelines.values import Label, ReadLabel, class_of, classes_in, text_of

ENDINGS = (*records.ENDINGS, ".json")


@dataclass
class Table:
    """Labelled texts, and where each came from."""

    source: str  # the file, or the data set's name and split; stands in error messages
    rows: list[tuple[str, ...]] = field(default_factory=list)  # the texts of each
    labels: list[Any] = field(default_factory=list)  # of one kind of `values.Label`
    lines: list[int] = field(default_factory=list)  # of the file, from 1; of other sources, rows

    def append(self, texts: tuple[str, ...], label: Label, line: int) -> None:
        """Add a row."""
        self.rows.append(texts)
        self.labels.append(label)
        self.lines.append(line)

    def empty_text(self, row: int, column: int) -> ValueError:
        """What to raise of a text that is empty, or of which no token is left."""
        texts = self.rows[row]
        name = "text" if len(texts) == 1 else f"{('first', 'second', 'third')[column]} text"
        return ValueError(
            f"{self.source}:{self.lines[row]}: the {name} is empty, or holds no token: "
            f"{texts[column]!r:.60}. Write one, or remove the row."
        )

    def select(self, indices: Sequence[int]) -> "Table":
        """The rows at `indices`, in that order."""
        return Table(
            self.source,
            [self.rows[i] for i in indices],
            [self.labels[i] for i in indices],
            [self.lines[i] for i in indices],
        )

    def placed_labels(self) -> list[list[tuple[str, int]]]:
        """The classes that each row names, and its line; see `splits.Rows`."""
        return [
            [(name, line) for name in classes_in(label)]
            for label, line in zip(self.labels, self.lines, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)


def read_table(
    path: str | Path, *, text: Sequence[str], label: str, read_label: ReadLabel = class_of
) -> Table:
    """Read a file of texts, with or without labels.

    Args:
        path: A file that ends in .csv, .tsv, .jsonl (or .json, of an object a line) or .parquet;
            all but the last also compressed: .csv.gz, .bz2, .xz or .zst. With `://` it is read
            through `tf.io.gfile`. Where there is no label also a .txt, of which each line is a
            text, but for blank ones.
        text: The columns of the texts: names from the header (of a JSON Lines file, the names of
            the fields). Where a CSV or TSV file has no header, the numbers of the columns, counted
            from zero: "0". Of a .txt one, whatever its name.
        label: The column of the label; "": there is none, and the label of each row is ().
        read_label: What makes a label of a value in it; see values.py.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The ending is another one, a column is missing, a row is broken, or there is
            none; names file, line and column.
    """
    path = _checked(path, ENDINGS if label else (*ENDINGS, ".txt"))
    extent = whole_file(path)
    table = Table(path)
    if split_ending(path)[0] == ".txt":
        for row, line in enumerate(_lines(extent, text), 1):
            if line.strip():
                table.append((line,), (), row)
        return _not_empty(table)
    for row, values in read_columns(extent, [*text, label] if label else text, "utf-8"):
        try:
            told = read_label(values[-1], label) if label else ()
            table.append(_texts(values[: len(text)], text), told, row)
        except ValueError as error:
            raise ValueError(f"{row_place(extent, 'utf-8', row)}: {error}") from None
    return _not_empty(table)


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
        return [(line,) for line in _lines(extent, text)]
    rows = []
    for row, texts in read_columns(extent, text, "utf-8"):
        try:
            rows.append(_texts(texts, text))
        except ValueError as error:
            raise ValueError(f"{row_place(extent, 'utf-8', row)}: {error}") from None
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


def _lines(extent: Extent, columns: Sequence[str]) -> list[str]:
    """The lines of a .txt, without their ends."""
    if len(columns) > 1:
        raise ValueError(f"{extent.path}: a line of a .txt is one text; received {tuple(columns)}.")
    # Only "\n" ends a line here: texts hold other separators.
    lines = "".join(read_lines(extent, "utf-8")).split("\n")
    return lines if lines[-1] else lines[:-1]


def _not_empty(table: Table) -> Table:
    if not table.rows:
        raise ValueError(f"{table.source}: there is no row in it.")
    return table


def _texts(values: Sequence[Any], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(text_of(value, column) for value, column in zip(values, columns, strict=True))
