"""Presets of keras-hub: read, written, and calculated with there and here."""

import json

import keras
import keras_hub
import numpy as np
import pytest
import safetensors.numpy
import tiny_bert
from click.testing import CliRunner
from test_weights import BOUND, folder, inputs_of, opened

from tfpt import models, objectives, weights
from tfpt.cli import main

BACKBONES = {
    "bert": "BertBackbone",
    "electra": "ElectraBackbone",
    "distilbert": "DistilBertBackbone",
    "roberta": "RobertaBackbone",
}
FAMILIES = pytest.mark.parametrize("name", BACKBONES)


def encoder_of(name):
    """An encoder of a family that keras-hub has, with weights drawn at random, and its files.

    That of ELECTRA there has a pooler, which the one of transformers has not.
    """
    checkpoint, model = opened(name)
    size, tokenizer = checkpoint.size, checkpoint.tokenizer
    if name != "electra":
        return model.encoder, size, tokenizer
    size = models.Model(**{**vars(size), "has_pooler": True, "embedding_dim": 8})
    keras.utils.set_random_seed(3)
    encoder = models.encoder(size, tokenizer.vocabulary_size)
    for weight in encoder.weights:
        weight.assign(weight + 0.1 * np.random.default_rng(0).normal(size=weight.shape))
    return encoder, size, tokenizer


def exact(backbone):
    """With the exact form of GELU, see hub.py."""
    for layer in backbone.transformer_layers:
        layer._feedforward_intermediate_dense.activation = keras.activations.get("gelu")
    return backbone


def called(backbone, name):
    """Rows of a family, and what a backbone makes of them: states alone where it has no pooler."""
    inputs, _ = inputs_of(safetensors.numpy.load_file(folder(name) / "expected.safetensors"))
    found = backbone({key: inputs[key] for key in backbone.input})
    return inputs, found if isinstance(found, dict) else {"sequence_output": found}


@FAMILIES
def test_a_preset_is_written_and_read(name, tmp_path):
    encoder, size, tokenizer = encoder_of(name)
    given = {"size": size, "tokenizer": tokenizer}
    written = weights.write(tmp_path / "hub", encoder, to="keras-hub", **given)
    backbone = exact(getattr(keras_hub.models, BACKBONES[name]).from_preset(str(written)))
    inputs, theirs = called(backbone, name)
    is_token = inputs["padding_mask"] > 0
    ours = encoder(inputs)
    states = ours["sequence_output"].numpy()[is_token]
    np.testing.assert_allclose(theirs["sequence_output"].numpy()[is_token], states, atol=BOUND)
    if "pooled_output" in theirs:
        np.testing.assert_allclose(theirs["pooled_output"], ours["pooled_output"], atol=BOUND)
    again = weights.read(written)
    assert (again.family, again.tokenizer.sha256) == (name, tokenizer.sha256)
    other = models.encoder(again.size, again.tokenizer.vocabulary_size)
    assert again.assign(other) == []
    found = other(inputs)["sequence_output"].numpy()
    np.testing.assert_allclose(found[is_token], states, atol=BOUND)
    if name in ("bert", "electra"):
        assert again.size == size
        expected = {weight.path: weight.numpy() for weight in encoder.weights}
        assert tiny_bert.largest_difference(expected, tiny_bert.values(other)) == 0


@FAMILIES
def test_the_tokenizer_there_cuts_as_ours(name, tmp_path):
    encoder, size, tokenizer = encoder_of(name)
    written = weights.write(
        tmp_path / "hub", encoder, to="keras-hub", size=size, tokenizer=tokenizer
    )
    theirs = keras_hub.models.Tokenizer.from_preset(str(written))
    assert type(theirs).__name__ == BACKBONES[name].replace("Backbone", "Tokenizer")
    assert theirs.vocabulary_size() == tokenizer.vocabulary_size
    texts = ["The cat sat on the mat.", "Déjà vu? 42!"]
    for text, own in zip(texts, tokenizer.encode(texts), strict=True):
        assert np.asarray(theirs(text)).tolist() == list(own.ids)


def test_heads_have_no_place_in_a_preset(tmp_path):
    checkpoint, model = opened("bert")
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer}
    with pytest.raises(ValueError, match="keras-hub's backbone has no place for masked_lm_head/"):
        weights.write(tmp_path / "hub", model, to="keras-hub", **arguments)
    assert not list(tmp_path.iterdir())


@FAMILIES
def test_a_backbone_with_heads_of_the_user_goes_through_the_commands(name, tmp_path):
    """From a preset to a run and back, and fine-tuned in between."""
    encoder, size, tokenizer = encoder_of(name)
    preset = weights.write(
        tmp_path / "hub", encoder, to="keras-hub", size=size, tokenizer=tokenizer
    )
    for words in (
        ["import", preset, "--out", tmp_path / "run"],
        ["convert", tmp_path / "run", "--to", "keras-hub", "--out", tmp_path / "back"],
    ):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
    first, last = (
        getattr(keras_hub.models, BACKBONES[name]).from_preset(str(path))
        for path in (preset, tmp_path / "back")
    )
    for one, other in zip(first.weights, last.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_what_keras_hub_has_no_backbone_for_is_refused(tmp_path):
    checkpoint, model = opened("electra")  # without a pooler
    given = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer, "heads": False}
    with pytest.raises(ValueError, match=r"no backbone of the form .* has_pooler=False, .* wordpi"):
        weights.write(tmp_path / "a", model, to="keras-hub", **given)
    checkpoint, model = opened("bert")
    odd = models.Model(**{**vars(checkpoint.size), "norm_epsilon": 1e-5})
    given = {"size": odd, "tokenizer": checkpoint.tokenizer, "heads": False}
    with pytest.raises(ValueError, match=r"no backbone of the form .* norm_epsilon=1e-05, "):
        weights.write(tmp_path / "a", model, to="keras-hub", **given)
    bytes_ = weights.read(folder("roberta")).tokenizer
    given = {"size": checkpoint.size, "tokenizer": bytes_, "heads": False}
    with pytest.raises(ValueError, match=r"a vocabulary of byte pair\. Write it for Hugging Face"):
        weights.write(tmp_path / "a", model, to="keras-hub", **given)
    assert not list(tmp_path.iterdir())


def test_other_backbones_are_refused_by_name(tmp_path):
    config = {"class_name": "GPT2Backbone", "registered_name": "keras_hub>GPT2Backbone"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="tells of a GPT2Backbone; of keras-hub BertBackbone, El"):
        weights.read(tmp_path)


def test_a_fine_tuned_row_of_segments_goes_with_the_positions(tmp_path):
    """RoBERTa has one, which keras-hub leaves out."""
    checkpoint, model = opened("roberta")
    row = model.encoder.get_layer("segment_embedding").embeddings
    row.assign(row + 0.5)
    given = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer, "heads": False}
    written = weights.write(tmp_path / "hub", model, to="keras-hub", **given)
    backbone = keras_hub.models.RobertaBackbone.from_preset(str(written))
    inputs, theirs = called(backbone, "roberta")
    is_token = inputs["padding_mask"] > 0
    ours = model.encoder(inputs)["sequence_output"].numpy()[is_token]
    np.testing.assert_allclose(theirs["sequence_output"].numpy()[is_token], ours, atol=BOUND)
    again = weights.read(written)
    other = objectives.model(
        encoder := models.encoder(again.size, again.tokenizer.vocabulary_size),
        objectives.classification(encoder, num_classes=2),
    )
    again.assign(other)
    found = other.encoder(inputs)["sequence_output"].numpy()
    np.testing.assert_allclose(found[is_token], ours, atol=BOUND)
