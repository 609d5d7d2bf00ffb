"""Tagged sentences as batches: which token has which label, and how a run goes on."""

import warnings

import data_sets
import numpy as np
import pytest
import tensorflow as tf
from drawn import assert_untuned

from tfpt import features
from tfpt.pipelines import (
    TagColumns,
    Tokenizer,
    token_classification,
    train_byte_pair,
    train_unigram,
    train_wordpiece,
)
from tfpt.pipelines.tagged_words import read_sentences
from tfpt.pipelines.token_classification import first_tokens, join_words

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NAME = features.TOKEN_CLASSIFICATION
TAGS = ("O", "B-x", "I-x")


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer([*SPECIALS, *(f"w{i}" for i in range(100)), "##a", "##b", "!", "'"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """23 training sentences, 7 of validation, 5 of test; that of row i is `wi wiab !`."""
    path = tmp_path_factory.mktemp("tagged")
    for name, first, last in (("train", 0, 23), ("dev", 30, 37), ("test", 40, 45)):
        rows = (
            f"w{i}\t{TAGS[i % 2]}\nw{i}ab\t{TAGS[2 * (i % 2)]}\n!\tO\n\n"
            for i in range(first, last)
        )
        (path / f"{name}.conll").write_text("".join(rows))
    return path


@pytest.fixture
def data(folder, tokenizer):
    return token_classification(folder, tokenizer, sequence_length=9, batch_size=4, seed=3)


def words(batches):
    """The number of the first word of each row that counts, batch after batch."""
    return [
        int(token) - len(SPECIALS)
        for inputs, _, weights in batches
        for token, weight in zip(inputs["token_ids"][:, 1], weights[NAME], strict=True)
        if np.any(weight)
    ]


def test_batches_keep_the_contract(data):
    for dataset in (data.train, data.validation, data.test, data.train_batches()):
        assert_untuned(dataset)
        inputs, labels, weights = dataset.element_spec
        assert set(inputs) == {"token_ids", "segment_ids", "padding_mask"}
        for name, spec in inputs.items():
            assert (spec.shape, spec.dtype.name) == ((4, 9), features.FEATURES[name].dtype)
        assert labels == {NAME: tf.TensorSpec([4, 9], tf.int32)}
        assert weights == {NAME: tf.TensorSpec([4, 9], tf.float32)}


def test_all_words_are_kept_of_what_is_evaluated(data, folder, tokenizer):
    assert list(data.source_rows("test")) == [(f"w{i}", f"w{i}ab", "!") for i in range(40, 45)]
    assert list(data.source_rows("train")) == []
    with pytest.warns(UserWarning, match="longer than the 4 tokens of a row"):
        cut = token_classification(folder, tokenizer, sequence_length=6, batch_size=4)
    one = cut.splits["test"].sentences[1]
    assert (one.words, one.tags) == (("w41", "w41ab", "!"), ("B-x", "I-x", "O"))
    assert one.has_label.tolist() == [True, True, False]


def test_the_tag_of_a_word_stands_at_its_first_token(data):
    assert data.label_names == TAGS
    inputs, labels, weights = next(iter(data.validation))
    a, b, sign = 105, 106, 107
    assert inputs["token_ids"][1].numpy().tolist() == [2, 36, 36, a, b, sign, 3, 0, 0]
    assert inputs["padding_mask"][1].numpy().tolist() == [1] * 7 + [0, 0]
    assert labels[NAME][1].numpy().tolist() == [0, 1, 2, 0, 0, 0, 0, 0, 0]
    assert weights[NAME][1].numpy().tolist() == [0, 1, 1, 0, 0, 1, 0, 0, 0]
    assert labels[NAME][0].numpy().tolist() == [0] * 9


def test_counts_are_those_of_the_files(data):
    assert (data.num_train, data.num_validation, data.num_test) == (23, 7, 5)
    assert data.steps_per_epoch == 6
    assert data.label_counts["train"] == {"O": 12 * 2 + 23, "B-x": 11, "I-x": 11}


def test_validation_and_test_sentences_come_in_the_order_of_the_file(data):
    for _ in range(2):
        assert words(data.validation) == list(range(30, 37))
        assert words(data.test) == list(range(40, 45))
    assert int(data.validation.cardinality()) == 2


def test_the_last_batch_is_filled_up_with_rows_of_weight_zero(data):
    *_, (inputs, _, weights) = data.validation
    assert weights[NAME].numpy().any(axis=1).tolist() == [True, True, True, False]
    assert inputs["token_ids"][:, 1].numpy().tolist() == [5 + 34, 5 + 35, 5 + 36, 5 + 36]
    total = sum(float(tf.reduce_sum(weights[NAME])) for _, _, weights in data.train)
    assert total == 3 * data.num_train


def test_training_visits_each_sentence_once_an_epoch_in_another_order_each_time(data):
    epochs = [words(data.train) for _ in range(3)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    visited = words(data.train_batches().take(23))  # 4 epochs, which cross batches
    assert all(sorted(visited[i : i + 23]) == list(range(23)) for i in range(0, 92, 23))


def test_training_batches_go_on_anywhere_and_follow_from_the_seed(folder, tokenizer, data):
    batches = words(data.train_batches().take(20))
    assert words(data.train_batches(first_batch=7).take(13)) == batches[7 * 4 :]
    for seed, same in ((3, True), (4, False)):
        again = token_classification(folder, tokenizer, sequence_length=9, batch_size=4, seed=seed)
        assert (words(again.train_batches().take(20)) == batches) is same


def test_long_sentences_are_cut_which_is_warned_about_once_with_the_counts(tmp_path, tokenizer):
    (tmp_path / "train.conll").write_text("w1\tB-x\nw2ab\tO\nw3\tO\n\nw4\tO\n")
    (tmp_path / "dev.conll").write_text("w1\tB-x\n\nw4\tO\nw5\tO\nw6\tO\nw7\tO\nw8\tO\n")
    with pytest.warns(UserWarning, match="sentences are longer") as caught:
        data = token_classification(tmp_path, tokenizer, sequence_length=6, batch_size=2)
    (message,) = (str(one.message) for one in caught)
    assert "2 of 4 sentences are longer than the 4 tokens of a row, and are cut" in message
    assert "1 (train), 1 (validation)" in message
    _, labels, weights = next(iter(data.validation))
    assert weights[NAME].numpy().tolist() == [[0, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0]]
    assert labels[NAME].numpy().tolist() == [[0, 1, 0, 0, 0, 0], [0] * 6]


def test_words_of_no_token_are_warned_about_and_leave_the_others_in_place(tmp_path, tokenizer):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.conll").write_text("\u200b\tB-x\nw1\tI-x\n\u200b\tO\nw2\tO\n")
    with pytest.warns(UserWarning, match=r"nothing is left of them: 2 \(train\), 2 \(valid"):
        data = token_classification(tmp_path, tokenizer, sequence_length=6, batch_size=1)
    inputs, labels, weights = next(iter(data.validation))
    assert inputs["token_ids"].numpy().tolist() == [[2, 6, 7, 3, 0, 0]]
    assert labels[NAME].numpy().tolist() == [[0, 2, 0, 0, 0, 0]]
    assert weights[NAME].numpy().tolist() == [[0, 1, 1, 0, 0, 0]]


def test_an_inside_tag_without_a_beginning_is_warned_about(tmp_path, tokenizer):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.conll").write_text("w1\tI-x\nw2\tI-x\nw3\tO\n\nw1\tB-x\nw2\tI-x\n")
    with pytest.warns(UserWarning, match=r"4 words have a tag of an entity, but .* reading of BIO"):
        token_classification(tmp_path, tokenizer, sequence_length=9, batch_size=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 2}, "`sequence_length` must be at least 3, .* received 2"),
        ({"batch_size": 0}, "`batch_size` must be at least 1 row; received 0"),
        ({"separator": ","}, "`separator` is a blank or nothing; received ','"),
    ],
)
def test_arguments_out_of_range_are_refused_before_a_file_is_read(tokenizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        token_classification(
            "nowhere", tokenizer, **{"sequence_length": 6, "batch_size": 4} | arguments
        )


def test_sentences_of_one_tag_are_refused(tmp_path, tokenizer):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.conll").write_text("w1\tO\nw2\tO\n")
    with pytest.raises(ValueError, match=r"train\.conll: every word has the tag 'O'; .* column"):
        token_classification(tmp_path, tokenizer, sequence_length=6, batch_size=4)


def test_without_a_separator_characters_are_words(tmp_path):
    tokenizer = Tokenizer([*SPECIALS, "\u6211", "\u53bb", "12", "1", "2"])
    for name in ("train", "dev"):
        (tmp_path / f"{name}.conll").write_text(
            "\u62110\tO\n\u53bb1\tB-x\n10\tI-x\n21\tO\n", encoding="utf-8"
        )
    columns = TagColumns(numbered=True)
    arguments = {"sequence_length": 8, "batch_size": 1, "columns": columns}
    data = token_classification(tmp_path, tokenizer, **arguments)
    inputs, labels, weights = next(iter(data.validation))
    assert inputs["token_ids"][0].numpy().tolist() == [2, 5, 6, 8, 9, 3, 0, 0]
    assert labels[NAME][0].numpy().tolist() == [0, 0, 1, 2, 0, 0, 0, 0]
    with pytest.warns(UserWarning, match=r"1 \(train\), 1 \(validation\)"):
        data = token_classification(tmp_path, tokenizer, separator="", **arguments)
    inputs, labels, weights = next(iter(data.validation))
    # "12" is one token, of which the first character has the label.
    assert inputs["token_ids"][0].numpy().tolist() == [2, 5, 6, 7, 3, 0, 0, 0]
    assert labels[NAME][0].numpy().tolist() == [0, 0, 1, 2, 0, 0, 0, 0]
    assert weights[NAME][0].numpy().tolist() == [0, 1, 1, 1, 0, 0, 0, 0]


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory):
    """A function from a data set to its sentences, of three kinds of files."""

    def sentences(name):
        if name == "snips":
            path = tmp_path_factory.mktemp("snips") / "rows"
            data_sets.write("slots", shared_data("intent_slot_snips"), path)
            return read_sentences(str(path / "test.jsonl"), TagColumns()).rows
        if name == "weibo":
            path = shared_data("ner_zh_weibo") / "weiboNER_2nd_conll.dev"
            return read_sentences(str(path), TagColumns(numbered=True)).rows
        path = shared_data("ner_wnut17") / "emerging.dev.conll"
        return read_sentences(str(path), TagColumns()).rows

    return sentences


KINDS = {
    "wordpiece": train_wordpiece,
    "byte pair": train_byte_pair,
    "unigram": lambda documents, size: train_unigram(documents, size * 3 // 2, lowercase=False),
}


# As many entries as each of the texts has room and use for.
ENTRIES = {"wnut": 2000, "snips": 1200, "weibo": 1980}


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_each_word_of_real_data_give_it_back(real, kind, name):
    """Character by character: to which word it belongs, and which token stands for it first."""
    rows = real(name)
    separator = "" if name == "weibo" else " "
    texts = [join_words(words, separator) for words in rows]
    tokenizer = KINDS[kind]([(text.text,) for text in texts], ENTRIES[name])
    count = {"words": 0, "whole": 0, "without": 0}
    encodings = tokenizer.encode([text.text for text in texts])
    for words, text, encoding in zip(rows, texts, encodings, strict=True):
        owner = []
        for number, word in enumerate(words):
            owner += [-1] * len(separator) * (number > 0) + [number] * len(word)
        assert len(owner) == len(text.text)
        first, covered = [-1] * len(words), [""] * len(words)
        done = set()
        for number, (start, end) in enumerate(zip(encoding.starts, encoding.ends, strict=True)):
            if start < end and owner[start] >= 0 and first[owner[start]] < 0:
                first[owner[start]] = number
            for place in sorted(set(range(start, end)) - done):
                if owner[place] >= 0:
                    covered[owner[place]] += text.text[place]
            done |= set(range(start, end))
        assert first_tokens(text, encoding.starts, encoding.ends).tolist() == first
        count["words"] += len(words)
        count["without"] += first.count(-1)
        count["whole"] += sum(one == word for one, word in zip(covered, words, strict=True))
    assert count["words"] > 5000
    # What is missing are control characters and the like, which the normalization removes.
    assert count["whole"] / count["words"] > 0.99
    # Without a separator one token may stand for several words.
    assert count["without"] / count["words"] < (0.001 if separator else 0.7)


SOURCES = {
    "wnut": (
        "ner_wnut17",
        {"train": "wnut17train.conll", "validation": "emerging.dev.conll"}
        | {"test": "emerging.test.annotated"},
        {},
        (3394, 1009, 1287),
        13,
    ),
    "weibo": (
        "ner_zh_weibo",
        None,
        {"columns": TagColumns(numbered=True), "separator": ""},
        (1350, 270, 270),
        17,
    ),
    "snips": ("intent_slot_snips", "slots", {}, (12400, 1384, 700), 72),
}


@pytest.mark.parametrize("name", SOURCES)
def test_real_data_sets_are_read_whole(shared_data, tokenizer, tmp_path, name):
    folder, files, arguments, sizes, num_tags = SOURCES[name]
    source = shared_data(folder)
    if files == "slots":
        data_sets.write(files, source, tmp_path / "rows")
        source = tmp_path / "rows"
    elif files:
        source = {split: source / file for split, file in files.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = token_classification(
            source, tokenizer, sequence_length=128, batch_size=64, **arguments
        )
    assert (data.num_train, data.num_validation, data.num_test) == sizes
    assert len(data.label_names) == num_tags
    seen = sum(float(tf.reduce_sum(weights[NAME])) for _, _, weights in data.train)
    split = data.splits["train"]
    assert seen == sum(data.label_counts["train"].values()) - split.num_unseen
