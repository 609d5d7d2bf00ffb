"""What an export answers follows from the model's output: a score, or several labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpt import export, models, objectives
from tfpt.pipelines.packing import pack_segments
from tfpt.serving.loaded_model import LoadedModel

TEXTS = [
    "a good film",
    "",
    "the plot is thin , the film is bad !",
    "Größe",
    "a gripping film . " * 9,
]
OTHERS = ["thin", "a bad film", "", "the plot is gripping", "good"]
NAMES = ("schlecht", "größer", "weiß nicht", "neu")
MEAN, DEVIATION = 3.0, 1.5


@pytest.fixture(scope="module")
def built(tokenizer):
    """A function from an objective to a model with random weights."""

    def model(objective, **arguments):
        size = models.Model(
            num_layers=2, hidden_dim=16, num_heads=2, intermediate_dim=32, max_sequence_length=16
        )
        keras.utils.set_random_seed(1)
        encoder = models.encoder(size, tokenizer.vocabulary_size)
        made = objectives.model(encoder, objective(models.at_first(encoder), **arguments))
        random = np.random.default_rng(1)
        for weight in made.trainable_weights:
            mean = 1.0 if weight.path.endswith("scale") else 0.0
            weight.assign(random.normal(mean, 0.7, weight.shape))
        return made

    return model


@pytest.fixture(scope="module")
def scorer(built):
    return built(objectives.regression, mean=MEAN, deviation=DEVIATION)


@pytest.fixture(scope="module")
def labeller(built):
    return built(objectives.multi_label, num_classes=4, threshold=0.3)


@pytest.fixture
def rows(tokenizer, sequence_length):
    """A function from texts, once or twice, to what the model gets, as training packs them."""

    def packed(*texts):
        parts = pack_segments(
            [tokenizer.tokenize(tf.constant(part, tf.string)) for part in texts],
            sequence_length=sequence_length,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
        )
        return dict(zip(("token_ids", "segment_ids", "padding_mask"), parts, strict=True))

    return packed


def specs(signature):
    return {name: (x.dtype, x.shape.as_list()) for name, x in signature.structured_outputs.items()}


def test_scores_of_texts_equal_those_of_keras(scorer, tokenizer, sequence_length, rows, tmp_path):
    path = export.saved_model(
        scorer, tokenizer, tmp_path / "scores", sequence_length=sequence_length
    )
    expected = scorer(rows(TEXTS))["regression"].numpy()
    assert np.ptp(expected) > 0.1
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    assert specs(signature) == {"score": (tf.float32, [None])}
    np.testing.assert_allclose(signature(text=tf.constant(TEXTS))["score"], expected, atol=1e-5)
    by_tokens = loaded.signatures["tokens"](**rows(TEXTS))
    np.testing.assert_allclose(by_tokens["score"], expected, atol=1e-5)
    assert signature(text=tf.constant([], tf.string))["score"].shape == (0,)
    assert not (path / "assets" / "labels.txt").exists()


def test_scores_of_pairs_have_two_inputs(scorer, tokenizer, sequence_length, rows, tmp_path):
    path = export.saved_model(
        scorer, tokenizer, tmp_path / "scores", sequence_length=sequence_length, num_texts=2
    )
    expected = scorer(rows(TEXTS, OTHERS))["regression"].numpy()
    signature = (loaded := tf.saved_model.load(str(path))).signatures["serving_default"]
    found = signature(text_a=tf.constant(TEXTS), text_b=tf.constant(OTHERS))
    np.testing.assert_allclose(found["score"], expected, atol=1e-5)
    swapped = loaded.signatures["serving_default"](
        text_a=tf.constant(OTHERS), text_b=tf.constant(TEXTS)
    )
    assert np.abs(swapped["score"] - expected).max() > 0.01


@pytest.mark.parametrize("num_texts", [1, 2])
def test_labels_come_with_scores_and_which_are_chosen(
    labeller, tokenizer, sequence_length, rows, tmp_path, num_texts
):
    path = export.saved_model(
        labeller,
        tokenizer,
        tmp_path / "labels",
        labels=NAMES,
        sequence_length=sequence_length,
        num_texts=num_texts,
    )
    texts = (TEXTS, OTHERS)[:num_texts]
    expected = tf.sigmoid(labeller(rows(*texts))["multi_label"]).numpy()
    assert 0 < (expected >= 0.3).sum() < expected.size
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    kinds = {"labels": tf.string, "scores": tf.float32, "chosen": tf.bool}
    assert specs(signature) == {name: (kind, [None, 4]) for name, kind in kinds.items()}
    names = ("text",) if num_texts == 1 else ("text_a", "text_b")
    inputs = {name: tf.constant(part) for name, part in zip(names, texts, strict=True)}
    for found in (signature(**inputs), loaded.signatures["tokens"](**rows(*texts))):
        np.testing.assert_allclose(found["scores"], expected, atol=1e-5)
        np.testing.assert_array_equal(found["chosen"], expected >= 0.3)
        assert [[name.decode() for name in row] for row in found["labels"].numpy()] == (
            [list(NAMES)] * len(TEXTS)
        )
    empty = {name: tf.constant([], tf.string) for name in names}
    assert {name: x.shape for name, x in signature(**empty).items()} == dict.fromkeys(kinds, (0, 4))
    assert (path / "assets" / "labels.txt").read_text(encoding="utf-8").split("\n")[:-1] == [*NAMES]


def test_the_local_server_s_loader_answers_too(
    scorer, labeller, tokenizer, sequence_length, rows, tmp_path
):
    texts = {"text": np.array([text.encode() for text in TEXTS], object)}
    for model, labels in ((scorer, ()), (labeller, NAMES)):
        path = export.saved_model(
            model, tokenizer, tmp_path / "m", labels=labels, sequence_length=sequence_length
        )
        served = LoadedModel(path, name="m", version=1)
        found = served.predict(served.signature("serving_default"), texts)
        if labels:
            expected = tf.sigmoid(model(rows(TEXTS))["multi_label"])
            np.testing.assert_allclose(found["scores"], expected, atol=1e-5)
            assert found["labels"][0].tolist() == [name.encode() for name in NAMES]
        else:
            np.testing.assert_allclose(found["score"], model(rows(TEXTS))["regression"], atol=1e-5)


@pytest.mark.parametrize(("kind", "labels"), [("scorer", NAMES), ("labeller", NAMES[:2])])
def test_labels_that_do_not_fit_the_model_are_refused(
    kind, labels, tokenizer, sequence_length, tmp_path, request
):
    number = {"scorer": 0, "labeller": 4}[kind]
    with pytest.raises(ValueError, match=f"tells {number} classes apart; received {len(labels)}"):
        export.saved_model(
            request.getfixturevalue(kind),
            tokenizer,
            tmp_path / "models",
            labels=labels,
            sequence_length=sequence_length,
        )
    assert not (tmp_path / "models").exists()
