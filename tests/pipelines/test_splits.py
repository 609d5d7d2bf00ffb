"""Which rows train, validate and test."""

import functools
import gzip
import warnings

import numpy as np
import pytest

from tfpt.pipelines import tables, values
from tfpt.pipelines.splits import read_splits, split_files


def rows(num_rows, first=0):
    return "text\tlabel\n" + "".join(f"word {first + i}\t{i % 2}\n" for i in range(num_rows))


def write(folder, **contents):
    for name, content in contents.items():
        (folder / f"{name.replace('__', '-')}.tsv").write_text(content)
    return folder


def read(source):
    return read_splits(source, text=["text"], label="label")


def sizes(source):
    return {name: len(table) for name, table in read(source).items()}


@pytest.mark.parametrize("validation", ["validation", "valid", "val", "dev", "reviews__dev"])
def test_a_folder_holds_a_file_for_each_split(tmp_path, validation):
    write(tmp_path, train=rows(8), test=rows(4), notes="anything", **{validation: rows(6)})
    assert sizes(tmp_path) == {"train": 8, "validation": 6, "test": 4}
    assert sizes(str(tmp_path)) == sizes(tmp_path)


def test_a_first_line_that_may_name_the_columns_is_told(tmp_path):
    write(tmp_path, train=rows(12), dev=rows(6))
    with pytest.warns(UserWarning, match=r"train\.tsv:1: no other row has the label 'label'\. If"):
        read_splits(tmp_path, text=["0"], label="1")
    lines = rows(12).splitlines(keepends=True)[1:]
    write(tmp_path, train="".join(lines), dev="".join(lines))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_splits(tmp_path, text=["0"], label="1")
        read_splits(write(tmp_path, train=rows(12), dev=rows(6)), text=["text"], label="label")


def test_files_of_splits_may_be_compressed_and_of_several_formats(tmp_path):
    (tmp_path / "train.tsv.gz").write_bytes(gzip.compress(rows(8).encode()))
    (tmp_path / "my-dev.TSV").write_text(rows(6))
    (tmp_path / "test.csv").write_text(rows(4).replace("\t", ","))
    assert sizes(tmp_path) == {"train": 8, "validation": 6, "test": 4}
    assert sizes(f"{tmp_path}/*.gz")["train"] < 8
    (tmp_path / "train.csv").write_text(rows(4).replace("\t", ","))
    with pytest.raises(ValueError, match=r"both train\.csv and train\.tsv\.gz are named as train"):
        read(tmp_path)


def test_splits_are_read_from_other_file_systems(remote):
    remote("reviews-train.tsv", rows(8))
    path = remote("reviews-dev.tsv.gz", gzip.compress(rows(6).encode()))
    remote("deep/test.tsv", rows(4))
    assert sizes(remote.root) == {"train": 8, "validation": 6}
    assert sizes(f"{remote.root}/reviews-*") == {"train": 8, "validation": 6}
    assert sizes({"train": path, "test": f"{remote.root}/deep/test.tsv"})["test"] == 4
    assert sizes(remote("all.tsv", rows(100)))["train"] > 50
    with pytest.raises(FileNotFoundError, match=r"no file or folder ram://.*/none"):
        read(f"{remote.root}/none")
    with pytest.raises(FileNotFoundError, match=r"no file's name .*'train'.*there is test\.tsv"):
        read(f"{remote.root}/deep")


def test_a_pattern_picks_the_files_of_one_of_several_data_sets(tmp_path):
    write(tmp_path, en__train=rows(8), en__dev=rows(6), zh__train=rows(4), zh__dev=rows(2))
    assert sizes(f"{tmp_path}/en-*.tsv") == {"train": 8, "validation": 6}
    with pytest.raises(ValueError, match=r"both .* are named as .* rows\. Narrow it down"):
        read(tmp_path)


def test_a_dict_names_the_files(tmp_path):
    write(tmp_path, one=rows(8), two=rows(4), three=rows(2))
    files = {"train": tmp_path / "one.tsv", "validation": tmp_path / "two.tsv"}
    assert sizes(files) == {"train": 8, "validation": 4}
    assert sizes(files | {"test": str(tmp_path / "three.tsv")})["test"] == 2
    for wrong in ({"validation": tmp_path / "one.tsv"}, files | {"dev": tmp_path / "three.tsv"}):
        with pytest.raises(
            ValueError, match=r"Name the files of 'train'.* received .*'validation'"
        ):
            read(wrong)


def test_one_file_is_divided_once_and_for_all(tmp_path):
    write(tmp_path, all=rows(4000))
    first, second = read(tmp_path / "all.tsv"), read(tmp_path / "all.tsv")
    assert {name: table.rows for name, table in first.items()} == {
        name: table.rows for name, table in second.items()
    }
    shares = np.array([len(first[name]) for name in ("train", "validation", "test")]) / 4000
    # Three standard deviations of a share of 0.8 and 0.1 among 4,000.
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.02)
    assert sorted(line for table in first.values() for line in table.lines) == list(range(2, 4002))


def test_another_share_and_another_way_of_dividing_can_be_asked_for(tmp_path):
    write(tmp_path, all=rows(400), train=rows(400), test=rows(3))

    def read_table(path):
        return tables.read_table(path, text=["text"], label="label")

    def divide(table, shares):
        said.append(shares)
        return {name: table.select([number, number + 1]) for number, name in enumerate(shares)}

    source, said = tmp_path / "all.tsv", []
    parts = split_files(source, read_table, [".tsv"], held_out_rate=0.25)
    assert 0.4 < len(parts["train"]) / 400 < 0.6
    parts = split_files(source, read_table, [".tsv"], divide=divide, held_out_rate=0.25)
    assert [len(part) for part in parts.values()] == [2, 2, 2]
    parts = split_files(tmp_path, read_table, [".tsv"], divide=divide, held_out_rate=0.25)
    assert [len(part) for part in parts.values()] == [2, 2, 3]
    assert said == [
        {"train": 0.5, "validation": 0.25, "test": 0.25},
        {"train": 0.75, "validation": 0.25},
    ]
    with pytest.raises(ValueError, match=r"`held_out_rate` is a share .* received 0\."):
        split_files(source, read_table, [".tsv"], held_out_rate=0)


def test_rows_of_equal_texts_lie_on_one_side(tmp_path):
    write(tmp_path, all=rows(300) + rows(300).partition("\n")[2] + rows(300).partition("\n")[2])
    tables = read(tmp_path / "all.tsv")
    sides = [set(table.rows) for table in tables.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 300


def test_missing_validation_rows_are_a_tenth_of_the_training_rows(tmp_path):
    write(tmp_path, train=rows(2000), test=rows(10, first=5000))
    tables = read(tmp_path)
    assert len(tables["train"]) + len(tables["validation"]) == 2000
    assert 160 <= len(tables["validation"]) <= 240  # three standard deviations
    assert len(tables["test"]) == 10


def test_a_label_that_would_miss_in_training_stays_there(tmp_path):
    rare = "".join(f"text {i}\trare{i}\n" for i in range(200))
    write(tmp_path, all=rows(400) + rare)
    tables = read(tmp_path / "all.tsv")
    assert len(set(tables["train"].labels)) == 202
    assert set(tables["test"].labels) == {"0", "1"}


def test_a_label_that_training_never_saw_is_refused_with_its_place(tmp_path):
    write(tmp_path, train=rows(8), dev=rows(2), test=rows(3) + "word\tnew\n")
    with pytest.raises(ValueError, match=r"test\.tsv:5: the label 'new' .* 2 labels are '0', '1'"):
        read(tmp_path)


def test_too_few_rows_to_divide_are_refused(tmp_path):
    write(tmp_path, all=rows(2))
    with pytest.raises(ValueError, match=r"all\.tsv: its 2 rows are too few to take .* rows from"):
        read(tmp_path / "all.tsv")


def test_a_source_without_files_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no file's name .*'train'.*there is nothing"):
        read(tmp_path)
    write(tmp_path, test=rows(2))
    with pytest.raises(FileNotFoundError, match=r"there is test\.tsv"):
        read(tmp_path)


@pytest.fixture
def prepared(tmp_path):
    """A function that prepares a data set of TensorFlow Datasets from examples by split."""
    tfds = pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.core.utils import file_utils

    def prepare(name, label, **examples):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=tfds.features.FeaturesDict({"sentence": tfds.features.Text(), "label": label}),
            split_datasets=examples,
            data_dir=tmp_path,
        )
        tfds.core.add_data_dir(tmp_path)
        return f"tfds:{name}"

    yield prepare
    file_utils.clear_registered_data_dirs()


def examples(*labels):
    return [(i, {"sentence": f"text {i}", "label": label}) for i, label in enumerate(labels)]


def test_tensorflow_datasets_give_label_names_and_leave_hidden_labels_out(prepared):
    import tensorflow_datasets as tfds

    name = prepared(
        "tiny_reviews",
        tfds.features.ClassLabel(names=["bad", "good"]),
        train=examples("bad", "good", "good"),
        validation=examples("good"),
        test=examples(-1, -1),
    )
    with pytest.warns(UserWarning, match=r"tiny_reviews/1\.0\.0:test: 2 rows have no label"):
        tables = read_splits(name, text=["sentence"], label="label")
    assert set(tables) == {"train", "validation"}
    assert sorted(zip(tables["train"].rows, tables["train"].labels, strict=True)) == [
        (("text 0",), "bad"),
        (("text 1",), "good"),
        (("text 2",), "good"),
    ]
    with pytest.raises(
        ValueError, match=r"tfds:tiny_reviews: no column `text`; there are .*'sentence'"
    ):
        read_splits(name, text=["text"], label="label")


def test_tensorflow_datasets_give_texts_without_their_labels(prepared):
    import tensorflow_datasets as tfds

    label = tfds.features.ClassLabel(names=["bad", "good"])
    splits = {"train": examples("bad", "good"), "validation": examples("good")}
    name = prepared("tiny_texts", label, **splits, test=examples(-1, -1, -1))
    tables = read_splits(name, text=["sentence"], label="")
    assert {split: len(table) for split, table in tables.items()} == {
        "train": 2,
        "validation": 1,
        "test": 3,
    }
    assert tables["test"].labels == [()] * 3
    assert sorted(tables["train"].rows) == [("text 0",), ("text 1",)]


def test_labels_need_not_be_known_where_nothing_asks_for_it(tmp_path):
    write(tmp_path, train="text\tlabel\nhi\ta\nho\tb\n", dev="text\tlabel\nhi\tc\n")
    with pytest.raises(ValueError, match="the label 'c' of the validation rows never occurs"):
        read(tmp_path)
    tables = read_splits(tmp_path, text=["text"], label="label", known_labels=False)
    assert tables["validation"].labels == ["c"]


def test_files_of_a_folder_may_be_txt_where_there_is_no_label(tmp_path):
    (tmp_path / "train.txt").write_text("one\ntwo\n")
    (tmp_path / "dev.txt").write_text("three\n")
    tables = read_splits(tmp_path, text=["text"], label="")
    assert {split: table.rows for split, table in tables.items()} == {
        "train": [("one",), ("two",)],
        "validation": [("three",)],
    }
    with pytest.raises(FileNotFoundError, match="no file's name is or ends in 'train', with the"):
        read(tmp_path)


def test_an_unknown_tensorflow_dataset_is_refused():
    with pytest.raises(ValueError, match=r"tfds:no_such_data: .* knows no such data set"):
        read_splits("tfds:no_such_data", text=["text"], label="label")


def test_tensorflow_datasets_give_scores_and_lists_of_labels(prepared):
    import tensorflow_datasets as tfds

    name = prepared("tiny_scores", np.float32, train=examples(0.5, 1.5), validation=examples(2.5))
    tables = read_splits(name, text=["sentence"], label="label", read_label=values.score_of)
    assert sorted(tables["train"].labels) == [0.5, 1.5]
    with pytest.raises(ValueError, match=r"tiny_scores/1\.0\.0:train:1: the field `label` must be"):
        read_splits(name, text=["sentence"], label="label")
    read_label = functools.partial(values.classes_of, separator=",")
    lists = {"train": examples(["a", "b"], [], ["b"]), "validation": examples(["b"])}
    several = tfds.features.Sequence(tfds.features.ClassLabel(names=["a", "b"]))
    for number, kind in enumerate((several, tfds.features.Sequence(tfds.features.Text()))):
        name = prepared(f"tiny_labels_{number}", kind, **lists)
        tables = read_splits(name, text=["sentence"], label="label", read_label=read_label)
        assert sorted(tables["train"].labels) == [(), ("a", "b"), ("b",)]
        assert tables["validation"].labels == [("b",)]
