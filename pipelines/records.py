"""Records by their columns, as a stream: JSON Lines, CSV, TSV and Parquet, told by the ending.

CSV has the standard quoting, TSV has none: a quotation mark there is a character like any other.
"""

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from tfpt.pipelines import parquet
from tfpt.pipelines.cutting import cut_at_lines
from tfpt.pipelines.decoding import place, read_lines
from tfpt.pipelines.streams import Advance, Extent, is_compressed, split_ending

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
# Many data sets of JSON Lines are files with the second one, which other programs also give to
# a list, or to anything else in JSON.
JSON_LINES = (".jsonl", ".json")
# A record of more characters than this is refused: it would have to be held whole.
MAX_RECORD = 1 << 25
_AS_LINES = "It is read as JSON Lines, one object a line; `jq -c '.[]' FILE` writes a list so."

Row = tuple[int, tuple[Any, ...]]


def check_records(path: str) -> None:
    """Raise ValueError if the records of a file cannot be read here at all."""
    if split_ending(path)[0] == ".parquet":
        if is_compressed(path):
            raise ValueError(
                f"{path}: Parquet is compressed inside, and is not read through another "
                "compression. Decompress the file."
            )
        parquet.check_installed(path)


def read_columns(
    extent: Extent, names: Sequence[str], encoding: str, advance: Advance | None = None
) -> Iterator[Row]:
    """The values of the columns `names` in each record.

    Args:
        extent: A file, or a stretch as `cut_records` gives it.
        names: Of CSV and TSV, names from the header; or, where there is none, the numbers of the
            columns, counted from zero: "0". Of JSON Lines, fields of the objects.
        encoding: As `resolve_encoding` gives it. Parquet has its own.
        advance: Called with the number of bytes that were read.

    Yields:
        The number of the line within the extent (of Parquet, of the row within the file), from 1,
        and the values: of CSV and TSV strings, else of any type.

    Raises:
        ValueError: The file is damaged, a record is broken, or there is no such column; names
            file and line.
    """
    ending = split_ending(extent.path)[0]
    if ending == ".parquet":
        return parquet.read_columns(extent, names, advance)
    lines = _Lines(extent, encoding, advance)
    if ending in JSON_LINES:
        return _json_records(lines, names)
    if ending == ".csv":
        return _table_records(_csv_records(lines), lines, names)
    records = _tsv_records(lines)
    if extent.start:
        header = _tsv_records(_Lines(Extent(extent.path, extent.num_bytes), encoding))
        return _table_records(records, lines, names, next(header, (0, []))[1])
    return _table_records(records, lines, names)


def cut_records(extent: Extent, encoding: str, part_bytes: int) -> list[Extent]:
    """Cut a file of records into stretches of about `part_bytes`, for `read_columns`.

    CSV is one stretch, since a line may end within quotation marks.
    """
    ending = split_ending(extent.path)[0]
    if ending == ".parquet":
        return parquet.cut(extent, part_bytes)
    if ending == ".csv":
        return [extent]
    return cut_at_lines(extent, encoding, part_bytes, blank=False)


def row_place(extent: Extent, encoding: str, row: int) -> str:
    """ "FILE:LINE" of a row that `read_columns` gave."""
    if split_ending(extent.path)[0] == ".parquet":
        return f"{extent.path}:{row}"
    return place(extent, encoding, row)


class _Lines:
    """The lines of an extent, whole, and where they are."""

    def __init__(self, extent: Extent, encoding: str, advance: Advance | None = None):
        self.path = extent.path
        self._extent, self._encoding, self._advance = extent, encoding, advance

    def read(self, newline: str) -> Iterator[str]:
        """The lines with their ends; `newline` as `open` takes it."""
        lines = read_lines(
            self._extent,
            self._encoding,
            newline=newline,
            longest=MAX_RECORD,
            advance=self._advance,
        )
        for number, line in enumerate(lines, 1):
            if len(line) >= MAX_RECORD and not line.endswith(("\n", "\r")):
                raise ValueError(
                    f"{self.place(number)}: the line has more than {MAX_RECORD:,} characters, too "
                    "many for one record. Write a record a line; give plain text another ending."
                )
            yield line

    def place(self, line: int) -> str:
        return place(self._extent, self._encoding, line)


def _json_records(lines: _Lines, names: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(lines.read("\n"), 1):
        line = line.rstrip()
        if not line:
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{lines.place(number)}: not JSON ({error.msg} at column {error.colno}). "
                + _AS_LINES
            ) from None
        except (ValueError, RecursionError) as error:  # a number too long, a nesting too deep
            raise ValueError(f"{lines.place(number)}: not read as JSON ({error}).") from None
        if not isinstance(record, dict):
            raise ValueError(
                f"{lines.place(number)}: each line must hold a JSON object; received "
                f"{line[:60]!r}. {_AS_LINES}"
            )
        for name in names:
            if name not in record:
                fields = ", ".join(map(repr, record)) or "none"
                raise ValueError(
                    f"{lines.place(number)}: there is no field `{name}`; the fields are {fields}. "
                    "Name another."
                )
        yield number, tuple(record[name] for name in names)


def _csv_records(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file with the line each begins in; empty lines are passed over."""
    # Strict: a quotation mark that is never closed is an error, not a text of 1,000 lines.
    reader = csv.reader(lines.read(""), strict=True)
    while True:
        line = reader.line_num + 1
        # The csv module's limit for a field, 131,072 characters, is one for the whole process.
        limit = csv.field_size_limit(MAX_RECORD)
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"{lines.place(line)}: broken CSV in the record that begins here ({error}). Double "
                "the quotation marks inside a quoted field; a file without quoting is a .tsv."
            ) from None
        finally:
            csv.field_size_limit(limit)
        if record is None:
            return
        if record:
            yield line, record


def _tsv_records(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """The records of a TSV file with their lines; empty lines are passed over."""
    for number, line in enumerate(lines.read("\n"), 1):
        record = line.removesuffix("\n").removesuffix("\r")
        if record:
            yield number, record.split("\t")


def _table_records(
    records: Iterator[tuple[int, list[str]]],
    lines: _Lines,
    names: Sequence[str],
    header: list[str] | None = None,
) -> Iterator[Row]:
    """The columns `names` of a CSV or TSV file, whose first record may be given as `header`."""
    numbered = all(name.isdecimal() for name in names)
    if header is None:
        line, header = next(records, (0, []))
        if not header:
            return
        if numbered:
            records = itertools.chain([(line, header)], records)
    find = _numbered if numbered else _named
    places = find(names, header, lines.path)
    for line, record in records:
        if len(record) != len(header):
            raise ValueError(
                f"{lines.place(line)}: {len(record)} columns, where the first line has "
                f"{len(header)}."
            )
        yield line, tuple(record[i] for i in places)


def _numbered(names: Sequence[str], header: list[str], path: str) -> list[int]:
    for name in names:
        if int(name) >= len(header):
            raise ValueError(
                f"{path}: there is no column {name}; the {len(header)} columns of the first line "
                f"are 0 to {len(header) - 1}."
            )
    return [int(name) for name in names]


def _advice(header: list[str]) -> str:
    if len(header) == 1 and (mark := next((one for one in ";|" if one in header[0]), "")):
        return (
            f"The columns seem to be divided by {mark!r}: write the file with commas, or as .tsv "
            "with tabs."
        )
    return (
        "Name others (`--set data.text=NAME`, `data.label=NAME`), or give numbers ('0', '1') where "
        "the file has no header."
    )


def _named(names: Sequence[str], header: list[str], path: str) -> list[int]:
    header = [name.strip() for name in header]
    for name in names:
        if header.count(name) != 1:
            how = "no column" if name not in header else "more than one column"
            raise ValueError(
                f"{path}: {how} `{name}`; the header has {', '.join(map(repr, header))}. "
                f"{_advice(header)}"
            )
    return [header.index(name) for name in names]
