"""The exported model of questions gives the answers of the Keras model and of its report."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
import tiny_answerer
from tiny_answerer import ANSWER_LENGTH, WINDOWS

from tfpt import answer_report, export
from tfpt.export import answerer
from tfpt.pipelines import (
    load_tokenizer,
    question_answering,
    train_byte_pair,
    train_unigram,
    train_wordpiece,
)
from tfpt.serving.loaded_model import LoadedModel

TOLERANCE = 1e-4
LONG = "Zo\u00eb lives in Paris. " * 20 + "\u6211\u4eec\u53bb\u5317\u4eac\u5e02 U.S. \U0001f3ac"
PAIRS = [
    ("Who went to Paris?", "Angela Merkel went to Paris, the city of Obama."),
    ("Who lives there, and why does she live in the city of Paris?", LONG),
    ("Where?", ""),
    ("", "caf\u00e9 \U0001f469\u200d\U0001f4bb Obama \U0001f1eb\U0001f1f7 (Rome), zoe\u0308"),
    ("\u8c01", "\u6211\u4eec\u53bb\u5317\u4eac\u5e02 \u548c \u4e0a\u6d77"),
    ("Who?", " \t\n"),
    ("The city?", "New York! " * 9),
]
DOCUMENTS = [(question, context[:60], "went to Rome.") for question, context in PAIRS] * 3
TOKENIZERS = {
    "wordpiece": train_wordpiece(DOCUMENTS, 90),
    "byte pair": train_byte_pair(DOCUMENTS, 300),
    "sentencepiece": train_unigram(DOCUMENTS, 75),
}
KINDS = pytest.mark.parametrize("kind", TOKENIZERS)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A function from a kind of tokenizer to the Keras model and what its report finds."""
    folder = tmp_path_factory.mktemp("questions")
    learned = {"context": "Obama went.", "qas": [entry("0", "Who?", ("Obama", 0))]}
    asked = [
        {"context": context, "qas": [entry(str(number), question)]}
        for number, (question, context) in enumerate(PAIRS)
    ]
    for name, paragraphs in (("train", [learned]), ("dev", asked)):
        content = {"version": "v2.0", "data": [{"title": name, "paragraphs": paragraphs}]}
        (folder / f"{name}.json").write_text(json.dumps(content))
    done = {}

    def of(kind):
        if kind not in done:
            model = tiny_answerer.build(TOKENIZERS[kind])
            with pytest.warns(UserWarning, match=r"questions 1 \(validation\) of more than 8 tok"):
                data = question_answering(folder, TOKENIZERS[kind], windows=WINDOWS, batch_size=4)
            split = data.splits["validation"]
            asked = answer_report.Asked(
                split=split, batches=data.validation, answer_length=ANSWER_LENGTH
            )
            done[kind] = model, data, answer_report.find_answers(model, asked)
        return done[kind]

    return of


def entry(name, question, *answers):
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": name, "question": question, "answers": listed, "is_impossible": not answers}


@pytest.fixture(scope="module")
def written(reported, tmp_path_factory):
    """A function from a kind of tokenizer to the folder of its export, and its threshold."""
    done = {}

    def exported(kind):
        if kind not in done:
            model, _, found = reported(kind)
            threshold = None
            if kind == "wordpiece":  # the others always answer
                threshold = float(np.median([one.difference for one in found])) + 1e-3
            path = export.saved_answerer(
                model,
                TOKENIZERS[kind],
                tmp_path_factory.mktemp("models") / "squad",
                windows=WINDOWS,
                answer_length=ANSWER_LENGTH,
                no_answer_threshold=threshold,
            )
            done[kind] = path, threshold
        return done[kind]

    return exported


@functools.cache
def served(path):
    return LoadedModel(path, name="squad", version=1)


def ask(path, pairs=PAIRS):
    questions, contexts = (
        np.array([pair[part].encode() for pair in pairs], object) for part in (0, 1)
    )
    signature = served(path).signature("serving_default")
    return served(path).predict(signature, {"question": questions, "context": contexts})


def check(outputs, found, threshold, pairs=PAIRS):
    """Outputs as arrays, against what a report finds."""
    answers = [one.answer(threshold) for one in found]
    assert [one.decode() for one in outputs["answer"]] == answers
    for number, (_, context) in enumerate(pairs):
        start, end = (int(outputs[name][number]) for name in ("start", "end"))
        assert context.encode()[start:end].decode() == answers[number]
        start, end = (int(outputs[name][number]) for name in ("char_start", "char_end"))
        assert context[start:end] == answers[number]
        given = (found[number].start, found[number].end) if answers[number] else (0, 0)
        assert (start, end) == given
    for name in ("score", "no_answer_score"):
        wanted = [getattr(one, name) for one in found]
        np.testing.assert_allclose(outputs[name], wanted, atol=TOLERANCE)


@KINDS
def test_answers_are_those_of_the_report(kind, reported, written):
    _, data, found = reported(kind)
    windows = data.splits["validation"].windows
    counts = np.bincount(windows.question)
    assert counts[1] > 8  # far longer than a row
    assert counts[2] == 1
    # Otherwise equal answers would show little.
    texts = [one.text for one in found]
    assert len(set(texts)) >= 5
    assert not texts[2]
    assert not all(map(str.isascii, texts))
    path, threshold = written(kind)
    if threshold is not None:
        assert sum(not one.answer(threshold) for one in found) == 3
    check(ask(path), found, threshold)


@pytest.mark.parametrize("numbers", [[], [2], [2, 5], [1]])
def test_any_number_of_questions_is_answered_each_on_its_own(numbers, reported, written):
    found = reported("wordpiece")[2]
    path, threshold = written("wordpiece")
    pairs = [PAIRS[number] for number in numbers]
    outputs = ask(path, pairs)
    assert outputs["answer"].shape == (len(numbers),)
    check(outputs, [found[number] for number in numbers], threshold, pairs)


def test_windows_go_through_the_model_some_at_once(reported, written, tmp_path, monkeypatch):
    """However many a request has, and whether or not they fill the last slice."""
    model, _, found = reported("wordpiece")
    path, threshold = written("wordpiece")
    check(ask(path, PAIRS * 4), found * 4, threshold, PAIRS * 4)
    TOKENIZERS["wordpiece"].save(tmp_path)
    module = answerer.Answerer(
        model,
        TOKENIZERS["wordpiece"],
        windows=WINDOWS,
        answer_length=ANSWER_LENGTH,
        no_answer_threshold=threshold,
        assets=tmp_path,
    )
    rows, spans = [], module._spans
    monkeypatch.setattr(answerer, "WINDOWS_AT_ONCE", 5)
    monkeypatch.setattr(
        module, "_spans", lambda inputs: rows.append(len(inputs["token_ids"])) or spans(inputs)
    )
    texts = (tf.constant([pair[part] for pair in PAIRS]) for part in (0, 1))
    outputs = module._answer(*texts)
    check({name: one.numpy() for name, one in outputs.items()}, found, threshold)
    assert len(rows) > 3
    assert set(rows[:-1]) == {5}
    assert 1 <= rows[-1] <= 5


def test_rows_of_tokens_are_answered_as_keras_does(reported, written):
    model, data, _ = reported("wordpiece")
    inputs = next(iter(data.validation))[0]
    logits = model(inputs)["question_answering"].numpy()
    found = tf.saved_model.load(str(written("wordpiece")[0])).signatures["tokens"](**inputs)
    for row, (start, end) in enumerate(logits):
        places = np.flatnonzero(inputs["answer_mask"][row])[1:]
        spans = [(a, b) for a in places for b in places if 0 <= b - a < ANSWER_LENGTH]
        best = max(spans, key=lambda one: start[one[0]] + end[one[1]])
        assert (found["first"][row], found["last"][row]) == best
        np.testing.assert_allclose(found["score"][row], start[best[0]] + end[best[1]], rtol=1e-5)
        np.testing.assert_allclose(found["no_answer_score"][row], start[0] + end[0], rtol=1e-5)


def test_the_signature_names_what_it_takes_and_gives(written):
    signature = tf.saved_model.load(str(written("wordpiece")[0])).signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    assert {name: (x.dtype, x.shape.as_list()) for name, x in inputs.items()} == dict.fromkeys(
        ("question", "context"), (tf.string, [None])
    )
    outputs = signature.structured_outputs
    assert {name: x.dtype for name, x in outputs.items()} == {
        "answer": tf.string,
        **dict.fromkeys(("start", "end", "char_start", "char_end"), tf.int64),
        **dict.fromkeys(("score", "no_answer_score"), tf.float32),
    }


def test_bytes_that_are_not_utf8_are_answered_too(written):
    contexts = [b"\xff\xfe Obama", b"\x80", b"a\x00b"]
    model = served(written("byte pair")[0])
    given = {"question": np.array([b"who"] * 3, object), "context": np.array(contexts, object)}
    found = model.predict(model.signature("serving_default"), given)
    for number, (answer, context) in enumerate(zip(found["answer"], contexts, strict=True)):
        assert answer
        assert context[found["start"][number] : found["end"][number]] == answer
        # What is no character is not counted.
        assert 0 <= found["char_start"][number] <= found["char_end"][number] <= len(context)


def test_the_vocabulary_is_an_asset(written):
    path = written("wordpiece")[0]
    assert load_tokenizer(path / "assets") == TOKENIZERS["wordpiece"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"answer_length": 0}, "`answer_length` must be at least 1 token; received 0"),
        ({"windows": None}, "`sequence_length` is 384, but the model has positions for 24"),
        ({"tokenizer": TOKENIZERS["byte pair"]}, "embeddings for 90 tokens, the tokenizer 300"),
    ],
)
def test_what_does_not_fit_a_model_is_refused(reported, tmp_path, arguments, message):
    settings = {"tokenizer": TOKENIZERS["wordpiece"], "windows": WINDOWS, **arguments}
    with pytest.raises(ValueError, match=message):
        export.saved_answerer(reported("wordpiece")[0], path=tmp_path / "squad", **settings)
    assert not (tmp_path / "squad").exists()


def test_models_of_other_kinds_have_functions_of_their_own(reported, classifier, tmp_path):
    model, tokenizer = reported("wordpiece")[0], TOKENIZERS["wordpiece"]
    with pytest.raises(ValueError, match="answers questions is written by `saved_answerer`"):
        export.saved_model(model, tokenizer, tmp_path / "squad", labels=["a", "b"])
    with pytest.raises(ValueError, match=r"no output `question_answering`.*`saved_model`"):
        export.saved_answerer(classifier, tokenizer, tmp_path / "squad", windows=WINDOWS)


def test_where_the_graph_cannot_cut_texts_tokens_are_taken_alone_and_a_warning_says_so(
    reported, tmp_path, monkeypatch
):
    tokenizer = TOKENIZERS["wordpiece"]
    monkeypatch.setattr(type(tokenizer), "in_graph", False)
    with pytest.warns(UserWarning, match="squad gets the signature `tokens` alone"):
        path = export.saved_answerer(
            reported("wordpiece")[0], tokenizer, tmp_path / "squad", windows=WINDOWS
        )
    assert list(tf.saved_model.load(str(path)).signatures) == ["tokens"]
