"""How a context is cut into windows, and how a question and a window make a row."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import ContextWindows, Tokenizer
from tfpt.pipelines.context_windows import find_windows, stretches, window_rows

SIZES = ContextWindows(sequence_length=12, stride=3, question_length=4)


def plain_windows(question_length, context_length, sizes):
    """Begin and length of each window, one after the other."""
    room = sizes.sequence_length - 3 - question_length
    found = [(0, min(room, context_length))]
    while sum(found[-1]) < context_length:
        begin = found[-1][0] + sizes.stride
        found.append((begin, min(room, context_length - begin)))
    return found


@pytest.mark.parametrize(
    "sizes", [SIZES, ContextWindows(sequence_length=12, stride=5, question_length=4)]
)
def test_windows_go_through_the_whole_context_and_no_further(sizes):
    questions = np.repeat(np.arange(5), 40)
    contexts = np.tile(np.arange(40), 5)
    windows = [part.numpy() for part in find_windows(questions, contexts, sizes)]
    found = {}
    for number, begin, length in zip(*windows, strict=True):
        found.setdefault(number, []).append((begin, length))
    assert sorted(found) == list(range(200))
    for number, own in found.items():
        assert own == plain_windows(questions[number], contexts[number], sizes)
        covered = {place for begin, length in own for place in range(begin, begin + length)}
        assert covered == set(range(contexts[number]))


def test_no_question_at_all_has_no_window():
    nothing = tf.zeros([0], tf.int64)
    assert all(tf.size(part) == 0 for part in find_windows(nothing, nothing, SIZES))


def test_a_row_is_question_and_window_with_a_mask_of_what_can_be_of_the_answer():
    tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop"])
    contexts = tf.ragged.constant(
        [[5, 6, 7, 8], [], [9, 10, 11, 12, 13]], row_splits_dtype=tf.int64
    )
    row = tf.constant([2, 0, 1], tf.int64)
    own = stretches(
        contexts, row, tf.constant([1, 0, 0], tf.int64), tf.constant([3, 4, 0], tf.int64)
    )
    assert own.to_list() == [[10, 11, 12], [5, 6, 7, 8], []]
    questions = tf.ragged.constant([[14, 15], [], [16]], tf.int32, row_splits_dtype=tf.int64)
    starts = own.with_values(tf.range(7))
    ends = own.with_values(tf.constant([1, 1, 3, 4, 5, 6, 7]))  # the second stands for nothing
    rows = window_rows(
        questions, own, starts=starts, ends=ends, tokenizer=tokenizer, sequence_length=9
    )
    assert {name: value.numpy().tolist() for name, value in rows.items()} == {
        "token_ids": [
            [2, 14, 15, 3, 10, 11, 12, 3, 0],
            [2, 3, 5, 6, 7, 8, 3, 0, 0],
            [2, 16, 3, 3, 0, 0, 0, 0, 0],
        ],
        "segment_ids": [
            [0, 0, 0, 0, 1, 1, 1, 1, 0],
            [0, 0, 1, 1, 1, 1, 1, 0, 0],
            [0, 0, 0, 1, 0, 0, 0, 0, 0],
        ],
        "padding_mask": [[1] * 8 + [0], [1] * 7 + [0] * 2, [1] * 4 + [0] * 5],
        "answer_mask": [
            [1, 0, 0, 0, 1, 0, 1, 0, 0],
            [1, 0, 1, 1, 1, 1, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0, 0],
        ],
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 6}, "leaves 5 for its context, but `stride` is 6"),
        ({"sequence_length": 3}, "leaves 0 for its context, but `stride` is 3"),
        ({"stride": 0}, "`stride` of ContextWindows must be at least 1 token"),
        ({"question_length": 0}, "`question_length` of ContextWindows must be at least 1 token"),
    ],
)
def test_sizes_that_pass_over_tokens_are_refused(changes, message):
    numbers = {"sequence_length": 12, "stride": 3, "question_length": 4, **changes}
    with pytest.raises(ValueError, match=message):
        ContextWindows(**numbers)
