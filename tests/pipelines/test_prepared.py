"""Data sets of tensorflow-datasets as sources of documents."""

import pickle

import pytest

from tfpt.pipelines import read_documents

NUM_EXAMPLES = 40


def prepare(folder, name, *, num_shards=1, **splits):
    """Write a data set; its texts tell their split and number."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def columns(split, texts):
        return {
            "text": texts,
            "id": list(range(len(texts))),
            "parts": tf.ragged.constant([[f"{split} a", text] for text in texts]),
        }

    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {
                "text": tfds.features.Text(),
                "id": tfds.features.Scalar(tf.int64),
                "parts": tfds.features.Sequence(tfds.features.Text()),
            }
        ),
        split_datasets={
            split: tf.data.Dataset.from_tensor_slices(columns(split, texts))
            for split, texts in splits.items()
        },
        data_dir=folder,
        disable_shuffling=True,
        download_config=tfds.download.DownloadConfig(num_shards=num_shards),
    )
    tfds.core.add_data_dir(folder)
    return f"tfds:{name}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where `small` and `numbered` are: two splits whose texts are their numbers."""
    folder = str(tmp_path_factory.mktemp("tfds"))
    prepare(folder, "small", train=["One. Two two.", "Thr\u00e9\u00e9."])
    train = [f"Number {i}." for i in range(NUM_EXAMPLES)]
    prepare(folder, "numbered", train=train, test=[f"Test {i}." for i in range(7)])
    return folder


@pytest.fixture(autouse=True)
def known(folder):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.utils import file_utils

    tfds.core.add_data_dir(folder)
    yield
    file_utils.clear_registered_data_dirs()


def test_an_example_is_a_document():
    documents = read_documents("tfds:small", layout="text")
    for _ in range(2):
        assert list(documents) == [("One.", "Two two."), ("Thr\u00e9\u00e9.",)]
    assert list(read_documents("tfds:small[train[1:]]")) == [("Thr\u00e9\u00e9.",)]
    documents = list(read_documents("tfds:small", field="parts"))
    assert documents[0] == ("train a", "One. Two two.")


def test_the_splits_are_read_in_the_order_of_their_names():
    documents = list(read_documents("tfds:numbered[test[-2:]+train[50%:55%]]"))
    assert documents == [("Test 5.",), ("Test 6.",), ("Number 20.",), ("Number 21.",)]


def test_progress_goes_from_nothing_to_all_of_its_bytes():
    documents = read_documents("tfds:numbered[train+test]")
    seen = []
    for _ in documents:
        seen.append(documents.bytes_read)
    assert seen == sorted(set(seen))
    assert seen[-1] == documents.num_bytes > 0
    some = read_documents("tfds:numbered[train[:10]]")
    assert 0 < some.num_bytes < documents.num_bytes / 3


def test_the_parts_of_a_split_follow_upon_each_other():
    documents = read_documents("tfds:numbered[train[3:]+test]")
    for part_bytes, num_parts in ((documents.num_bytes // 8, 8), (1, 44), (1 << 20, 2)):
        parts = documents.parts(part_bytes)
        assert abs(len(parts) - num_parts) <= 1
        assert [document for part in parts for document in part] == list(documents)
        assert sum(part.num_bytes for part in parts) == documents.num_bytes
        assert [part.bytes_read for part in parts] == [part.num_bytes for part in parts]


def test_a_part_finds_its_data_where_it_was_prepared(tmp_path):
    """A process that was spawned knows no folders of data but the environment's."""
    from tensorflow_datasets.core.utils import file_utils

    (part,) = read_documents(prepare(str(tmp_path), "elsewhere", train=["One.", "Two."])).parts()
    file_utils.clear_registered_data_dirs()
    with pytest.raises(ValueError, match="cannot give tfds:elsewhere"):
        read_documents("tfds:elsewhere")
    assert list(pickle.loads(pickle.dumps(part))) == [("One.",), ("Two.",)]


def test_the_files_of_a_split_are_read_one_after_the_other(tmp_path):
    texts = [f"Number {i}." for i in range(200)]
    documents = read_documents(prepare(str(tmp_path), "sharded", num_shards=4, train=texts))
    assert len(list(tmp_path.rglob("*.tfrecord*"))) == 4
    assert list(documents) == [(text,) for text in texts]
    parts = documents.parts(documents.num_bytes // 10)
    assert [document for part in parts for document in part] == [(text,) for text in texts]


def test_data_sets_and_files_can_be_mixed(write):
    path = write("a.txt", "Zero.")
    documents = read_documents([path, "tfds:small[train[:1]]"])
    assert list(documents) == [("Zero.",), ("One. Two two.",)]


@pytest.mark.parametrize(
    ("source", "field", "message"),
    [
        ("tfds:no_such_data_set", "text", r"cannot give tfds:no_such_data_set: .*TFDS_DATA_DIR"),
        ("tfds:small[dev]", "text", r"cannot give tfds:small\[dev\]"),
        ("tfds:small[train[5:]]", "text", r"cannot give tfds:small\[train\[5:\]\]"),
        ("tfds:small[train[:0]]", "text", r"tfds:small\[train\[:0\]\]: no example of train"),
        ("tfds:small", "body", r"tfds:small has no field 'body'; it has id, parts, text"),
        ("tfds:small[", "text", r'A tfds source is "tfds:NAME"'),
    ],
)
def test_what_there_is_not_is_an_error_at_the_call(source, field, message):
    with pytest.raises(ValueError, match=message):
        read_documents(source, field=field)


def test_a_field_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match=r"tfds:small, record 0 of train: the field `id` holds 0"):
        list(read_documents("tfds:small", field="id"))
