"""Labelled texts from a file: CSV with a header or without, TSV, JSON Lines.

The ending of the file's name says which. CSV has the standard quoting, TSV has none: a quotation
mark there is a character like any other. All are UTF-8; a byte order mark is passed over.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENDINGS = (".csv", ".tsv", ".jsonl")


@dataclass
class Table:
    """Labelled texts, and where each came from."""

    source: str  # the file, or the data set's name and split; stands in error messages
    rows: list[tuple[str, ...]] = field(default_factory=list)  # one or two texts each
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # of the file, from 1; of a data set, the row

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

    def __len__(self) -> int:
        return len(self.rows)


def read_table(path: str | Path, *, text: Sequence[str], label: str) -> Table:
    """Read a file of labelled texts.

    Args:
        path: A file that ends in .csv, .tsv or .jsonl.
        text: The columns of the texts, one or two: names from the header (of a JSON Lines file, the
            names of the fields). Where a CSV or TSV file has no header, the numbers of the columns,
            counted from zero: "0".
        label: The column of the label.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The ending is another one, a column is missing, a row is broken, or there is
            none; names file, line and column.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path}: the name must end in {', '.join(ENDINGS)}.")
    content = _read_utf8(path)
    table = Table(str(path))
    if path.suffix.lower() == ".jsonl":
        _read_json_lines(content, table, text, label)
    else:
        records = _csv_records if path.suffix.lower() == ".csv" else _tsv_records
        _read_columns(records(content, table.source), table, text, label)
    if not table.rows:
        raise ValueError(f"{table.source}: there is no row in it.")
    return table


def _read_utf8(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x}). Convert the file, for "
            "example by `iconv -f ISO-8859-1 -t UTF-8`."
        ) from None


def _csv_records(content: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file with the line each begins in; empty lines are passed over."""
    # The csv module's limit for a field, 131,072 characters, is one for the whole process.
    limit = csv.field_size_limit(max(len(content), csv.field_size_limit()))
    try:
        # Strict: a quotation mark that is never closed is an error, not a text of 1,000 lines.
        reader = csv.reader(io.StringIO(content, newline=""), strict=True)
        line = 1
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{source}:{line}: broken CSV in the record that begins here ({error}). Double the "
            "quotation marks inside a quoted field; a file without quoting is a .tsv."
        ) from None
    finally:
        csv.field_size_limit(limit)


def _tsv_records(content: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a TSV file with their lines; empty lines are passed over."""
    # Not str.splitlines: it also breaks at characters that occur inside texts, such as U+2028.
    for line, record in enumerate(content.split("\n"), start=1):
        record = record.removesuffix("\r")
        if record:
            yield line, record.split("\t")


def _read_columns(
    records: Iterator[tuple[int, list[str]]], table: Table, text: Sequence[str], label: str
) -> None:
    """Append the records of a CSV or TSV file to the table."""
    line, first = next(records, (0, []))
    if not first:
        return
    wanted = [*text, label]
    numbered = all(name.isdecimal() for name in wanted)
    places = _numbered(wanted, len(first), table) if numbered else _named(wanted, first, table)
    *text_places, label_place = places
    width = len(first)
    if numbered:
        table.append(tuple(first[i] for i in text_places), first[label_place].strip(), line)
    for line, record in records:
        if len(record) != width:
            raise ValueError(
                f"{table.source}:{line}: {len(record)} columns, where the first line has {width}."
            )
        table.append(tuple(record[i] for i in text_places), record[label_place].strip(), line)


def _numbered(wanted: Sequence[str], width: int, table: Table) -> list[int]:
    for name in wanted:
        if int(name) >= width:
            raise ValueError(
                f"{table.source}: there is no column {name}; the {width} columns of the first line "
                f"are 0 to {width - 1}."
            )
    return [int(name) for name in wanted]


def _named(wanted: Sequence[str], header: list[str], table: Table) -> list[int]:
    header = [name.strip() for name in header]
    for name in wanted:
        if header.count(name) != 1:
            how = "no column" if name not in header else "more than one column"
            raise ValueError(
                f"{table.source}: {how} `{name}`; the header has {', '.join(map(repr, header))}. "
                "Name others, or give numbers ('0', '1') where the file has no header."
            )
    return [header.index(name) for name in wanted]


def _read_json_lines(content: str, table: Table, text: Sequence[str], label: str) -> None:
    """Append the objects of a JSON Lines file to the table."""
    for line, record in enumerate(content.split("\n"), start=1):
        if not record.strip():
            continue
        where = f"{table.source}:{line}"
        try:
            values = json.loads(record)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON ({error}).") from None
        if not isinstance(values, dict):
            raise ValueError(f"{where}: each line must hold an object; received {record[:60]!r}.")
        for name in (*text, label):
            if name not in values:
                fields = ", ".join(map(repr, values))
                raise ValueError(f"{where}: there is no field `{name}`; the fields are {fields}.")
        texts = tuple(_json_text(values[name], where, name) for name in text)
        table.append(texts, _json_label(values[label], where, label), line)


def _json_text(value: Any, where: str, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: the field `{name}` must be text; received {value!r:.60}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can write half a character, as "\ud83d"; no UTF-8 text can hold it.
        raise ValueError(f"{where}: the field `{name}` holds half of a surrogate pair.") from None
    return value


def _json_label(value: Any, where: str, name: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return _json_text(str(value), where, name).strip()
    raise ValueError(
        f"{where}: the field `{name}` must be text, a whole number, true or false; received "
        f"{value!r:.60}."
    )
