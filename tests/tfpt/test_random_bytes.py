"""Random bytes: the published generator, uniform, a function of their seed and nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.models import fused, random_bytes

BYTES = 100_000
# Chi-squared of 255 degrees of freedom: passed once in 5,000 times.
CHI_SQUARED = 341


def drawn(*seed, number=0, shape=(BYTES,)):
    return random_bytes.random_bytes(shape, tf.constant(seed, tf.uint32), number).numpy()


@pytest.mark.parametrize(
    ("rounds", "key", "counter", "words"),
    [
        (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        (13, (2**32 - 1,) * 2, (2**32 - 1,) * 2, (0xFD36D048, 0x2D17272C)),
        (
            13,
            (0x13198A2E, 0x03707344),
            (0x243F6A88, 0x85A308D3),
            (0xBA3E4725, 0xF27D669E),
        ),
        (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ],
)
def test_threefry_gives_the_known_answers(rounds, key, counter, words):
    """Those that its authors publish with it (Random123, kat_vectors)."""
    counters = [tf.constant([word], tf.uint32) for word in counter]
    found = random_bytes.threefry(tf.constant(key, tf.uint32), counters, rounds)
    assert tuple(int(word[0]) for word in found) == words


def test_random_bytes_are_uniform_and_follow_from_seed_and_number():
    counts = np.bincount(drawn(1, 2), minlength=256)
    assert ((counts - BYTES / 256) ** 2 / (BYTES / 256)).sum() < CHI_SQUARED
    np.testing.assert_array_equal(drawn(1, 2), drawn(1, 2))
    np.testing.assert_array_equal(drawn(1, 2, shape=(100, 1000)).ravel(), drawn(1, 2))
    assert drawn(1, 2, shape=(0, 5)).shape == (0, 5)
    assert drawn(1, 2, shape=(7, 3)).shape == (7, 3)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():  # outside of any replica
        np.testing.assert_array_equal(drawn(1, 2, shape=(64,)), drawn(1, 2, shape=(64,)))
    others = [drawn(1, 2, number=1), drawn(1, 3), drawn(2, 2), drawn(2**32 - 1, 2)]
    for other in others:
        assert abs(np.mean(drawn(1, 2) == other) - 1 / 256) < 1e-3


@pytest.mark.parametrize("apart", [1, 2, BYTES // 8, BYTES // 4, BYTES // 2])
def test_neighbours_do_not_follow_from_each_other(apart):
    """Neither bytes beside each other nor those of one word."""
    values = drawn(5, 6).astype(int)
    differences = (values[apart:] - values[:-apart]) % 256
    counts = np.bincount(differences, minlength=256)
    expected = len(differences) / 256
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARED


def test_clusters_unknown_shapes_and_replicas():
    seed = tf.constant([3, 4], tf.uint32)
    plain = random_bytes.random_bytes([7, 5], seed, 1)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def of_rows(rows):
        with fused.clusters():
            return random_bytes.random_bytes([rows, 5], seed, 1)

    @tf.function
    def in_clusters():
        with fused.clusters():
            return random_bytes.random_bytes([7, 5], seed, 1)

    np.testing.assert_array_equal(of_rows(7), plain)
    np.testing.assert_array_equal(in_clusters(), plain)

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    on_each = strategy.run(lambda: random_bytes.random_bytes([7, 5], seed, 1))
    first, second = strategy.experimental_local_results(on_each)
    np.testing.assert_array_equal(first, plain)
    assert np.mean(first.numpy() == second.numpy()) < 0.2
