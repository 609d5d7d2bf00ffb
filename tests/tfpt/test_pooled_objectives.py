"""Scores and several labels on the pooled state: outputs, losses and what is averaged."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tiny_bert

from tfpt import config, flops, model_state, models, objectives

B, V = tiny_bert.B, tiny_bert.V
MEAN, DEVIATION = 40.0, 8.0


def encoder(**changes):
    keras.utils.set_random_seed(1)
    return models.encoder(tiny_bert.size(), V, **changes)


def model_of(objective, *, all_states=False, **arguments):
    whole = encoder()
    read = whole if all_states else models.at_first(whole)
    model = objectives.model(whole, objective(read, **arguments))
    random = np.random.default_rng(0)
    for name in ("regression_head", "multi_label_head"):
        for layer in (one for one in model.layers if one.name == name):
            for weight in layer.weights:
                weight.assign(random.normal(0, 2, weight.shape))
    return model


def scorer(**arguments):
    numbers = {"mean": MEAN, "deviation": DEVIATION, **arguments}
    return model_of(objectives.regression, **numbers)


def labeller(num_classes=3, **arguments):
    return model_of(objectives.multi_label, num_classes=num_classes, **arguments)


def rows(name, labels, num_rows=B, seed=0, weights=None):
    """A batch with these labels; the last rows fill up, of weight 0."""
    features = tiny_bert.rows(num_rows, seed=seed)[0]
    del features["mask_positions"]
    if weights is None:
        weights = np.ones_like(labels)
        weights[num_rows - 2 :] = 0
    return features, {name: labels}, {name: weights}


def scores(num_rows=B, seed=0):
    return np.random.default_rng(seed).normal(MEAN, DEVIATION, num_rows).astype("float32")


def marks(num_rows=B, seed=0, num_classes=3):
    return (np.random.default_rng(seed).random((num_rows, num_classes)) < 0.4).astype("float32")


def pooled(model, features):
    inputs = {name: features[name] for name in model.encoder.input}
    return model.encoder(inputs)["pooled_output"].numpy().astype("float64")


def test_a_score_is_told_in_the_units_of_the_data():
    model = scorer()
    features = rows("regression", scores())[0]
    kernel, bias = model.get_layer("regression_head").weights
    expected = (pooled(model, features) @ kernel.numpy())[:, 0] + bias.numpy()[0]
    found = model(features)["regression"]
    assert (found.shape, found.dtype) == ((B,), tf.float32)
    np.testing.assert_allclose(found, expected * DEVIATION + MEAN, rtol=1e-5)


def test_the_units_are_weights_that_are_not_trained_and_can_be_adapted():
    model = scorer()
    units = {"regression_units/mean", "regression_units/deviation"}
    assert units <= set(model_state.weights(model))
    assert not units & {weight.path for weight in model.trainable_weights}
    features = rows("regression", scores())[0]
    before = model(features)["regression"].numpy()
    model.get_layer("regression_units").adapt(mean=-1.0, deviation=0.5)
    expected = (before - MEAN) / DEVIATION * 0.5 - 1
    np.testing.assert_allclose(model(features)["regression"], expected, atol=1e-5)


def test_squared_and_absolute_errors_are_means_over_the_rows_that_count():
    model = tiny_bert.compiled(scorer())
    batches = [rows("regression", scores(size, size), size, size) for size in (8, 5)]
    errors = np.concatenate(
        [(model(x)["regression"] - y["regression"]).numpy()[:-2] for x, y, _ in batches]
    )
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(batches), output_signature=model_signature(batches[0])
    )
    found = model.evaluate(dataset, verbose=0, return_dict=True)
    assert found == {
        "loss": pytest.approx(np.mean((errors / DEVIATION) ** 2), rel=1e-4),
        "regression_loss": pytest.approx(np.mean((errors / DEVIATION) ** 2), rel=1e-4),
        "regression_absolute_error": pytest.approx(np.mean(np.abs(errors)), rel=1e-4),
    }


def model_signature(batch):
    """The dtypes and shapes of a batch, of any number of rows."""
    return tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), batch)


def test_a_model_of_scores_learns_a_batch_in_its_units():
    model = tiny_bert.compiled(scorer(dropout_rate=0.0), learning_rate=2e-2, total_steps=80)
    data = tf.data.Dataset.from_tensors(rows("regression", scores(), weights=np.ones(B, "float32")))
    logs = model.fit(data.repeat(), verbose=0, shuffle=False, epochs=8, steps_per_epoch=10).history
    assert logs["regression_loss"][-1] < 0.02 < 0.5 < logs["regression_loss"][0]
    found = model.predict(data, verbose=0)["regression"]
    np.testing.assert_allclose(found, scores(), atol=0.2 * DEVIATION)


@pytest.mark.parametrize("threshold", [0.5, 0.1])
def test_each_label_has_a_logit_and_a_target_of_its_own(threshold):
    model = tiny_bert.compiled(labeller(threshold=threshold))
    features, labels, weights = rows("multi_label", marks())
    logits = model(features)["multi_label"].numpy().astype("float64")
    assert logits.shape == (B, 3)
    kernel, bias = model.get_layer("multi_label_head").weights
    np.testing.assert_allclose(logits, pooled(model, features) @ kernel + bias, atol=1e-4)
    has, counts = labels["multi_label"] > 0, weights["multi_label"] > 0
    shares = scipy.special.expit(logits)
    losses = -np.log(np.where(has, shares, 1 - shares))
    right = (shares >= threshold) == has
    dataset = tf.data.Dataset.from_tensors((features, labels, weights))
    found = model.evaluate(dataset, verbose=0, return_dict=True)
    assert found["multi_label_loss"] == pytest.approx(losses[counts].mean(), rel=1e-4)
    assert found["multi_label_accuracy"] == pytest.approx(right[counts].mean(), abs=1e-6)


@pytest.mark.parametrize("logit", [0.0, 80.0, -80.0, 1e4, -1e4])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_loss_of_a_label_is_finite_for_any_logit(logit, label):
    loss = labeller().objectives[0].loss
    logits = tf.constant([[logit]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(tf.constant([[label]]), logits)
    expected = np.logaddexp(0.0, logit) - label * logit
    assert value.numpy()[0, 0] == pytest.approx(expected, rel=1e-6, abs=1e-30)
    gradient = tape.gradient(value, logits).numpy()[0, 0]
    assert gradient == pytest.approx(scipy.special.expit(logit) - label, abs=1e-6)


def test_several_labels_are_learned_by_heart():
    model = tiny_bert.compiled(labeller(dropout_rate=0.0), learning_rate=2e-2, total_steps=80)
    batch = rows("multi_label", marks(), weights=np.ones((B, 3), "float32"))
    data = tf.data.Dataset.from_tensors(batch)
    logs = model.fit(data.repeat(), verbose=0, shuffle=False, epochs=8, steps_per_epoch=10).history
    assert logs["multi_label_loss"][-1] < 0.1
    assert logs["multi_label_accuracy"][-1] == 1
    np.testing.assert_array_equal(model.predict(data, verbose=0)["multi_label"] > 0, marks() > 0)


@pytest.mark.parametrize("build", [scorer, labeller])
def test_the_head_reads_the_first_state_alone_or_with_all_others_and_drops_in_training(build):
    features = rows("regression", scores())[0]
    calm = [next(iter(build(all_states=one)(features).values())) for one in (True, False)]
    np.testing.assert_allclose(*calm, atol=1e-4)
    model = build(dropout_rate=0.5)
    trained = [next(iter(model(features, training=True).values())) for _ in range(2)]
    assert np.abs(trained[0] - trained[1]).max() > 0


def test_a_step_in_parts_is_the_same_step():
    """Also the deviation is read in each part."""
    batch = rows("regression", scores())
    found = []
    for numbers in ({}, {"accumulation_steps": 2}, {"cpu_shards": 2}):
        model = tiny_bert.compiled(scorer(dropout_rate=0.0), step=config.Step(**numbers))
        model.train_on_batch(*batch)
        found.append(tiny_bert.values(model))
    for other in found[1:]:
        assert tiny_bert.largest_difference(found[0], other) < 2e-5


def test_operations_of_the_heads_are_counted():
    for model, classes in ((scorer(), 1), (labeller(5), 5)):
        features = rows("regression", scores())[0]
        counted = flops.batch_of(model, (features, {}, {}), batch_size=B, sequence_length=12)
        assert counted.num_classes == classes


@pytest.mark.parametrize(
    ("objective", "arguments", "message"),
    [
        (
            objectives.multi_label,
            {"num_classes": 0},
            "`num_classes` must be at least 1; received 0",
        ),
        (
            objectives.multi_label,
            {"num_classes": 2, "threshold": 1.0},
            r"`threshold` is a probability, in \(0, 1\); received threshold=1.0",
        ),
        (objectives.regression, {"deviation": 0.0}, "`deviation` must be positive; received 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(objective, arguments, message):
    with pytest.raises(ValueError, match=message):
        objective(encoder(), **arguments)


def test_a_packed_encoder_is_refused():
    packed = encoder(packed=True)
    with pytest.raises(ValueError, match="`regression` takes one text, or pair, to a row"):
        objectives.regression(packed)
    with pytest.raises(ValueError, match="`multi_label` takes one text, or pair, to a row"):
        objectives.multi_label(packed, num_classes=2)


@pytest.mark.parametrize(
    ("objective", "numbers"),
    [
        (objectives.classification, {"num_classes": 300}),
        (objectives.multi_label, {"num_classes": 300}),
        (objectives.token_classification, {"num_classes": 300}),
    ],
)
def test_heads_begin_with_the_full_deviation(objective, numbers):
    """As transformers draws them; weights of encoders are truncated, of 0.0176."""
    keras.utils.set_random_seed(0)
    encoder = models.encoder(tiny_bert.size(), V)
    kernel = objectives.model(encoder, objective(encoder, **numbers)).layers[-1].kernel.numpy()
    assert kernel.std() == pytest.approx(0.02, rel=0.05)
    assert np.abs(kernel).max() > 2.5 * 0.02
    of_encoder = encoder.get_layer("pooler").kernel.numpy()
    assert np.abs(of_encoder).max() <= 2 * 0.02
