"""Reports of scores, against SciPy's and NumPy's own words."""

import json
import warnings

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfpt.regression_report import evaluate_regression, regression_report


def random_scores(num_rows, seed, *, levels):
    """Right scores in steps, so that some are equal, and guesses that are near them."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, num_rows) / 4
    return scores.astype("float32"), (scores + random.normal(0, 1, num_rows)).astype("float32")


def spearman(left, right):
    """Pearson's correlation of the ranks, equal values sharing the mean of theirs."""

    def ranks(values):
        below = (values[:, None] > values).sum(axis=1)
        return below + ((values[:, None] == values).sum(axis=1) - 1) / 2

    return np.corrcoef(ranks(left), ranks(right))[0, 1]


@pytest.mark.parametrize("levels", [2, 21])
def test_correlations_and_errors_equal_plain_references(levels):
    scores, predicted = random_scores(300, seed=1, levels=levels)
    report = regression_report(scores, predicted)
    assert report.num_rows == 300
    assert report.spearman == pytest.approx(spearman(scores, predicted), abs=1e-12)
    wide = scores.astype(float), predicted.astype(float)
    assert report.pearson == pytest.approx(np.corrcoef(*wide)[0, 1], abs=1e-12)
    assert report.mean_absolute_error == pytest.approx(np.mean(np.abs(wide[0] - wide[1])))
    squares = np.mean((wide[0] - wide[1]) ** 2)
    assert report.root_mean_squared_error == pytest.approx(np.sqrt(squares))
    assert report.deviation == pytest.approx(np.std(wide[0]))
    assert report.spearman == pytest.approx(scipy.stats.spearmanr(*wide).statistic)


def test_a_few_scores_are_compared_exactly():
    report = regression_report(np.array([1.0, 2.0, 4.0]), np.array([0.0, 2.0, 3.0]))
    assert report.measures == {
        "spearman": pytest.approx(1.0),
        "pearson": pytest.approx(13 / 14),
        "mean_absolute_error": pytest.approx(2 / 3),
        "root_mean_squared_error": pytest.approx(np.sqrt(2 / 3)),
    }
    written = json.loads(json.dumps(report.to_dict()))
    assert written == {
        "num_rows": 3,
        "deviation": pytest.approx(np.sqrt(14 / 9)),
        **report.measures,
        "worst": [
            {"row": 0, "loss": 1.0, "right": "1", "predicted": "0"},
            {"row": 2, "loss": 1.0, "right": "4", "predicted": "3"},
            {"row": 1, "loss": 0.0, "right": "2", "predicted": "2"},
        ],
    }
    told = report.with_texts([("a", "b"), ("c", "d"), ("e", "f")])
    assert [one.texts for one in told.worst] == [("a", "b"), ("e", "f"), ("c", "d")]


@pytest.mark.parametrize(
    ("scores", "predicted"), [([1, 2, 3], [5, 5, 5]), ([5, 5, 5], [1, 2, 3]), ([2], [3])]
)
def test_scores_that_are_all_one_have_no_correlation_and_no_warning(scores, predicted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = regression_report(np.array(scores, "float32"), np.array(predicted, "float32"))
    assert (report.spearman, report.pearson) == (0.0, 0.0)


def scorer_of(values):
    """A model that gives the value at `token_ids[0]`."""
    inputs = keras.Input((1,), dtype="int32", name="token_ids")
    table = keras.layers.Embedding(len(values), 1, name="table")
    model = keras.Model({"token_ids": inputs}, {"regression": table(inputs)[:, 0, 0]})
    table.embeddings.assign(values[:, None])
    return model


def test_rows_without_weight_do_not_count():
    scores, predicted = random_scores(20, seed=2, levels=21)
    weights = np.ones(20, "float32")
    weights[[3, 18, 19]] = 0
    features = {"token_ids": np.arange(20, dtype="int32")[:, None]}
    rows = features, {"regression": scores}, {"regression": weights}
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(6)
    report = evaluate_regression(scorer_of(predicted), dataset)
    assert report == regression_report(scores[weights > 0], predicted[weights > 0])
    with pytest.raises(ValueError, match="data set to evaluate on holds no row"):
        evaluate_regression(scorer_of(predicted), dataset.take(0))
