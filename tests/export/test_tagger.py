"""The exported tagger finds the entities that the Keras model does, and tells their places."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_tagger
from click.testing import CliRunner
from tiny_tagger import LABELS, SEQUENCE_LENGTH

from tfpt import export, serving
from tfpt.cli import main
from tfpt.pipelines import load_tokenizer, train_byte_pair, train_unigram, train_wordpiece
from tfpt.pipelines.packing import pack_segments
from tfpt.pipelines.tags import find_entities
from tfpt.pipelines.token_classification import Text, first_tokens
from tfpt.serving.loaded_model import LoadedModel

TOLERANCE = 1e-5
TEXTS = [
    "Angela Merkel went to Paris.",
    "",
    " \t\n",
    "Zo\u00eb ZO\u00cb zoe\u0308 caf\u00e9 \u00c9cole",
    "\U0001f3ac\ufe0f\U0001f469\u200d\U0001f4bb Obama \U0001f1eb\U0001f1f7 (Rome),",
    "\u6211\u4eec\u53bb\u5317\u4eac\u5e02 \u548c \u4e0a\u6d77",
    "a\u00a0b\u3000c \u201cNew York\u201d U.S. O'Neill's",
    "word " * 40 + "behind",
    "\u200b \ufeffx \u0000y",
    "\u0130stanbul \ufb01ne \u00bd \u1e9e",
]
DOCUMENTS = [
    (text, "went to Paris and Rome, the city of Obama. New York!") for text in TEXTS[:7]
] * 3
TOKENIZERS = {
    "wordpiece": train_wordpiece(DOCUMENTS, 90),
    "byte pair": train_byte_pair(DOCUMENTS, 300),
    "sentencepiece": train_unigram(DOCUMENTS, 75),
}
KINDS = pytest.mark.parametrize("kind", TOKENIZERS)
# Where each kind is a process of its own; the kinds differ in nothing but what they are made of.
ONE_KIND = pytest.mark.parametrize(
    "kind",
    [
        "byte pair",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("wordpiece", "sentencepiece")),
    ],
)
SEPARATORS = pytest.mark.parametrize("separator", [" ", ""])
COLUMNS = ("label", "text", "score", "start", "end", "char_start", "char_end")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function from a kind of tokenizer to the Keras model and the folder of its export."""
    done = {}

    def exported(kind, separator=" "):
        if (kind, separator) not in done:
            model = tiny_tagger.build(TOKENIZERS[kind])
            path = export.saved_model(
                model,
                TOKENIZERS[kind],
                tmp_path_factory.mktemp("models") / "ner",
                labels=LABELS,
                sequence_length=SEQUENCE_LENGTH,
                separator=separator,
            )
            done[kind, separator] = (model, path)
        return done[kind, separator]

    return exported


def packed(tokenizer, texts=TEXTS):
    parts = pack_segments(
        [tokenizer.tokenize(texts)],
        sequence_length=SEQUENCE_LENGTH,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
    )
    return dict(zip(("token_ids", "segment_ids", "padding_mask"), parts, strict=True))


def scores_of(model, tokenizer, texts=TEXTS):
    return tf.nn.softmax(model(packed(tokenizer, texts))["token_classification"]).numpy()


def entities_of(text, scores, encoding, separator):
    """The entities of a text in plain Python, as rows of `COLUMNS`."""
    spans = [one.span() for one in re.finditer(r"\S+" if separator else r"\S", text)]
    if not spans:
        return []
    words = Text(text, *np.array(spans, np.int64).T)
    starts, ends = (part[: SEQUENCE_LENGTH - 2] for part in (encoding.starts, encoding.ends))
    first = first_tokens(words, starts, ends)
    if separator:  # those that open a word with brackets or quotes alone stand for nothing
        own = zip(starts, ends, strict=True)
        speaking = [i if re.fullmatch(r'\s*[(\[{"\u201c\u00ab]+', text[i:j]) else j for i, j in own]
        spoken = first_tokens(words, starts, speaking)
        first = np.where(spoken >= 0, spoken, first)
    seen = np.flatnonzero(first >= 0)
    of_words = scores[first[seen] + 1]
    found = []
    tags = [LABELS[best] for best in of_words.argmax(axis=-1)]
    for kind, one, last in find_entities(tags, ends=False):
        start, end = spans[seen[one]][0], spans[seen[last]][1]
        if not separator:  # a token of several characters is one word
            end = max(end, encoding.ends[first[seen[last]]])
        else:
            whole = text[start:end]
            inner = re.sub(r'^[(\[{"\u201c\u00ab]+', "", whole)
            begin = len(whole) - len(inner)
            inner = re.sub(r'[,;:!?)\]}"\u201d\u00bb]+\.*$', "", inner)
            inner = re.sub(r"^([^.]*[^.])\.$", r"\1", inner)
            if inner:
                start, end = start + begin, start + begin + len(inner)
        score = of_words[one : last + 1].max(axis=-1).mean()
        in_bytes = (len(text[:start].encode()), len(text[:end].encode()))
        found.append((kind, text[start:end], score, *in_bytes, start, end))
    return found


def check(outputs, expected):
    """Outputs as arrays, against the entities of each text."""
    assert outputs["count"].tolist() == [len(one) for one in expected]
    for number, of_text in enumerate(expected):
        count = len(of_text)
        for place, name in enumerate(COLUMNS):
            column = outputs[name][number]
            values = [one.decode() if isinstance(one, bytes) else one for one in column.tolist()]
            wanted = [one[place] for one in of_text]
            if name == "score":
                np.testing.assert_allclose(values[:count], wanted, atol=TOLERANCE)
            else:
                assert values[:count] == wanted
            assert not any(values[count:])


@KINDS
@SEPARATORS
def test_entities_and_their_places_are_those_of_keras(kind, separator, written):
    model, path = written(kind, separator)
    tokenizer = TOKENIZERS[kind]
    scores = scores_of(model, tokenizer)
    expected = [
        entities_of(text, of_text, encoding, separator)
        for text, of_text, encoding in zip(TEXTS, scores, tokenizer.encode(TEXTS), strict=True)
    ]
    # Otherwise equal answers would show little.
    assert sum(map(len, expected)) > 5
    assert any(not one[1].isascii() for of_text in expected for one in of_text)
    loaded = tf.saved_model.load(str(path))
    outputs = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    outputs = {name: value.numpy() for name, value in outputs.items()}
    check(outputs, expected)
    for row, text in enumerate(TEXTS):
        for place in range(outputs["count"][row]):
            start, end, first, last = (
                outputs[name][row, place] for name in ("start", "end", "char_start", "char_end")
            )
            told = outputs["text"][row, place]
            assert told == text.encode()[start:end] == text[first:last].encode() != b""


def test_the_signature_names_what_it_takes_and_gives(written):
    signature = tf.saved_model.load(str(written("byte pair")[1])).signatures["serving_default"]
    (inputs,) = signature.structured_input_signature[1].values()
    assert (inputs.name, inputs.dtype, inputs.shape.as_list()) == ("text", tf.string, [None])
    outputs = signature.structured_outputs
    assert {name: (x.dtype, x.shape.as_list()) for name, x in outputs.items()} == {
        "count": (tf.int32, [None]),
        **dict.fromkeys(("label", "text"), (tf.string, [None, None])),
        "score": (tf.float32, [None, None]),
        **dict.fromkeys(("start", "end", "char_start", "char_end"), (tf.int64, [None, None])),
    }


@pytest.mark.parametrize("texts", [[], [""], ["", "  "], TEXTS[:1]])
def test_any_number_of_texts_is_answered(written, texts):
    model, path = written("wordpiece")
    served = LoadedModel(path, name="ner", version=1)
    signature = served.signature("serving_default")
    given = np.array([text.encode() for text in texts], object)
    found = served.predict(signature, {"text": given})
    tokenizer = TOKENIZERS["wordpiece"]
    expected = []
    if texts:
        scores = scores_of(model, tokenizer, texts)
        expected = [
            entities_of(text, of_text, encoding, " ")
            for text, of_text, encoding in zip(texts, scores, tokenizer.encode(texts), strict=True)
        ]
    check(found, expected)


@KINDS
def test_tokens_are_answered_as_keras_does(kind, written):
    model, path = written(kind)
    inputs = packed(TOKENIZERS[kind])
    expected = tf.nn.softmax(model(inputs)["token_classification"]).numpy()
    found = tf.saved_model.load(str(path)).signatures["tokens"](**inputs)
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)
    np.testing.assert_allclose(found["score"], expected.max(axis=-1), atol=TOLERANCE)
    labels = np.array([label.encode() for label in LABELS], object)
    assert found["label"].numpy().tolist() == labels[expected.argmax(axis=-1)].tolist()


def test_bytes_that_are_not_utf8_are_answered_too(written):
    signature = tf.saved_model.load(str(written("byte pair")[1]))
    texts = [b"\xff\xfe Obama", b"\x80", b"a\x00b"]
    found = signature.signatures["serving_default"](text=tf.constant(texts))
    for row, text in enumerate(texts):
        for place in range(found["count"][row]):
            start, end = found["start"][row, place], found["end"][row, place]
            assert found["text"][row, place] == text[start:end]


def test_the_command_tells_an_object_of_each_entity(written):
    path = written("byte pair")[1]
    with serving.Server({"ner": path.parent}, rest_port=0, grpc_port=0) as server:
        answer = serving.Client(server.address, "ner").predict(TEXTS)
        asked = CliRunner().invoke(main, ["predict", server.address, "ner", "--", *TEXTS])
    assert asked.exit_code == 0, asked.output
    told = [json.loads(line)["entities"] for line in asked.stdout.splitlines()]
    assert [len(entities) for entities in told] == answer["count"].tolist()
    assert max(map(len, told)) > 1
    for row, entities in enumerate(told):
        for place, entity in enumerate(entities):
            assert entity.keys() == answer.keys() - {"count"}
            for name, value in entity.items():
                assert value == answer[name][row, place]


def test_vocabulary_and_labels_are_assets(written):
    path = written("wordpiece")[1]
    assert (path / "assets" / "labels.txt").read_text().splitlines() == list(LABELS)
    assert load_tokenizer(path / "assets") == TOKENIZERS["wordpiece"]


def test_labels_that_are_no_tags_are_refused_before_anything_is_written(tmp_path):
    tokenizer = TOKENIZERS["byte pair"]
    labels = ("O", "B-x", "I-x", "good", "bad")
    with pytest.raises(ValueError, match="the tag 'good' is none of BIO or BIOES"):
        export.saved_model(
            tiny_tagger.build(tokenizer),
            tokenizer,
            tmp_path / "ner",
            labels=labels,
            sequence_length=SEQUENCE_LENGTH,
        )
    assert not (tmp_path / "ner").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_texts": 2}, "A tagger takes one text; received num_texts=2"),
        ({"separator": ","}, "`separator` is a blank or nothing; received ','"),
        ({"sequence_length": 25}, "`sequence_length` is 25, but the model has positions for 24"),
        ({"labels": LABELS[:4]}, "tells 5 classes apart; received 4 labels"),
    ],
)
def test_what_does_not_fit_a_tagger_is_refused(tmp_path, arguments, message):
    tokenizer = TOKENIZERS["byte pair"]
    settings = {"labels": LABELS, "sequence_length": SEQUENCE_LENGTH, **arguments}
    with pytest.raises(ValueError, match=message):
        export.saved_model(tiny_tagger.build(tokenizer), tokenizer, tmp_path / "ner", **settings)
    assert not (tmp_path / "ner").exists()


@ONE_KIND
def test_without_tensorflow_text_tokens_are_taken_alone_and_a_warning_says_so(kind, tmp_path):
    TOKENIZERS[kind].save(tmp_path / "tokenizer")
    script = Path(__file__).with_name("export_without_text.py")
    result = subprocess.run(
        [sys.executable, script, tmp_path / "tokenizer", tmp_path / "ner", "tiny_tagger"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    signatures, warnings = json.loads(result.stdout)
    if kind == "byte pair":
        assert (signatures, warnings) == (["serving_default", "tokens"], [])
    else:
        assert signatures == ["tokens"]
        assert any("ner gets the signature `tokens` alone" in warning for warning in warnings)
