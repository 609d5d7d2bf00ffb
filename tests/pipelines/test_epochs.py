"""The order of an epoch."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines.epochs import shuffled_rows


def orders(num_epochs, size, seed=0):
    """int64 (num_epochs, size), drawn as one batch."""
    row = tf.range(num_epochs * size, dtype=tf.int64)
    rows = shuffled_rows(row % size, row // size, seed=seed, size=size)
    return rows.numpy().reshape(num_epochs, size)


@pytest.mark.parametrize("size", [1, 2, 5, 64, 1000])
def test_each_epoch_is_a_permutation(size):
    for order in orders(3, size):
        assert sorted(order) == list(range(size))


def test_epochs_and_seeds_differ():
    first, second = orders(2, 100)
    assert (first != second).any()
    assert (first != orders(1, 100, seed=1)[0]).any()


def test_orders_stay_what_they_were():
    """A run that goes on after an upgrade must meet the order it began with."""
    assert orders(2, 8, seed=7).tolist() == [
        [7, 2, 1, 4, 6, 5, 0, 3],
        [6, 0, 3, 5, 2, 7, 1, 4],
    ]


def test_any_batch_draws_what_the_whole_run_draws():
    whole = orders(6, 10).reshape(-1)
    draw = tf.function(lambda row: shuffled_rows(row % 10, row // 10, seed=0, size=10))
    parts = [draw(tf.range(first, first + 15, dtype=tf.int64)) for first in (45, 0, 15, 30)]
    np.testing.assert_array_equal(tf.concat([*parts[1:], parts[0]], 0), whole)


def rows_at(place, num_epochs, size):
    """int64 (num_epochs,): the row at one place of each epoch."""
    epoch = tf.range(num_epochs, dtype=tf.int64)
    return shuffled_rows(tf.zeros_like(epoch) + place, epoch, seed=0, size=size).numpy()


def assert_uniform(counts):
    """Six standard deviations of chi-squared; the keys (seed, epoch) were off by a hundred."""
    expected = counts.sum() / len(counts)
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    freedom = len(counts) - 1
    assert abs(chi_squared - freedom) < 6 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(("size", "num_epochs"), [(23, 2000), (200, 20_000), (1000, 20_000)])
def test_rows_are_equally_likely_at_every_place(size, num_epochs):
    for place in (0, size // 2, size - 1):
        assert_uniform(np.bincount(rows_at(place, num_epochs, size), minlength=size))


@pytest.mark.parametrize(("size", "num_epochs"), [(23, 2000), (200, 20_000), (1000, 20_000)])
def test_which_row_follows_does_not_depend_on_the_row(size, num_epochs):
    distance = (rows_at(1, num_epochs, size) - rows_at(0, num_epochs, size)) % size
    assert_uniform(np.bincount(distance, minlength=size)[1:])


@pytest.mark.parametrize("sizes", [10, [10] * 15])
def test_no_rows_have_no_order(sizes):
    """As of a store that a batch of a mix has no row of."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def draw(row):
        size = tf.constant(sizes, tf.int64)
        size = size[: tf.size(row)] if size.shape.rank else size
        return shuffled_rows(row % 10, row // 10, seed=0, size=size)

    assert draw(tf.zeros([0], tf.int64)).shape == [0]
    expected = orders(2, 10).reshape(-1)[:15]
    np.testing.assert_array_equal(draw(tf.range(15, dtype=tf.int64)), expected)
