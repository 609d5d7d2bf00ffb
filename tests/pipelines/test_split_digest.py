"""Digests of splits: the same for the same content, another for any change of it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines.split_digest import sha256_of


@dataclasses.dataclass
class Split:
    tokens: tf.RaggedTensor
    labels: np.ndarray
    rows: tuple[tuple[str, ...], ...] = (("a", "b"), ("c",))
    count: int = 2


def split(tokens=((1, 2), (3,)), labels=(0, 1), **changes):
    ragged = tf.ragged.constant(tokens, dtype=tf.int32)
    return Split(tokens=ragged, labels=np.array(labels, np.int32), **changes)


def test_the_same_content_has_the_same_digest():
    assert sha256_of(split()) == sha256_of(split())
    # Wherever it is calculated: what a run was begun with is compared with it later.
    assert sha256_of(split()).startswith("6d1bd579c4bba9c3")


@pytest.mark.parametrize(
    "other",
    [
        split(tokens=((1,), (2, 3))),
        split(tokens=((1, 2), (4,))),
        split(labels=(1, 0)),
        split(labels=(0, 1, 0)),
        dataclasses.replace(split(), labels=np.array([0, 1], np.int64)),
        dataclasses.replace(split(), labels=np.array([[0, 1]], np.int32)),
        split(rows=(("a", "b", "c"),)),
        split(rows=(("ab",), ("c",))),
        split(count=3),
        {"labels": split()},
        [split()],
    ],
)
def test_any_change_changes_it(other):
    assert sha256_of(other) != sha256_of(split())


def test_what_another_process_would_write_otherwise_has_none():
    with pytest.raises(TypeError, match="no digest of a object"):
        sha256_of([1, object()])
