"""Rows of several streams in one batch."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import Drawing, masked_lm, mixing, write_store


def test_shares_add_up_and_leave_nobody_out():
    assert mixing.shares([3, 1], 8).tolist() == [6, 2]
    assert mixing.shares([1, 1, 1], 8).tolist() == [3, 3, 2]
    assert mixing.shares([1e-9, 1], 4).tolist() == [1, 3]


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [
        ((0.05, 0.05, 0.9), 10, [1, 1, 8]),
        ((0.01, 0.02, 0.03, 0.94), 20, [1, 1, 1, 17]),
        ((1e-4, 1e-4, 0.9998), 1000, [1, 1, 998]),
        ((1, 1, 1), 3, [1, 1, 1]),
        ((0.6, 0.3, 0.05, 0.05), 5, [2, 1, 1, 1]),
    ],
)
def test_several_small_streams_are_not_left_out(weights, total, expected):
    assert mixing.shares(weights, total).tolist() == expected


def test_a_cycle_has_each_row_of_each_stream_once():
    counts = np.array([5, 2, 9])
    stream, index = mixing.stream_rows(tf.range(3 * 16, dtype=tf.int64), counts, seed=1, stream=0)
    for cycle in range(3):
        here = slice(cycle * 16, cycle * 16 + 16)
        pairs = sorted(zip(stream.numpy()[here], index.numpy()[here], strict=True))
        assert pairs == [
            (number, cycle * count + row)
            for number, count in enumerate(counts)
            for row in range(count)
        ]


@pytest.mark.parametrize("num_streams", [1, 3])
def test_each_row_is_drawn_by_its_own_stream(num_streams):
    stream = tf.constant([0, 2, 2, 0, 2, 0]) % num_streams

    def draw(number, place):
        return {"stream": tf.fill(tf.shape(place), number), "place": place[:, None] * [1, 10]}

    drawn = mixing.stitched(stream, num_streams, draw)
    np.testing.assert_array_equal(drawn["stream"], stream)
    np.testing.assert_array_equal(drawn["place"], np.arange(6)[:, None] * [1, 10])


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_a_batch_may_have_no_row_of_a_store(store, tokenizer, tmp_path, layout):
    random = np.random.default_rng(1)
    documents = [(" ".join(random.choice(tokenizer.vocabulary[5:], 30)),) for _ in range(300)]
    other = write_store(documents, tokenizer, tmp_path / "other")
    drawing = Drawing(pairing="single", layout=layout, weights=(1.0, 30.0))
    sizes = {"sequence_length": 64, "seed": 5, "drawing": drawing}
    small = masked_lm([store, other], batch_size=4, **sizes).take(16)
    large = next(iter(masked_lm([store, other], batch_size=64, **sizes)))
    joined = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *small)
    tf.nest.map_structure(np.testing.assert_array_equal, joined, large)
