"""Questions as batches of windows: which token is the answer, and how a run goes on."""

import json

import numpy as np
import pytest
import tensorflow as tf
from drawn import assert_untuned

from tfpt import features
from tfpt.pipelines import (
    ContextWindows,
    Tokenizer,
    question_answering,
    train_byte_pair,
    train_unigram,
    train_wordpiece,
)

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NAME = features.QUESTION_ANSWERING
WINDOWS = ContextWindows(sequence_length=12, stride=3, question_length=3)
INPUTS = {"token_ids", "segment_ids", "padding_mask", "answer_mask"}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer([*SPECIALS, *(f"w{i}" for i in range(100)), "##a", "##b", "!", "who"])


def paragraph(name, context, *answers):
    """A context with a question, and its answers by what is in the context."""
    listed = [
        one if isinstance(one, dict) else {"text": one, "answer_start": context.index(one)}
        for one in answers
    ]
    asked = {"id": name, "question": "who who", "answers": listed, "is_impossible": not answers}
    return {"context": context, "qas": [asked]}


def write(folder, **splits):
    for name, paragraphs in splits.items():
        content = {"data": [{"title": name, "paragraphs": paragraphs}]}
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def words(first, last):
    return " ".join(f"w{number}" for number in range(first, last))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """9 training questions of 1 to 3 windows each, 14 in all; 3 of validation; 1 of test."""
    train = [paragraph(str(i), words(10 * i, 11 * i + 3), f"w{10 * i + 1}") for i in range(9)]
    validation = [
        paragraph("a", words(0, 9), "w7 w8", "w1"),
        paragraph("b", "w1 w2ab!", "2ab"),
        paragraph("c", "w1"),
    ]
    folder = tmp_path_factory.mktemp("questions")
    return write(folder, train=train, dev=validation, test=[paragraph("t", "w1 w2", "w1")])


@pytest.fixture
def data(folder, tokenizer):
    return question_answering(folder, tokenizer, windows=WINDOWS, batch_size=4, seed=3)


def test_batches_keep_the_contract(data):
    for dataset in (data.train, data.validation, data.test, data.train_batches()):
        assert_untuned(dataset)
        inputs, labels, weights = dataset.element_spec
        assert set(inputs) == INPUTS
        for name, spec in inputs.items():
            assert (spec.shape, spec.dtype.name) == ((4, 12), features.FEATURES[name].dtype)
        assert labels == {NAME: tf.TensorSpec([4, 2], tf.int32)}
        assert weights == {NAME: tf.TensorSpec([4, 2], tf.float32)}


def test_a_row_that_holds_an_answer_has_its_first_and_last_token(data):
    ((inputs, labels, weights),) = data.validation
    who = 5 + 103
    ids = [5 + number for number in range(9)]
    assert inputs["token_ids"].numpy().tolist() == [
        [2, who, who, 3, *ids[:7], 3],
        [2, who, who, 3, *ids[3:], 3, 0],
        [2, who, who, 3, ids[1], ids[2], 105, 106, 107, 3, 0, 0],
        [2, who, who, 3, ids[1], 3, 0, 0, 0, 0, 0, 0],
    ]
    # "w7 w8" is the first answer, but the first window holds w1 alone; "2ab" begins within a token.
    assert labels[NAME].numpy().tolist() == [[5, 5], [8, 9], [5, 7], [0, 0]]
    assert inputs["answer_mask"][2].numpy().tolist() == [1, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    assert weights[NAME].numpy().tolist() == [[1, 1]] * 4


def test_windows_give_back_the_text_of_their_tokens(data):
    split = data.splits["validation"]
    assert split.has_unanswerable
    assert not data.splits["train"].has_unanswerable
    assert split.text(0, 5, 5) == ("w1", 3, 5)
    assert split.text(1, 8, 9) == ("w7 w8", 21, 26)
    assert split.text(2, 5, 7) == ("w2ab", 3, 7)


def test_counts_are_those_of_the_files(data):
    assert (data.num_train, data.num_validation, data.num_test) == (9, 3, 1)
    split = data.splits["train"]
    # Rows have room for 7 tokens of a context: those of 3 to 7 have one window, 8 to 10 two, 11
    # three.
    assert np.bincount(split.windows.question).tolist() == [1] * 5 + [2] * 3 + [3]
    assert (split.num_windows, data.steps_per_epoch) == (14, 4)
    assert int(data.validation.cardinality()) == 1


def rows_of(batches):
    """The tokens of each row that counts, batch after batch."""
    return [
        tuple(row)
        for inputs, _, weights in batches
        for row, weight in zip(inputs["token_ids"].numpy(), weights[NAME].numpy(), strict=True)
        if weight.any()
    ]


def test_training_visits_each_window_once_an_epoch_in_another_order_each_time(data):
    epochs = [rows_of(data.train) for _ in range(3)]
    assert all(len(set(epoch)) == len(epoch) == 14 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    visited = rows_of(data.train_batches().take(14))  # 4 epochs, which cross batches
    assert all(len(set(visited[i : i + 14])) == 14 for i in range(0, 56, 14))


def test_training_batches_go_on_anywhere_and_follow_from_the_seed(folder, tokenizer, data):
    batches = rows_of(data.train_batches().take(12))
    assert rows_of(data.train_batches(first_batch=5).take(7)) == batches[5 * 4 :]
    for seed, same in ((3, True), (4, False)):
        again = question_answering(folder, tokenizer, windows=WINDOWS, batch_size=4, seed=seed)
        assert (rows_of(again.train_batches().take(12)) == batches) is same


def test_the_last_batch_is_filled_up_with_rows_of_weight_zero(folder, tokenizer):
    data = question_answering(folder, tokenizer, windows=WINDOWS, batch_size=3)
    *_, (inputs, _, weights) = data.validation
    assert weights[NAME].numpy().tolist() == [[1, 1], [0, 0], [0, 0]]
    assert (inputs["token_ids"][1] == inputs["token_ids"][0]).numpy().all()


def test_what_is_cut_or_not_learned_is_warned_about_once_with_the_counts(tmp_path, tokenizer):
    wrong = {"text": "w2", "answer_start": 1}
    long = paragraph("long", "w1", "w1")
    long["qas"][0]["question"] = "who who who who"
    train = [
        long,
        paragraph("outside", words(0, 20), words(1, 9)),
        paragraph("wrong", words(0, 9), wrong),
        paragraph("half", words(0, 9), wrong, "w3"),
    ]
    write(tmp_path, train=train, dev=[paragraph("gone", "\u200b w1", "\u200b")])
    with pytest.warns(UserWarning, match="and its other splits") as caught:
        data = question_answering(
            tmp_path, tokenizer, windows=WINDOWS, batch_size=1, misplaced="drop"
        )
    (message,) = (str(one.message) for one in caught)
    assert "questions 1 (train) of more than 3 tokens, which are cut; 1 (train) whose" in message
    assert (
        "no window holds, and is not learned; a lower stride holds more; 1 (train), 1 " in message
    )
    assert "(validation) whose answers have no place in the tokens of their contexts" in message
    split = data.splits["train"]
    # Windows of questions whose answer none holds do not count; of "half" one answer is learned.
    counts = [split.weights[split.windows.question == number] for number in range(4)]
    assert [set(one.tolist()) for one in counts] == [{1.0}, {0.0}, {0.0}, {1.0}]
    assert split.labels[split.windows.question == 3].tolist() == [[7, 7], [4, 4]]
    assert split.labels[0].tolist() == [5, 5]  # behind a question of three tokens
    # They are not trained on: one window of "long", two of "half".
    assert data.steps_per_epoch == 3
    assert len(rows_of(data.train)) == len(set(rows_of(data.train_batches().take(3)))) == 3


def test_questions_that_teach_nothing_are_refused(tmp_path, tokenizer):
    write(tmp_path, train=[paragraph("a", "w1")], dev=[paragraph("a", "w1", "w1")])
    with pytest.raises(ValueError, match=r"train\.json: no training question has an answer that"):
        question_answering(tmp_path, tokenizer, windows=WINDOWS, batch_size=1)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1 row; received 0"):
        question_answering(tmp_path, tokenizer, windows=WINDOWS, batch_size=0)
    with pytest.raises(ValueError, match=r"`held_out_rate` is a share .* \(0, 0.5\); received 0.5"):
        question_answering(tmp_path, tokenizer, windows=WINDOWS, batch_size=1, held_out_rate=0.5)


def test_a_folder_with_the_names_of_squad_s_files_is_read(tmp_path, tokenizer):
    write(
        tmp_path, **{"train-v2.0": [paragraph("a", "w1", "w1")], "dev-v2.0": [paragraph("b", "w2")]}
    )
    data = question_answering(tmp_path, tokenizer, windows=WINDOWS, batch_size=1)
    assert (data.splits["train"].questions.ids, data.splits["validation"].questions.ids) == (
        ["a"],
        ["b"],
    )


def test_one_file_is_divided_by_its_documents(tmp_path, tokenizer):
    write(tmp_path, all=[paragraph(str(i), f"w{i}", f"w{i}") for i in range(40)])
    for rate, counts in ((0.1, (32, 4, 4)), (0.2, (24, 8, 8))):
        data = question_answering(
            tmp_path / "all.json", tokenizer, windows=WINDOWS, batch_size=4, held_out_rate=rate
        )
        assert (data.num_train, data.num_validation, data.num_test) == counts
        ids = [set(split.questions.ids) for split in data.splits.values()]
        assert len(set.union(*ids)) == 40
    files = {"train": tmp_path / "all.json", "test": tmp_path / "all.json"}
    data = question_answering(files, tokenizer, windows=WINDOWS, batch_size=4, held_out_rate=0.2)
    assert (data.num_train, data.num_validation, data.num_test) == (32, 8, 40)


KINDS = {
    "wordpiece": train_wordpiece,
    "byte pair": train_byte_pair,
    "unigram": lambda documents, size: train_unigram(documents, size, lowercase=False),
}
# Of real data: the articles that are read and the entries of their vocabulary; of the answers that
# are whole in a window at least how many there are, and the share that their tokens give back to
# the character. The others begin or end within a token.
REAL = {
    "qa_policyqa": ("dev.json", 5, 1500, 300, 0.95),
    "qa_zh_cmrc2018": ("cmrc2018_trial.json", 40, 2160, 100, 0.7),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("wordpiece", "qa_policyqa"),
        ("byte pair", "qa_policyqa"),
        ("unigram", "qa_policyqa"),
        ("wordpiece", "qa_zh_cmrc2018"),
    ],
)
def test_labels_of_real_data_give_back_its_answers(shared_data, tmp_path, kind, name):
    file, num_articles, num_entries, least, share = REAL[name]
    content = json.loads((shared_data(name) / file).read_text(encoding="utf-8"))
    content["data"] = content["data"][:num_articles]
    (tmp_path / "all.json").write_text(json.dumps(content))
    contexts = [(one["context"],) for article in content["data"] for one in article["paragraphs"]]
    tokenizer = KINDS[kind](contexts, num_entries)
    with pytest.warns(UserWarning, match="and its other splits: questions"):
        data = question_answering(
            tmp_path / "all.json",
            tokenizer,
            windows=ContextWindows(sequence_length=128, stride=48, question_length=12),
            batch_size=64,
            misplaced="drop",
        )
    split = data.splits["train"]
    held = np.flatnonzero(split.labels.any(axis=1))
    assert len(held) > least
    whole = 0
    for window in held:
        first, last = split.labels[window]
        text, start, end = split.text(window, first, last)
        question = split.windows.question[window]
        assert split.questions.rows[question][1][start:end] == text
        true = [one.text.strip() for one in split.questions.answers[question]]
        assert any(one in text for one in true)
        whole += text in true
    assert whole / len(held) > share
    inputs, labels, _ = next(iter(data.train_batches(5)))
    chosen = tf.gather(inputs["answer_mask"], labels[NAME], batch_dims=1)
    assert chosen.numpy().all()
