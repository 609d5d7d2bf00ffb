"""The best answer among all spans of all windows of a context, with operations of TensorFlow.

Reports and exported models choose by these functions. All spans are looked at; Devlin's code, which
goes through those of the 20 best first and the 20 best last tokens, may miss one.

Shape letters: W windows, T tokens in a row, N questions.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tfpt.objectives.answers import MASKED_LOGIT


class Spans(NamedTuple):
    """The best span of each window."""

    first: Any  # int64 (W,): its first token, a column of the row
    last: Any  # int64 (W,)
    # float32 (W,): the sum of both logits; 2 * MASKED_LOGIT where the window has no token that
    # can be of an answer.
    score: Any
    no_answer_score: Any  # float32 (W,): the sum of both logits of [CLS]


class Best(NamedTuple):
    """The best span of each question, and how sure it is that there is none."""

    window: Any  # int64 (N,): the one that has it, the first of several
    first: Any  # int64 (N,): its first token, a column of the row
    last: Any  # int64 (N,)
    score: Any  # float32 (N,)
    no_answer_score: Any  # float32 (N,): the lowest of its windows


def best_spans(logits: Any, answer_mask: Any, answer_length: int) -> Spans:
    """The span of each window whose sum of logits is the highest.

    Its last token does not stand before its first one.

    Args:
        logits: float32 (W, 2, T): see features.py.
        answer_mask: int32 (W, T): see features.py. [CLS] stands for no answer.
        answer_length: Most tokens of an answer, at least 1.
    """
    answer_length = min(answer_length, logits.shape[2] or answer_length)  # no more than a row has
    column = tf.range(tf.shape(logits)[2])
    can_answer = (answer_mask > 0) & (column > 0)
    start, end = (tf.where(can_answer, logits[:, part], MASKED_LOGIT) for part in (0, 1))
    # The highest end of a token and those behind it, as far as an answer goes.
    behind = tf.pad(end, [[0, 0], [0, answer_length - 1]], constant_values=MASKED_LOGIT)
    ahead = tf.nn.max_pool1d(behind[..., None], answer_length, 1, "VALID")[..., 0]
    first = tf.argmax(start + ahead, axis=1)
    distance = tf.cast(column, tf.int64) - first[:, None]  # (W, T)
    is_near = (distance >= 0) & (distance < answer_length)
    last = tf.argmax(tf.where(is_near, end, 2 * MASKED_LOGIT), axis=1)
    score = tf.gather(start, first, batch_dims=1) + tf.gather(end, last, batch_dims=1)
    return Spans(first, last, score, logits[:, 0, 0] + logits[:, 1, 0])


def best_of_questions(spans: Spans, question: Any, num_questions: Any) -> Best:
    """The best span of the windows of each question.

    Source: Devlin et al. 2019, section 4.3, https://arxiv.org/abs/1810.04805, and its code.

    Args:
        spans: Of all windows.
        question: int64 (W,): the question of each window; each has at least one.
        num_questions: N.
    """
    count = tf.size(question, tf.int64)
    score = tf.math.unsorted_segment_max(spans.score, question, num_questions)
    is_best = spans.score == tf.gather(score, question)
    number = tf.where(is_best, tf.range(count), count)
    window = tf.math.unsorted_segment_min(number, question, num_questions)
    no_answer = tf.math.unsorted_segment_min(spans.no_answer_score, question, num_questions)
    first, last = tf.gather(spans.first, window), tf.gather(spans.last, window)
    return Best(window, first, last, score, no_answer)


def has_span(best: Best) -> Any:
    """bool (N,): whether the context of a question has any token that can be of an answer."""
    return best.score > MASKED_LOGIT
