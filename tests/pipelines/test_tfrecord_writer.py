"""Writing records: any kind of batch, as a whole or not at all."""

import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines import (
    Drawing,
    causal_lm,
    masked_lm,
    open_records,
    read_records,
    span_corruption,
    write_records,
)

LENGTH, BATCH = 16, 4


def arrays(dataset, number):
    return [tf.nest.map_structure(np.asarray, batch) for batch in dataset.take(number)]


@pytest.fixture(scope="module")
def drawn(store):
    """A stream to export."""
    return masked_lm(store, sequence_length=LENGTH, batch_size=BATCH, seed=3)


@pytest.mark.parametrize(
    "stream",
    [
        lambda store: masked_lm(
            store, sequence_length=LENGTH, batch_size=BATCH, drawing=Drawing(layout="packed")
        ),
        lambda store: causal_lm(store, sequence_length=LENGTH, batch_size=BATCH),
        lambda store: span_corruption(store, sequence_length=LENGTH, batch_size=BATCH),
    ],
)
def test_every_kind_of_batch_can_be_written(store, tokenizer, tmp_path, stream):
    dataset = stream(store)
    write_records(dataset, tmp_path / "records", tokenizer=tokenizer, num_batches=5)
    read = read_records(tmp_path / "records")
    assert read.element_spec == dataset.element_spec
    tf.nest.map_structure(np.testing.assert_array_equal, arrays(read, 5), arrays(dataset, 5))


def test_the_same_rows_are_the_same_bytes(drawn, tokenizer, tmp_path):
    one, other = (
        write_records(drawn, tmp_path / name, tokenizer=tokenizer, num_batches=3)
        for name in ("one", "other")
    )
    assert one.shards == other.shards


def test_progress_is_told_for_each_batch(drawn, tokenizer, tmp_path):
    told = []
    write_records(
        drawn,
        tmp_path / "records",
        tokenizer=tokenizer,
        num_batches=3,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_by_default_there_are_16_shards_or_one_for_each_row(drawn, tokenizer, tmp_path):
    for number, expected in ((3, 12), (5, 16)):
        path = tmp_path / f"records-{number}"
        found = write_records(drawn, path, tokenizer=tokenizer, num_batches=number)
        assert len(found.shards) == expected


def test_what_cannot_be_written_leaves_nothing(drawn, store, tokenizer, tmp_path):
    out = tmp_path / "records"

    def refused(dataset, message, path=out, error=ValueError, **changes):
        with pytest.raises(error, match=message):
            write_records(dataset, path, **{"tokenizer": tokenizer, "num_batches": 2, **changes})
        assert sorted(tmp_path.iterdir()) == []
        assert not tf.io.gfile.exists("ram://new")

    refused(drawn, "received 0 batches", num_batches=0)
    refused(drawn, "from 1 to the number of rows; .* 2 batches of 4 rows, 9 sh", num_shards=9)
    bucketed = masked_lm(
        store, sequence_length=64, batch_size=4, drawing=Drawing(layout="bucketed")
    )
    refused(bucketed, r"'token_ids' changes from batch to batch, \(None, None\): .* \"bucketed\"")
    refused(tf.data.Dataset.range(3), "A batch is")
    unknown = drawn.map(lambda inputs, *rest: ({**inputs, "colour": inputs["token_ids"]}, *rest))
    refused(unknown, "The batches: 'colour' is none of the features")
    for path in (out, "ram://new"):
        refused(drawn.take(1), "ended after 1 of 2 batches", path)


def test_a_stop_in_the_middle_leaves_nothing(drawn, tokenizer, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    for path in (tmp_path / "records", "ram://stopped"):
        with pytest.raises(KeyboardInterrupt):
            write_records(drawn, path, tokenizer=tokenizer, num_batches=2, progress=stop)
        assert not tf.io.gfile.exists(str(path))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(drawn, tokenizer, tmp_path, files_of_at_most):
    with files_of_at_most(3_000), pytest.raises(OSError, match="records could not be written: "):
        write_records(
            drawn, tmp_path / "records", tokenizer=tokenizer, num_batches=31, num_shards=1
        )
    assert list(tmp_path.iterdir()) == []


def test_records_are_never_overwritten(drawn, tokenizer, tmp_path):
    for path in (str(tmp_path / "there"), "ram://there"):
        found = write_records(drawn, path, tokenizer=tokenizer, num_batches=1)
        with pytest.raises(FileExistsError, match="exists already"):
            write_records(drawn, path, tokenizer=tokenizer, num_batches=2)
        assert open_records(path) == found


def test_what_a_service_says_is_not_told_of_the_folder(drawn, tokenizer, tmp_path):
    def batches():
        yield next(iter(drawn))
        raise TimeoutError("The tf.data service at here:1 gave no batch for 2 seconds.")

    stream = tf.data.Dataset.from_generator(batches, output_signature=drawn.element_spec)
    with pytest.raises(OSError, match=r"^The tf\.data service at here:1 gave no batch"):
        write_records(stream, tmp_path / "records", tokenizer=tokenizer, num_batches=3)
    assert list(tmp_path.iterdir()) == []
