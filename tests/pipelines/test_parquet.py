"""Parquet files: types, parts, damage, memory."""

import importlib.util

import numpy as np
import pytest

from tfpt.pipelines import parquet, read_documents
from tfpt.pipelines.streams import Extent, whole_file
from tfpt.pipelines.tables import read_table

pyarrow = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def write_table(tmp_path):
    """A function that writes columns into a Parquet file and gives its path."""

    def write(columns, name="a.parquet", **options):
        path = tmp_path / name
        pq.write_table(pyarrow.table(columns), path, **options)
        return path

    return write


def rows(path, *names, extent=None):
    return list(parquet.read_columns(extent or whole_file(str(path)), names))


def test_columns_come_in_the_order_they_were_asked_for(write_table):
    path = write_table({"id": [1, 2], "text": ["One.", "\u4f60\u597d"], "other": [None, 0.5]})
    assert rows(path, "text", "id") == [(1, ("One.", 1)), (2, ("\u4f60\u597d", 2))]


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
def test_every_row_of_every_group_is_read(write_table, compression):
    texts = [f"text {i}" for i in range(1000)]
    path = write_table({"text": texts}, row_group_size=300, compression=compression)
    assert rows(path, "text") == [(i, (text,)) for i, text in enumerate(texts, 1)]


def test_a_row_is_a_document(write_table):
    path = write_table({"body": ["One.\nTwo two.", "", "Three."]})
    assert list(read_documents(path, field="body")) == [("One.", "Two two."), ("Three.",)]
    path = write_table({"text": ["One. Two two.", "Three."]}, "A.PARQUET")
    documents = read_documents(path, layout="text", encoding="auto")
    assert list(documents) == [("One.", "Two two."), ("Three.",)]
    assert documents.encodings == {}


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string(),
        pyarrow.large_string(),
        pyarrow.binary(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    ],
    ids=str,
)
def test_text_is_read_from_every_type_that_holds_it(write_table, kind):
    texts = pyarrow.array(["One.", "\u4f60\u597d"]).cast(kind)
    assert rows(write_table({"text": texts}), "text") == [(1, ("One.",)), (2, ("\u4f60\u597d",))]


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.binary()], ids=str)
def test_lists_of_sentences_are_documents(write_table, kind):
    path = write_table({"text": pyarrow.array([["One.", "", "Two."], []], pyarrow.list_(kind))})
    assert list(read_documents(path)) == [("One.", "Two.")]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["fine", None], r"a\.parquet:2: the field `text` holds null; a string or a list"),
        ([7, 8], r"a\.parquet:1: the field `text` holds 7; a string"),
        ([{"a": "b"}], r"a\.parquet:1: the field `text` holds \{\"a\": \"b\"\}"),
        ([["a", "b"], ["c", None]], r"a\.parquet:2: the field `text` holds \[\"c\", null\]"),
    ],
)
def test_a_value_that_is_no_text_is_named_by_its_row(write_table, values, message):
    with pytest.raises(ValueError, match=message):
        list(read_documents(write_table({"text": values})))


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.string()], ids=str)
def test_text_that_is_not_utf_8_is_named_by_its_row(write_table, kind):
    texts = pyarrow.array([b"fine"] * 2000 + [b"caf\xe9"], pyarrow.binary())
    texts = texts if kind == pyarrow.binary() else texts.view(pyarrow.string())
    path = write_table({"text": texts}, row_group_size=1500)
    with pytest.raises(ValueError, match=r"a\.parquet:2001: the column `text` is not UTF-8"):
        rows(path, "text")


def test_a_column_that_is_missing_is_named(write_table):
    path = write_table({"txt": ["a"], "id": [1]})
    with pytest.raises(ValueError, match=r"no column `text`; the columns are 'txt', 'id'"):
        list(read_documents(path))


def test_parts_are_row_groups(write_table):
    texts = [f"Text {i}." for i in range(1000)]
    path = write_table({"text": texts, "id": range(1000)}, row_group_size=100)
    documents = read_documents(path)
    group_bytes = path.stat().st_size // 10
    for part_bytes, num_parts in ((1, 10), (int(1.5 * group_bytes), 5), (1 << 20, 1)):
        parts = documents.parts(part_bytes)
        assert len(parts) == num_parts
        assert [document for part in parts for document in part] == [(text,) for text in texts]
        assert sum(part.num_bytes for part in parts) == path.stat().st_size
        assert all(part.bytes_read == part.num_bytes for part in parts)
    assert rows(path, "id", extent=Extent(str(path), 1, 3, 5))[0] == (301, (300,))


def test_progress_grows_with_the_rows(write_table):
    path = write_table({"text": [f"Text {i}." for i in range(5000)]}, row_group_size=2500)
    documents = read_documents(path)
    seen = []
    for _ in documents:
        seen.append(documents.bytes_read)
    assert seen == sorted(seen)
    assert len(set(seen)) >= 4
    assert 0 <= seen[0] < documents.num_bytes == documents.bytes_read == path.stat().st_size


def test_a_file_without_rows_has_no_document(write_table):
    path = write_table({"text": pyarrow.array([], pyarrow.string())})
    documents = read_documents(path)
    assert list(documents) == []
    assert documents.bytes_read == documents.num_bytes
    assert len(documents.parts(1)) == 1


def test_other_file_systems_are_read_alike(write_table, remote):
    local = write_table({"text": [f"Text {i}." for i in range(100)]}, row_group_size=30)
    path = remote("a.parquet", local.read_bytes())
    assert list(read_documents(path)) == list(read_documents(local))
    assert len(read_documents(path).parts(1)) == 4


def test_a_damaged_file_is_one_sentence(write_table, tmp_path):
    texts = [str(number) for number in np.random.default_rng(0).random(5000)]
    data = write_table({"text": texts}, row_group_size=1000).read_bytes()
    flipped = bytearray(data)
    for place in range(1000, 2000):
        flipped[place] ^= 0xFF
    damaged = {"cut": data[:-100], "half": data[: len(data) // 2], "empty": b"", "text": b"One.\n"}
    for name, content in {**damaged, "flipped": bytes(flipped)}.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.parquet is damaged, cut off, or no ") as e:
            list(read_documents(path))
        assert "\n" not in str(e.value)
        assert len(str(e.value)) < 500


def test_a_large_row_group_is_not_held_in_memory(write_table):
    """Text of 40 MB in one group, whose batches of 4 MB are held one at a time."""
    texts = [f"{i} " + "word " * 2000 for i in range(4000)]
    path = write_table({"text": texts}, use_dictionary=False)
    del texts
    assert pq.ParquetFile(path).num_row_groups == 1
    pool = pyarrow.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for _ in read_documents(path):
        most = max(most, pool.bytes_allocated())
    assert most - before < 20_000_000


def test_pyarrow_is_asked_for_at_the_call(write_table, monkeypatch):
    path = write_table({"text": ["One."]})
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name)
    )
    with pytest.raises(ValueError, match=r"a\.parquet: .* `pip install 'tfpt\[parquet\]'`"):
        read_documents(path)


def test_labelled_texts_are_read(write_table):
    columns = {"text": ["good", "bad"], "label": [1, 0], "split": ["a", "b"]}
    table = read_table(write_table(columns), text=["text"], label="label")
    assert (table.rows, table.labels, table.lines) == ([("good",), ("bad",)], ["1", "0"], [1, 2])
    path = write_table({"text": ["good", None], "label": ["x", "y"]})
    with pytest.raises(ValueError, match=r"a\.parquet:2: the field `text` must be text; .*None"):
        read_table(path, text=["text"], label="label")
