"""What can be adapted and how it is left; backbones of keras-hub."""

import keras
import keras_hub
import numpy as np
import pytest
import tiny_bert
from test_peft import (
    ALL,
    HEADS,
    INNER,
    KINDS,
    LAYERS,
    METHODS,
    WIDTH,
    adapted,
    encoder,
    inputs,
    scatter,
)
from test_transfer import batch

from tfpt import models, objectives, peft
from tfpt.peft import places


@ALL
@KINDS
def test_what_was_added_can_be_taken_off(method, kind):
    given = encoder(kind)
    given.weights[0].trainable = False  # the user's own
    expected = np.asarray(given(inputs())["sequence_output"])
    flags = [weight.trainable for weight in given.weights]
    found = getattr(peft, method)(given, **METHODS[method])
    assert peft.remove(found) is found
    np.testing.assert_array_equal(found(inputs())["sequence_output"], expected)
    assert [weight.trainable for weight in found.weights] == flags
    assert peft.adaptation_of(found) is None
    block = places.blocks(found)[0].layer
    tracked = {name for layer in block._flatten_layers() for name in layer._trackable_children()}
    assert not tracked & {"delta", "prefix", "prompts"}


@pytest.mark.parametrize("method", ["lora", "adalora", "ia3", "adapters"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_backbones_of_few_bits_are_adapted(method, policy):
    keras.utils.set_random_seed(1)
    given = keras_hub.models.BertBackbone(
        vocabulary_size=tiny_bert.V,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=INNER,
        max_sequence_length=16,
        dropout=0.0,
        dtype=policy,
    )
    found = getattr(peft, method)(given, **METHODS[method])
    assert {weight.dtype for weight in peft.kept_weights(found) if "/" in weight.path} >= {
        "float32"
    }
    scatter(found, size=0.05)
    states = np.asarray(found(inputs())["sequence_output"], "float32")
    if method != "adapters":
        merged = peft.merge(found)(inputs())["sequence_output"]
        np.testing.assert_allclose(np.asarray(merged, "float32"), states, atol=0.1)


@pytest.mark.parametrize("name", ["RobertaBackbone", "DistilBertBackbone"])
@pytest.mark.parametrize("method", ["lora", "prefix_tuning", "prompt_tuning"])
def test_other_backbones_are_adapted(name, method):
    keras.utils.set_random_seed(1)
    given = getattr(keras_hub.models, name)(
        vocabulary_size=tiny_bert.V,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=INNER,
        max_sequence_length=16,
        dropout=0.0,
    )
    rows = {name: value for name, value in inputs().items() if name in given.input}
    before = np.asarray(given(rows))
    found = getattr(peft, method)(given, **METHODS[method])
    scatter(found)
    after = np.asarray(found(rows))
    assert after.shape == before.shape
    assert np.abs(after - before).max() > 1e-3


def test_layers_that_share_their_weights_take_no_prompts_and_stay_as_they_are():
    given = keras_hub.models.AlbertBackbone(
        vocabulary_size=tiny_bert.V,
        num_layers=2,
        num_heads=HEADS,
        embedding_dim=8,
        hidden_dim=WIDTH,
        intermediate_dim=INNER,
        max_sequence_length=16,
    )
    number = len(given.trainable_weights)
    with pytest.raises(ValueError, match="share their weights, so that prompts cannot go through"):
        peft.prompt_tuning(given)
    assert len(given.trainable_weights) == number
    assert peft.adaptation_of(peft.lora(given)) is not None


def test_a_model_on_an_adapted_encoder_is_saved_whatever_it_is(tmp_path):
    """A plain functional model, and one of objectives on `at_first`."""
    backbone = adapted("lora", "keras-hub")
    plain = keras.Model(
        backbone.input, keras.layers.Dense(2, name="own")(backbone.output["pooled_output"])
    )
    assert peft.save(plain, tmp_path / "plain.safetensors") > 0
    given = adapted("adalora")
    read = models.at_first(given)
    model = objectives.model(read, objectives.classification(read, num_classes=2))
    assert peft.rank_budget(model) is peft.rank_budget(given) is not None
    model.compile("adam")
    with pytest.raises(ValueError, match="The ranks of adalora fall with the time: compile by"):
        model.train_on_batch(*batch())
