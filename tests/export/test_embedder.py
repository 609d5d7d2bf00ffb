"""The exported embedder: an embedding for each text, the same as in Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpt import export, models
from tfpt.pipelines import load_tokenizer
from tfpt.pipelines.packing import pack_segments
from tfpt.serving.loaded_model import LoadedModel

TEXTS = ["a good film", "", "the plot is thin , the film is bad !", "a gripping film . " * 9]


@pytest.fixture(scope="module")
def encoder(tokenizer):
    size = models.Model(
        num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=32, max_sequence_length=16
    )
    keras.utils.set_random_seed(1)
    made = models.encoder(size, tokenizer.vocabulary_size)
    random = np.random.default_rng(1)
    for weight in made.weights:
        mean = 1.0 if weight.path.endswith("scale") else 0.0
        weight.assign(random.normal(mean, 0.7, weight.shape))
    return made


@pytest.fixture(scope="module")
def embedder(encoder):
    return models.embedder(encoder)


@pytest.fixture(scope="module")
def path(embedder, tokenizer, sequence_length, tmp_path_factory):
    """The folder of its export."""
    return export.saved_model(
        embedder,
        tokenizer,
        tmp_path_factory.mktemp("models") / "near",
        sequence_length=sequence_length,
    )


def test_embeddings_equal_those_of_keras(embedder, path, tokenizer, sequence_length):
    parts = pack_segments(
        [tokenizer.tokenize(tf.constant(TEXTS))],
        sequence_length=sequence_length,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
    )
    packed = dict(zip(("token_ids", "segment_ids", "padding_mask"), parts, strict=True))
    expected = embedder(packed)["embedding"].numpy()
    assert np.abs(expected[0] - expected[2]).max() > 0.1
    signatures = tf.saved_model.load(str(path)).signatures
    found = signatures["serving_default"](text=tf.constant(TEXTS))["embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(signatures["tokens"](**packed)["embedding"], expected, atol=1e-5)
    # A text on its own, without the padding that others ask for.
    alone = signatures["serving_default"](text=tf.constant(TEXTS[:1]))["embedding"]
    np.testing.assert_allclose(alone, expected[:1], atol=1e-5)


def test_the_folder_holds_the_vocabulary_and_no_labels(path, tokenizer):
    assert load_tokenizer(path / "assets") == tokenizer
    assert not (path / "assets" / "labels.txt").exists()
    served = LoadedModel(path, name="near", version=1)
    signature = served.signature("serving_default")
    found = served.predict(signature, {"text": np.array([], object)})
    assert {name: value.shape for name, value in found.items()} == {"embedding": (0, 16)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_texts": 2}, "An embedder takes one text; received num_texts=2"),
        ({"labels": ("a", "b")}, "The model tells 0 classes apart; received 2 labels"),
        ({"separator": ""}, "`separator` is of a tagger, and the model is none. Leave it out."),
        ({"sequence_length": 17}, "`sequence_length` is 17, but the model has positions for 16"),
    ],
)
def test_what_does_not_fit_is_refused(embedder, tokenizer, tmp_path, changes, message):
    settings = {"sequence_length": 12, **changes}
    with pytest.raises(ValueError, match=message):
        export.saved_model(embedder, tokenizer, tmp_path / "no", **settings)
    assert not (tmp_path / "no").exists()
