"""Heads, losses and the step of the model that carries them, against plain references."""

import keras
import keras_hub
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tiny_bert

from tfpt import config, models, objectives
from tfpt.models.fused import cross_entropy, is_correct
from tfpt.pipelines.batches import untuned

B, P, V = tiny_bert.B, tiny_bert.P, tiny_bert.V


def one_batch(data):
    return untuned(tf.data.Dataset.from_tensors(data))


def fit(model, dataset, **arguments):
    """The logs of Keras `fit`."""
    return model.fit(dataset, verbose=0, shuffle=False, **arguments).history


def losses_of(outputs, labels):
    """float64: the cross-entropy of each target."""
    log_shares = scipy.special.log_softmax(np.asarray(outputs, np.float64), axis=-1)
    return -np.take_along_axis(log_shares, np.asarray(labels)[..., None], axis=-1)[..., 0]


def expected_logs(model, batches):
    """Loss and accuracy of each objective: means over all real targets of all batches."""
    sums = {}
    for features, labels, weights in batches:
        outputs = model(features, training=False)
        for name, weight in weights.items():
            right = np.argmax(outputs[name], axis=-1) == labels[name]
            measured = {"loss": losses_of(outputs[name], labels[name]), "accuracy": right}
            for kind, value in measured.items():
                total = sums.setdefault(f"{name}_{kind}", np.zeros(2))
                total += (value * weight).sum(), np.asarray(weight).sum()
    logs = {name: total / count for name, (total, count) in sums.items()}
    return {**logs, "loss": sum(logs[f"{objective.name}_loss"] for objective in model.objectives)}


def classifier(num_classes=3, **arguments):
    keras.utils.set_random_seed(1)
    encoder = models.encoder(tiny_bert.size(), V)
    head = objectives.classification(encoder, num_classes=num_classes, **arguments)
    return objectives.model(encoder, head)


@pytest.fixture(scope="module")
def bert():
    return tiny_bert.compiled()


def test_a_model_has_the_inputs_and_outputs_of_its_objectives(bert):
    features = tiny_bert.rows(3)[0]
    assert sorted(bert.input) == sorted(features)
    outputs = bert(features)
    assert {name: (x.shape, x.dtype) for name, x in outputs.items()} == {
        "masked_lm": ((3, P, V), tf.float32),
        "next_sentence": ((3, 1, 2), tf.float32),
    }
    del features["mask_positions"]
    assert classifier(5)(features)["classification"].shape == (3, 5)


def test_only_masked_positions_are_projected_onto_the_vocabulary(bert):
    features = tiny_bert.rows(5, seed=3)[0]
    states = bert.encoder({name: features[name] for name in bert.encoder.input})
    named = tiny_bert.values(bert)
    picked = np.take_along_axis(
        states["sequence_output"].numpy(), features["mask_positions"][:, :, None], axis=1
    )
    head = "masked_lm_head"
    inner = picked @ named[f"{head}/transform/kernel"] + named[f"{head}/transform/bias"]
    inner = inner * (1 + scipy.special.erf(inner / np.sqrt(2))) / 2
    inner = (inner - inner.mean(-1, keepdims=True)) / inner.std(-1, keepdims=True)
    inner = inner * named[f"{head}/norm/scale"] + named[f"{head}/norm/offset"]
    expected = inner @ named["token_embedding/embeddings"].T + named[f"{head}/bias"]
    np.testing.assert_allclose(bert(features)["masked_lm"], expected, atol=1e-5)

    # All that is as wide as the vocabulary has a row for each mask slot, none for each token.
    graph = tf.function(lambda: bert(features)).get_concrete_function().graph
    wide = {
        tuple(tensor.shape)
        for operation in graph.get_operations()
        for tensor in operation.outputs
        if tensor.shape.rank and tensor.shape[-1] == V
    }
    assert wide <= {(5 * P, V), (None, V), (5, P, V), (V,)}
    assert (5, P, V) in wide


def test_cross_entropy_and_accuracy_equal_plain_references():
    random = np.random.default_rng(0)
    logits = random.normal(scale=5, size=(4, 3, 7)).astype("float32")
    labels = random.integers(0, 7, (4, 3)).astype("int32")
    np.testing.assert_allclose(
        cross_entropy(labels, logits), losses_of(logits, labels), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(is_correct(labels, logits), logits.argmax(-1) == labels)


def test_losses_and_accuracies_are_means_over_the_real_targets_of_an_epoch(bert):
    batches = [tiny_bert.rows(size, seed=size) for size in (8, 7, 3)]
    # One batch with few targets, so that a mean of the means of batches would differ.
    batches[1][2]["masked_lm"][1:] = 0
    data = one_batch(batches[0]).concatenate(one_batch(batches[1]))
    data = data.concatenate(one_batch(batches[2]))
    expected = expected_logs(bert, batches)
    found = bert.evaluate(data, verbose=0, return_dict=True)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name
    assert list(found) == [metric.name for metric in sorted(bert.metrics, key=lambda m: m.name)]


def test_fit_logs_what_was_measured_before_each_step():
    model = tiny_bert.compiled(learning_rate=1e-2)
    batches = [tiny_bert.rows(B, seed=1)]
    expected = expected_logs(model, batches)
    found = fit(model, one_batch(batches[0]))
    for name, value in expected.items():
        assert found[name] == [pytest.approx(value, abs=1e-5)], name


def test_labels_of_slots_without_weight_change_nothing():
    features, labels, weights = tiny_bert.rows(B, seed=2)
    empty = weights["masked_lm"] == 0
    assert 0 < empty.sum() < empty.size
    others = {**labels, "masked_lm": np.where(empty, 7, labels["masked_lm"]).astype("int32")}
    assert (others["masked_lm"] != labels["masked_lm"]).any()
    results = []
    for chosen in (labels, others):
        model = tiny_bert.compiled()
        logs = model.train_on_batch(features, chosen, weights)
        results.append((logs, tiny_bert.values(model)))
    assert results[0][0] == results[1][0]
    assert tiny_bert.largest_difference(results[0][1], results[1][1]) == 0


def test_slots_without_weight_do_not_dilute_the_loss():
    """More rows without a target leave loss and step as they are."""
    features, labels, weights = tiny_bert.rows(B, seed=2)
    weights["masked_lm"][4:] = 0
    weights["next_sentence"][4:] = 0
    half = tuple({name: x[:4] for name, x in part.items()} for part in (features, labels, weights))
    results = []
    for data in ((features, labels, weights), half):
        model = tiny_bert.compiled()
        results.append((model.train_on_batch(*data), tiny_bert.values(model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    assert tiny_bert.largest_difference(results[0][1], results[1][1]) < 2e-5


def test_a_batch_without_any_target_changes_no_weight():
    model = tiny_bert.compiled(weight_decay=0.0)
    features, labels, weights = tiny_bert.rows(B)
    before = tiny_bert.values(model)
    none = {name: np.zeros_like(weight) for name, weight in weights.items()}
    logs = model.train_on_batch(features, labels, none, return_dict=True)
    assert logs["loss"] == 0.0
    assert tiny_bert.largest_difference(before, tiny_bert.values(model)) == 0


def test_the_losses_are_added_by_their_weights():
    keras.utils.set_random_seed(1)
    encoder = models.encoder(tiny_bert.size(), V)
    model = objectives.model(
        encoder,
        objectives.masked_lm(encoder, weight=0.5),
        objectives.next_sentence(encoder, weight=3.0),
    )
    tiny_bert.compiled(model)
    logs = model.evaluate(one_batch(tiny_bert.rows(B)), verbose=0, return_dict=True)
    total = 0.5 * logs["masked_lm_loss"] + 3.0 * logs["next_sentence_loss"]
    assert logs["loss"] == pytest.approx(total, abs=1e-6)


def test_the_loss_falls_on_one_memorised_batch():
    model = tiny_bert.compiled(
        tiny_bert.pretrainer(hidden_dim=32), learning_rate=3e-2, total_steps=120
    )
    losses = fit(model, one_batch(tiny_bert.rows(B)).repeat(), epochs=6, steps_per_epoch=20)
    assert losses["masked_lm_loss"][-1] < 0.1 < 0.5 < losses["masked_lm_loss"][0]
    assert losses["next_sentence_loss"][-1] < 0.1
    assert losses["masked_lm_accuracy"][-1] == 1


def test_a_classifier_learns_a_batch_and_shares_the_encoder():
    model = tiny_bert.compiled(classifier(), learning_rate=2e-2, total_steps=60)
    assert {id(weight) for weight in model.encoder.weights} < {id(w) for w in model.weights}
    features = {name: x for name, x in tiny_bert.rows(B)[0].items() if name != "mask_positions"}
    labels = {"classification": (np.arange(B) % 3).astype("int32")}
    weights = {"classification": np.ones(B, "float32")}
    data = one_batch((features, labels, weights))
    logs = fit(model, data.repeat(), epochs=6, steps_per_epoch=10)
    assert logs["classification_loss"][-1] < 0.05 < 0.5 < logs["classification_loss"][0]
    assert np.argmax(model.predict(data, verbose=0)["classification"], -1).tolist() == [
        *(0, 1, 2, 0, 1, 2, 0, 1)
    ]


def test_the_head_of_a_classifier_drops_in_training_only():
    model = classifier(dropout_rate=0.5)
    features = {name: x for name, x in tiny_bert.rows(B)[0].items() if name in model.input}
    calm = model(features)["classification"]
    np.testing.assert_array_equal(calm, model(features)["classification"])
    first, second = (model(features, training=True)["classification"] for _ in range(2))
    assert np.abs(first - second).max() > 0
    assert np.abs(first - calm).max() > 0


def tagger(num_classes=3, packed=False, **arguments):
    keras.utils.set_random_seed(1)
    encoder = models.encoder(tiny_bert.size(), V, packed=packed)
    head = objectives.token_classification(encoder, num_classes=num_classes, **arguments)
    return objectives.model(encoder, head)


def test_a_tagger_tells_each_token_from_its_state():
    model = tagger(5)
    features = {name: x for name, x in tiny_bert.rows(3)[0].items() if name in model.input}
    found = model(features)["token_classification"]
    assert (found.shape, found.dtype) == ((3, tiny_bert.T, 5), tf.float32)
    states = model.encoder(features)["sequence_output"].numpy()
    named = tiny_bert.values(model)
    head = "token_classification_head"
    expected = states @ named[f"{head}/kernel"] + named[f"{head}/bias"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_tagger_learns_a_batch_and_only_tokens_with_a_weight_count():
    model = tiny_bert.compiled(tagger(dropout_rate=0.0), learning_rate=2e-2, total_steps=60)
    features = {name: x for name, x in tiny_bert.rows(B)[0].items() if name != "mask_positions"}
    places = np.arange(tiny_bert.T)
    labels = np.where(places % 2, features["token_ids"] % 3, 1).astype("int32")
    weights = (features["padding_mask"] * (places % 2)).astype("float32")
    data = one_batch(
        (features, {"token_classification": labels}, {"token_classification": weights})
    )
    logs = fit(model, data.repeat(), epochs=6, steps_per_epoch=10)
    assert logs["token_classification_loss"][-1] < 0.05 < 0.3 < logs["token_classification_loss"][0]
    assert logs["token_classification_accuracy"][-1] == 1
    expected = expected_logs(
        model, [(features, {"token_classification": labels}, {"token_classification": weights})]
    )
    found = model.evaluate(data, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_head_of_a_tagger_drops_in_training_only_and_takes_packed_rows():
    model = tagger(dropout_rate=0.5)
    features = {name: x for name, x in tiny_bert.rows(B)[0].items() if name in model.input}
    calm = model(features)["token_classification"]
    np.testing.assert_array_equal(calm, model(features)["token_classification"])
    assert np.abs(model(features, training=True)["token_classification"] - calm).max() > 0
    packed = tagger(packed=True, dropout_rate=0.5)
    length = features["token_ids"].shape[1]
    features["text_ids"] = features["padding_mask"]
    features["position_ids"] = np.tile(np.arange(length, dtype="int32"), (B, 1))
    features["text_positions"] = np.zeros((B, 1), "int32")
    is_token = features["padding_mask"] > 0  # padding has no text to look at in packed rows
    found = packed(features)["token_classification"]
    np.testing.assert_allclose(found[is_token], calm[is_token], atol=1e-5)
    with pytest.raises(ValueError, match="`num_classes` must be at least 2; received 1"):
        tagger(1)


def test_gradients_are_clipped_by_their_global_norm():
    """Clipping makes the first step of plain descent exactly that long."""
    data = tiny_bert.rows(B)
    for clip_norm in (0.05, 0.0):
        model = tiny_bert.pretrainer()
        before = tiny_bert.values(model)
        model.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
        model.prepare(config.Step(), clip_norm=clip_norm, total_steps=1)
        model.train_on_batch(*data)
        after = tiny_bert.values(model)
        length = np.sqrt(sum(((after[name] - before[name]) ** 2).sum() for name in before))
        if clip_norm:
            assert length == pytest.approx(clip_norm, rel=1e-3)
        else:
            assert length > 0.1


@pytest.mark.parametrize(
    "settings", [{"steps_per_execution": 3}, {"jit_compile": True}, {"run_eagerly": True}]
)
def test_the_ways_of_keras_to_run_a_step_give_the_same_weights(settings, by_hand):
    model = tiny_bert.pretrainer()
    model.compile(optimizer=keras.optimizers.SGD(0.5), **{"jit_compile": False, **settings})
    logs = fit(model, tiny_bert.stream(), steps_per_epoch=3)
    # The running mean of three batches that all have a next sentence in each row.
    assert logs["next_sentence_loss"] == [pytest.approx(by_hand[0], abs=1e-5)]
    assert tiny_bert.largest_difference(tiny_bert.values(model), by_hand[1]) < 1e-5


@pytest.fixture(scope="module")
def by_hand():
    """Mean loss and weights after three steps, each batch passed by hand."""
    model = tiny_bert.pretrainer()
    model.compile(optimizer=keras.optimizers.SGD(0.5), jit_compile=False)
    losses = [
        model.train_on_batch(*batch, return_dict=True)["next_sentence_loss"]
        for batch in tiny_bert.stream().take(3)
    ]
    return np.mean(losses), tiny_bert.values(model)


def test_a_backbone_of_keras_hub_takes_the_place_of_the_encoder():
    encoder = keras_hub.models.BertBackbone(
        vocabulary_size=V, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32
    )
    model = objectives.model(
        encoder, objectives.masked_lm(encoder), objectives.next_sentence(encoder)
    )
    tiny_bert.compiled(model, total_steps=20)
    logs = fit(model, one_batch(tiny_bert.rows(B)).repeat(), epochs=2, steps_per_epoch=10)
    assert logs["loss"][1] < logs["loss"][0]


def test_objectives_need_different_names(bert):
    one = bert.objectives[0]
    for chosen in ((), (one, one)):
        with pytest.raises(ValueError, match="at least one objective, of different names"):
            objectives.model(bert.encoder, *chosen)


def test_a_classifier_needs_two_classes(bert):
    with pytest.raises(ValueError, match="`num_classes` must be at least 2; received 1"):
        objectives.classification(bert.encoder, num_classes=1)


def test_a_batch_without_weights_is_refused_by_name(bert):
    features, labels, _ = tiny_bert.rows(B)
    with pytest.raises(ValueError, match=r"A batch is \(features, labels, weights\)"):
        bert.evaluate(one_batch((features, labels)), verbose=0)


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_a_step_is_traced_once_however_long_the_training(monkeypatch, steps_per_execution):
    """It takes seconds, and a variable made meanwhile would cost them twice."""
    model = tiny_bert.compiled(step=config.Step(steps_per_execution=steps_per_execution))
    traced = []
    original = model.train_step

    def counted(data):
        traced.append(data)
        return original(data)

    monkeypatch.setattr(objectives.Model, "train_step", lambda _, data: counted(data))
    fit(model, tiny_bert.stream(), steps_per_epoch=2, epochs=2)
    assert len(traced) == 1


def test_keras_still_has_the_names_that_are_overridden():
    for name in ("make_train_function", "make_test_function", "_maybe_symbolic_build"):
        assert callable(getattr(keras.Model, name))
    stock = keras.Sequential([keras.layers.Dense(1)])
    assert stock.train_function is None
    assert stock.test_function is None
    assert stock.steps_per_execution == 1
    assert {"jit_compile", "run_eagerly", "distribute_strategy"} <= set(dir(stock))


def test_averages_follow_the_weights_by_the_momentum():
    """Against NumPy, from the weights of each step."""
    model = tiny_bert.compiled(step=config.Step(ema_momentum=0.8))
    expected = tiny_bert.values(model)
    first = {path: value.copy() for path, value in expected.items()}
    for number in range(4):
        model.train_on_batch(*tiny_bert.rows(seed=number))
        for path, value in tiny_bert.values(model).items():
            expected[path] = 0.8 * expected[path] + 0.2 * value
    found = {path: value.numpy() for path, value in model.averages.items()}
    assert found.keys() == expected.keys()
    assert tiny_bert.largest_difference(found, expected) < 1e-6
    trained = tiny_bert.values(model)
    assert tiny_bert.largest_difference(found, trained) > 1e-3
    assert tiny_bert.largest_difference(found, first) > 1e-3
    with model.averaged():
        assert tiny_bert.largest_difference(tiny_bert.values(model), found) == 0
    assert tiny_bert.largest_difference(tiny_bert.values(model), trained) == 0
