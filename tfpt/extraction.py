"""Feature extraction: what an encoder makes of texts, as arrays and files.

Shape letters: N texts, B texts in a batch, T tokens in a row, H hidden width.
"""

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpt import config, features
from tfpt.models.embedding import mean_of_tokens
from tfpt.models.layers import TransformerLayer
from tfpt.pipelines import TextTokenizer
from tfpt.pipelines.packing import check_sequence_length, pack_segments
from tfpt.pipelines.parquet import check_installed

# Texts are sorted by length within so many batches, so that a batch has little padding; fewer where
# the states of all tokens are held.
_BATCHES_SORTED, _BATCHES_OF_TOKENS = 64, 4

_OF_TOKENS = "Features of tokens have rows of several lengths: name a .parquet."

Texts = Sequence[tuple[str, ...]]


def extract(
    encoder: keras.Model,
    tokenizer: TextTokenizer,
    texts: Texts,
    *,
    layer: int | None = None,
    pooling: str = "mean",
    sequence_length: int | None = None,
    batch_size: int = 64,
) -> Iterator[list[np.ndarray]]:
    """What an encoder makes of texts, in their order.

    Args:
        encoder: From `models.encoder`.
        tokenizer: Its vocabulary.
        texts: N times one text, or two of a pair.
        layer: The states after this layer, from 1; 0: those the first layer is given; None: the
            last.
        pooling: "mean": the mean of the states of all tokens, [CLS] and [SEP] among them; "first":
            the state of [CLS]; "tokens": all of them, one row for each token; "pooled": the
            encoder's pooled output, of the last layer.
        sequence_length: T at most; longer texts are cut, which is warned of at the end. None: as
            many as the encoder has positions for.
        batch_size: B.

    Returns:
        An iterator of lists: of some texts that follow on one another each float32 (H,), or with
        "tokens" (T, H) without padding.

    Raises:
        ValueError: A number or a name is out of range, a text is empty, or there is none.
    """
    if pooling not in config.POOLINGS:
        choices = ", ".join(config.POOLINGS)
        raise ValueError(f"`pooling` must be one of {choices}; received {pooling!r}.")
    if not texts:
        raise ValueError("There is no text to extract features of.")
    positions = encoder.get_layer("position_embedding").max_sequence_length
    length = positions if sequence_length is None else sequence_length
    check_sequence_length(length, len(texts[0]))
    if length > positions:
        raise ValueError(
            f"`sequence_length` is {length}, but the encoder has positions for {positions} tokens."
        )
    for number, row in enumerate(texts, 1):
        if not all(text.strip() for text in row):
            raise ValueError(
                f"Text {number:,} is empty: {row!r:.80}. Write one, or leave it out; features are "
                "in the order of the texts."
            )
    compute = _computation(encoder, _states_of(encoder, layer, pooling), pooling)
    num_cut = 0

    def in_order(some: Texts) -> list[np.ndarray]:
        nonlocal num_cut
        tokens = [tokenizer.tokenize(tf.constant(column)) for column in zip(*some, strict=True)]
        lengths = sum(part.row_lengths().numpy() for part in tokens)
        num_cut += int(np.sum(lengths > length - 1 - len(tokens)))
        order = np.argsort(lengths, kind="stable")
        found: list[Any] = [None] * len(some)
        for places in np.split(order, range(batch_size, len(order), batch_size)):
            packed = pack_segments(
                [tf.gather(part, places) for part in tokens],
                sequence_length=length,
                cls_id=tokenizer.cls_id,
                sep_id=tokenizer.sep_id,
                pad_id=tokenizer.pad_id,
            )
            counts = tf.reduce_sum(packed[2], axis=1).numpy()
            values = compute(*(part[:, : counts.max()] for part in packed)).numpy()
            for place, value, count in zip(places, values, counts, strict=True):
                found[place] = value[:count] if pooling == "tokens" else value
        return found

    at_once = batch_size * (_BATCHES_OF_TOKENS if pooling == "tokens" else _BATCHES_SORTED)

    def parts() -> Iterator[list[np.ndarray]]:
        for first in range(0, len(texts), at_once):
            yield in_order(texts[first : first + at_once])
        if num_cut:
            warnings.warn(
                f"{num_cut:,} of {len(texts):,} texts are longer than {length} tokens, and cut.",
                stacklevel=2,
            )

    return parts()


def write(path: str | os.PathLike[str], rows: Iterator[list[np.ndarray]], num_texts: int) -> None:
    """Write what `extract` yields to a file, as a whole or not at all.

    Args:
        path: Ends in .npy: float32 (N, H), not for "tokens"; or in .parquet: a column `features`, a
            list of H numbers for each text, or a list of such lists.
        rows: From `extract`.
        num_texts: N.

    Raises:
        FileExistsError: The file is there.
        ValueError: The ending is another one, or does not hold what is to be written.
    """
    target = Path(path)
    check_file(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        write_as = _write_array if target.suffix == ".npy" else _write_parquet
        write_as(partial, rows, num_texts)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def check_file(path: str | os.PathLike[str], pooling: str = "mean") -> None:
    """Raise what `write` would raise for a path, before the work."""
    target = Path(path)
    if target.suffix not in (".npy", ".parquet"):
        raise ValueError(f"{target}: the name must end in .npy or .parquet.")
    if target.exists():
        raise FileExistsError(f"{target} exists. Nothing is overwritten: name another file.")
    if target.suffix == ".npy" and pooling == "tokens":
        raise ValueError(_OF_TOKENS)
    if target.suffix == ".parquet":
        check_installed(str(target))


def _write_array(path: Path, rows: Iterator[list[np.ndarray]], num_texts: int) -> None:
    first = next(rows)
    if first[0].ndim > 1:
        raise ValueError(_OF_TOKENS)
    shape = (num_texts, len(first[0]))
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    done = 0
    for some in itertools.chain([first], rows):
        array[done : done + len(some)] = some
        done += len(some)
    array.flush()


def _write_parquet(path: Path, rows: Iterator[list[np.ndarray]], num_texts: int) -> None:
    import pyarrow
    import pyarrow.parquet

    writer = None
    try:
        for some in rows:
            kind = pyarrow.list_(pyarrow.float32())
            if some[0].ndim > 1:
                kind = pyarrow.list_(kind)
            column = pyarrow.array([value.tolist() for value in some], type=kind)
            table = pyarrow.table({"features": column})
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _states_of(encoder: keras.Model, layer: int | None, pooling: str) -> Any:
    """The output of the encoder that is asked for."""
    layers = [one for one in encoder.layers if isinstance(one, TransformerLayer)]
    if pooling == "pooled":
        if layer not in (None, len(layers)):
            raise ValueError(f"The pooled output is of the last layer; received layer={layer}.")
        return encoder.output[features.POOLED_OUTPUT]
    if layer is None:
        return encoder.output[features.SEQUENCE_OUTPUT]
    if not 0 <= layer <= len(layers):
        raise ValueError(f"`layer` must be from 0 to {len(layers)}; received {layer}.")
    return layers[layer].input[0] if layer < len(layers) else layers[-1].output


def _computation(encoder: keras.Model, states: Any, pooling: str) -> Callable[..., Any]:
    model = keras.Model(encoder.input, states)
    names = (features.TOKEN_IDS, features.SEGMENT_IDS, features.PADDING_MASK)

    def compute(token_ids, segment_ids, padding_mask):
        given = dict(zip(names, (token_ids, segment_ids, padding_mask), strict=True))
        found = model(given, training=False)
        if pooling != "pooled":
            found = found[:, : tf.shape(token_ids)[1]]  # inner states have prompts behind the row
        if pooling == "first":
            return found[:, 0]
        if pooling == "mean":
            return mean_of_tokens(found, padding_mask)
        return found

    signature = [tf.TensorSpec([None, None], tf.int32) for _ in names]
    return tf.function(compute, input_signature=signature, autograph=False)
