"""What is told of answers: with and without an answer, and when to say that there is none."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpt import answer_report, worst_rows
from tfpt.answer_report import Asked, Found, best_threshold, evaluate_answers
from tfpt.answer_scores import Score
from tfpt.pipelines import ContextWindows, Tokenizer, question_answering

NAME = "question_answering"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"w{number}" for number in range(60)]
TOKENIZER = Tokenizer([*SPECIALS, *WORDS])
WINDOWS = ContextWindows(sequence_length=12, stride=4, question_length=2)


def found(text, difference):
    return Found(text, 0, len(text), 1.0, 1.0 + difference)


# In the order of the differences: right; none, but answered; half right (f1 2/3); right.
FOUND = [found("Rome", 4.0), found("Oslo", 1.0), found("red car", 2.0), found("Paris", -1.0)]
TRUE = [("Rome",), (), ("car",), ("Paris",)]


def test_the_threshold_is_where_f1_is_the_highest():
    # Answered up to a difference: none of them 1 (that of Oslo, where there is no answer); Paris 2;
    # and Oslo 1; and the car 1 2/3; and Rome 2 2/3. Above the last one by 1.
    assert best_threshold(FOUND, TRUE) == 5.0
    # Without Rome it is 2 and 1 and 1 2/3: half way between Paris and Oslo.
    assert best_threshold(FOUND[1:], TRUE[1:]) == 0.0
    # Where nothing has an answer, below the lowest by 1.
    assert best_threshold(FOUND, [()] * 4) == -2.0
    # A context without a token is answered with "" anyhow, and bounds nothing.
    empty = Found("", 0, 0, -2e9, 0.0)
    assert best_threshold([*FOUND, empty], [*TRUE, ()]) == 5.0
    assert best_threshold([empty], [()]) == 0.0


def test_questions_of_one_difference_are_answered_all_or_none():
    same = [found("Rome", 2.0), found("Oslo", 2.0), found("Bern", 3.0)]
    # Rome alone were the best; both are as good as none, and then the lowest threshold is taken.
    assert best_threshold(same, [("Rome",), (), ()]) == 1.0


class Told(keras.Model):
    """Finds the words w0 to w9: the higher its number, the surer."""

    def call(self, inputs, training=False):
        ids = tf.cast(inputs["token_ids"] - len(SPECIALS), tf.float32)
        sure = tf.where((ids >= 0) & (ids < 10), ids, -20.0)
        sure = tf.where(inputs["answer_mask"] > 0, sure, -1e9)
        sure = tf.concat([tf.zeros_like(sure[:, :1]) + 2.5, sure[:, 1:]], axis=1)  # [CLS]
        return {NAME: tf.stack([sure, sure], axis=1)}


def question(name, context, *answers):
    listed = [{"text": one, "answer_start": context.index(one)} for one in answers]
    asked = {"id": name, "question": "w50", "answers": listed, "is_impossible": not answers}
    return {"context": context, "qas": [asked]}


def context(length, **words):
    """Words from w20 on, some of which are others."""
    chosen = [words.get(f"at_{place}", f"w{20 + place}") for place in range(length)]
    return " ".join(chosen)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    splits = {
        "train": [question("t", "w1\u3002 w20", "w1\u3002")],
        # Answered by 9, by 1 (wrong); none, by 2 and by nothing: best between 2 and 9.
        "dev": [
            question("d1", context(20, at_15="w9"), "w9"),
            question("d2", context(5, at_1="w1"), "w22"),
            question("d3", context(5, at_1="w2")),
            question("d4", ""),
        ],
        "test": [
            question("e1", context(25, at_2="w5", at_20="w8"), "w8"),
            question("e2", context(25, at_2="w7", at_20="w6"), "w6", "w7 w23"),
            question("e3", context(3, at_1="w3"), "w3"),
            question("e4", context(20, at_15="w1")),
            question("e5", context(4)),
        ],
    }
    for name, paragraphs in splits.items():
        content = {"data": [{"title": name, "paragraphs": paragraphs}]}
        (folder / f"{name}.json").write_text(json.dumps(content))
    return question_answering(folder, TOKENIZER, windows=WINDOWS, batch_size=4)


def asked(data, name, **changes):
    return Asked(split=data.splits[name], batches=getattr(data, name), **changes)


def test_a_report_puts_answers_together_and_chooses_the_threshold_on_validation(data):
    report = evaluate_answers(Told(), asked(data, "test", validation=asked(data, "validation")))
    # A span's score is twice its number, that of no answer 5. On validation the differences are
    # 5 - 18 = -13 (right) and 5 - 4 = 1 (there is none): half way is -6, and d2, 5 - 2 = 3, is
    # wrong either way.
    assert report.no_answer_threshold == -6.0
    assert report.to_dict()["no_answer_threshold_from"] == "validation"
    # Differences -11, -9, -1, 3 and much more: only the first two are below.
    assert report.answers == {"e1": "w8", "e2": "w7", "e3": "", "e4": "", "e5": ""}
    # Exact: e1, e4, e5. e2 is "w7" of "w7 w23": 2/3. e3 is missed.
    assert report.total == pytest.approx(Score(3 / 5, (3 + 2 / 3) / 5))
    assert report.answerable == pytest.approx(Score(1 / 3, (1 + 2 / 3) / 3))
    assert report.unanswerable == Score(1, 1)
    assert (report.num_answerable, report.num_unanswerable) == (3, 2)


def test_accuracy_and_loss_are_those_of_windows(data):
    report = evaluate_answers(Told(), asked(data, "test"))
    losses, right = [], []
    for inputs, labels, weights in data.test:
        logits = Told()(inputs)[NAME].numpy().astype(np.float64)
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        chosen = np.take_along_axis(shares, labels[NAME].numpy()[..., None], axis=-1)[..., 0]
        counts = weights[NAME].numpy()[:, 0] > 0
        losses += (-np.log(chosen).mean(axis=1))[counts].tolist()
        right += (logits.argmax(-1) == labels[NAME].numpy()).all(axis=1)[counts].tolist()
    assert report.num_windows == len(losses) == data.splits["test"].num_windows
    assert report.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert report.accuracy == pytest.approx(np.mean(right))
    assert 0 < report.accuracy < 1


def test_the_worst_questions_are_those_with_wrong_answers_of_the_highest_loss(data):
    report = evaluate_answers(Told(), asked(data, "test", validation=asked(data, "validation")))
    other, one = report.worst  # e2 and e3; the others are right
    losses, question = [], data.splits["test"].windows.question
    for inputs, labels, _ in data.test:
        logits = Told()(inputs)[NAME]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[NAME], logits)
        losses += loss.numpy().mean(axis=1).tolist()
    means = {row: np.mean(np.array(losses[: len(question)])[question == row]) for row in (1, 2)}
    assert [other.row, one.row] == sorted(means, key=means.get, reverse=True) == [1, 2]
    assert [one.loss, other.loss] == pytest.approx([means[2], means[1]])
    assert (one.right, one.predicted, one.texts[0]) == ("w3", "", "w50")
    assert (other.right, other.predicted) == ("w6 | w7 w23", "w7")
    assert one.texts[1] == context(3, at_1="w3")


def test_of_a_long_context_what_is_around_the_right_answer_is_told(data, monkeypatch):
    monkeypatch.setattr(worst_rows, "LONGEST_TEXT", 20)
    report = evaluate_answers(Told(), asked(data, "test", validation=asked(data, "validation")))
    (told,) = [one for one in report.worst if one.row == 1]
    assert told.texts[1] == "\u2026w38 w39 w6 w41 w42\u2026"


def test_a_report_is_plain_values(data):
    report = evaluate_answers(Told(), asked(data, "validation"))
    told = json.loads(json.dumps(report.to_dict()))
    assert list(report.measures) == ["exact_match", "f1", "window_accuracy", "loss"]
    assert told["num_questions"] == 4
    assert told["no_answer_threshold_from"] == "the questions reported"
    assert told["exact_match"] == 0.75
    assert told["answerable"] == {"num_questions": 2, "exact_match": 0.5, "f1": 0.5}
    assert told["unanswerable"] == {"num_questions": 2, "exact_match": 1.0, "f1": 1.0}
    assert "answers" not in told
    assert [one["row"] for one in told["worst"]] == [1]


def test_without_questions_that_have_no_answer_something_is_always_answered(data):
    """Also where the test has such questions."""
    calm = asked(data, "train")
    report = evaluate_answers(Told(), asked(data, "test", validation=calm))
    assert report.no_answer_threshold is None
    assert report.to_dict()["no_answer_threshold_from"] is None
    assert report.answers["e4"] == "w1"
    assert report.unanswerable == Score(0, 0)
    assert answer_report.find_answers(Told(), calm)[0][:3] == ("w1", 0, 2)


@pytest.mark.parametrize(("by_words", "right"), [(True, 0), (False, 1)])
def test_a_chinese_full_stop_counts_by_words_and_not_by_characters(data, by_words, right):
    report = evaluate_answers(Told(), asked(data, "train", by_words=by_words))
    assert report.answers == {"t": "w1"}
    assert (report.total, report.unanswerable) == (Score(right, right), Score(0, 0))
