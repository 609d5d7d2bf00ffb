"""Writing finished examples as records; see records.py."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpt import __version__, config
from tfpt.pipelines.columns import PARTS, Column, check_columns
from tfpt.pipelines.data_service import service_errors_named
from tfpt.pipelines.tfrecords import (
    DESCRIPTION,
    FORMAT,
    GROUP,
    Records,
    Shard,
    damage_named,
    groups,
    open_records,
    sha256_of,
)
from tfpt.pipelines.tokenizer import TextTokenizer


def write_records(
    batches: tf.data.Dataset,
    path: str | Path,
    *,
    tokenizer: TextTokenizer,
    num_batches: int,
    num_shards: int | None = None,
    settings: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> Records:
    """Write batches as records: rows of `tf.train.Example` in compressed shards.

    On this machine the folder appears at `path` when it is whole. A bucket cannot rename: there
    records.json is written last, and without it a folder holds no records. Whatever goes wrong
    before, what was written is removed.

    Args:
        batches: Of `(features, labels, weights)`, as `masked_lm` gives them.
        path: The folder to write; must not exist. Of this machine, or as gs://BUCKET/FOLDER.
        tokenizer: The vocabulary of the rows, saved with them.
        num_batches: How many batches to write, the first of `batches`.
        num_shards: Files that the rows are divided among. None: 16, or as many as there are rows.
            100 to 200 MB each are a good size for a bucket.
        settings: The recipe's configuration, a frozen dataclass; kept in records.json.
        progress: Told after each batch how many are written, and of how many.

    Raises:
        FileExistsError: There is something at `path` already.
        ValueError: An argument is out of range; the batches are not as features.py describes them,
            have rows of several lengths (the layout "bucketed"), or end too early.
        OSError: The folder cannot be written.
    """
    columns, batch_size = _columns(batches)
    num_rows = num_batches * batch_size
    num_shards = min(GROUP, num_rows) if num_shards is None else num_shards
    if num_batches < 1 or not 1 <= num_shards <= num_rows:
        raise ValueError(
            "`num_batches` is at least 1 and `num_shards` from 1 to the number of rows; received "
            f"{num_batches} batches of {batch_size} rows, {num_shards} shards."
        )
    target = os.fspath(path).rstrip("/")
    with _os_errors(target):
        exists = tf.io.gfile.exists(target)
    if exists:
        raise FileExistsError(
            f"{target} exists already. Records are never overwritten: remove it, or name another "
            "folder."
        )
    renames = "://" not in target
    folder = f"{target}.tmp-{os.getpid()}" if renames else target
    try:
        with _os_errors(target):
            tf.io.gfile.makedirs(folder)
            _save_vocabulary(tokenizer, folder)
        examples = _examples(batches.take(num_batches), columns, num_batches, progress)
        shards = _write_shards(examples, folder, num_shards, num_rows, target)
        description = {
            "format": FORMAT,
            "tfpt": __version__,
            "num_rows": num_rows,
            "batch_size": batch_size,
            **{part: _described(columns, part) for part in PARTS},
            "vocabulary_sha256": tokenizer.sha256,
            "settings": {} if settings is None else config.to_dict(settings),
            "shards": [shard._asdict() for shard in shards],
        }
        with _os_errors(target):
            with tf.io.gfile.GFile(f"{folder}/{DESCRIPTION}", "wb") as file:
                file.write(json.dumps(description, indent=2) + "\n")
            if renames:
                tf.io.gfile.rename(folder, target)
    except BaseException:
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)
        raise
    return open_records(target)


def _columns(batches: tf.data.Dataset) -> tuple[tuple[Column, ...], int]:
    """What a row holds, and how many rows a batch has."""
    spec = batches.element_spec
    if not isinstance(spec, tuple) or [type(part) for part in spec] != [dict] * 3:
        raise ValueError(
            "A batch is (features, labels, weights), three dicts as features.py describes them; "
            f"received {spec}."
        )
    columns = []
    batch_sizes = set()
    for part, tensors in zip(PARTS, spec, strict=True):
        for name, tensor in tensors.items():
            if None in tensor.shape.as_list():
                raise ValueError(
                    f"The size of {name!r} changes from batch to batch, {tensor.shape}: records "
                    "hold rows of one length, in batches of one size. Draw with the layout "
                    '"padded" or "packed", not "bucketed".'
                )
            batch_sizes.add(tensor.shape[0])
            columns.append(Column(part, name, tensor.dtype.name, tuple(tensor.shape[1:])))
    check_columns(columns, "The batches")
    (batch_size,) = batch_sizes
    return tuple(columns), batch_size


def _examples(batches, columns, num_batches: int, progress) -> Iterator[bytes]:
    """The rows of batches, serialized."""
    done, drawn = 0, batches.as_numpy_iterator()
    while (batch := _next(drawn)) is not None:
        done += 1
        parts = dict(zip(PARTS, batch, strict=True))
        # Lists of Python's numbers are taken over in half the time of arrays.
        values = [
            (column, np.reshape(parts[column.part][column.name], [-1, _size(column)]).tolist())
            for column in columns
        ]
        for row in range(len(values[0][1])):
            example = tf.train.Example()
            feature = example.features.feature
            for column, rows in values:
                is_float = column.dtype == "float32"
                kind = (
                    feature[column.key].float_list if is_float else feature[column.key].int64_list
                )
                kind.value.extend(rows[row])
            yield example.SerializeToString(deterministic=True)
        if progress is not None:
            progress(done, num_batches)
    if done < num_batches:
        raise ValueError(f"The dataset ended after {done} of {num_batches} batches.")


def _next(drawn: Iterator[Any]) -> Any:
    # Where the batches are of records themselves, or come from other machines.
    with damage_named(), service_errors_named():
        return next(drawn, None)


def _size(column: Column) -> int:
    return int(np.prod(column.shape, dtype=np.int64))


def _write_shards(
    examples: Iterator[bytes], folder: str, num_shards: int, num_rows: int, target: str
) -> list[Shard]:
    """Deal the rows of each group out to its shards, in turns."""
    written = []
    for numbers, rows in groups(num_shards, num_rows):
        names = [f"rows-{number:05}-of-{num_shards:05}.tfrecord.gz" for number in numbers]
        with _os_errors(target):
            with ExitStack() as stack:
                writers = [
                    stack.enter_context(tf.io.TFRecordWriter(f"{folder}/{name}", "GZIP"))
                    for name in names
                ]
                for place in range(len(rows)):
                    writers[place % len(writers)].write(next(examples))
            for place, name in enumerate(names):
                count = len(range(place, len(rows), len(names)))
                size = tf.io.gfile.stat(f"{folder}/{name}").length
                written.append(Shard(name, count, size, sha256_of(f"{folder}/{name}")))
    next(examples, None)  # tells of the last batch
    return written


def _save_vocabulary(tokenizer: TextTokenizer, folder: str) -> None:
    with tempfile.TemporaryDirectory() as local:
        tokenizer.save(local)
        for name in os.listdir(local):
            tf.io.gfile.copy(f"{local}/{name}", f"{folder}/{name}")


def _described(columns: tuple[Column, ...], part: str) -> dict[str, Any]:
    own = [column for column in columns if column.part == part]
    return {column.name: {"dtype": column.dtype, "shape": list(column.shape)} for column in own}


@contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """Raise what TensorFlow says of files as an OSError that names the folder."""
    try:
        yield
    except tf.errors.InvalidArgumentError:
        raise  # of the batches, not of a file
    except tf.errors.OpError as error:
        raise OSError(f"{path} could not be written: {error.message}") from error
