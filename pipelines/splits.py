"""Training, validation and test rows from a folder, a file, named files or `tfds:NAME`.

A split that must be made is made by a hash of the texts: the same on any machine and for any seed,
and rows of equal texts lie on the same side.
"""

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from os.path import basename
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from tfpt.pipelines.files import is_file, is_folder, list_files, match_files
from tfpt.pipelines.streams import split_ending
from tfpt.pipelines.tables import ENDINGS, Table, read_table
from tfpt.pipelines.values import ReadLabel, class_of

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
# The share of one file that becomes the validation rows, and that which becomes the test rows; of
# training rows that which becomes the validation rows where there are none.
HELD_OUT_RATE = 0.1

# From so many rows on a label of one row alone is strange.
_MANY_ROWS = 10

# Behind it a version may stand, as in SQuAD's `train-v2.0`.
_SPLIT_IN_NAME = re.compile(
    r"(?:^|[-_.])(train|validation|valid|val|dev|test)(?:-v\d+(?:\.\d+)*)?$", re.IGNORECASE
)

Source = str | Path | Mapping[str, str | Path]


class Rows(Protocol):
    """What rows have to tell to be split, as `tables.Table` does."""

    source: str  # the file; stands in error messages
    rows: list[tuple[str, ...]]  # the texts of each

    def placed_labels(self) -> list[list[tuple[str, int]]]:
        """The labels of each row, and the line of each."""

    def select(self, indices: Sequence[int]) -> Self:
        """The rows at `indices`, in that order."""

    def __len__(self) -> int: ...


AnyRows = TypeVar("AnyRows", bound=Rows)
Divide = Callable[[AnyRows, Mapping[str, float]], dict[str, AnyRows]]


def read_splits(
    source: Source,
    *,
    text: Sequence[str],
    label: str,
    read_label: ReadLabel = class_of,
    known_labels: bool = True,
    divide: Divide[Table] | None = None,
) -> dict[str, Table]:
    """Read texts, labelled or not, split for training.

    Args:
        source: A folder (or a glob) with a file for each split, whose name is or ends in "train";
            "validation", "valid", "val" or "dev"; "test" (`train.csv`, `reviews-dev.tsv.gz`). Or a
            dict from "train", "validation" and "test" to files. Or one file, which is divided
            80 : 10 : 10. Or `tfds:NAME`, a data set of TensorFlow Datasets. What has `://` in it
            is read through `tf.io.gfile`.
        text: The columns of the texts, usually one or two; see `read_table`.
        label: The column of the label; "": there is none, and files may be .txt too.
        read_label: What makes a label of a value in it; see values.py.
        known_labels: Whether all labels have to occur in the training rows.
        divide: Divides a table by shares; None: by a hash of each row's texts.

    Returns:
        The tables of "train", "validation" (where there is none, 10% of the training rows) and,
        where there is one, "test".

    Raises:
        FileNotFoundError: There is no such file or folder, or no training file in it.
        ValueError: A file is broken, or a label of the validation or test rows never occurs in the
            training rows; names file, line and label.
    """
    if isinstance(source, str) and source.startswith("tfds:"):
        tables = _read_tfds(source.removeprefix("tfds:"), text, label, read_label)
        return _complete(tables, divide or _divide, HELD_OUT_RATE, known_labels=known_labels)

    def read(path: str) -> Table:
        return read_table(path, text=text, label=label, read_label=read_label)

    endings = ENDINGS if label else (*ENDINGS, ".txt")
    tables = split_files(source, read, endings, known_labels=known_labels, divide=divide)
    if label.isdecimal():
        _warn_of_header(tables[TRAIN])
    return tables


def _warn_of_header(table: Table) -> None:
    """Say so where the first line, of columns by number, may be the names of the columns."""
    placed = [one for row in table.placed_labels() for one in row]
    counts = Counter(label for label, _ in placed)
    rare = [label for label, line in placed if line == 1 and counts[label] == 1]
    if rare and len(table) >= _MANY_ROWS:
        warnings.warn(
            f"{table.source}:1: no other row has the label {rare[0]!r}. If that line names the "
            "columns, give their names in the place of numbers.",
            stacklevel=4,
        )


def split_files(
    source: Source,
    read: Callable[[str], AnyRows],
    endings: Sequence[str],
    *,
    known_labels: bool = True,
    divide: Divide[AnyRows] | None = None,
    held_out_rate: float = HELD_OUT_RATE,
) -> dict[str, AnyRows]:
    """Read rows of any kind from files, split for training.

    Args:
        source: As `read_splits` takes it, but for `tfds:NAME`.
        read: Reads a file.
        endings: Of the files to take from a folder. With "" among them also files whose whole name
            ends as their split is called, such as `ner.train`.
        known_labels: As `read_splits` takes it.
        divide: Deals out the rows of a file by the shares of the splits; None: by a hash of the
            texts.
        held_out_rate: The share of one file that becomes the validation rows, and that of the test
            rows; of training rows that of the validation rows where there are none; in (0, 0.5).

    Returns, raises: As `read_splits`.
    """
    if not 0 < held_out_rate < 0.5:
        raise ValueError(
            f"`held_out_rate` is a share of the rows, in (0, 0.5); received {held_out_rate}."
        )
    divide = divide or _divide
    paths = _split_paths(source, endings)
    if isinstance(paths, str):
        rest = 1 - 2 * held_out_rate
        shares = {TRAIN: rest, VALIDATION: held_out_rate, TEST: held_out_rate}
        return divide(read(paths), shares)
    tables = {name: read(path) for name, path in paths.items()}
    return _complete(tables, divide, held_out_rate, known_labels=known_labels)


def sources_of(tables: Mapping[str, Rows]) -> dict[str, str]:
    """The file of each split; of one that was held out the file it was held out of."""
    return {name: table.source for name, table in tables.items()}


def _complete(
    tables: dict[str, AnyRows],
    divide: Divide[AnyRows],
    held_out_rate: float,
    *,
    known_labels: bool,
) -> dict[str, AnyRows]:
    """Validation rows where there are none; raises where a label cannot be learned."""
    if VALIDATION not in tables:
        shares = {TRAIN: 1 - held_out_rate, VALIDATION: held_out_rate}
        tables |= divide(tables[TRAIN], shares)
    if known_labels:
        _check_labels(tables)
    return {name: tables[name] for name in SPLITS if name in tables}


def _split_paths(source: Source, endings: Sequence[str]) -> dict[str, str] | str:
    """The file of each split, or the one file that is to be divided."""
    if isinstance(source, Mapping):
        if TRAIN not in source or not set(source) <= set(SPLITS):
            raise ValueError(
                f"Name the files of 'train', and of 'validation' and 'test' where there are any; "
                f"received {', '.join(map(repr, source))}."
            )
        return {name: str(path) for name, path in source.items()}
    name = str(source)
    if is_file(name):
        return name
    if is_folder(name):
        return _named_splits(name, list_files(name), endings)
    matches = match_files(name)
    if not matches:
        raise FileNotFoundError(
            f"There is no file or folder {name}, and no file matches it as a pattern."
        )
    return _named_splits(name, matches, endings)


def _named_splits(source: str, paths: Sequence[str], endings: Sequence[str]) -> dict[str, str]:
    """The file of each split by the ends of the files' names."""
    synonyms = {"valid": VALIDATION, "val": VALIDATION, "dev": VALIDATION}
    found: dict[str, str] = {}
    for path in paths:
        match = _SPLIT_IN_NAME.search(_stem(path, endings))
        if not match:
            continue
        split = match[1].lower()
        split = synonyms.get(split, split)
        if split in found:
            both = f"{basename(found[split])} and {basename(path)}"
            raise ValueError(
                f"{source}: both {both} are named as {split} rows. Narrow it down by a "
                "pattern such as 'folder/reviews-*.tsv'."
            )
        found[split] = path
    if TRAIN not in found:
        known = ", ".join(filter(None, endings))
        raise FileNotFoundError(
            f"{source}: no file's name is or ends in 'train', with the ending "
            f"{known}; there is {', '.join(map(basename, paths)) or 'nothing'}."
        )
    return found


def _stem(path: str, endings: Sequence[str]) -> str:
    """The part of a file's name that tells its split; empty where the ending is another one."""
    ending, compression = split_ending(path)
    name = basename(path)
    name = name[: len(name) - len(compression)]
    if ending in endings:
        return name[: len(name) - len(ending)]
    return name if "" in endings else ""


def _divide(table: AnyRows, shares: Mapping[str, float]) -> dict[str, AnyRows]:
    """Deal the rows of a table out by a hash of their texts."""
    names = list(shares)
    parts = [_place(row, shares) for row in table.rows]
    labels = [{label for label, _ in placed} for placed in table.placed_labels()]
    # A label whose few rows all fell outside could not be learned; those rows stay in training.
    trained: set[str] = set()
    for row_labels, part in zip(labels, parts, strict=True):
        trained |= row_labels if part == names[0] else set()
    missed = {
        row for row, row_labels in zip(table.rows, labels, strict=True) if row_labels - trained
    }
    parts = [
        names[0] if row in missed else part for row, part in zip(table.rows, parts, strict=True)
    ]
    return _dealt_out(table, parts, shares)


def divide_by(
    table: AnyRows, keys: Sequence[tuple[str, ...]], shares: Mapping[str, float]
) -> dict[str, AnyRows]:
    """Deal the rows of a table out by a hash of their keys; rows of one key stay together.

    Those of a key with more rows than the smallest share are of the first split.
    """
    counts = Counter(keys)
    most = min(shares.values()) * len(table)
    first = next(iter(shares))
    parts = [first if counts[key] > most else _place(key, shares) for key in keys]
    return _dealt_out(table, parts, shares, f" in {len(counts)} groups")


def _dealt_out(
    table: AnyRows, parts: Sequence[str], shares: Mapping[str, float], grouped: str = ""
) -> dict[str, AnyRows]:
    """The rows of each part; raises where one has none."""
    tables = {
        name: table.select([i for i, place in enumerate(parts) if place == name]) for name in shares
    }
    for name, divided in tables.items():
        if not divided.rows:
            raise ValueError(
                f"{table.source}: its {len(table)} rows{grouped} are too few to take {name} rows "
                f"from, by chance {shares[name]:.0%} of them. Give a file of {name} rows."
            )
    return tables


def _place(texts: tuple[str, ...], shares: Mapping[str, float]) -> str:
    """The split texts fall into: a point in [0, 1) from them, among the running shares."""
    digest = hashlib.sha256("\x1f".join(texts).encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in shares.items():
        if point < share:
            return name
        point -= share
    return list(shares)[-1]


def _check_labels(tables: Mapping[str, Rows]) -> None:
    known = {label for placed in tables[TRAIN].placed_labels() for label, _ in placed}
    for name, table in tables.items():
        for label, line in (one for placed in table.placed_labels() for one in placed):
            if label not in known:
                examples = ", ".join(map(repr, sorted(known)[:10]))
                raise ValueError(
                    f"{table.source}:{line}: the label {label!r} of the {name} rows never occurs "
                    f"in the training rows; their {len(known)} labels are {examples}"
                    f"{', ...' if len(known) > 10 else ''}. Correct the label, or add such rows to "
                    f"{tables[TRAIN].source}."
                )


def _read_tfds(
    name: str, text: Sequence[str], label: str, read_label: ReadLabel
) -> dict[str, Table]:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"tfds:{name}: TensorFlow Datasets knows no such data set ({error})."
        ) from None
    builder.download_and_prepare()
    columns = builder.info.features
    for column in filter(None, (*text, label)):
        if column not in columns:
            raise ValueError(
                f"tfds:{name}: no column `{column}`; there are {', '.join(map(repr, columns))}."
            )
    tables = {}
    for split in SPLITS:
        if split in builder.info.splits:
            table = _read_tfds_split(builder, split, (text, label), read_label)
            if table is not None:
                tables[split] = table
    if TRAIN not in tables:
        splits = ", ".join(map(repr, builder.info.splits))
        raise ValueError(f"tfds:{name}: there is no labelled split 'train'; there are {splits}.")
    return tables


def _read_tfds_split(
    builder, split: str, columns: tuple[Sequence[str], str], read_label: ReadLabel
) -> Table | None:
    """A split as a table; None where its labels are hidden, as in the test sets of GLUE."""
    text, label = columns
    table = Table(f"tfds:{builder.info.full_name}:{split}")
    feature = builder.info.features[label] if label else None
    names = getattr(getattr(feature, "feature", feature), "names", None)  # also of a sequence
    hidden = 0
    for line, (texts, value) in enumerate(_tfds_rows(builder, split, text, label), 1):
        if names and np.ndim(value) == 0 and value < 0:
            hidden += 1
            continue
        try:
            told = read_label(_plain(value, names), label) if label else ()
        except ValueError as error:
            raise ValueError(f"{table.source}:{line}: {error}") from None
        table.append(tuple(part.decode("utf-8") for part in texts), told, line)
    if hidden:
        warnings.warn(
            f"{table.source}: {hidden} rows have no label (-1) and are left out.", stacklevel=2
        )
    return table if table.rows else None


def _tfds_rows(builder, split: str, text: Sequence[str], label: str) -> Iterator[tuple[Any, Any]]:
    """The texts of each row, as bytes, and its label; 0 where there is no column of it."""
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(split=split)
    # A tuple: a list would be stacked into one tensor.
    dataset = dataset.map(
        lambda row: (tuple(row[column] for column in text), row[label] if label else 0)
    )
    if label and builder.info.features[label].shape:  # a sequence, of any length: it makes no batch
        yield from tfds.as_numpy(dataset)
        return
    for texts, labels in tfds.as_numpy(dataset.batch(1024)):
        for *row, value in zip(*texts, labels, strict=True):
            yield row, value


def _plain(value: Any, names: Sequence[str] | None) -> Any:
    """A label as JSON has it: a text, a number, or a list of them."""
    if np.ndim(value):
        return [_plain(one, names) for one in value]
    if names:
        return names[value]
    return value.decode("utf-8") if isinstance(value, bytes) else value.item()
