"""Whatever kind of tokenizer a model has, its export takes texts, and tokens too."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_classifier
from tiny_classifier import LABELS, SEQUENCE_LENGTH

from tfpt import export
from tfpt.pipelines import load_tokenizer, train_byte_pair, train_unigram, train_wordpiece
from tfpt.pipelines.packing import pack_segments
from tfpt.serving.errors import ServingError
from tfpt.serving.loaded_model import LoadedModel

DOCUMENTS = [("A good film, the plot is thin.", "A bad film!"), ("The film is gripping.",)] * 4
TEXTS = ["a good film", "", "the plot is  thin, caf\u00e9 \u6211", "gripping " * 20]
TOKENIZERS = {
    "wordpiece": train_wordpiece(DOCUMENTS, 50),
    "byte pair": train_byte_pair(DOCUMENTS, 275),
    "sentencepiece": train_unigram(DOCUMENTS, 30),
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


def packed(tokenizer):
    """What the model gets for the texts, as training packs them."""
    parts = pack_segments(
        [tokenizer.tokenize(TEXTS)],
        sequence_length=SEQUENCE_LENGTH,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
    )
    return dict(zip(("token_ids", "segment_ids", "padding_mask"), parts, strict=True))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function from a kind to the Keras model and the folder of its export."""
    done = {}

    def exported(kind):
        if kind not in done:
            model = tiny_classifier.build(TOKENIZERS[kind])
            path = export.saved_model(
                model,
                TOKENIZERS[kind],
                tmp_path_factory.mktemp("models"),
                labels=LABELS,
                sequence_length=SEQUENCE_LENGTH,
            )
            done[kind] = (model, path)
        return done[kind]

    return exported


@KINDS
def test_texts_and_tokens_are_answered_as_keras_does(kind, written):
    model, path = written(kind)
    inputs = packed(TOKENIZERS[kind])
    expected = tf.nn.softmax(model(inputs)["classification"]).numpy()
    assert np.ptp(expected, axis=0).min() > 1e-3
    loaded = tf.saved_model.load(str(path))
    by_texts = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
    by_tokens = loaded.signatures["tokens"](**inputs)
    for outputs in (by_texts, by_tokens):
        np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)
        labels = [LABELS[best].encode() for best in expected.argmax(axis=1)]
        assert outputs["label"].numpy().tolist() == labels


@KINDS
def test_the_local_server_s_loader_answers_too(kind, written):
    model, path = written(kind)
    served = LoadedModel(path, name="films", version=1)
    expected = tf.nn.softmax(model(packed(TOKENIZERS[kind]))["classification"]).numpy()
    signature = served.signature("serving_default")
    found = served.predict(signature, {"text": np.array([text.encode() for text in TEXTS], object)})
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)
    signature = served.signature("tokens")
    inputs = {name: part.numpy() for name, part in packed(TOKENIZERS[kind]).items()}
    found = served.predict(signature, inputs)
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["token_ids", "segment_ids", "padding_mask"])
def test_tokens_of_different_shapes_are_refused(name, written):
    """A sum would repeat the one row, and a server that joins requests would mix them up."""
    served = LoadedModel(written("wordpiece")[1], name="films", version=1)
    inputs = {name: part.numpy() for name, part in packed(TOKENIZERS["wordpiece"]).items()}
    inputs[name] = inputs[name][:1]
    with pytest.raises(ServingError, match=r"token_ids, .*padding_mask must have one shape") as one:
        served.predict(served.signature("tokens"), inputs)
    assert one.value.code == "INVALID_ARGUMENT"


@KINDS
def test_the_tokenizer_comes_out_of_the_assets(kind, written):
    assert load_tokenizer(written(kind)[1] / "assets") == TOKENIZERS[kind]


@ONE_KIND
def test_without_tensorflow_text_tokens_are_taken_alone_and_a_warning_says_so(kind, tmp_path):
    TOKENIZERS[kind].save(tmp_path / "tokenizer")
    script = Path(__file__).with_name("export_without_text.py")
    result = subprocess.run(
        [sys.executable, script, tmp_path / "tokenizer", tmp_path / "films"],
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
        assert any("films gets the signature `tokens` alone" in warning for warning in warnings)
    loaded = tf.saved_model.load(str(tmp_path / "films" / "1"))
    inputs = packed(TOKENIZERS[kind])
    found = loaded.signatures["tokens"](**inputs)["scores"]
    expected = tf.nn.softmax(tiny_classifier.build(TOKENIZERS[kind])(inputs)["classification"])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_vocabulary_without_special_tokens_is_refused_before_anything_is_written(tmp_path):
    tokenizer = TOKENIZERS["byte pair"]
    bare = type(tokenizer)(tokenizer.vocabulary[5:], tokenizer.merges)
    with pytest.raises(ValueError, match=r"^This vocabulary of 270 entries has no pad token"):
        export.saved_model(
            tiny_classifier.build(bare), bare, tmp_path / "films", labels=LABELS, sequence_length=12
        )
    assert not (tmp_path / "films").exists()
