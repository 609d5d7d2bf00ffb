"""How well a model answers questions: exact match and F1, with and without an answer.

Shape letters: B rows in a batch, T tokens in a row, N questions, W windows of all questions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfpt import features
from tfpt.answer_scores import Score, score_answer
from tfpt.answer_spans import MASKED_LOGIT, Spans, best_of_questions, best_spans, has_span
from tfpt.pipelines.question_answering import QuestionSplit
from tfpt.worst_rows import WorstRow, excerpt, worst_rows


class Found(NamedTuple):
    """The best span that a model finds for a question."""

    text: str  # "" where the context has no token
    start: int  # in characters of the context
    end: int
    score: float  # of the span: the sum of the logits of its first and its last token
    no_answer_score: float  # the sum of both logits of [CLS], the lowest of all windows

    @property
    def difference(self) -> float:
        """How much more there seems to be no answer; what a threshold is compared with."""
        return self.no_answer_score - self.score

    def answer(self, threshold: float | None) -> str:
        """What is answered: "", for none, where the difference is above the threshold."""
        return "" if threshold is not None and self.difference > threshold else self.text


@dataclass(frozen=True, kw_only=True)
class AnswerReport:
    """What a model got right of questions. It makes an `evaluation.Report`."""

    total: Score
    answerable: Score  # of the questions that have an answer; 0 where there are none
    unanswerable: Score  # of those that have none; 0 where there are none
    num_answerable: int
    num_unanswerable: int
    no_answer_threshold: float | None  # see `Found.answer`; None: something is always answered
    # Whether it was chosen on questions of their own, or on those reported, which flatters it.
    has_own_threshold: bool
    answers: dict[str, str]  # what was answered, by the id of the question
    num_windows: int
    accuracy: float  # share of windows whose first and last token are right
    loss: float  # mean cross-entropy of the first and the last token, in nats
    # Questions whose answer is not right to the word, by the mean loss of their windows.
    worst: tuple[WorstRow, ...] = ()

    @property
    def measures(self) -> dict[str, float]:
        """Exact match and F1 of all questions, and accuracy and loss of windows."""
        return {
            "exact_match": self.total.exact_match,
            "f1": self.total.f1,
            "window_accuracy": self.accuracy,
            "loss": self.loss,
        }

    @property
    def _source_of_threshold(self) -> str | None:
        if self.no_answer_threshold is None:
            return None
        return "validation" if self.has_own_threshold else "the questions reported"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the answers as plain values, ready for JSON."""
        parts = {
            "answerable": (self.answerable, self.num_answerable),
            "unanswerable": (self.unanswerable, self.num_unanswerable),
        }
        return {
            "num_questions": self.num_answerable + self.num_unanswerable,
            "num_windows": self.num_windows,
            **self.measures,
            "no_answer_threshold": self.no_answer_threshold,
            "no_answer_threshold_from": self._source_of_threshold,
            **{
                name: {"num_questions": count, "exact_match": score.exact_match, "f1": score.f1}
                for name, (score, count) in parts.items()
            },
            "worst": [one.to_dict() for one in self.worst],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What a report on questions needs: they are put together from the windows of batches."""

    split: QuestionSplit
    batches: tf.data.Dataset  # all windows of the split, in its order
    by_words: bool = True  # whether answers are compared as SQuAD does, or as CMRC 2018 does
    answer_length: int = 30  # most tokens of an answer
    # The questions on which the threshold for no answer is chosen; None: those of `split`.
    validation: "Asked | None" = None


def evaluate_answers(model: keras.Model, asked: Asked) -> AnswerReport:
    """Answer questions and compare.

    Where there are questions without an answer among those of validation, a threshold is chosen on
    them, and the model may say that there is no answer.

    Args:
        model: With the output `question_answering`.
        asked: The questions.
    """
    read = _read(model, asked)
    threshold = None
    of_threshold = asked.validation or asked
    if of_threshold.split.has_unanswerable:
        others = read.found if of_threshold is asked else find_answers(model, of_threshold)
        threshold = best_threshold(others, true_answers(of_threshold), by_words=asked.by_words)
    true = true_answers(asked)
    answers = [one.answer(threshold) for one in read.found]
    scores = [
        score_answer(answer, own, by_words=asked.by_words)
        for answer, own in zip(answers, true, strict=True)
    ]
    of_answerable = [score for score, own in zip(scores, true, strict=True) if own]
    of_unanswerable = [score for score, own in zip(scores, true, strict=True) if not own]
    return AnswerReport(
        total=_mean(scores),
        answerable=_mean(of_answerable),
        unanswerable=_mean(of_unanswerable),
        num_answerable=len(of_answerable),
        num_unanswerable=len(of_unanswerable),
        no_answer_threshold=threshold,
        has_own_threshold=asked.validation is not None,
        answers=dict(zip(asked.split.questions.ids, answers, strict=True)),
        num_windows=asked.split.num_windows,
        accuracy=read.accuracy,
        loss=read.loss,
        worst=_worst(asked, read, answers, [score.exact_match == 1 for score in scores]),
    )


def find_answers(model: keras.Model, asked: Asked) -> list[Found]:
    """The best span for each question, over all windows of its context."""
    return _read(model, asked).found


def true_answers(asked: Asked) -> list[tuple[str, ...]]:
    """The right answers to each question; none where there is no answer."""
    return [tuple(one.text for one in own) for own in asked.split.questions.answers]


def best_threshold(
    found: Sequence[Found], true: Sequence[Sequence[str]], *, by_words: bool = True
) -> float:
    """The threshold with which F1 is the highest; see `Found.answer`.

    It lies half way between two differences, or 1 from the outermost; the lowest of several.

    Source: Rajpurkar et al. 2018, section 5, https://arxiv.org/abs/1806.03822, and its script.

    Args:
        found: Of each question, at least one.
        true: The right answers to each question.
        by_words: As of `score_answer`.
    """
    # Where there is no span, "" is answered with any threshold.
    with_span = [number for number, one in enumerate(found) if one.score > MASKED_LOGIT]
    order = sorted(with_span, key=lambda number: found[number].difference)
    if not order:
        return 0.0
    gains = []
    for number in order:
        answered = score_answer(found[number].text, true[number], by_words=by_words)
        silent = score_answer("", true[number], by_words=by_words)
        gains.append(answered.f1 - silent.f1)
    differences = [found[number].difference for number in order]
    # With the first k answered: where questions of one difference are not torn apart.
    totals = [0.0, *np.cumsum(gains)]
    bounds = [differences[0] - 2, *differences, differences[-1] + 2]
    best, threshold = -math.inf, 0.0
    for k, total in enumerate(totals):
        if bounds[k] < bounds[k + 1] and total > best + 1e-9:
            best, threshold = total, (bounds[k] + bounds[k + 1]) / 2
    return float(threshold)


def _mean(scores: Sequence[Score]) -> Score:
    count = len(scores) or 1
    return Score(
        sum(one.exact_match for one in scores) / count, sum(one.f1 for one in scores) / count
    )


class _Read(NamedTuple):
    """What a model finds, and how sure it is of what is right."""

    found: list[Found]  # of each question the best span
    losses: np.ndarray  # float64 (N,): the mean loss of the windows of each question
    accuracy: float  # of all windows
    loss: float


def _read(model: keras.Model, asked: Asked) -> _Read:
    name, split = features.QUESTION_ANSWERING, asked.split

    @tf.function(reduce_retracing=True, autograph=False)
    def read(inputs, labels):
        logits = model(inputs, training=False)[name]
        spans = best_spans(logits, inputs[features.ANSWER_MASK], asked.answer_length)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[name], logits)
        is_right = tf.argmax(logits, axis=-1, output_type=tf.int32) == labels[name]
        return spans, tf.reduce_mean(losses, axis=-1), tf.reduce_all(is_right, axis=-1)

    parts, rows = [], []
    for inputs, labels, weight in asked.batches:
        spans, loss, is_right = read(inputs, labels)
        parts.append(spans)
        rows.append((loss, is_right, weight[name][:, 0]))
    # What the last batch is filled up with stands behind the windows.
    count = split.num_windows
    spans = Spans(*(tf.concat(part, axis=0)[:count] for part in zip(*parts, strict=True)))
    losses, right, shares = (
        tf.concat(part, axis=0).numpy()[:count].astype(np.float64)
        for part in zip(*rows, strict=True)
    )
    total = shares.sum() or 1.0
    of_question, windows = (
        np.bincount(split.windows.question, weights=part, minlength=len(split))
        for part in (losses * shares, shares)
    )
    return _Read(
        _found(split, spans),
        losses=of_question / np.maximum(windows, 1),
        accuracy=float(right @ shares / total),
        loss=float(losses @ shares / total),
    )


def _worst(
    asked: Asked, read: _Read, answers: Sequence[str], is_right: Sequence[bool]
) -> tuple[WorstRow, ...]:
    """The worst questions, each with what of its context is around the right answer."""
    questions, true = asked.split.questions, true_answers(asked)
    wrong = np.flatnonzero(~np.array(is_right))

    def describe(number: int) -> tuple[str, str, None]:
        row = wrong[number]
        return " | ".join(dict.fromkeys(true[row])), answers[row], None

    def texts(row: int) -> tuple[str, str]:
        question, context = questions.rows[row]
        placed = [(one.start, one.end) for one in questions.answers[row] if one.start >= 0]
        start, end = placed[0] if placed else read.found[row][1:3]
        return excerpt(question, 0, 0), excerpt(context, start, end)

    found = worst_rows(read.losses[wrong], describe)
    numbers = [int(wrong[one.row]) for one in found]
    return tuple(
        replace(one, row=row, texts=texts(row)) for one, row in zip(found, numbers, strict=True)
    )


def _found(split: QuestionSplit, spans: Spans) -> list[Found]:
    best = best_of_questions(spans, split.windows.question, len(split))
    answered = has_span(best).numpy()
    found = []
    for is_answer, window, first, last, *scores in zip(
        answered, *(part.numpy() for part in best), strict=True
    ):
        text = split.text(window, first, last) if is_answer else ("", 0, 0)
        found.append(Found(*text, *map(float, scores)))
    return found
