"""Places in texts, tried on texts that bring lengths of characters and empty rows together."""

import pytest
import tensorflow as tf

from tfpt.pipelines import spans

TEXTS = tf.constant(["a\u00e9 \u6211", "", "  \t", "\U0001f600b"])


def ragged(*rows):
    return tf.ragged.constant(rows, dtype=tf.int64, ragged_rank=1)


def test_bytes_lie_one_text_after_the_other():
    text = spans.bytes_of(TEXTS)
    assert bytes(text.values.numpy().tolist()).decode() == "a\u00e9 \u6211  \t\U0001f600b"
    assert text.starts.numpy().tolist() == [0, 7, 7, 10]
    assert text.lengths.numpy().tolist() == [7, 0, 3, 5]
    none = spans.bytes_of(tf.constant([], tf.string))
    assert [part.shape[0] for part in none] == [0, 0, 0]


def test_offsets_in_bytes_become_offsets_in_characters():
    starts, ends = ragged([0, 1, 4], [], [0], [0, 4]), ragged([1, 3, 7], [], [3], [4, 5])
    assert spans.in_unit(TEXTS, starts, ends, "byte") == (starts, ends)
    first, last = spans.in_unit(TEXTS, starts, ends, "character")
    assert first.to_list() == [[0, 1, 3], [], [0], [0, 1]]
    assert last.to_list() == [[1, 2, 4], [], [3], [1, 2]]


def test_parts_of_a_character_have_the_span_of_the_whole():
    starts, ends = spans.whole_characters(TEXTS, ragged([0, 2, 3, 5, 6], [], [0, 1], [0, 2]))
    assert starts.to_list() == [[0, 1, 3, 4, 4], [], [0, 1], [0, 0]]
    assert ends.to_list() == [[3, 3, 7, 7, 7], [], [1, 3], [4, 5]]


def test_white_space_is_left_out_where_something_follows_in_the_token():
    starts, ends = ragged([0, 3], [], [0], [0]), ragged([3, 7], [], [3], [5])
    assert spans.without_leading_space(TEXTS, starts, ends).to_list() == [[0, 4], [], [0], [0]]


@pytest.mark.parametrize(
    ("keep", "expected"), [(False, [[1, 7, 7], [], [3, 3], [4, 5]]), (True, None)]
)
def test_empty_spans_reach_to_the_end_of_the_next_one(keep, expected):
    starts, ends = ragged([0, 1, 1], [], [0, 3], [0, 4]), ragged([1, 1, 7], [], [3, 3], [4, 5])
    kept = tf.fill(tf.shape(ends.values), keep)
    found = spans.filled(TEXTS, starts, ends, keep=kept).to_list()
    assert found == (expected or ends.to_list())
