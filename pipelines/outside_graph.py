"""Tokenization by a library of Python's side, where TensorFlow's graph cannot do it or need not.

Shape letters: N texts, L tokens of a text (ragged).
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np


class Encoding(NamedTuple):
    """The tokens of a text. `text[starts[i]:ends[i]]` is what token i stands for."""

    ids: list[int]
    starts: list[int]  # in characters
    ends: list[int]


def encoding(ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Encoding:
    """Of the ids and the pairs of offsets that the `tokenizers` library gives."""
    return Encoding(list(ids), [start for start, _ in offsets], [end for _, end in offsets])


Encode = Callable[[Sequence[str]], list[Encoding]]


@functools.cache
def tensorflow_text() -> ModuleType | None:
    """The package tensorflow-text; None where it is not installed, which is warned about once."""
    try:
        import tensorflow_text as package
    except ImportError:
        warnings.warn(
            "tensorflow-text is not installed (not every system has a wheel): texts are tokenized "
            "in Python, which is slower, and an exported model takes tokens, not texts.",
            stacklevel=2,
        )
        return None
    return package


def tokenize(encode: Encode, texts: Any, *, offsets: bool = False) -> list[Any]:
    """Tokenize a string tensor by a Python function, inside a dataset too.

    Args:
        encode: From texts to their tokens.
        texts: string (N,). Bytes that are no UTF-8 are read as U+FFFD.
        offsets: Whether to give spans, in bytes.

    Returns:
        `[ids]` or `[ids, starts, ends]`, RaggedTensors (N, L): int32 ids, int64 offsets.
    """
    import tensorflow as tf

    def run(values: np.ndarray) -> list[np.ndarray]:
        strings = [value.decode("utf-8", "replace") for value in values]
        encodings = encode(strings)
        lengths = np.array([len(encoding.ids) for encoding in encodings], np.int64)
        columns = [_concatenated([encoding.ids for encoding in encodings], np.int32)]
        if offsets:
            spans = [
                _in_bytes(text, encoding) for text, encoding in zip(strings, encodings, strict=True)
            ]
            columns += [_concatenated([span[part] for span in spans], np.int64) for part in (0, 1)]
        return [lengths, *columns]

    types = [tf.int64, tf.int32, *([tf.int64, tf.int64] if offsets else [])]
    lengths, *columns = tf.numpy_function(run, [texts], types)
    lengths.set_shape([texts.shape[0]])
    for column in columns:
        column.set_shape([None])
    return [tf.RaggedTensor.from_row_lengths(column, lengths, validate=False) for column in columns]


def characters_from_bytes(text: str, offsets: Sequence[int]) -> list[int]:
    """Offsets in UTF-8 bytes as offsets in characters."""
    if text.isascii():
        return list(offsets)
    # How many characters begin before each byte.
    is_first = (np.frombuffer(text.encode("utf-8"), np.uint8) & 0xC0) != 0x80
    before = np.concatenate([[0], np.cumsum(is_first)])
    return before[np.asarray(offsets, np.int64)].tolist()


def _in_bytes(text: str, encoding: Encoding) -> tuple[Sequence[int], Sequence[int]]:
    if text.isascii():
        return encoding.starts, encoding.ends
    lengths = [len(character.encode("utf-8")) for character in text]
    places = np.concatenate([[0], np.cumsum(lengths)])
    return places[encoding.starts].tolist(), places[encoding.ends].tolist()


def _concatenated(rows: Sequence[Sequence[int]], dtype: Any) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *(np.asarray(row, dtype) for row in rows)])
