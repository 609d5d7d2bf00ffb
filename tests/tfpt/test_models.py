"""The encoder against keras-hub's, and the layers against plain references."""

import math

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import models
from tfpt.models import fused

BYTES = 1 << 20


def encoder(*, product_dtype="float32", **changes):
    """A tiny encoder with random biases and norms: initial zeros and ones would hide mistakes."""
    built = models.encoder(tiny_bert.size(**changes), tiny_bert.V, product_dtype=product_dtype)
    random = np.random.default_rng(0)
    for weight in built.weights:
        mean = 1.0 if weight.path.endswith("scale") else 0.0
        weight.assign(random.normal(mean, 0.3, weight.shape))
    return built


def inputs(num_rows=4, **changes):
    features = tiny_bert.rows(num_rows, **changes)[0]
    return {name: features[name] for name in ("token_ids", "segment_ids", "padding_mask")}


def keras_hub_weights(ours, size):
    """Our weights under the paths of keras-hub's backbone."""
    named = tiny_bert.values(ours)
    heads = (size.num_heads, size.hidden_dim // size.num_heads)
    theirs = {
        "token_embedding/embeddings": named["token_embedding/embeddings"],
        "segment_embedding/embeddings": named["segment_embedding/embeddings"],
        "position_embedding/embeddings": named["position_embedding/embeddings"],
        "embeddings_layer_norm/gamma": named["position_embedding/norm/scale"],
        "embeddings_layer_norm/beta": named["position_embedding/norm/offset"],
        "pooled_dense/kernel": named["pooler/kernel"],
        "pooled_dense/bias": named["pooler/bias"],
    }
    for number in range(size.num_layers):
        here, there = f"layer_{number}", f"transformer_layer_{number}"
        attention = f"{there}/self_attention_layer"
        kernels = np.split(named[f"{here}/query_key_value/kernel"], 3, axis=1)
        biases = np.split(named[f"{here}/query_key_value/bias"], 3)
        for part, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            theirs[f"{attention}/{part}/kernel"] = kernel.reshape(-1, *heads)
            theirs[f"{attention}/{part}/bias"] = bias.reshape(heads)
        output = named[f"{here}/attention_output/kernel"]
        theirs[f"{attention}/attention_output/kernel"] = output.reshape(*heads, -1)
        theirs[f"{attention}/attention_output/bias"] = named[f"{here}/attention_output/bias"]
        for norm, other in (("attention", "self_attention"), ("output", "feedforward")):
            theirs[f"{there}/{other}_layer_norm/gamma"] = named[f"{here}/{norm}_norm/scale"]
            theirs[f"{there}/{other}_layer_norm/beta"] = named[f"{here}/{norm}_norm/offset"]
        for dense, other in (("intermediate", "intermediate"), ("output_projection", "output")):
            for kind in ("kernel", "bias"):
                theirs[f"{there}/feedforward_{other}_dense/{kind}"] = named[
                    f"{here}/{dense}/{kind}"
                ]
    return theirs


def keras_hub_encoder(ours, size):
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=tiny_bert.V,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        hidden_dim=size.hidden_dim,
        intermediate_dim=size.intermediate_dim,
        dropout=0.0,
        max_sequence_length=size.max_sequence_length,
    )
    theirs = keras_hub_weights(ours, size)
    assert {weight.path for weight in backbone.weights} == theirs.keys()
    for weight in backbone.weights:
        weight.assign(theirs[weight.path])
    return backbone


def test_the_encoder_names_its_outputs_and_keeps_their_shapes():
    built = encoder()
    outputs = built(inputs(3))
    assert {name: (x.shape, x.dtype) for name, x in outputs.items()} == {
        "sequence_output": ((3, tiny_bert.T, 16), tf.float32),
        "pooled_output": ((3, 16), tf.float32),
    }
    assert sorted(built.input) == ["padding_mask", "segment_ids", "token_ids"]
    assert {x.dtype for x in built.input.values()} == {"int32"}
    assert built.output["sequence_output"].shape == (None, None, 16)


def test_the_encoder_equals_that_of_keras_hub():
    size = tiny_bert.size(num_layers=3)
    ours = encoder(num_layers=3)
    theirs = keras_hub_encoder(ours, size)
    batch = inputs(6)
    expected, found = theirs(batch), ours(batch)
    # keras-hub has the tanh form of GELU, BERT's original code the exact one.
    gaps = [float(tf.reduce_max(tf.abs(expected[name] - found[name]))) for name in found]
    assert 1e-5 < max(gaps) < 1e-2
    for layer in theirs.transformer_layers:
        layer._feedforward_intermediate_dense.activation = keras.activations.get("gelu")
    expected = theirs(batch)
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5)


def test_the_smallest_size_has_as_many_parameters_as_published():
    # 4,385,920: the checkpoint uncased_L-2_H-128_A-2 of Turc et al. 2019.
    assert models.encoder(models.BERT_TINY, 30_522).count_params() == 4_385_920


def test_at_masks_gives_the_states_of_the_encoder_there():
    built = encoder(num_layers=3)
    read, features = models.at_masks(built), tiny_bert.rows(4)[0]
    expected = built(inputs(4))
    found = read(features)
    assert sorted(found) == ["masked_output", "pooled_output"]
    masked = tf.gather(expected["sequence_output"], features["mask_positions"], batch_dims=1)
    np.testing.assert_allclose(found["masked_output"], masked, atol=2e-6)
    np.testing.assert_allclose(found["pooled_output"], expected["pooled_output"], atol=2e-6)
    assert {id(weight) for weight in read.weights} == {id(weight) for weight in built.weights}
    (first,) = models.at_first(built)(inputs(4)).values()
    np.testing.assert_allclose(first, expected["pooled_output"], atol=2e-6)


def test_states_elsewhere_are_not_calculated(monkeypatch):
    """By the rows of the last layer's feed-forward products."""
    widths = []
    original = fused.bias_gelu

    def recorded(product, bias, **arguments):
        widths.append(product.shape[0])
        return original(product, bias, **arguments)

    monkeypatch.setattr(fused, "bias_gelu", recorded)
    built = encoder(num_layers=3)
    rows = tiny_bert.rows(4)[0]
    models.at_masks(built)(rows)
    assert widths[-3:] == [4 * tiny_bert.T, 4 * tiny_bert.T, 4 * (1 + tiny_bert.P)]
    models.at_first(built)(inputs(4))
    assert widths[-3:] == [4 * tiny_bert.T, 4 * tiny_bert.T, 4]


def test_another_encoder_has_no_last_layer_to_read_in_places():
    x = keras.Input((3,), name="x")
    other = keras.Model({"x": x}, {"pooled_output": keras.layers.Dense(2)(x)}, name="other")
    with pytest.raises(ValueError, match="The model other has no layer of an encoder of"):
        models.at_first(other)


def test_padding_has_no_influence_on_tokens():
    built = encoder(num_layers=2)
    short = inputs(3, num_positions=8)
    short["padding_mask"][:] = np.arange(8) < 5
    longer = {name: np.pad(x, [(0, 0), (0, 6)]) for name, x in short.items()}
    longer["token_ids"][:, 5:] = 7
    longer["segment_ids"][:, 5:] = 1
    expected, found = built(short), built(longer)
    np.testing.assert_allclose(
        found["sequence_output"][:, :5], expected["sequence_output"][:, :5], atol=1e-6
    )
    np.testing.assert_allclose(found["pooled_output"], expected["pooled_output"], atol=1e-6)


def test_rows_do_not_influence_each_other():
    built = encoder(num_layers=2)
    batch = inputs(4)
    alone = {name: x[2:3] for name, x in batch.items()}
    np.testing.assert_allclose(
        built(batch)["sequence_output"][2], built(alone)["sequence_output"][0], atol=1e-5
    )


def test_bfloat16_products_are_close_and_leave_weights_and_outputs_in_float32():
    exact, rounded = encoder(num_layers=2), encoder(num_layers=2, product_dtype="bfloat16")
    batch = inputs(6)
    expected, found = exact(batch), rounded(batch)
    for name in found:
        assert found[name].dtype == tf.float32
        gap = np.abs(found[name] - expected[name])
        assert 0 < gap.mean() < 0.02
    assert {weight.dtype for weight in rounded.weights} == {"float32"}


def test_rows_longer_than_the_positions_are_refused():
    built = encoder()
    with pytest.raises(ValueError, match=r"Rows of 17 tokens do not fit: .* positions for 16"):
        built(inputs(2, num_positions=17))


def test_dropout_is_off_at_inference_and_another_in_every_step():
    built = encoder(dropout_rate=0.2)
    batch = inputs(2)
    calm = encoder(dropout_rate=0.0)
    np.testing.assert_array_equal(
        built(batch)["sequence_output"], calm(batch, training=True)["sequence_output"]
    )
    first, second = (built(batch, training=True)["sequence_output"] for _ in range(2))
    assert np.abs(first - second).max() > 0.1
    step = tf.function(lambda: built(batch, training=True)["sequence_output"])
    assert np.abs(step() - step()).max() > 0.1


def test_dropout_hits_every_place_it_should(monkeypatch):
    """Embeddings, and in each layer attention weights and both blocks, each with its own bytes."""
    drawn = []

    def recorded(shape, seed, number):
        noise = original(shape, seed, number)
        drawn.append(noise.numpy())
        return noise

    original = fused.random_bytes
    monkeypatch.setattr(fused, "random_bytes", recorded)
    encoder(num_layers=2, dropout_rate=0.1)(inputs(2), training=True)
    wide, square = (2 * 12, 16), (2, 2, 12, 12)
    assert [noise.shape for noise in drawn] == [(2, 12, 16), *2 * [square, wide, wide]]
    assert len({noise.tobytes()[:64] for noise in drawn}) == 7


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    noise = fused.random_bytes([BYTES], tf.constant([3, 4]), 0)
    dropped = fused.dropout(tf.ones([BYTES]), noise, rate).numpy()
    share = np.mean(dropped == 0)
    # The rate is rounded to 1/256; the rest is chance, 4 standard deviations.
    assert abs(share - rate) < 0.5 / 256 + 4 * np.sqrt(rate * (1 - rate) / BYTES)
    assert np.unique(dropped).size == 2
    assert abs(dropped.mean() - 1) < 4 * np.sqrt(rate / (1 - rate) / BYTES)


@pytest.mark.parametrize(("rate", "share"), [(1e-6, 1 / 256), (0.9999, 255 / 256)])
def test_extreme_rates_drop_something_and_not_all(rate, share):
    noise = fused.random_bytes([BYTES], tf.constant([3, 4]), 0)
    dropped = fused.dropout(tf.ones([BYTES]), noise, rate).numpy()
    assert abs(np.mean(dropped == 0) - share) < 4 * np.sqrt(share * (1 - share) / BYTES)


def test_gather_rows_and_its_gradient_equal_those_of_gather():
    random = np.random.default_rng(0)
    table = tf.Variable(random.normal(size=(7, 5)).astype("float32"))
    ids = tf.constant([3, 0, 3, 6, 3])
    upstream = random.normal(size=(5, 5)).astype("float32")

    @tf.function
    def gradient(gather, ids, upstream):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(gather(table, ids) * upstream)
        return tf.convert_to_tensor(tape.gradient(loss, table))

    np.testing.assert_array_equal(fused.gather_rows(table, ids), tf.gather(table, ids))
    for chosen in (slice(None), slice(0)):
        np.testing.assert_allclose(
            gradient(fused.gather_rows, ids[chosen], upstream[chosen]),
            gradient(tf.gather, ids[chosen], upstream[chosen]),
            atol=1e-6,
        )


def test_layer_norm_and_its_gradients_equal_those_of_keras():
    random = np.random.default_rng(0)
    x, scale, offset, upstream = (
        tf.constant(random.normal(size=shape), tf.float32) for shape in ((6, 8), 8, 8, (6, 8))
    )
    reference = keras.layers.LayerNormalization(epsilon=1e-12)
    reference.build((6, 8))
    reference.set_weights([scale, offset])

    def gradients(normalized, sources):
        with tf.GradientTape() as tape:
            tape.watch(sources)
            result = normalized(*sources)
            loss = tf.reduce_sum(result * upstream)
        return result, *tape.gradient(loss, sources)

    with tf.GradientTape() as tape:
        tape.watch(x)
        result = reference(x)
        loss = tf.reduce_sum(result * upstream)
    sources = [x, *(weight.value for weight in reference.trainable_weights)]
    expected = [result, *tape.gradient(loss, sources)]
    found = gradients(fused.layer_norm, [x, scale, offset])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_pieces_between_products_equal_plain_references():
    random = np.random.default_rng(0)
    scores = random.normal(size=(2, 3, 4, 4)).astype("float32")
    visible = tf.constant([[1, 1, 1, 0], [1, 1, 1, 1]])[:, None, None, :] != 0
    identity = np.broadcast_to(np.eye(4, dtype="float32"), scores.shape)
    weights = fused.attention_weights(2 * scores, identity, visible).numpy()  # 2 = sqrt(4)
    exponents = np.exp(scores) * np.array([[1, 1, 1, 0], [1, 1, 1, 1]])[:, None, None, :]
    np.testing.assert_allclose(weights, exponents / exponents.sum(-1, keepdims=True), atol=1e-6)

    x = random.normal(size=(3, 8)).astype("float32")
    error_function = np.vectorize(math.erf)
    expected = (x + 0.5) * (1 + error_function((x + 0.5) / np.sqrt(2))) / 2
    np.testing.assert_allclose(fused.bias_gelu(x, np.float32(0.5)), expected, atol=1e-6)


def test_no_two_weights_share_a_path():
    paths = [weight.path for weight in tiny_bert.pretrainer(num_layers=3).weights]
    assert len(paths) == len(set(paths)) == 26 + 2 * 12


def test_weights_make_a_round_trip_through_a_file(tmp_path):
    model, other = tiny_bert.pretrainer(seed=1), tiny_bert.pretrainer(seed=2)
    assert tiny_bert.largest_difference(tiny_bert.values(model), tiny_bert.values(other)) > 0.01
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert tiny_bert.largest_difference(tiny_bert.values(model), tiny_bert.values(other)) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, "`num_layers` of Model must be a positive number"),
        ({"dropout_rate": 1.0}, r"`dropout_rate` of Model must be a share in \[0, 1\)"),
        ({"max_sequence_length": 0}, "`max_sequence_length` of Model must be a positive number"),
        ({"num_heads": 3}, "`num_heads` of Model must be a divisor of hidden_dim=16; .*=3"),
    ],
)
def test_sizes_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_bert.size(**changes)
