"""Calibration, against the formulas written out row by row."""

import json

import numpy as np
import pytest

from tfpt import calibration


def by_hand(probabilities, is_so, num_bins=15):
    """Guo et al. 2017, equations 3 and 5: intervals ((m - 1) / M, m / M], row by row."""
    bins = [[] for _ in range(num_bins)]
    for probability, so in zip(probabilities, is_so, strict=True):
        (number,) = [
            m
            for m in range(num_bins)
            if m / num_bins < probability <= (m + 1) / num_bins or (m == 0 and probability == 0)
        ]
        bins[number].append((probability, so))
    error = 0.0
    for one in bins:
        if one:
            confidence = sum(probability for probability, _ in one) / len(one)
            accuracy = sum(so for _, so in one) / len(one)
            error += len(one) / len(probabilities) * abs(accuracy - confidence)
    return [len(one) for one in bins], error


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_classes_equal_the_formulas(num_classes):
    random = np.random.default_rng(num_classes)
    probabilities = softmax(random.normal(0, 3, (300, num_classes)))
    labels = random.integers(0, num_classes, 300)
    found = calibration.of_classes(probabilities, labels)
    answers = probabilities.argmax(axis=1)
    counts, error = by_hand(probabilities.max(axis=1), answers == labels)
    assert found.counts.tolist() == counts
    assert found.expected_calibration_error == pytest.approx(error, abs=1e-12)
    assert found.expected_calibration_error > 0.1  # labels are by chance
    squares = [
        sum((probabilities[row, c] - (labels[row] == c)) ** 2 for c in range(num_classes))
        for row in range(300)
    ]
    assert found.brier_score == pytest.approx(np.mean(squares), abs=1e-12)


def test_decisions_are_pooled():
    random = np.random.default_rng(0)
    probabilities = random.random((50, 4))
    has = random.random((50, 4)) < probabilities
    found = calibration.of_decisions(probabilities, has)
    counts, error = by_hand(probabilities.ravel(), has.ravel())
    assert found.counts.tolist() == counts
    assert found.expected_calibration_error == pytest.approx(error, abs=1e-12)
    assert found.brier_score == pytest.approx(np.mean((probabilities - has) ** 2), abs=1e-12)


def test_what_comes_true_as_often_as_told_has_no_error():
    random = np.random.default_rng(1)
    probabilities = random.random(200_000)
    found = calibration.of_decisions(probabilities, random.random(200_000) < probabilities)
    assert found.expected_calibration_error < 0.01
    assert found.brier_score == pytest.approx(1 / 6, abs=0.005)  # the mean of p (1 - p)


def test_the_ends_of_bins_belong_to_the_bin_below():
    ends = np.array([0.0, 1 / 15, 2 / 15, 14 / 15, 1.0])
    found = calibration.binned(ends, np.ones(5, bool), brier_score=0.0)
    assert np.flatnonzero(found.counts).tolist() == [0, 1, 13, 14]
    assert found.counts[0] == 2


def test_a_sure_and_right_model_has_neither_error_nor_score_and_a_sure_and_wrong_one_all():
    sure = np.eye(3)
    right = calibration.of_classes(sure, np.arange(3))
    assert (right.expected_calibration_error, right.brier_score) == (0, 0)
    wrong = calibration.of_classes(sure, np.array([1, 2, 0]))
    assert (wrong.expected_calibration_error, wrong.brier_score) == (1, 2)


def test_of_an_empty_bin_nothing_is_known():
    told = calibration.of_classes(np.array([[0.9, 0.1]]), np.array([0])).to_dict()
    assert json.loads(json.dumps(told)) == told
    assert len(told["bins"]) == 15
    filled = [one for one in told["bins"] if one["count"]]
    assert filled == [
        {
            "from": pytest.approx(13 / 15),
            "to": pytest.approx(14 / 15),
            "count": 1,
            "mean_probability": 0.9,
            "share_right": 1.0,
        }
    ]
    empty = told["bins"][0]
    assert (empty["mean_probability"], empty["share_right"]) == (None, None)
