"""The fast path of a training step: its gradients against plain ones in float64.

Shape letters: B rows, T tokens in a row, K places in all, H hidden width, A heads, V vocabulary.
"""

import threading

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from test_packed_rows import texts

from tfpt import models, objectives
from tfpt.models import fused

RATE = 0.1


def pretrainer(
    *, packed=False, all_states=False, product_dtype="float32", deviation=0.3, **arguments
):
    """Two layers, with random weights throughout: zeros and ones would hide mistakes."""
    size = tiny_bert.size(num_layers=2, dropout_rate=RATE)
    encoder = models.encoder(
        size, tiny_bert.V, packed=packed, product_dtype=product_dtype, **arguments
    )
    read = encoder if all_states else models.at_masks(encoder)
    model = objectives.model(
        encoder,
        objectives.masked_lm(read, product_dtype=product_dtype),
        objectives.next_sentence(read),
    )
    random = np.random.default_rng(0)
    for weight in sorted(model.trainable_weights, key=lambda weight: weight.path):
        mean = 1.0 if weight.path.endswith("scale") else 0.0
        weight.assign(random.normal(mean, deviation, weight.shape))
    return model


def batch_of(packed):
    """Rows with padding: of several texts each, or of one."""
    return texts(4)[0] if packed else tiny_bert.rows(4)


def total_loss(losses, weights):
    return tf.add_n([tf.reduce_sum(losses[name] * weights[name]) for name in sorted(losses)])


def gradients(model, batch, *, clusters, graph=True):
    """The loss and its gradients by path, with the first draw of dropout."""
    features, labels, weights = batch
    for variable in model.non_trainable_variables:  # the random states
        variable.assign(tf.constant([3, 4], variable.dtype))

    def step():
        with fused.clusters(clusters), tf.GradientTape() as tape:
            outputs = model(features, training=True)
            losses = {name: fused.cross_entropy(labels[name], outputs[name]) for name in labels}
            loss = total_loss(losses, weights)
        variables = [weight.value for weight in model.trainable_weights]
        return loss, tape.gradient(loss, variables)

    loss, found = tf.function(step, autograph=False)() if graph else step()
    paths = [weight.path for weight in model.trainable_weights]
    return loss.numpy(), {path: x.numpy() for path, x in zip(paths, found, strict=True)}


def plain_gradients(model, batch, noises, all_states):
    """The same in float64, by TensorFlow's own operations and derivatives; `noises` as drawn.

    Without `all_states` the second layer gives those of texts, then those of masks.
    """
    features, labels, weights = batch
    variables = {w.path: tf.Variable(tf.cast(w.value, tf.float64)) for w in model.trainable_weights}
    noises = iter(noises)
    head = "masked_lm_head"
    masks = features["mask_positions"]
    first = features.get("text_positions", np.zeros((len(masks), 1), np.int32))
    read = np.concatenate([first, masks], axis=1)

    def linear(x, name):
        return x @ variables[f"{name}/kernel"] + variables[f"{name}/bias"]

    def norm(x, name):
        mean, variance = tf.nn.moments(x, axes=-1, keepdims=True)
        scale, offset = variables[f"{name}/scale"], variables[f"{name}/offset"]
        return tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-12)

    def dropped(x):
        noise = tf.reshape(next(noises), x.shape)
        return tf.where(noise >= 26, x * 256 / 230, 0.0)  # 26 = 0.1 * 256

    def encoded():
        ids, length = features["token_ids"], features["token_ids"].shape[1]
        places = features.get("position_ids", np.tile(np.arange(length), (len(ids), 1)))
        x = tf.gather(variables["token_embedding/embeddings"], ids)
        x += tf.gather(variables["segment_embedding/embeddings"], features["segment_ids"])
        x += tf.gather(variables["position_embedding/embeddings"], places)
        x = dropped(norm(x, "position_embedding/norm"))
        text = features.get("text_ids", features["padding_mask"])
        hidden = text[:, None, :] != (text[:, :, None] if "text_ids" in features else 1)
        hidden = np.broadcast_to(hidden, (*ids.shape, length))
        for layer in ("layer_0", "layer_1"):
            parts = tf.split(linear(x, f"{layer}/query_key_value"), 3, axis=-1)
            if layer == "layer_1" and not all_states:
                parts[0], x, hidden = (
                    tf.gather(part, read, batch_dims=1) for part in (parts[0], x, hidden)
                )
            query, key, value = (
                tf.stack(tf.split(part, 2, axis=-1), axis=1)  # (B, A, T, H / A)
                for part in parts
            )
            scores = tf.einsum("bahd,bakd->bahk", query, key) / np.sqrt(8)
            shares = dropped(tf.nn.softmax(tf.where(hidden[:, None], -np.inf, scores)))
            mixed = tf.concat(tf.unstack(shares @ value, axis=1), axis=-1)
            x = norm(
                x + dropped(linear(mixed, f"{layer}/attention_output")), f"{layer}/attention_norm"
            )
            inner = tf.nn.gelu(linear(x, f"{layer}/intermediate"), approximate=False)
            x = norm(
                x + dropped(linear(inner, f"{layer}/output_projection")), f"{layer}/output_norm"
            )
        return x

    def outputs():
        x = encoded()
        if all_states:
            x = tf.gather(x, read, batch_dims=1)
        texts, picked = x[:, : first.shape[1]], x[:, first.shape[1] :]
        inner = tf.nn.gelu(linear(picked, f"{head}/transform"), approximate=False)
        table = variables["token_embedding/embeddings"]
        logits = norm(inner, f"{head}/norm") @ tf.transpose(table) + variables[f"{head}/bias"]
        pair = linear(tf.tanh(linear(texts, "pooler")), "next_sentence_head")
        return {"masked_lm": logits, "next_sentence": pair}

    with tf.GradientTape() as tape:
        losses = {
            name: tf.nn.sparse_softmax_cross_entropy_with_logits(labels[name], logits)
            for name, logits in outputs().items()
        }
        loss = total_loss(losses, {name: w.astype("float64") for name, w in weights.items()})
    found = tape.gradient(loss, list(variables.values()))
    dense = [tf.convert_to_tensor(x).numpy() for x in found]
    return loss.numpy(), dict(zip(variables, dense, strict=True))


@pytest.fixture
def noises(monkeypatch):
    """The random bytes that are drawn outside of graphs, in order."""
    drawn = []
    original = fused.random_bytes

    def recorded(shape, seed, number):
        drawn.append(original(shape, seed, number))
        return drawn[-1]

    monkeypatch.setattr(fused, "random_bytes", recorded)
    return drawn


@pytest.mark.parametrize(
    ("product_dtype", "bound", "packed", "all_states"),
    [
        ("float32", 1e-6, False, False),
        ("float32", 1e-6, True, False),
        ("float32", 1e-6, False, True),
        ("bfloat16", 1e-2, False, False),
        ("float16", 1e-3, False, False),
        pytest.param("float32", 1e-6, True, True, marks=pytest.mark.slow),
        pytest.param("bfloat16", 1e-2, True, False, marks=pytest.mark.slow),
        pytest.param("bfloat16", 1e-2, False, True, marks=pytest.mark.slow),
        pytest.param("float16", 1e-3, True, False, marks=pytest.mark.slow),
    ],
)
def test_gradients_are_those_of_plain_operations_in_float64(
    product_dtype, bound, packed, all_states, noises
):
    """Of the whole model, dropout included, in both forms of its functions."""
    # Rounding grows with the weights, through all layers.
    deviation = 0.2 if product_dtype == "float32" else 0.1
    model = pretrainer(
        packed=packed, all_states=all_states, product_dtype=product_dtype, deviation=deviation
    )
    batch = batch_of(packed)
    found = [gradients(model, batch, clusters=False, graph=False)]
    drawn = list(noises)
    assert len(drawn) == 1 + 3 * 2
    found.append(gradients(model, batch, clusters=True))
    expected_loss, expected = plain_gradients(model, batch, drawn, all_states)
    size = np.sqrt(sum(np.square(x).sum() for x in expected.values()))
    for loss, by_path in found:
        assert loss == pytest.approx(expected_loss, rel=bound)
        gaps = {path: np.linalg.norm(by_path[path] - x) for path, x in expected.items()}
        assert np.linalg.norm(list(gaps.values())) < bound * size
        if product_dtype == "float32":
            for path, gap in gaps.items():
                assert gap < 2 * bound * np.linalg.norm(expected[path]), path


def compiled_functions(concrete):
    library = concrete.graph.as_graph_def().library.function
    return [f.signature.name for f in library if f.attr["_XlaMustCompile"].b]


def test_programs_of_xla_are_made_inside_of_clusters_only():
    model, (features, _, _) = pretrainer(all_states=True), tiny_bert.rows(4)

    def functions(clusters):
        def outputs():
            with fused.clusters(clusters):
                return model(features, training=True)

        return compiled_functions(tf.function(outputs).get_concrete_function())

    assert not functions(False)
    # One for each kind of place, and of random bytes; the two layers share theirs.
    assert len(functions(True)) == 7 + 2


def test_clusters_hold_for_the_thread_that_enters_them():
    seen = []

    def look():
        concrete = tf.function(
            lambda: fused.bias_gelu(tf.zeros([2, 3]), tf.zeros([3]))
        ).get_concrete_function()
        seen.append(compiled_functions(concrete))

    with fused.clusters():
        other = threading.Thread(target=look)
        other.start()
        other.join()
        look()
    look()
    others, own, after = seen
    assert (len(others), len(own), len(after)) == (0, 1, 0)


def kept_bytes(model, batch, clusters):
    """Of what the forward pass leaves for the backward pass, in a graph."""
    features, labels, weights = batch
    forward = []

    def step():
        with fused.clusters(clusters), tf.GradientTape() as tape:
            outputs = model(features, training=True)
            losses = {name: fused.cross_entropy(labels[name], outputs[name]) for name in labels}
            loss = total_loss(losses, weights)
        forward.extend(tf.compat.v1.get_default_graph().get_operations())
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    graph = tf.function(step, autograph=False).get_concrete_function().graph
    names = {operation.name for operation in forward}
    later = [operation for operation in graph.get_operations() if operation.name not in names]
    kept = {x.name: x for operation in later for x in operation.inputs if x.op.name in names}
    states = [x for x in kept.values() if x.shape.rank and x.dtype != tf.resource]
    return sum(x.dtype.size * x.shape.num_elements() for x in states if x.op.type != "Const")


@pytest.mark.parametrize("clusters", [False, True])
def test_rematerialized_layers_have_the_same_gradients_and_keep_less(clusters):
    batch = tiny_bert.rows(4)
    plain, again = pretrainer(), pretrainer(rematerialize=True)
    (loss, expected), (other, found) = (
        gradients(model, batch, clusters=clusters) for model in (plain, again)
    )
    assert loss == pytest.approx(other, rel=1e-6)
    for path, x in expected.items():
        np.testing.assert_allclose(found[path], x, atol=3e-6 * np.abs(x).max() + 1e-7)
    assert kept_bytes(again, batch, clusters) < 0.5 * kept_bytes(plain, batch, clusters)


def test_attention_weights_are_shares_of_what_is_visible():
    model, (features, _, _) = pretrainer(), tiny_bert.rows(4)
    mask = features["padding_mask"]
    x = tf.random.stateless_normal([4, tiny_bert.T, 16], [1, 2])
    layer = model.encoder.get_layer("layer_0")
    weights = layer.attention_weights(x, mask)
    assert (weights.shape, weights.dtype) == ((4, 2, tiny_bert.T, tiny_bert.T), tf.float32)
    np.testing.assert_allclose(tf.reduce_sum(weights, axis=-1), 1, atol=1e-6)
    hidden = np.broadcast_to(mask[:, None, None, :] == 0, weights.shape)
    assert weights.numpy()[hidden].max() == 0
    assert weights.numpy()[~hidden].min() > 0
    states = x.numpy() @ layer.query_key_value.kernel.numpy() + layer.query_key_value.bias.numpy()
    query, key = states[..., 8:16], states[..., 24:32]  # of the second head
    scores = np.where(mask[:, None, :], query @ key.transpose(0, 2, 1) / np.sqrt(8), -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(weights[:, 1], shares / shares.sum(-1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("clusters", [False, True])
@pytest.mark.parametrize("num_classes", [2, 7, 8, 1003])
def test_cross_entropy_and_its_gradient_are_those_of_tensorflow(num_classes, clusters):
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(scale=9, size=(4, 3, num_classes)), tf.float32)
    labels = tf.constant(random.integers(0, num_classes, (4, 3)), tf.int32)
    upstream = tf.constant(random.normal(size=(4, 3)), tf.float32)

    def both(function):
        with fused.clusters(clusters), tf.GradientTape() as tape:
            tape.watch(logits)
            loss = function(labels, logits)
        return loss, tape.gradient(loss, logits, output_gradients=upstream)

    expected = both(tf.nn.sparse_softmax_cross_entropy_with_logits)
    for one, other in zip(both(fused.cross_entropy), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_the_loss_of_a_label_that_is_no_class_is_no_number():
    labels = tf.constant([-1, 0, 2, 3])
    losses = fused.cross_entropy(labels, tf.zeros([4, 3])).numpy()
    np.testing.assert_array_equal(np.isnan(losses), [True, False, False, True])
    np.testing.assert_array_equal(fused.is_correct(labels, tf.zeros([4, 3])), [0, 1, 1, 0])
