"""Parquet files as a stream of rows, by pyarrow, and their row groups as parts."""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

from tfpt.pipelines.decoding import decoded
from tfpt.pipelines.files import open_file
from tfpt.pipelines.streams import Advance, Extent

# Rows are read in batches of about so many bytes, decompressed, and of at most so many.
_BATCH_BYTES = 1 << 22
_BATCH_ROWS = 1024


def check_installed(path: str) -> None:
    """Raise ValueError if pyarrow is missing."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(
            f"{path}: Parquet is read and written by pyarrow, which is not installed. Install it "
            "by `pip install 'tfpt[parquet]'`."
        )


def read_columns(
    extent: Extent, names: Sequence[str], advance: Advance | None = None
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """The values of the columns `names` in each row, with its number in the file, from 1.

    Args:
        extent: A file, or some of its row groups.
        names: Columns at the top of the schema.
        advance: Called with the number of bytes that were read, estimated by the rows.
    """
    with _open(extent) as file:
        metadata = file.metadata
        columns = file.schema_arrow.names
        for name in names:
            if columns.count(name) != 1:
                raise ValueError(
                    f"{extent.path}: there is no column `{name}`; the columns are "
                    f"{', '.join(map(repr, columns))}. Name another."
                )
        groups = _groups(extent, metadata)
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        row, last = sum(sizes[: groups.start]), sum(sizes[: groups.stop])
        num_rows, advanced = last - row, 0
        for group in groups:
            for batch in _batches(file, group, names):
                done = num_rows - (last - row - batch.num_rows)
                place = (extent.path, row)
                for values in zip(*(_values(batch, name, place) for name in names), strict=True):
                    row += 1
                    yield row, values
                if advance:
                    advance(extent.num_bytes * done // num_rows - advanced)
                advanced = extent.num_bytes * done // num_rows
        if advance:
            advance(extent.num_bytes - advanced)


def cut(extent: Extent, part_bytes: int) -> list[Extent]:
    """Parts of a file, of about `part_bytes` each: whole row groups."""
    with _open(extent) as file:
        metadata = file.metadata
        sizes = []
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            chunks = [group.column(column) for column in range(group.num_columns)]
            sizes.append(sum(chunk.total_compressed_size for chunk in chunks))
    parts: list[Extent] = []
    start = size = 0
    for group_number, group_size in enumerate(sizes):
        size += group_size
        if size >= part_bytes:
            parts.append(Extent(extent.path, size, start, group_number + 1))
            start, size = group_number + 1, 0
    if start < len(sizes):
        parts.append(Extent(extent.path, size, start, len(sizes)))
    if len(parts) < 2:
        return [extent]
    # The file has more than its columns: what describes them, at its end.
    rest = extent.num_bytes - sum(part.num_bytes for part in parts)
    *others, final = parts
    return [*others, Extent(final.path, final.num_bytes + rest, final.start, final.end)]


@contextlib.contextmanager
def _open(extent: Extent) -> Iterator[Any]:
    """The file as pyarrow has it; damage, also what comes to light later, as one sentence."""
    import pyarrow
    import pyarrow.parquet

    with open_file(extent.path) as raw:
        try:
            # Not to be read ahead: of a large row group only what is decoded is in memory.
            yield pyarrow.parquet.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20)
        except (pyarrow.ArrowException, OSError) as error:
            # pyarrow's own ones are bare OSErrors; others say what is wrong.
            if isinstance(error, OSError) and (error.errno or type(error) is not OSError):
                raise
            reason = str(error).strip().partition("\n")[0].rstrip(".")[:200]
            raise ValueError(
                f"{extent.path} is damaged, cut off, or no Parquet file ({reason}). Copy it anew."
            ) from None


def _groups(extent: Extent, metadata: Any) -> range:
    end = metadata.num_row_groups if extent.end is None else extent.end
    return range(extent.start, end)


def _batches(file: Any, number: int, names: Sequence[str]) -> Iterator[Any]:
    """The rows of a row group, few enough at once to bound the memory."""
    group = file.metadata.row_group(number)
    row_bytes = group.total_byte_size // max(group.num_rows, 1)
    batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(row_bytes, 1)))
    return file.iter_batches(batch_rows, row_groups=[number], columns=names, use_threads=False)


def _values(batch: Any, name: str, place: tuple[str, int]) -> list[Any]:
    """A column of a batch, which begins behind the row of `place`, as Python's values."""
    column = batch.column(name)
    try:
        # Some writers do not mark text as such.
        if "binary" in str(column.type):
            return [decoded(value) for value in column.to_pylist()]
        return column.to_pylist()
    except UnicodeDecodeError:
        path, row = place
        for number, value in enumerate(column, row + 1):
            try:
                decoded(value.as_py())
            except UnicodeDecodeError:
                raise ValueError(
                    f"{path}:{number}: the column `{name}` is not UTF-8 in this row. Convert it."
                ) from None
        raise
