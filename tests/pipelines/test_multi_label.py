"""Texts with any number of labels as batches."""

import json
import warnings

import data_sets
import numpy as np
import pytest
import tensorflow as tf
from drawn import assert_untuned

from tfpt import features
from tfpt.pipelines import Separated, multi_label_classification, train_byte_pair

# Of the row i, whose text is `wi`.
LABELS = [["b", "a"], [], ["c"], ["a"], ["b", "c", "a"], [], ["a", "c"]]
MARKED = [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1]]


def lines(first, last):
    rows = [{"text": f"w{i}", "labels": LABELS[i]} for i in range(first, last)]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    """7 training rows, 3 validation rows, 2 test rows."""
    for name, first, last in (("train", 0, 7), ("dev", 1, 4), ("test", 5, 7)):
        (tmp_path / f"{name}.jsonl").write_text(lines(first, last))
    return tmp_path


def read(source, tokenizer, **changes):
    arguments = {"sequence_length": 6, "batch_size": 4, "seed": 3, **changes}
    return multi_label_classification(source, tokenizer, **arguments)


@pytest.fixture
def data(folder, tokenizer):
    return read(folder, tokenizer)


def test_batches_keep_the_contract(data):
    for dataset in (data.train, data.validation, data.test, data.train_batches()):
        assert_untuned(dataset)
        inputs, labels, weights = dataset.element_spec
        for name, spec in inputs.items():
            assert (spec.shape, spec.dtype.name) == ((4, 6), features.FEATURES[name].dtype)
        assert labels == {"multi_label": tf.TensorSpec([4, 3], tf.float32)}
        assert weights == {"multi_label": tf.TensorSpec([4, 3], tf.float32)}


def test_each_label_of_a_row_is_a_one_in_the_order_of_the_names(data):
    assert data.label_names == ("a", "b", "c")
    ((inputs, labels, weights),) = data.validation
    assert inputs["token_ids"][:, 1].numpy().tolist() == [6, 7, 8, 8]
    assert labels["multi_label"].numpy().tolist() == [MARKED[i] for i in (1, 2, 3, 3)]
    assert weights["multi_label"].numpy().tolist() == [[1, 1, 1]] * 3 + [[0, 0, 0]]


def test_labels_are_counted_by_split(data):
    assert data.label_counts == {
        "train": {"a": 4, "b": 2, "c": 3},
        "validation": {"a": 1, "b": 0, "c": 1},
        "test": {"a": 1, "b": 0, "c": 1},
    }
    assert (data.num_train, data.num_validation, data.num_test) == (7, 3, 2)


def test_labels_stay_with_their_texts_in_any_order(data):
    for inputs, labels, _ in [*data.train, *data.train_batches(first_batch=5).take(3)]:
        rows = inputs["token_ids"][:, 1].numpy() - 5
        np.testing.assert_array_equal(labels["multi_label"], [MARKED[row] for row in rows])


@pytest.mark.parametrize(
    ("name", "separator", "told"),
    [("all.tsv", ",", "a, b"), ("all.tsv", "|", "a|b"), ("all.csv", ",", '"a,b"')],
)
def test_labels_may_be_text_with_a_separator(write, tokenizer, name, separator, told):
    comma = {"tsv": "\t", "csv": ","}[name[-3:]]
    rows = "".join(f"w{i}{comma}{('', told, 'b')[i % 3]}\n" for i in range(90))
    label = "labels" if separator == "," else Separated("labels", separator)
    data = read(write(name, f"text{comma}labels\n{rows}"), tokenizer, label=label)
    assert data.label_names == ("a", "b")
    inputs, labels, _ = next(iter(data.train_batches()))
    expected = [([0, 0], [1, 1], [0, 1])[(token - 5) % 3] for token in inputs["token_ids"][:, 1]]
    assert labels["multi_label"].numpy().tolist() == expected


def test_lists_of_parquet_are_labels(tmp_path, tokenizer):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    for name in ("train", "dev"):
        table = pyarrow.table({"text": [f"w{i}" for i in range(7)], "labels": LABELS})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    data = read(tmp_path, tokenizer)
    assert data.splits["train"].labels.tolist() == MARKED


def test_labels_that_are_whole_numbers_are_sorted_by_size(write, tokenizer):
    rows = "".join(json.dumps({"text": f"w{i}", "labels": [i % 12, 3]}) + "\n" for i in range(90))
    data = read(write("all.jsonl", rows), tokenizer)
    assert data.label_names == tuple(map(str, range(12)))


def test_rows_with_a_rare_label_stay_in_training_where_a_file_is_divided(write, tokenizer):
    rows = "".join(
        json.dumps(
            {"text": f"w{i % 200} w{i // 200}", "labels": ["x", f"rare {i}"][: 1 + (i < 50)]}
        )
        + "\n"
        for i in range(400)
    )
    data = read(write("all.jsonl", rows), tokenizer)
    assert sum(data.label_counts["train"].values()) >= 50 + 200
    assert all(data.label_counts["train"][f"rare {i}"] == 1 for i in range(50))
    assert data.num_test > 0


@pytest.mark.parametrize(("ending", "comma"), [("tsv", "\t"), ("jsonl", None)])
def test_a_separator_that_never_occurs_is_warned_about(tmp_path, write, tokenizer, ending, comma):
    for name in ("train", "dev"):
        if comma:
            rows = "text\tlabels\n" + "".join(f"w{i}\t{'a;b c'[: i * 3]}\n" for i in range(3))
        else:
            rows = '{"text": "w1", "labels": ["a"]}\n{"text": "w2", "labels": []}\n'
        write(f"{name}.{ending}", rows)
    with pytest.warns(UserWarning, match=rf"train\.{ending}: no row has more than one .* ',' occ"):
        data = read(tmp_path, tokenizer)
    if comma:
        assert data.label_names == ("a;b", "a;b c")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read(tmp_path, tokenizer, label=Separated("labels", ";")).label_names == (
                *("a", "b", "b c"),
            )


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        ('{"text": "a", "labels": 3}', "", r"train\.jsonl:1: .*`labels` must be a list of lab"),
        ('{"text": "a", "labels": null}', "", r"train\.jsonl:1: .*received None"),
        ('{"text": "a", "labels": [1.5]}', "", r"train\.jsonl:1: .*`labels` .*received 1\.5"),
        ('{"text": "a", "labels": "x,,y"}', "", r"train\.jsonl:1: .*empty label among others"),
        ('{"text": "a", "tags": []}', "", r"train\.jsonl:1: there is no field `labels`"),
        ("\n", "", r"train\.jsonl: there is no row in it"),
        ('{"text": "a", "labels": []}', "", r"train\.jsonl: no row has a label\. Check"),
        (
            '{"text": "a", "labels": ["x", "y"]}',
            '{"text": "b", "labels": ["y", "z"]}',
            r"dev\.jsonl:1: the label 'z' of the validation rows never occurs .* 'x', 'y'",
        ),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path, write, tokenizer, train, dev, message):
    write("train.jsonl", train)
    write("dev.jsonl", dev or '{"text": "a", "labels": []}')
    with pytest.raises(ValueError, match=message):
        read(tmp_path, tokenizer)


def test_a_separator_that_is_nothing_is_refused_before_a_file_is_read(tokenizer):
    with pytest.raises(ValueError, match="The separator between labels is empty"):
        read("nowhere", tokenizer, label=Separated("labels", ""))


def test_kinds_of_slots_are_read_whole(shared_data, tmp_path):
    data_sets.write("kinds", shared_data("intent_slot_snips"), tmp_path / "rows")
    tokenizer = train_byte_pair([("Play a song by her, a song",)], 262)
    data = multi_label_classification(
        tmp_path / "rows", tokenizer, sequence_length=256, batch_size=64
    )
    assert (data.num_train, data.num_validation, data.num_test) == (12429, 1355, 700)
    assert len(data.label_names) == 39
    marked = sum(
        float(tf.reduce_sum(labels["multi_label"] * weights["multi_label"]))
        for _, labels, weights in data.test
    )
    rows = (tmp_path / "rows" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert marked == sum(len(json.loads(row)["labels"]) for row in rows)
