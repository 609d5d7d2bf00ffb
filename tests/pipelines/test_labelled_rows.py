"""Rows as batches: exactly once an epoch, filled up at the end, from any batch on."""

import numpy as np
import pytest
import tensorflow as tf
from drawn import assert_untuned

from tfpt.pipelines import Tokenizer
from tfpt.pipelines.labelled_rows import RowBatches, packed_features


def batches(num_rows=10, batch_size=4, seed=1):
    return RowBatches(
        num_rows=num_rows,
        batch_size=batch_size,
        seed=seed,
        draw=lambda row, weights: (row, weights),
    )


def drawn(dataset):
    return [(row.numpy().tolist(), weights.numpy().tolist()) for row, weights in dataset]


def test_rows_in_order_are_filled_up_with_the_last_one_at_weight_zero():
    assert drawn(batches().in_order()) == [
        ([0, 1, 2, 3], [1] * 4),
        ([4, 5, 6, 7], [1] * 4),
        ([8, 9, 9, 9], [1, 1, 0, 0]),
    ]
    assert batches().num_batches == 3


def test_shuffled_rows_come_once_in_an_order_that_follows_from_the_seed():
    def rows(dataset):
        return [
            one
            for row, weights in drawn(dataset)
            for one, weight in zip(row, weights, strict=True)
            if weight
        ]

    dataset = batches().shuffled()
    epochs = [rows(dataset) for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    again = batches().shuffled()
    assert [rows(again) for _ in range(3)] == epochs
    other = batches(seed=2).shuffled()
    assert [rows(other) for _ in range(3)] != epochs
    assert int(dataset.cardinality()) == 3


def test_endless_rows_go_on_anywhere_and_cross_epochs():
    rows = [row for row, _ in drawn(batches().endless().take(10))]
    flat = np.concatenate(rows)
    assert all(sorted(flat[i : i + 10]) == list(range(10)) for i in range(0, 40, 10))
    assert [row for row, _ in drawn(batches().endless(3).take(7))] == rows[3:]


def test_datasets_are_not_tuned():
    assert_untuned(batches().in_order(), batches().shuffled(), batches().endless())


@pytest.mark.parametrize("num_texts", [1, 2])
def test_features_are_packed_with_known_shapes(num_texts):
    tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"])
    texts = [tf.ragged.constant([[5, 6], []], dtype=tf.int32), tf.ragged.constant([[6], [5]])]

    @tf.function
    def packed():
        found = packed_features(texts[:num_texts], tokenizer, batch_size=2, sequence_length=7)
        assert {tuple(tensor.shape) for tensor in found.values()} == {(2, 7)}
        return found

    rows = {
        1: [[2, 5, 6, 3, 0, 0, 0], [2, 3, 0, 0, 0, 0, 0]],
        2: [[2, 5, 6, 3, 6, 3, 0], [2, 3, 5, 3, 0, 0, 0]],
    }
    assert packed()["token_ids"].numpy().tolist() == rows[num_texts]
