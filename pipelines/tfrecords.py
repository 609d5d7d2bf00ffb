"""Finished examples in TFRecord files, for training that reads from a bucket.

    records.json                        schema, counts, bytes and sha256 of each shard, settings
    vocab.txt, vocab.settings.json      the vocabulary
    rows-00000-of-00032.tfrecord.gz     a `tf.train.Example` per row, gzip

A column is named by its part and its name, as `features/token_ids`, `labels/masked_lm`,
`weights/masked_lm`: integers as an Int64List, floats as a FloatList, in the order of memory.

Shards stand in groups of up to 16. A group holds consecutive rows, dealt out in turns: row r of a
group of n shards is in shard r % n. So rows are read in the order in which they were drawn, by many
threads, and no more than 16 files are open at once.

Shape letters: B rows in a batch, R rows in all, G shards in a group.
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tfpt import __version__
from tfpt.pipelines.batches import Share
from tfpt.pipelines.columns import PARTS, Column, check_columns
from tfpt.pipelines.shared_folder import saved_tokenizer
from tfpt.pipelines.tokenizer import TextTokenizer

FORMAT = 1
DESCRIPTION = "records.json"
GROUP = 16  # shards

# What the error of a damaged shard begins and ends with, in the text of TensorFlow's own.
_DAMAGE = re.compile(r"Damaged records: (.*? Write the records anew\.)", re.DOTALL)
_BUFFER = 1 << 20  # bytes read at once
# Shards that were compared with their checksum in this process.
_verified: set[tuple[str, str]] = set()


class Shard(NamedTuple):
    """A file of rows."""

    name: str
    num_rows: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Records:
    """A folder of records that was opened."""

    path: str
    num_rows: int
    batch_size: int  # rows of a batch as they were drawn
    columns: tuple[Column, ...]
    shards: tuple[Shard, ...]
    vocabulary_sha256: str
    settings: dict[str, Any]  # of the recipe that drew them; empty where none was given

    def columns_of(self, part: str) -> dict[str, Column]:
        """The columns of the features, the labels or the weights, by name."""
        return {column.name: column for column in self.columns if column.part == part}

    def tokenizer(self) -> TextTokenizer:
        """The vocabulary the rows were drawn with.

        Raises:
            ValueError: It is not the one that was written.
        """
        try:
            tokenizer = saved_tokenizer(self.path)
        except (ValueError, FileNotFoundError):
            tokenizer = None
        if tokenizer is None or tokenizer.sha256 != self.vocabulary_sha256:
            raise ValueError(
                f"The vocabulary in {self.path} is damaged: it is not what was written. Copy it "
                "anew, or write the records anew."
            )
        return tokenizer


def open_records(path: str | Path) -> Records:
    """Open a folder of records.

    Args:
        path: What `write_records` wrote; of this machine, or as gs://BUCKET/FOLDER.

    Raises:
        FileNotFoundError: There are no records at `path`.
        ValueError: They are damaged, of a newer format, or of tensors that features.py does not
            know.
        OSError: The bucket does not answer.
    """
    folder = os.fspath(path).rstrip("/")
    try:
        with tf.io.gfile.GFile(f"{folder}/{DESCRIPTION}", "rb") as file:
            description = json.loads(file.read())
        if description["format"] > FORMAT:
            raise ValueError(
                f"{folder} has the record format {description['format']}; this tfpt {__version__} "
                f"reads formats up to {FORMAT}. Upgrade tfpt."
            )
        columns = [
            Column(part, name, one["dtype"], tuple(map(int, one["shape"])))
            for part in PARTS
            for name, one in description[part].items()
        ]
        records = Records(
            folder,
            columns=tuple(columns),
            shards=tuple(Shard(**shard) for shard in description["shards"]),
            **{name: description[name] for name in ("num_rows", "batch_size")},
            **{name: description[name] for name in ("vocabulary_sha256", "settings")},
        )
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        raise FileNotFoundError(
            f"{folder} holds no records: there is no {DESCRIPTION}, which is written last. Write "
            f"them with `tfpt records RECIPE --batches N --out {folder}`."
        ) from None
    except tf.errors.OpError as error:
        raise OSError(f"{folder} could not be read: {error.message}") from error
    except (
        json.JSONDecodeError,
        UnicodeDecodeError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise ValueError(
            f"{folder}/{DESCRIPTION} is damaged ({type(error).__name__}: {error}). Write the "
            "records anew."
        ) from None
    check_columns(records.columns, f"{folder}/{DESCRIPTION}")
    _check_shards(records)
    return records


def read_records(
    records: Records | str | Path,
    *,
    batch_size: int | None = None,
    first_batch: int = 0,
    share: Share | None = None,
    repeat: bool = True,
    verify: bool = True,
) -> tf.data.Dataset:
    """Batches of the rows that `write_records` wrote, in the order in which they were drawn.

    After the last row comes the first again; a batch may hold both. To begin at batch N the shards
    before it are not read, and the rows before it in its group of shards only skipped.

    Args:
        records: The folder, or what `open_records` gives.
        batch_size: B; None: as the rows were drawn.
        first_batch: The number of the first batch.
        share: The part of each batch to read, for one of K workers: rows w, w + K, w + 2 K, ... of
            the batch for worker w. Where K divides the shards (and 16, and the rows), a worker
            reads shards of its own; else all of them.
        repeat: Whether the dataset is without end; else it ends with the last whole batch.
        verify: Whether a shard is compared with its checksum before its first row is used, once in
            a process. That reads it twice; without it, damage shows as an error of TensorFlow that
            names no file.

    Returns:
        A dataset of `(features, labels, weights)` as it was written.

    Raises:
        FileNotFoundError, ValueError: As `open_records`; an argument is out of range. While
            reading, `tf.errors.InvalidArgumentError` says which shard is damaged; see
            `damage_named`.
    """
    if not isinstance(records, Records):
        records = open_records(records)
    share = share or Share()
    size = records.batch_size if batch_size is None else batch_size
    if size < 1 or size % share.num_workers or (not repeat and size > records.num_rows):
        raise ValueError(
            f"`batch_size` is at least 1 row, at most the {records.num_rows} that {records.path} "
            f"holds, and a multiple of the {share.num_workers} worker(s) that share it; received "
            f"{size}."
        )
    if first_batch < 0:
        raise ValueError(f"`first_batch` is a number from 0; received {first_batch}.")
    rows = _rows(records, first_batch * size, share, repeat=repeat, verify=verify)
    batches = rows.batch(size // share.num_workers, drop_remainder=True)
    spec = {
        column.key: tf.io.FixedLenFeature(
            column.shape, tf.float32 if column.dtype == "float32" else tf.int64
        )
        for column in records.columns
    }

    def parse(examples):
        values = tf.io.parse_example(examples, spec)
        parts = {part: records.columns_of(part) for part in PARTS}
        return tuple(
            {name: tf.cast(values[column.key], column.dtype) for name, column in columns.items()}
            for columns in parts.values()
        )

    batches = batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(4)


def verify_records(records: Records) -> None:
    """Read every shard and compare its sha256 with what was written.

    Raises:
        ValueError: A shard changed since it was written; names it.
    """
    for shard in records.shards:
        if said := _damage_of(f"{records.path}/{shard.name}", shard.sha256):
            raise ValueError(said)


@contextmanager
def damage_named() -> Iterator[None]:
    """Raise what TensorFlow says of a damaged shard, while rows are read, as a ValueError."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if said := _DAMAGE.search(str(error)):
            raise ValueError(said[1]) from error
        raise


def groups(num_shards: int, num_rows: int) -> list[tuple[range, range]]:
    """The shards and the rows of each group.

    All groups but the last have a multiple of GROUP rows.
    """
    shards = [range(i, min(i + GROUP, num_shards)) for i in range(0, num_shards, GROUP)]
    firsts = [num_rows * part.start // num_shards // GROUP * GROUP for part in shards]
    ends = [*firsts[1:], num_rows]
    return [(part, range(*rows)) for part, *rows in zip(shards, firsts, ends, strict=True)]


def sha256_of(path: str) -> str:
    """Of a file of any file system."""
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(_BUFFER):
            digest.update(chunk)
    return digest.hexdigest()


def _rows(
    records: Records, first_row: int, share: Share, *, repeat: bool, verify: bool
) -> tf.data.Dataset:
    """A worker's rows from one on, as they were serialized."""
    workers = share.num_workers
    counts = (records.num_rows, len(records.shards), GROUP)
    own_shards = all(count % workers == 0 for count in counts)
    step, offset = (workers, share.index) if own_shards else (1, 0)

    def read(path, digest, skip):
        if verify:
            said = tf.numpy_function(_damage_once, [path, digest], tf.string)
            whole = tf.debugging.Assert(tf.equal(said, ""), ["Damaged records: " + said])
            with tf.control_dependencies([whole]):
                path = tf.identity(path)
        return tf.data.TFRecordDataset(path, "GZIP", buffer_size=_BUFFER).skip(
            tf.cast(skip, tf.int64)
        )

    def in_turns(*group):
        return tf.data.Dataset.from_tensor_slices(group).interleave(
            read,
            cycle_length=GROUP // step,
            block_length=1,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def epoch(first: int) -> tf.data.Dataset:
        plan = _plan(records, first, step, offset)
        lengths = [len(group) for group in plan]
        columns = [list(column) for column in zip(*itertools.chain(*plan), strict=True)]
        ragged = [tf.RaggedTensor.from_row_lengths(column, lengths) for column in columns]
        return tf.data.Dataset.from_tensor_slices(tuple(ragged))

    dataset = epoch(first_row % records.num_rows if repeat else first_row)
    if repeat:
        dataset = dataset.concatenate(epoch(0).repeat())
    rows = dataset.flat_map(in_turns)
    return rows if own_shards else rows.shard(workers, share.index)


def _plan(
    records: Records, first_row: int, step: int, offset: int
) -> list[list[tuple[str, str, int]]]:
    """By group: the path and sha256 of each shard and how many rows to skip in it, in turn."""
    plan = []
    for shards, rows in groups(len(records.shards), records.num_rows):
        if rows.stop <= first_row and rows.stop < records.num_rows:
            continue
        first, size = max(first_row - rows.start, 0), len(shards)
        turns = [(first + offset + place) % size for place in range(0, size, step)]
        group = [(records.shards[shards[turn]], -((turn - first) // size)) for turn in turns]
        plan.append(
            [(f"{records.path}/{shard.name}", shard.sha256, max(skip, 0)) for shard, skip in group]
        )
    return plan


def _damage_once(path: bytes, sha256: bytes) -> str:
    """As `_damage_of`; of a shard that was found whole before in this process, nothing."""
    shard = (path.decode(), sha256.decode())
    said = "" if shard in _verified else _damage_of(*shard)
    if not said:
        _verified.add(shard)
    return said


def _damage_of(path: str, sha256: str) -> str:
    """A sentence where a shard is not what was written; else an empty string."""
    try:
        found = sha256_of(path)
    except tf.errors.OpError as error:
        return f"{path} cannot be read ({error.message}). Write the records anew."
    if found != sha256:
        return f"{path} is damaged: it is not what was written. Write the records anew."
    return ""


def _check_shards(records: Records) -> None:
    """That all shards are there, and as long as they were written."""
    if sum(shard.num_rows for shard in records.shards) != records.num_rows or not records.num_rows:
        raise ValueError(
            f"{records.path}/{DESCRIPTION} is damaged: its shards do not hold {records.num_rows} "
            "rows. Write the records anew."
        )

    def length(shard: Shard) -> int | None:
        try:
            return tf.io.gfile.stat(f"{records.path}/{shard.name}").length
        except tf.errors.NotFoundError:
            return None

    # A question to a bucket takes long, many at once no longer.
    with ThreadPoolExecutor(GROUP) as pool:
        for shard, found in zip(records.shards, pool.map(length, records.shards), strict=True):
            if found != shard.num_bytes:
                there = "none are" if found is None else f"{found:,} are"
                raise ValueError(
                    f"{records.path}/{shard.name} is damaged: {shard.num_bytes:,} bytes were "
                    f"written, {there} there. Copy the file anew, or write the records anew."
                )
