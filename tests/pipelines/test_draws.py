"""Random numbers belong to rows: not to batches, nor to how many are drawn at once."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import draws

SEED = tf.constant([7, 1], tf.int64)


def test_a_row_draws_the_same_in_any_batch():
    whole = draws.row_bits(SEED, 0, 64, 12).numpy()
    parts = [draws.row_bits(SEED, first, 16, 12).numpy() for first in (0, 16, 32, 48)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(draws.row_bits(SEED, 37, 1, 12).numpy(), whole[37:38])


def test_draws_are_the_same_eagerly_and_in_a_dataset():
    dataset = tf.data.Dataset.range(3).map(lambda i: draws.row_bits(SEED, i * 5, 5, 8))
    got = np.concatenate([bits.numpy() for bits in dataset])
    np.testing.assert_array_equal(got, draws.row_bits(SEED, 0, 15, 8).numpy())


def test_seeds_give_unrelated_draws():
    bits = [
        draws.row_bits(tf.constant([seed, 1], tf.int64), 0, 1000, 4).numpy() for seed in range(4)
    ]
    for i in range(4):
        for j in range(i):
            assert (bits[i] == bits[j]).mean() < 1e-3
            correlation = np.corrcoef(bits[i].ravel(), bits[j].ravel())[0, 1]
            assert abs(correlation) < 0.06  # 4,000 pairs: a deviation is 0.016


def test_rows_far_into_a_run_are_drawn_at_once_and_differ():
    far = draws.row_bits(SEED, 10**12, 4, 8).numpy()
    assert not np.array_equal(far, draws.row_bits(SEED, 0, 4, 8).numpy())
    again = draws.row_bits(SEED, 10**12 + 2, 2, 8).numpy()
    np.testing.assert_array_equal(far[2:], again)


def test_uniform_covers_the_unit_interval_evenly_and_never_reaches_one():
    values = draws.uniform(draws.row_bits(SEED, 0, 20_000, 4)).numpy()
    counts, _ = np.histogram(values, bins=20, range=(0, 1))
    expected = values.size / 20
    assert (((counts - expected) ** 2) / expected).sum() < 43.8  # chi-square, 19 degrees, p = 0.001
    assert draws.uniform(tf.constant([2**32 - 1], tf.uint32)).numpy()[0] < 1
    assert draws.uniform(tf.constant([0], tf.uint32)).numpy()[0] == 0


@pytest.mark.parametrize("limit", [1, 2, 7, 10**6, 3 * 10**12])
def test_integers_stay_below_their_limit_and_reach_all_of_it(limit):
    bits = draws.row_bits(SEED, 0, 20_000, 4)
    values = draws.integers(bits[:, 0], bits[:, 1], tf.constant(limit, tf.int64)).numpy()
    assert values.min() >= 0
    assert values.max() < limit
    if limit <= 7:
        assert set(values) == set(range(limit))
    else:
        assert abs(values.mean() / limit - 0.5) < 0.01


def test_bits_per_row_must_fill_whole_counters():
    with pytest.raises(ValueError, match="multiple of 4"):
        draws.row_bits(SEED, 0, 2, 6)


def drawn_subsets(limit, count, num_rows, num_slots):
    bits = draws.row_bits(SEED, 0, num_rows, -(-num_slots // 4) * 4)[:, :num_slots]
    limits, counts = (tf.fill([num_rows], number) for number in (limit, count))
    return draws.subset(bits, limits, counts).numpy()


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (5, 0), (5, 5), (6, 2), (64, 7), (64, 64)])
def test_a_subset_has_different_numbers_below_the_limit(limit, count):
    got = drawn_subsets(limit, count, 500, num_slots=64)
    assert (got[:, count:] == -1).all()
    for row in got:
        chosen = row[:count]
        assert len(set(chosen)) == count
        assert all(0 <= number < limit for number in chosen)


def test_all_subsets_are_drawn_equally_often():
    got = np.sort(drawn_subsets(6, 3, 40_000, num_slots=3), axis=1)
    _, counts = np.unique(got, axis=0, return_counts=True)
    assert len(counts) == 20
    assert (((counts - 2000) ** 2) / 2000).sum() < 43.8  # 19 degrees, p = 0.001


def test_rows_of_one_batch_may_draw_from_different_numbers():
    bits = draws.row_bits(SEED, 0, 3, 8)
    got = draws.subset(bits, tf.constant([1, 0, 100]), tf.constant([1, 0, 8])).numpy()
    assert got[0].tolist() == [0] + [-1] * 7
    assert (got[1] == -1).all()
    assert len(set(got[2])) == 8


def test_small_integers_are_uniform_and_the_same_in_a_program_of_xla():
    bits = draws.row_bits(SEED, 0, 20_000, 4)
    got = draws.small_integers(bits, 10).numpy()
    counts = np.bincount(got.ravel(), minlength=10)
    assert len(counts) == 10
    assert (((counts - 8000) ** 2) / 8000).sum() < 27.9  # 9 degrees, p = 0.001
    compiled = tf.function(lambda: draws.small_integers(bits, 10), jit_compile=True)
    np.testing.assert_array_equal(compiled().numpy(), got)
