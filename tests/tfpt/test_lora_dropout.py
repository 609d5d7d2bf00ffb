"""Dropout of what LoRA and AdaLoRA are given: what is dropped, when, and how it is drawn."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from test_peft import encoder, inputs, scatter
from test_transfer import batch

from tfpt import config, models, objectives, peft, training
from tfpt.peft import deltas, places

RATE = 0.25
BOTH = pytest.mark.parametrize("method", ["lora", "adalora"])
KINDS = pytest.mark.parametrize("kind", ["tfpt", "keras-hub"])


def adapted(method="lora", kind="tfpt", *, dropout_rate=RATE, **changes):
    """Without dropout of the encoder's own, all maps adapted, and nothing that is nothing."""
    given = encoder(kind, **changes)
    found = getattr(peft, method)(given, rank=4, dropout_rate=dropout_rate, roles=config.ROLES)
    scatter(found, size=0.1)
    return found


def states(model, training):
    return np.asarray(model(inputs(), training=training)["sequence_output"])


def test_the_delta_alone_is_of_what_is_left_of_its_input():
    """In NumPy: the elements whose byte is below 64 are dropped, the others are the larger."""
    numbers = config.Adaptation(method="lora", rank=3, dropout_rate=RATE)
    delta = deltas.LowRank([slice(0, 4), slice(4, 10)], numbers, "float32")
    delta.build((8, 10))
    random = np.random.default_rng(0)
    for weight in delta.weights:
        weight.assign(random.normal(size=weight.shape))
    x, y = random.normal(size=(5, 8)).astype("float32"), random.normal(size=(5, 10))
    noise = random.integers(0, 256, (5, 8)).astype("uint8")
    left = x * (noise >= 64) / 0.75
    (down, up), more = (delta.down, delta.up), []
    for first, last in zip(down, up, strict=True):
        more.append(left @ np.asarray(first) @ np.asarray(last))
    expected = y + numbers.alpha / 3 * np.concatenate(more, axis=1)
    found = delta.after(x, y.astype("float32"), noise=tf.constant(noise))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    columns = slice(2, 7)
    part = delta.after(x, y.astype("float32")[:, columns], columns, tf.constant(noise))
    np.testing.assert_allclose(part, expected[:, columns], rtol=1e-4, atol=1e-4)


@BOTH
@KINDS
def test_it_is_on_in_training_alone_and_is_drawn_anew_each_time(method, kind):
    found, without = adapted(method, kind), adapted(method, kind, dropout_rate=0.0)
    for one, other in zip(without.weights, found.weights, strict=True):
        one.assign(other)
    np.testing.assert_array_equal(states(found, False), states(without, False))
    np.testing.assert_array_equal(states(without, True), states(without, False))
    first, second = states(found, True), states(found, True)
    is_token = inputs()["padding_mask"] > 0
    for one, other in ((first, second), (first, states(found, False))):
        assert np.abs(one - other)[is_token].max(axis=1).min() > 1e-4


@KINDS
def test_each_map_has_numbers_of_its_own(kind):
    """What is dropped in one layer, map or place is not what is dropped in another."""
    found = adapted(kind=kind)
    maps = [one for block in places.blocks(found) for one in block.adapted_maps()]
    seen = []
    for one in maps:
        after = one.delta.after

        def watched(x, y, columns=deltas.ALL, noise=None, after=after):
            seen.append(np.asarray(noise))
            return after(x, y, columns, noise)

        one.delta.after = watched
    found(inputs(), training=True)
    assert len(seen) == len(maps)
    for place, one in enumerate(seen):
        assert 0.2 < np.mean(one < 256 * RATE) < 0.3
        for other in seen[:place]:
            if one.shape == other.shape:
                assert 0.3 < np.mean((one < 64) != (other < 64)) < 0.45  # 0.375


def test_states_that_are_read_alone_have_numbers_of_their_own_for_queries():
    """`at_first` asks for queries of some states, and for keys and values of all."""
    found = models.at_first(adapted())
    first = found(inputs(), training=True)
    assert np.abs(np.asarray(first["pooled_output"])).max() > 0
    outputs = [np.asarray(found(inputs(), training=True)["pooled_output"]) for _ in range(2)]
    assert np.abs(outputs[0] - outputs[1]).max(axis=1).min() > 1e-4


def test_states_that_are_calculated_again_drop_the_same():
    """Gradients of a rematerialized step are those of the step that keeps its states."""
    gradients = []
    for rematerialize in (False, True):
        keras.utils.set_random_seed(1)
        size = tiny_bert.size(num_layers=2)
        given = models.encoder(size, tiny_bert.V, rematerialize=rematerialize)
        peft.lora(given, dropout_rate=RATE, roles=config.ROLES)
        scatter(given, size=0.1)
        for layer in given.layers:
            if hasattr(layer, "seed_generator"):
                layer.seed_generator.state.assign([3, 7])
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(given(inputs(), training=True)["sequence_output"] ** 3)
        found = tape.gradient(total, [one.value for one in given.trainable_weights])
        gradients.append([np.asarray(one) for one in found if one is not None])
    assert len(gradients[0]) > 10
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_what_is_merged_has_none():
    found = adapted()
    expected = states(found, False)
    merged = peft.merge(found)
    np.testing.assert_allclose(states(merged, True), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match=r"`dropout_rate` of Adaptation must be a share in \[0, 1"):
        peft.lora(encoder(), dropout_rate=rate)


def test_a_backbone_of_keras_hub_draws_by_a_state_that_belongs_to_the_model():
    """So that it is saved with it, and each step of a compiled program draws anew."""
    found = adapted(kind="keras-hub")
    model = objectives.model(found, objectives.classification(found, num_classes=2))
    training.compile(model, learning_rate=1e-9, total_steps=20, clip_norm=0.0)
    maps = [one for block in places.blocks(found) for one in block.adapted_maps()]
    generators = [one.delta.seed_generator.state for one in maps]
    of_model = {id(one) for one in model.non_trainable_variables}
    assert all(id(one) in of_model for one in generators)
    before = np.array([np.asarray(one) for one in generators])
    losses = [float(model.train_on_batch(*batch())[0]) for _ in range(3)]
    assert len(set(losses)) == 3
    after = np.array([np.asarray(one) for one in generators])
    assert (before != after).any(axis=1).all()
