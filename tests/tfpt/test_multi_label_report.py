"""Reports of several labels, against scikit-learn."""

import json

import keras
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import tensorflow as tf

from tfpt.multi_label_report import average_precision, evaluate_multi_label, multi_label_report

NAMES = ("a", "b", "c", "d")


def random_rows(num_rows, seed, *, absent=(), never=()):
    """Labels without the `absent` ones, and logits that are low for those `never` given."""
    random = np.random.default_rng(seed)
    labels = (random.random((num_rows, 4)) < [0.5, 0.2, 0.1, 0.4]).astype("float32")
    labels[:, list(absent)] = 0
    # In steps, so that some are equal.
    logits = np.round(random.normal(size=(num_rows, 4)) + 2 * labels - 1, 1).astype("float32")
    logits[:, list(never)] -= 20
    return labels, logits


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
@pytest.mark.parametrize(
    ("absent", "never"), [((), ()), ((1,), ()), ((), (2,)), ((1, 2), (2, 3)), ((0, 1, 2, 3), ())]
)
def test_the_report_equals_that_of_scikit_learn(absent, never, threshold):
    labels, logits = random_rows(200, seed=1, absent=absent, never=never)
    report = multi_label_report(labels, logits, NAMES, threshold=threshold)
    shares = scipy.special.expit(logits.astype("float64"))
    given = shares >= threshold
    by_class = sklearn.metrics.precision_recall_fscore_support(labels, given, zero_division=0)
    for found, value in zip((report.precision, report.recall, report.f1), by_class, strict=False):
        np.testing.assert_allclose(found, value, atol=1e-12)
    written = json.loads(json.dumps(report.to_dict()))
    for average in ("micro", "macro"):
        expected = sklearn.metrics.precision_recall_fscore_support(
            labels, given, zero_division=0, average=average
        )
        for kind, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert written[f"{average}_{kind}"] == pytest.approx(value, abs=1e-12)
    assert report.exact_match == sklearn.metrics.accuracy_score(labels, given)
    there = labels.any(axis=0)
    ranked = [
        sklearn.metrics.average_precision_score(labels[:, one], logits[:, one])
        for one in np.flatnonzero(there)
    ]
    np.testing.assert_allclose(report.average_precision[there], ranked, atol=1e-12)
    assert not report.average_precision[~there].any()
    assert report.mean_average_precision == pytest.approx(np.mean(ranked) if ranked else 0)
    loss = tf.keras.losses.binary_crossentropy(labels, logits, from_logits=True)
    assert report.loss == pytest.approx(float(tf.reduce_mean(loss)), rel=1e-5)
    assert list(written["classes"]) == list(NAMES)
    assert [one["num_rows"] for one in written["classes"].values()] == labels.sum(axis=0).tolist()
    assert (written["num_rows"], written["threshold"]) == (200, threshold)
    assert all(written[name] == value for name, value in report.measures.items())


def test_a_few_rows_are_counted_exactly():
    labels = np.array([[1, 1], [0, 1], [0, 0]])
    logits = np.array([[2.0, -1.0], [1.0, 3.0], [-1.0, -2.0]])
    report = multi_label_report(labels, logits, ("x", "y"))
    assert (report.counts.tolist(), report.given.tolist(), report.right.tolist()) == (
        *([1, 2], [2, 1], [1, 1]),
    )
    assert report.exact_match == pytest.approx(1 / 3)
    assert report.measures["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert report.measures["macro_f1"] == pytest.approx(2 / 3)
    assert report.measures["mean_average_precision"] == 1


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_equal_scores_are_found_together(seed):
    random = np.random.default_rng(seed)
    labels, scores = random.random(40) < 0.3, random.integers(0, 4, 40).astype(float)
    expected = sklearn.metrics.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)
    for permuted in (random.permutation(40) for _ in range(3)):
        assert average_precision(labels[permuted], scores[permuted]) == pytest.approx(expected)
    assert average_precision(labels, np.zeros(40)) == pytest.approx(labels.mean())


def labeller_of(table):
    """A model that gives row `token_ids[0]` of a table as logits."""
    inputs = keras.Input((1,), dtype="int32", name="token_ids")
    rows = keras.layers.Embedding(*table.shape, name="table")
    model = keras.Model({"token_ids": inputs}, {"multi_label": rows(inputs)[:, 0]})
    rows.embeddings.assign(table)
    return model


def test_rows_without_weight_do_not_count():
    labels, logits = random_rows(20, seed=2)
    weights = np.ones((20, 4), "float32")
    weights[[3, 18, 19]] = 0
    features = {"token_ids": np.arange(20, dtype="int32")[:, None]}
    rows = features, {"multi_label": labels}, {"multi_label": weights}
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(6)
    report = evaluate_multi_label(labeller_of(logits), dataset, NAMES, threshold=0.4)
    counts = weights[:, 0] > 0
    expected = multi_label_report(labels[counts], logits[counts], NAMES, threshold=0.4)
    assert report.to_dict() == expected.to_dict()
    assert report.num_rows == 17


def test_the_worst_rows_and_the_calibration_are_of_all_labels_of_a_row():
    labels, logits = random_rows(40, seed=3)
    report = multi_label_report(labels, logits, NAMES, threshold=0.3)
    shares = scipy.special.expit(logits.astype("float64"))
    losses = -np.mean(np.log(np.where(labels > 0, shares, 1 - shares)), axis=1)
    order = np.argsort(-losses, kind="stable")[:20]
    assert [one.loss for one in report.worst] == pytest.approx(losses[order].tolist())
    one = report.worst[0]
    assert one.right == ", ".join(np.array(NAMES)[labels[one.row] > 0])
    given = shares[one.row] >= 0.3
    assert one.predicted == ", ".join(np.array(NAMES)[given])
    product = np.prod(np.where(given, shares[one.row], 1 - shares[one.row]))
    assert one.probability == pytest.approx(product)
    assert report.calibration.counts.sum() == labels.size
    assert report.calibration.brier_score == pytest.approx(np.mean((shares - labels) ** 2))
    told = report.with_texts([(f"text {row}",) for row in range(40)]).to_dict()
    assert told["worst"][0]["text"] == [f"text {one.row}"]
    assert json.loads(json.dumps(told)) == told
