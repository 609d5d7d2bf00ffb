"""Whether two splits hold the same: a digest of their content."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import tensorflow as tf

_PLAIN = (str, bytes, bool, int, float, np.generic)


def sha256_of(value: Any) -> str:
    """SHA-256, in hexadecimal, of dataclasses, arrays, tensors, ragged or not, texts and numbers.

    Order counts, and so do dtypes and shapes.

    Raises:
        TypeError: Something else is in it, which might be written otherwise by another process.
    """
    digest = hashlib.sha256()
    _update(digest, value)
    return digest.hexdigest()


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, tf.RaggedTensor):
        value = (value.flat_values, *value.nested_row_splits)
    if isinstance(value, tf.Tensor):
        value = value.numpy()
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes):
        digest.update(f"[{len(value)}]".encode())
        for one in value:
            _update(digest, one)
    elif value is None or isinstance(value, _PLAIN):
        digest.update(f"{value!r};".encode())
    else:
        raise TypeError(f"There is no digest of a {type(value).__name__}.")
