"""Records: what was drawn is read again, from any batch on, by any number of workers."""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import (
    Share,
    damage_named,
    masked_lm,
    open_records,
    read_records,
    tfrecords,
    verify_records,
    write_records,
)

LENGTH, BATCH, NUMBER = 16, 4, 31


@dataclass(frozen=True)
class Settings:
    sequence_length: int = LENGTH


def arrays(dataset, number):
    return [tf.nest.map_structure(np.asarray, batch) for batch in dataset.take(number)]


def assert_equal(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)
    tf.nest.map_structure(lambda a, b: np.testing.assert_equal(a.dtype, b.dtype), left, right)


@pytest.fixture(scope="module")
def drawn(store):
    """The stream that is exported."""
    return masked_lm(store, sequence_length=LENGTH, batch_size=BATCH, seed=3)


@pytest.fixture(scope="module")
def expected(drawn):
    """The batches that are exported."""
    return arrays(drawn, NUMBER)


@pytest.fixture(scope="module")
def write(drawn, tokenizer, tmp_path_factory):
    """A function from the number of shards, and a file system, to records; written once."""
    written = {}

    def get(num_shards, system=""):
        if (num_shards, system) not in written:
            parent = system or str(tmp_path_factory.mktemp("records"))
            written[num_shards, system] = write_records(
                drawn,
                f"{parent}/shards-{num_shards}",
                tokenizer=tokenizer,
                num_batches=NUMBER,
                num_shards=num_shards,
                settings=Settings(),
            )
        return written[num_shards, system]

    return get


@pytest.fixture
def copy(write, tmp_path, monkeypatch):
    """Records of three shards that a test may break."""
    monkeypatch.setattr(tfrecords, "_verified", set())
    return shutil.copytree(write(3).path, tmp_path / "copy")


# 1 row in 1 shard, groups that are full and not, shards of one row.
SHARDS = [1, 3, 16, 40, NUMBER * BATCH]


@pytest.mark.parametrize("num_shards", SHARDS)
def test_rows_are_read_as_they_were_drawn_again_and_again(write, expected, num_shards):
    read = arrays(read_records(write(num_shards)), 2 * NUMBER + 3)
    assert len(read) == 2 * NUMBER + 3
    for number, batch in enumerate(read):
        assert_equal(batch, expected[number % NUMBER])


@pytest.mark.parametrize("num_shards", SHARDS)
def test_reading_begins_at_any_batch(write, expected, num_shards):
    for first in (1, 4, 17, NUMBER - 1, NUMBER, 2 * NUMBER + 5):
        for number, batch in enumerate(
            arrays(read_records(write(num_shards), first_batch=first), 6)
        ):
            assert_equal(batch, expected[(first + number) % NUMBER])


@pytest.mark.parametrize(
    ("num_shards", "num_workers"),
    [(3, 2), (16, 2), (16, 4), (32, 4), (40, 4), (124, 4)],
)
def test_workers_read_each_row_of_a_batch_once(write, expected, num_shards, num_workers):
    found = write(num_shards)
    for first in (0, 9, NUMBER - 2):
        parts = [
            arrays(read_records(found, first_batch=first, share=Share(w, num_workers)), 4)
            for w in range(num_workers)
        ]
        for number in range(4):
            dealt = [part[number] for part in parts]
            joined = tf.nest.map_structure(
                lambda *rows: np.stack(rows, axis=1).reshape(BATCH, *rows[0].shape[1:]), *dealt
            )
            assert_equal(joined, expected[(first + number) % NUMBER])


def test_a_worker_reads_shards_of_its_own_where_they_can_be_dealt_out(write):
    found = write(32)
    plan = tfrecords._plan(found, 0, step=4, offset=1)
    own = [path for group in plan for path, _, _ in group]
    assert [int(re.search(r"rows-(\d+)", path)[1]) for path in own] == list(range(1, 32, 4))


def test_batches_of_another_size_hold_the_same_rows(write, expected):
    rows = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *expected)
    read = arrays(read_records(write(3), batch_size=10, first_batch=2), 15)
    for number, batch in enumerate(read, 2):
        places = np.arange(number * 10, number * 10 + 10) % (NUMBER * BATCH)
        assert_equal(batch, tf.nest.map_structure(lambda part, at=places: part[at], rows))


def test_without_repetition_the_last_whole_batch_is_the_end(write, expected):
    found = write(3)
    assert_equal(arrays(read_records(found, repeat=False), -1), expected)
    assert_equal(arrays(read_records(found, repeat=False, first_batch=29), -1), expected[29:])
    assert len(arrays(read_records(found, repeat=False, batch_size=10), -1)) == 12
    assert arrays(read_records(found, repeat=False, first_batch=NUMBER + 3), -1) == []


@pytest.mark.parametrize("num_shards", [1, 40])
def test_any_file_system_will_do(write, expected, tokenizer, num_shards):
    found = write(num_shards, "ram://records")
    assert open_records(f"ram://records/shards-{num_shards}/") == found
    assert_equal(arrays(read_records(found.path, first_batch=3), 5), expected[3:8])
    assert found.tokenizer() == tokenizer


def test_batches_keep_their_contract(write, drawn):
    assert read_records(write(3)).element_spec == drawn.element_spec
    half = read_records(write(3), share=Share(0, 2)).element_spec
    assert half[0]["token_ids"] == tf.TensorSpec([BATCH // 2, LENGTH], tf.int32)


def test_the_description_tells_what_is_there(write, tokenizer):
    found = write(3)
    with open(f"{found.path}/records.json", encoding="utf-8") as file:
        description = json.load(file)
    assert description["features"]["token_ids"] == {"dtype": "int32", "shape": [LENGTH]}
    assert description["weights"]["next_sentence"] == {"dtype": "float32", "shape": [1]}
    assert description["num_rows"] == found.num_rows == NUMBER * BATCH
    assert description["settings"] == found.settings == {"sequence_length": LENGTH}
    assert found.vocabulary_sha256 == tokenizer.sha256
    assert [shard.num_rows for shard in found.shards] == [42, 41, 41]
    for shard in found.shards:
        with open(f"{found.path}/{shard.name}", "rb") as file:
            content = file.read()
        assert len(content) == shard.num_bytes
        assert hashlib.sha256(content).hexdigest() == shard.sha256


def test_other_programs_read_the_rows_by_names_that_tell_them(write, expected):
    found = write(3)
    path = f"{found.path}/{found.shards[1].name}"
    serialized = next(iter(tf.data.TFRecordDataset(path, "GZIP"))).numpy()
    feature = tf.train.Example.FromString(serialized).features.feature
    inputs, labels, weights = expected[0]
    assert list(feature["features/token_ids"].int64_list.value) == inputs["token_ids"][1].tolist()
    assert list(feature["labels/masked_lm"].int64_list.value) == labels["masked_lm"][1].tolist()
    assert list(feature["weights/masked_lm"].float_list.value) == weights["masked_lm"][1].tolist()
    assert len(feature) == len(inputs) + len(labels) + len(weights)


def change(path, place=None, length=None):
    """Turn a bit of a file, or cut it off."""
    content = bytearray(path.read_bytes())[:length]
    if place is not None:
        content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("system", ["", "ram://damaged"])
def test_a_damaged_shard_is_named(copy, write, system):
    name = write(3).shards[1].name
    change(copy / name, place=500)
    folder = str(copy)
    if system:
        tf.io.gfile.makedirs(system)
        for file in copy.iterdir():
            tf.io.gfile.copy(str(file), f"{system}/{file.name}")
        folder = system
    said = f"{folder}/{name} is damaged: it is not what was written. Write the records anew."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        verify_records(open_records(folder))
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(said)):
        arrays(read_records(folder), 1)
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"), damage_named():
        arrays(read_records(folder), 1)


def test_who_asks_for_it_has_all_shards_compared_again(copy, write):
    arrays(read_records(copy), 1)
    verify_records(open_records(copy))
    change(copy / write(3).shards[2].name, place=500)
    with pytest.raises(ValueError, match=r"rows-00002-of-00003\S* is damaged"):
        verify_records(open_records(copy))


def test_other_errors_of_tensorflow_stay_what_they_are():
    with pytest.raises(tf.errors.InvalidArgumentError), damage_named():
        tf.debugging.assert_equal(1, 2)


def test_a_shard_that_goes_missing_while_it_is_read_is_named(copy, write):
    dataset = read_records(copy)
    (copy / write(3).shards[2].name).unlink()
    with pytest.raises(ValueError, match=r"rows-00002.* cannot be read .*\. Write the"):  # noqa: SIM117
        with damage_named():
            arrays(dataset, 1)


def test_a_truncated_or_missing_shard_is_named_when_the_folder_is_opened(copy, write):
    first, second, _ = write(3).shards
    change(copy / second.name, length=100)
    said = f"{copy / second.name} is damaged: {second.num_bytes:,} bytes were written, 100 are"
    with pytest.raises(ValueError, match=re.escape(said)):
        read_records(copy)
    (copy / first.name).unlink()
    with pytest.raises(ValueError, match=r"rows-00000-of-00003.* none are there"):
        read_records(copy)


def test_a_shard_is_compared_once_in_a_process_or_not_at_all(copy, write, expected, monkeypatch):
    read = []
    monkeypatch.setattr(tfrecords, "sha256_of", lambda path: read.append(path) or "")
    arrays(read_records(copy, verify=False), NUMBER)
    assert read == []
    monkeypatch.undo()
    counted = tfrecords.sha256_of
    monkeypatch.setattr(tfrecords, "sha256_of", lambda path: read.append(path) or counted(path))
    monkeypatch.setattr(tfrecords, "_verified", set())
    for _ in range(2):
        assert_equal(arrays(read_records(copy), 2 * NUMBER)[:NUMBER], expected)
    assert len(read) == len(set(read)) == 3


def rewritten(copy, **changes):
    """The description with some of its parts changed."""
    path = copy / "records.json"
    description = json.loads(path.read_text())
    for name, value in changes.items():
        description[name] = value(description[name]) if callable(value) else value
    path.write_text(json.dumps(description))
    return copy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "record format 2; this tfpt .* up to 1. Upgrade"),
        ({"num_rows": 7}, "do not hold 7 rows"),
        ({"shards": [{"name": "x"}]}, "is damaged .TypeError"),
        ({"features": []}, "is damaged .AttributeError"),
        (
            {"features": lambda there: {**there, "colour": {"dtype": "int32", "shape": [3]}}},
            "'colour' is none of the features that this tfpt knows: token_ids",
        ),
        (
            {"features": lambda there: {**there, "token_ids": {"dtype": "int64", "shape": [16]}}},
            r"'token_ids' is int64 \(16,\) in a row; it should be int32 \(T\)",
        ),
        (
            {"features": lambda there: {**there, "segment_ids": {"dtype": "int32", "shape": [9]}}},
            r"'segment_ids' is int32 \(9,\) in a row; .* \(T\), with T = 16",
        ),
        (
            {"labels": lambda there: {**there, "masked_lm": {"dtype": "int32", "shape": []}}},
            r"'masked_lm' is int32 \(\) in a row; it should be int32 \(P\)",
        ),
        (
            {"weights": lambda there: {**there, "masked_lm": {"dtype": "int32", "shape": [3]}}},
            "weights 'masked_lm' are int32 .*; weights are float32, of the shape of the label",
        ),
        ({"weights": {}}, "labels and weights have different names"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(copy, changes, message):
    with pytest.raises(ValueError, match=message):
        open_records(rewritten(copy, **changes))


def test_what_is_no_folder_of_records_is_refused(copy, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", copy / "vocab.txt", "ram://nowhere"):
        with pytest.raises(FileNotFoundError, match="holds no records: there is no "):
            open_records(path)
    for content in ("{", "[]", "\udcff"):
        (copy / "records.json").write_text(content, errors="surrogateescape")
        with pytest.raises(ValueError, match=r"records\.json is damaged"):
            open_records(copy)


def test_another_vocabulary_is_noticed(copy):
    for place in (-2, -1):  # an entry twice, another entry
        change(copy / "vocab.txt", place=place)
        with pytest.raises(ValueError, match=r"The vocabulary in \S*copy is damaged"):
            open_records(copy).tokenizer()
    (copy / "vocab.txt").unlink()
    with pytest.raises(ValueError, match=r"The vocabulary in \S*copy is damaged"):
        open_records(copy).tokenizer()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "received 0"),
        ({"share": Share(0, 3)}, "a multiple of the 3 worker"),
        ({"batch_size": 125, "repeat": False}, "at most the 124 that"),
        ({"first_batch": -1}, "a number from 0; received -1"),
    ],
)
def test_what_cannot_be_read_is_refused(write, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_records(write(3), **arguments)


def test_damage_of_records_that_are_written_anew_is_named(copy, write, tokenizer, tmp_path):
    change(copy / write(3).shards[0].name, place=500)
    with pytest.raises(ValueError, match=r"rows-00000-of-00003.* is damaged"):
        write_records(read_records(copy), tmp_path / "new", tokenizer=tokenizer, num_batches=2)
    assert not (tmp_path / "new").exists()
