"""Reports of classifiers, against scikit-learn."""

import json

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from tfpt import evaluation
from tfpt.evaluation import classification_report, evaluate_classification, predictions
from tfpt.pipelines.batches import untuned


def random_rows(num_rows, num_classes, seed, *, absent=(), never=()):
    """Labels without the `absent` classes, and logits that `never` are largest for some."""
    random = np.random.default_rng(seed)
    present = [number for number in range(num_classes) if number not in absent]
    labels = random.choice(present, num_rows).astype("int32")
    logits = random.normal(size=(num_rows, num_classes)).astype("float32")
    logits[np.arange(num_rows), labels] += 1
    logits[:, list(never)] -= 20
    return labels, logits


def class_names(num_classes):
    return tuple(f"class {number}" for number in range(num_classes))


@pytest.mark.parametrize(
    ("num_classes", "absent", "never"),
    [
        (2, (), ()),
        (5, (), ()),
        (5, (1,), ()),
        (5, (), (3,)),
        (5, (1, 2), (2, 3)),
        (3, (0, 1), (0, 1)),
        (3, (0,), (1, 2)),
    ],
)
def test_the_report_equals_that_of_scikit_learn(num_classes, absent, never):
    labels, logits = random_rows(200, num_classes, seed=1, absent=absent, never=never)
    report = classification_report(labels, logits, class_names(num_classes))
    predicted, classes = logits.argmax(axis=1), np.arange(num_classes)
    confusion = sklearn.metrics.confusion_matrix(labels, predicted, labels=classes)
    np.testing.assert_array_equal(report.confusion, confusion)
    expected = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    for found, value in zip((report.precision, report.recall, report.f1), expected, strict=False):
        np.testing.assert_allclose(found, value, atol=1e-12)
    assert report.accuracy == sklearn.metrics.accuracy_score(labels, predicted)
    assert report.majority_accuracy == np.bincount(labels).max() / 200
    shares = tf.nn.softmax(logits.astype("float64")).numpy()
    loss = sklearn.metrics.log_loss(labels, shares, labels=classes)
    assert report.loss == pytest.approx(loss, rel=1e-5, abs=1e-6)

    written = json.loads(json.dumps(report.to_dict()))
    macro = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0, average="macro"
    )
    names = ("macro_precision", "macro_recall", "macro_f1")
    for name, value in zip(names, macro, strict=False):
        assert written[name] == pytest.approx(value)
    counts = [measures["num_rows"] for measures in written["classes"].values()]
    assert counts == np.bincount(labels, minlength=num_classes).tolist()
    assert list(written["classes"]) == list(class_names(num_classes))
    assert written["num_rows"] == 200


def classifier_of(table):
    """A model that gives row `token_ids[0]` of a table as logits."""
    inputs = keras.Input((1,), dtype="int32", name="token_ids")
    rows = keras.layers.Embedding(*table.shape, name="table")
    model = keras.Model({"token_ids": inputs}, {"classification": rows(inputs)[:, 0]})
    rows.embeddings.assign(table)
    return model


def batches(labels, weights, batch_size):
    features = {"token_ids": np.arange(len(labels), dtype="int32")[:, None]}
    named = {"classification": labels}, {"classification": weights}
    return untuned(tf.data.Dataset.from_tensor_slices((features, *named)).batch(batch_size))


def test_rows_without_weight_do_not_count_and_the_order_is_kept():
    labels, logits = random_rows(20, 3, seed=2)
    weights = np.ones(20, "float32")
    weights[[3, 18, 19]] = 0
    counts = weights > 0
    dataset = batches(labels, weights, batch_size=6)
    found = predictions(classifier_of(logits), dataset)
    np.testing.assert_array_equal(found[0], labels[counts])
    np.testing.assert_array_equal(found[1], logits[counts])
    report = evaluate_classification(classifier_of(logits), dataset, class_names(3))
    expected = classification_report(labels[counts], logits[counts], class_names(3))
    assert report.to_dict() == expected.to_dict()
    assert report.num_rows == 17


@pytest.mark.parametrize("num_rows", [0, 4])
def test_a_data_set_without_a_row_that_counts_is_refused(num_rows):
    labels, logits = random_rows(4, 3, seed=2)
    dataset = batches(labels[:num_rows], np.zeros(num_rows, "float32"), batch_size=2)
    with pytest.raises(ValueError, match="data set to evaluate on holds no row"):
        evaluate_classification(classifier_of(logits), dataset, class_names(3))


def test_reports_hold_plain_values():
    report = classification_report(*random_rows(9, 3, seed=3), class_names(3))
    assert isinstance(report, evaluation.ClassificationReport)
    assert {type(report.accuracy), type(report.loss), type(report.majority_accuracy)} == {float}
    assert type(report.num_rows) is int


def test_the_worst_rows_are_those_of_the_highest_loss_with_the_answer_and_its_probability():
    labels, logits = random_rows(60, 3, seed=4)
    report = classification_report(labels, logits, class_names(3))
    shares = tf.nn.softmax(logits.astype("float64")).numpy()
    losses = -np.log(shares[np.arange(60), labels])
    order = np.argsort(-losses)[:20]
    assert [one.row for one in report.worst] == order.tolist()
    for one, row in zip(report.worst, order, strict=True):
        assert one.loss == pytest.approx(losses[row], rel=1e-5)
        assert (one.right, one.predicted) == (
            f"class {labels[row]}",
            f"class {logits[row].argmax()}",
        )
        assert one.probability == pytest.approx(shares[row].max())
    told = report.with_texts([(f"text {row}",) for row in range(60)]).to_dict()
    assert [one["text"] for one in told["worst"]] == [[f"text {row}"] for row in order]
    assert json.loads(json.dumps(told)) == told


def test_what_is_taken_for_what_is_told_by_how_often():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    answers = np.array([0, 1, 1, 1, 0, 0, 0, 0])
    report = classification_report(labels, np.eye(3)[answers], ("a", "b", "c"))
    assert report.confusions() == [
        {"right": "c", "predicted": "a", "num_rows": 3},
        {"right": "a", "predicted": "b", "num_rows": 2},
        {"right": "b", "predicted": "a", "num_rows": 1},
    ]


def test_of_many_classes_no_matrix_is_written_but_what_is_most_frequent_in_it():
    labels, logits = random_rows(300, 101, seed=5)
    told = classification_report(labels, logits, class_names(101)).to_dict()
    assert "confusion" not in told
    assert len(told["confusions"]) == 20
    assert len(told["classes"]) == 101
    assert (
        "confusion"
        in classification_report(labels[:9] % 100, logits[:9, :100], class_names(100)).to_dict()
    )
