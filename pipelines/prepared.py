"""Data sets of tensorflow-datasets as sources of texts: `tfds:NAME` and `tfds:NAME[SPLIT]`."""

import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import Any

from tfpt.pipelines.decoding import decoded
from tfpt.pipelines.streams import Advance


@dataclasses.dataclass(frozen=True)
class PreparedSplit:
    """Examples that follow upon each other in a split that was prepared; can be pickled."""

    source: str  # as the user named it
    folder: str  # where it was prepared
    split: str  # "train"
    start: int  # the first example
    end: int  # the first one behind the last
    num_bytes: int | None  # on the disk, estimated by the examples; None: not known


def open_splits(source: str, field: str) -> list[PreparedSplit]:
    """The splits that `source` names, in its order; downloaded and prepared if need be.

    Raises:
        ValueError: There is no such data set or split, or it has no `field`.
    """
    match = re.fullmatch(r"tfds:([^\[\]]+)(?:\[(.+)\])?", source)
    if match is None:
        raise ValueError(
            f'A tfds source is "tfds:NAME" or "tfds:NAME[SPLIT]"; received {source!r}.'
        )
    import tensorflow_datasets

    try:
        builder = tensorflow_datasets.builder(match[1])
        builder.download_and_prepare()
        known = builder.info.splits
        instruction = tensorflow_datasets.core.ReadInstruction.from_spec(match[2] or "train")
        ranges = instruction.to_absolute(known)
    except Exception as error:  # tfds raises errors of many kinds, with texts of many lines.
        reason = (
            f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200].rstrip('.')}"
        )
        raise ValueError(
            f"tensorflow-datasets cannot give {source}: {reason}. Check the name and the split; "
            "without a network it must have been prepared before (TFDS_DATA_DIR)."
        ) from error
    if field not in builder.info.features:
        raise ValueError(
            f"{source} has no field {field!r}; it has {', '.join(sorted(builder.info.features))}. "
            'Name the one with the text, as field="body".'
        )
    splits = []
    for one in ranges:
        info = known[one.splitname]
        start = one.from_ or 0
        end = info.num_examples if one.to is None else one.to
        if start >= end:
            raise ValueError(f"{source}: no example of {one.splitname} is in this range.")
        whole = PreparedSplit(
            source,
            str(builder.data_dir),
            one.splitname,
            0,
            info.num_examples,
            int(info.num_bytes) or None,
        )
        splits.append(_stretch(whole, start, end))
    return splits


def read_field(
    split: PreparedSplit, field: str, advance: Advance | None = None
) -> Iterator[tuple[str, Any]]:
    """The values of `field`, in the order of the files, each with its place; bytes become text.

    Raises:
        ValueError: A text is not UTF-8.
    """
    import tensorflow_datasets

    builder = tensorflow_datasets.builder_from_directory(split.folder)
    dataset = builder.as_dataset(
        split=f"{split.split}[{split.start}:{split.end}]",
        shuffle_files=False,
        # One file after the other: so the parts of a split follow upon each other.
        read_config=tensorflow_datasets.ReadConfig(interleave_cycle_length=1),
        decoders=tensorflow_datasets.decode.PartialDecoding({field: True}),
    )
    num_examples = split.end - split.start
    for number, record in enumerate(dataset.as_numpy_iterator()):
        place = f"{split.source}, record {split.start + number} of {split.split}"
        value = record[field]
        try:
            value = decoded(value.tolist() if hasattr(value, "tolist") else value)
        except UnicodeDecodeError as error:
            raise ValueError(f"{place}: {field!r} is not UTF-8: {error.reason}.") from None
        if advance:
            # Where the bytes are not known, there is no total to be reached.
            num_bytes = split.num_bytes or 0
            advance(num_bytes * (number + 1) // num_examples - num_bytes * number // num_examples)
        yield place, value


def cut_split(split: PreparedSplit, part_bytes: int) -> list[PreparedSplit]:
    """Parts of about `part_bytes` each, which follow upon each other."""
    num_examples = split.end - split.start
    num_parts = min(num_examples, -(-(split.num_bytes or 0) // part_bytes)) or 1
    borders = [split.start + num_examples * i // num_parts for i in range(num_parts + 1)]
    return [_stretch(split, start, end) for start, end in itertools.pairwise(borders)]


def _stretch(split: PreparedSplit, start: int, end: int) -> PreparedSplit:
    """Some examples of a split."""
    num_bytes = split.num_bytes
    if num_bytes is not None:
        share = num_bytes / max(split.end - split.start, 1)
        num_bytes = round(share * (end - split.start)) - round(share * (start - split.start))
    return dataclasses.replace(split, start=start, end=end, num_bytes=num_bytes)
