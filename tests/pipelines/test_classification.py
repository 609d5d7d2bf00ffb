"""Labelled texts as batches: what is in them, in which order, and how a run goes on."""

import data_sets
import keras
import numpy as np
import pytest
import tensorflow as tf
from drawn import assert_untuned

from tfpt import features
from tfpt.pipelines import Tokenizer, text_classification

WORDS = [f"w{i}" for i in range(100)]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(SPECIALS + WORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """23 training rows, 7 validation rows, 5 test rows; the text of row i is `wi`."""
    path = tmp_path_factory.mktemp("words")
    for name, first, last in (("train", 0, 23), ("dev", 30, 37), ("test", 40, 45)):
        rows = "".join(f"w{i}\t{('no', 'yes', 'maybe')[i % 3]}\n" for i in range(first, last))
        (path / f"{name}.tsv").write_text("text\tlabel\n" + rows)
    return path


@pytest.fixture
def data(folder, tokenizer):
    return text_classification(folder, tokenizer, sequence_length=6, batch_size=4, seed=3)


def words(batches):
    """The number of the word of each row that counts, batch after batch."""
    return [
        int(token) - len(SPECIALS)
        for inputs, _, weights in batches
        for token, weight in zip(inputs["token_ids"][:, 1], weights["classification"], strict=True)
        if weight
    ]


def test_batches_keep_the_contract(data):
    for dataset in (data.train, data.validation, data.test, data.train_batches()):
        assert_untuned(dataset)
        inputs, labels, weights = dataset.element_spec
        assert set(inputs) == {"token_ids", "segment_ids", "padding_mask"}
        for name, spec in inputs.items():
            assert (spec.shape, spec.dtype.name) == ((4, 6), features.FEATURES[name].dtype)
        assert labels == {"classification": tf.TensorSpec([4], tf.int32)}
        assert weights == {"classification": tf.TensorSpec([4], tf.float32)}


def test_rows_are_packed_and_labels_numbered_in_the_order_of_their_names(data):
    assert data.label_names == ("maybe", "no", "yes")
    inputs, labels, weights = next(iter(data.validation))
    assert inputs["token_ids"][1].numpy().tolist() == [2, 5 + 31, 3, 0, 0, 0]
    assert inputs["padding_mask"][1].numpy().tolist() == [1, 1, 1, 0, 0, 0]
    assert labels["classification"].numpy().tolist() == [1, 2, 0, 1]
    assert weights["classification"].numpy().tolist() == [1, 1, 1, 1]


def test_texts_of_what_is_evaluated_are_kept_as_they_came_and_those_of_the_training_are_not(data):
    assert list(data.source_rows("test")) == [(f"w{i}",) for i in range(40, 45)]
    assert list(data.source_rows("validation")) == [(f"w{i}",) for i in range(30, 37)]
    assert list(data.source_rows("train")) == []


def test_a_person_is_told_which_rows_are_of_which_file(data, folder, tokenizer, tmp_path):
    train, dev, test = (folder / f"{name}.tsv" for name in ("train", "dev", "test"))
    assert (
        data.described() == f"23 to train on ({train}), 7 to validate ({dev}), 5 to test ({test})"
    )
    one = tmp_path / "all.tsv"
    one.write_text("text\tlabel\n" + "".join(f"w{i}\t{i % 2}\n" for i in range(100)))
    given = {"sequence_length": 8, "batch_size": 4}
    parts = text_classification(one, tokenizer, **given)
    counts = [len(parts.splits[name]) for name in ("train", "validation", "test")]
    assert parts.described() == (
        f"{counts[0]} to train on ({one}), {counts[1]} to validate (held out of it), "
        f"{counts[2]} to test (held out of it)"
    )


def test_counts_are_those_of_the_files(data):
    assert (data.num_train, data.num_validation, data.num_test) == (23, 7, 5)
    assert data.steps_per_epoch == 6
    assert data.label_counts["train"] == {"maybe": 7, "no": 8, "yes": 8}
    assert data.label_counts["test"] == {"maybe": 2, "no": 1, "yes": 2}


def test_validation_and_test_rows_come_in_the_order_of_the_file(data):
    for _ in range(2):
        assert words(data.validation) == list(range(30, 37))
        assert words(data.test) == list(range(40, 45))
    assert int(data.validation.cardinality()) == 2


def test_the_last_batch_is_filled_up_with_real_rows_of_weight_zero(data):
    *_, (inputs, labels, weights) = data.validation
    assert weights["classification"].numpy().tolist() == [1, 1, 1, 0]
    assert inputs["token_ids"][:, 1].numpy().tolist() == [5 + 34, 5 + 35, 5 + 36, 5 + 36]
    assert labels["classification"].numpy().tolist() == [2, 0, 1, 1]
    total = sum(float(tf.reduce_sum(weights["classification"])) for _, _, weights in data.train)
    assert total == data.num_train


def test_training_visits_each_row_once_an_epoch_in_another_order_each_time(data):
    epochs = [words(data.train) for _ in range(3)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert int(data.train.cardinality()) == data.steps_per_epoch


def test_the_order_of_training_follows_from_the_seed(folder, tokenizer, data):
    def epochs(seed):
        again = text_classification(folder, tokenizer, sequence_length=6, batch_size=4, seed=seed)
        return [words(again.train) for _ in range(2)], words(again.train_batches().take(12))

    assert epochs(3) == (
        [words(data.train) for _ in range(2)],
        words(data.train_batches().take(12)),
    )
    other, other_batches = epochs(4)
    assert other != epochs(3)[0]
    assert other_batches != epochs(3)[1]


def test_labels_stay_with_their_texts(data):
    for inputs, labels, _ in data.train:
        numbers = inputs["token_ids"][:, 1].numpy() - len(SPECIALS)
        names = [("no", "yes", "maybe")[number % 3] for number in numbers]
        assert [data.label_names[label] for label in labels["classification"]] == names


def test_training_batches_go_on_anywhere(data):
    batches = words(data.train_batches().take(20))
    assert words(data.train_batches(first_batch=7).take(13)) == batches[7 * 4 :]


def test_training_batches_visit_each_row_once_an_epoch(data):
    visited = words(data.train_batches().take(23))  # 4 epochs, which cross batches
    epochs = [visited[first : first + 23] for first in range(0, 92, 23)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_classes_weigh_the_same_in_training_however_rare(tmp_path, tokenizer):
    """12 rows of one class, 3 of another; the last batch is filled up."""
    rows = "".join(f"w{i}\t{'rare' if i % 5 == 0 else 'often'}\n" for i in range(15))
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\n" + rows)
    plain = text_classification(tmp_path, tokenizer, sequence_length=6, batch_size=4, seed=3)
    data = plain.balanced()
    assert plain.class_weights is None
    assert data.label_names == ("often", "rare")
    total = {0: 0.0, 1: 0.0}
    for _, labels, weights in data.train:
        for label, weight in zip(
            labels["classification"].numpy(), weights["classification"].numpy(), strict=True
        ):
            assert weight in (0.0, pytest.approx(15 / (2 * (12, 3)[label])))
            total[label] += weight
    assert total == {0: pytest.approx(7.5), 1: pytest.approx(7.5)}
    (batch,) = data.train_batches().take(1)
    assert set(batch[2]["classification"].numpy()) <= {np.float32(0.625), np.float32(2.5)}
    for dataset in (data.validation, plain.train_batches().take(4)):
        assert {w for *_, weights in dataset for w in weights["classification"].numpy()} <= {0, 1}


def test_pairs_have_two_segments(tmp_path, tokenizer):
    rows = [{"a": f"w{i}", "b": f"w{i + 1} w{i + 2}", "same": i % 2} for i in range(40)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f"{row}\n".replace("'", '"') for row in rows))
    data = text_classification(
        tmp_path, tokenizer, sequence_length=8, batch_size=2, text=("a", "b"), label="same"
    )
    assert data.test is None
    assert data.num_test == 0
    assert data.num_train + data.num_validation == 40
    inputs, _, _ = next(iter(data.train))
    a = int(inputs["token_ids"][0, 1])
    assert inputs["token_ids"][0].numpy().tolist() == [2, a, 3, a + 1, a + 2, 3, 0, 0]
    assert inputs["segment_ids"][0].numpy().tolist() == [0, 0, 0, 1, 1, 1, 0, 0]


def test_whole_numbers_are_sorted_by_size(tmp_path, tokenizer):
    (tmp_path / "train.csv").write_text("".join(f"w{i},{i % 12}\n" for i in range(90)))
    data = text_classification(
        tmp_path, tokenizer, sequence_length=6, batch_size=4, text="0", label="1"
    )
    assert data.label_names == tuple(map(str, range(12)))


def test_long_texts_are_cut_and_counted_once(tmp_path, tokenizer):
    long, short = " ".join(WORDS), " ".join(WORDS[:3])
    (tmp_path / "train.tsv").write_text(f"{long}\tx\n{short}\ty\n{long}\ty\n")
    (tmp_path / "dev.tsv").write_text(f"{short}\tx\n{long}\ty\n")
    (tmp_path / "test.tsv").write_text(f"{short}\tx\n")
    with pytest.warns(UserWarning, match="longer than a row") as told:
        data = text_classification(
            tmp_path, tokenizer, sequence_length=5, batch_size=2, text="0", label="1"
        )
    inputs, _, _ = next(iter(data.validation))
    assert inputs["token_ids"].numpy().tolist() == [[2, 5, 6, 7, 3], [2, 5, 6, 7, 3]]
    (one,) = told
    told = "longer than a row of 5 tokens, and cut: 2 (train), 1 (validation)."
    assert str(one.message) == f"{tmp_path / 'train.tsv'}: {told}"
    assert one.filename == __file__


def test_pairs_are_cut_where_both_together_are_too_long(tmp_path, tokenizer):
    rows = ["a b\ta b\tx", "a b\ta\tx", "a\tb a\ty"]  # with three special tokens 7, 6 and 6
    words = {"a": WORDS[0], "b": WORDS[1]}
    lines = ["".join(words.get(letter, letter) for letter in row) for row in rows]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "dev.tsv").write_text("\n".join(lines[1:]) + "\n")
    with pytest.warns(UserWarning, match=r"a row of 6 tokens, and cut: 1 \(train\)\.$"):
        text_classification(
            tmp_path, tokenizer, sequence_length=6, batch_size=2, text=("0", "1"), label="2"
        )


@pytest.mark.parametrize("empty", ["", "  ", "\u200b"])
@pytest.mark.parametrize(("text", "name"), [(("0",), "the text"), (("2", "0"), "the second text")])
def test_an_empty_text_is_named_with_its_line(tmp_path, tokenizer, empty, text, name):
    lines = [f"{WORDS[0]}\tx\t{WORDS[1]}", f"{WORDS[1]}\ty\t{WORDS[1]}", f"{empty}\ty\t{WORDS[1]}"]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "dev.tsv").write_text(lines[0] + "\n")
    told = rf"train\.tsv:3: {name} is empty, or holds no token: .* Write one, or remove the row\."
    with pytest.raises(ValueError, match=told):
        text_classification(
            tmp_path, tokenizer, sequence_length=6, batch_size=2, text=text, label="1"
        )


def test_keras_trains_on_it(data):
    inputs = {
        name: keras.Input([6], dtype="int32", name=name)
        for name in ("token_ids", "segment_ids", "padding_mask")
    }
    states = keras.layers.Embedding(len(SPECIALS) + 100, 8)(inputs["token_ids"])
    output = keras.layers.Dense(3, name="classification")(keras.layers.Flatten()(states))
    model = keras.Model(inputs, {"classification": output})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), {"classification": loss})
    history = model.fit(
        data.train, validation_data=data.validation, epochs=8, shuffle=False, verbose=0
    ).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]


def test_one_label_is_refused(tmp_path, tokenizer):
    (tmp_path / "train.tsv").write_text("w1\tx\nw2\tx\n")
    (tmp_path / "dev.tsv").write_text("w3\tx\n")
    with pytest.raises(ValueError, match=r"train\.tsv: every row has the label 'x'"):
        text_classification(
            tmp_path, tokenizer, sequence_length=6, batch_size=4, text="0", label="1"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 2}, "`sequence_length` must be at least 3, .* received 2"),
        ({"sequence_length": 4, "text": ("a", "b")}, "at least 5, .* received 4"),
        ({"batch_size": 0}, "`batch_size` must be at least 1 row; received 0"),
        ({"text": ("a", "b", "c")}, "one or two texts; received 3"),
    ],
)
def test_arguments_out_of_range_are_refused_before_a_file_is_read(tokenizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        text_classification(
            "nowhere", tokenizer, **{"sequence_length": 6, "batch_size": 4} | arguments
        )


TNEWS = {
    "train": "tnews/train_few_all.json",
    "validation": "tnews/dev_few_all.json",
    "test": "tnews/test_public.json",
}
# Of those with a name of data_sets.py, what that writes is read.
REAL = {
    "cls_sst2": (None, "0", "1", (6920, 872, 1821), 2),
    "cls_trec": ("trec", "text", "label", (4896, 556, 500), 6),
    "intent_banking77": (None, "text", "category", (9006, 997, 3080), 77),
    "pair_mrpc": (None, ("#1 String", "#2 String"), "Quality", (3576, 500, 1725), 2),
    "pair_rte": ("rte", ("premise", "hypothesis"), "label", (1577, 190, 2400), 2),
    "nli_cad": (None, ("sentence1", "sentence2"), "gold_label", (1666, 200, 400), 3),
    "cls_zh_chnsenticorp_hotel": ("chnsenticorp", "text", "label", (6255, 785, 725), 2),
    "zh_fewclue_tnews_bustm": (None, "sentence", "label_desc", (1185, 1098, 2010), 15),
}


def test_a_review_without_a_text_is_told_of(shared_data, tokenizer):
    folder = shared_data("cls_zh_chnsenticorp_hotel")
    with pytest.raises(ValueError, match=r"_all\.csv:6376: the text is empty"):
        text_classification(
            folder / "ChnSentiCorp_htl_all.csv",
            tokenizer,
            sequence_length=32,
            batch_size=64,
            text="review",
            label="label",
        )


@pytest.mark.filterwarnings("ignore:.*longer than a row of 32 tokens")
@pytest.mark.parametrize("name", REAL)
def test_real_data_sets_are_read_whole(shared_data, tokenizer, tmp_path, name):
    written, text, label, sizes, num_labels = REAL[name]
    path = shared_data(name)
    if written:
        data_sets.write(written, path, tmp_path / "rows")
        path = tmp_path / "rows"
    if name == "nli_cad":
        path /= "original"
    if "tnews" in name:
        path = {split: path / file for split, file in TNEWS.items()}
    if "chnsenticorp" in name:
        path /= "reviews.jsonl"
    data = text_classification(
        path,
        tokenizer,
        sequence_length=32,
        batch_size=64,
        text=text,
        label=label,
    )
    assert (data.num_train, data.num_validation, data.num_test) == sizes
    assert len(data.label_names) == num_labels
    assert sum(sum(counts.values()) for counts in data.label_counts.values()) == sum(sizes)
    seen = sum(float(tf.reduce_sum(weights["classification"])) for _, _, weights in data.train)
    assert seen == sizes[0]
