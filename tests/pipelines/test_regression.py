"""Texts with scores as batches, and every way a score can be wrong."""

import json

import numpy as np
import pytest
import tensorflow as tf
from drawn import assert_untuned

from tfpt import features
from tfpt.pipelines import text_regression

SCORES = [2.5, 0.0, -1.0, 4.75, 1e3, 0.125, 3.0]


@pytest.fixture
def folder(tmp_path):
    """7 training rows, 3 validation rows, 2 test rows; the text of row i is `wi`."""
    for name, first, last in (("train", 0, 7), ("dev", 1, 4), ("test", 5, 7)):
        rows = "".join(f"w{i}\t{SCORES[i]}\n" for i in range(first, last))
        (tmp_path / f"{name}.tsv").write_text("text\tscore\n" + rows)
    return tmp_path


@pytest.fixture
def data(folder, tokenizer):
    return text_regression(folder, tokenizer, sequence_length=6, batch_size=4, seed=3)


def test_batches_keep_the_contract(data):
    for dataset in (data.train, data.validation, data.test, data.train_batches()):
        assert_untuned(dataset)
        inputs, labels, weights = dataset.element_spec
        for name, spec in inputs.items():
            assert (spec.shape, spec.dtype.name) == ((4, 6), features.FEATURES[name].dtype)
        assert set(inputs) == {"token_ids", "segment_ids", "padding_mask"}
        assert labels == {"regression": tf.TensorSpec([4], tf.float32)}
        assert weights == {"regression": tf.TensorSpec([4], tf.float32)}


def test_scores_come_as_they_are_in_the_data(data):
    ((inputs, labels, weights),) = data.validation
    assert inputs["token_ids"][:, 1].numpy().tolist() == [6, 7, 8, 8]
    assert labels["regression"].numpy().tolist() == [0.0, -1.0, 4.75, 4.75]
    assert weights["regression"].numpy().tolist() == [1, 1, 1, 0]
    assert (data.num_train, data.num_validation, data.num_test) == (7, 3, 2)
    assert data.steps_per_epoch == 2
    assert data.label_names == ()


def test_mean_and_deviation_are_those_of_the_training_rows(data):
    assert data.mean == pytest.approx(np.mean(SCORES), rel=1e-12)
    assert data.deviation == pytest.approx(np.std(SCORES), rel=1e-12)


def test_scores_stay_with_their_texts_in_any_order(data):
    seen = []
    for inputs, labels, weights in data.train:
        for token, score, weight in zip(
            inputs["token_ids"][:, 1].numpy(),
            labels["regression"].numpy(),
            weights["regression"].numpy(),
            strict=True,
        ):
            assert score == np.float32(SCORES[token - 5])
            seen += [int(token) - 5] if weight else []
    assert sorted(seen) == list(range(7))


def test_pairs_of_json_lines_have_two_segments(write, tokenizer):
    rows = [{"a": f"w{i}", "b": f"w{i + 1}", "s": i / 4} for i in range(90)]
    path = write("all.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    data = text_regression(
        path, tokenizer, sequence_length=6, batch_size=2, text=("a", "b"), score="s"
    )
    assert data.num_train + data.num_validation + data.num_test == 90
    inputs, labels, _ = next(iter(data.train_batches()))
    ids = inputs["token_ids"].numpy()
    assert (ids[:, 3] == ids[:, 1] + 1).all()
    assert inputs["segment_ids"].numpy().tolist() == [[0, 0, 0, 1, 1, 0]] * 2
    assert labels["regression"].numpy().tolist() == ((ids[:, 1] - 5) / 4).tolist()


def test_scores_of_validation_rows_need_not_occur_in_training(tmp_path, tokenizer):
    (tmp_path / "train.csv").write_text("w1,1\nw2,2\n")
    (tmp_path / "dev.csv").write_text("w3,7.5\n")
    data = text_regression(
        tmp_path, tokenizer, sequence_length=6, batch_size=2, text="0", score="1"
    )
    assert data.splits["validation"].labels.tolist() == [7.5]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", "text,score\nhi,1\nho,high\n", r"train\.csv:3: .*`score`.* 'high'"),
        ("train.csv", "text,score\nhi,nan\n", r"train\.csv:2: .*`score` must be a finite .*'nan'"),
        ("train.tsv", "text\tscore\nhi\t-inf\n", r"train\.tsv:2: .*`score` .*finite.* '-inf'"),
        ("train.csv", "text,score\nhi,1\nho,\n", r"train\.csv:3: the field `score` is empty"),
        ("train.jsonl", '{"text": "a", "score": NaN}', r"train\.jsonl:1: .*`score`.*received nan"),
        ("train.jsonl", '{"text": "a", "score": true}', r"train\.jsonl:1: .*`score`.*True"),
        ("train.jsonl", '{"text": 1, "score": 1}', r"train\.jsonl:1: .*`text` must be text"),
        ("train.csv", "text,stars\nhi,1\n", r"train\.csv: no column `score`; .*'text', 'stars'"),
        ("train.jsonl", '{"text": "a"}', r"train\.jsonl:1: there is no field `score`"),
        ("train.csv", "", r"train\.csv: there is no row in it"),
        ("train.csv", "text,score\n", r"train\.csv: there is no row in it"),
        ("train.csv", "text,score\nhi,2.5\nho,2.5\n", r"every row has the score 2\.5; there is no"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(
    tmp_path, write, tokenizer, name, content, message
):
    write(name, content)
    write("dev.csv", "text,score\nhi,1\n")
    with pytest.raises(ValueError, match=message):
        text_regression(tmp_path, tokenizer, sequence_length=6, batch_size=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 2}, "`sequence_length` must be at least 3, .* received 2"),
        ({"batch_size": 0}, "`batch_size` must be at least 1 row; received 0"),
    ],
)
def test_arguments_out_of_range_are_refused_before_a_file_is_read(tokenizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        text_regression("nowhere", tokenizer, **{"sequence_length": 6, "batch_size": 4} | arguments)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_similarities_of_sentences_are_read_whole(shared_data, tokenizer, language):
    data = text_regression(
        f"{shared_data('sts_stsb')}/stsb-{language}-*.csv",
        tokenizer,
        sequence_length=32,
        batch_size=64,
        text=("0", "1"),
        score="2",
    )
    assert (data.num_train, data.num_validation, data.num_test) == (5749, 1500, 1379)
    scores = data.splits["train"].labels
    assert (scores.min(), scores.max()) == (0, 5)
    assert (round(data.mean, 3), round(data.deviation, 3)) == (2.701, 1.464)
