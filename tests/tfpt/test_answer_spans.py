"""The best span of windows, against all spans gone through one by one."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.answer_spans import Spans, best_of_questions, best_spans, has_span
from tfpt.objectives.answers import MASKED_LOGIT


def rows(num_rows, length, seed=0):
    """Logits as a model gives them, and the mask."""
    random = np.random.default_rng(seed)
    mask = random.random((num_rows, length)) < 0.6
    mask[:, 0] = True
    mask[0, 1:] = False  # no token of a context
    logits = random.normal(0, 3, (num_rows, 2, length)).astype(np.float32)
    return np.where(mask[:, None, :], logits, np.float32(MASKED_LOGIT)), mask.astype(np.int32)


@pytest.mark.parametrize("answer_length", [1, 3, 30])
def test_the_best_span_is_that_of_all_spans(answer_length):
    logits, mask = rows(60, 17)
    found = best_spans(logits, mask, answer_length)
    for number, (start, end) in enumerate(logits):
        places = [place for place in np.flatnonzero(mask[number]) if place]
        spans = [
            (start[first] + end[last], first, last)
            for first in places
            for last in places
            if 0 <= last - first < answer_length
        ]
        assert found.no_answer_score[number] == start[0] + end[0]
        if not spans:
            assert found.score[number] == 2 * MASKED_LOGIT
            continue
        score, first, last = max(spans)
        assert (found.first[number], found.last[number]) == (first, last)
        assert float(found.score[number]) == pytest.approx(score, abs=1e-5)


def test_a_span_that_the_best_firsts_and_lasts_miss_is_found():
    # The 20 best firsts stand behind the 20 best lasts: none of them makes a span.
    logits = np.zeros((1, 2, 51), np.float32)
    logits[0, 0, 31:] = 9
    logits[0, 1, 1:21] = 9
    logits[0, 0, 25], logits[0, 1, 26] = 5, 6
    logits[0, 1, 31:] = -9
    found = best_spans(logits, np.ones((1, 51), np.int32), 30)
    assert (found.first[0], found.last[0], found.score[0]) == (25, 26, 11)


def test_a_question_has_the_best_of_its_windows_and_the_lowest_score_of_no_answer():
    numbers = [[3, 4, 1.0, 5.0], [5, 6, 2.0, 7.0], [7, 8, 2.0, 6.0], [1, 1, -2e9, 4.0]]
    first, last, score, no_answer = zip(*numbers, strict=True)
    spans = Spans(tf.constant(first), tf.constant(last), tf.constant(score), tf.constant(no_answer))
    best = best_of_questions(spans, tf.constant([0, 0, 0, 1], tf.int64), 2)
    assert best.window.numpy().tolist() == [1, 3]
    assert (best.first[0], best.last[0]) == (5, 6)
    assert best.score.numpy().tolist() == [2.0, np.float32(-2e9)]
    assert best.no_answer_score.numpy().tolist() == [5.0, 4.0]
    assert has_span(best).numpy().tolist() == [True, False]
