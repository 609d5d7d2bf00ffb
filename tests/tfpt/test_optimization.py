"""AdamW's decay and schedule, against their formulas."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import optimization


def optimizer(**changes):
    numbers = {"learning_rate": 0.1, "warmup_steps": 0, "total_steps": 10, "weight_decay": 0.5}
    return optimization.adamw(**{**numbers, **changes})


def after_a_step_without_gradient(model):
    """What is left of ones: 0.95 where a weight is decayed."""
    for weight in model.weights:
        weight.assign(tf.ones(weight.shape))
    gradients = [tf.zeros(weight.shape) for weight in model.trainable_weights]
    optimizer().apply(gradients, model.trainable_weights)
    return {weight.path: float(weight.numpy().ravel()[0]) for weight in model.weights}


def test_only_kernels_and_embeddings_are_decayed():
    left = after_a_step_without_gradient(tiny_bert.pretrainer())
    kept = {path for path, value in left.items() if value == 1}
    decayed = {path for path, value in left.items() if value == pytest.approx(1 - 0.1 * 0.5)}
    assert kept | decayed == left.keys()
    assert {path.rpartition("/")[2] for path in kept} == {"bias", "scale", "offset"}
    assert {path.rpartition("/")[2] for path in decayed} == {"kernel", "embeddings"}
    assert "position_embedding/embeddings" in decayed


def test_norms_and_biases_of_keras_hub_are_not_decayed():
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=4, intermediate_dim=4
    )
    left = after_a_step_without_gradient(backbone)
    kept = {path.rpartition("/")[2] for path, value in left.items() if value == 1}
    assert kept == {"bias", "gamma", "beta"}


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_zero():
    schedule = optimization.WarmupLinearDecay(2.0, warmup_steps=4, total_steps=12)
    rates = [float(schedule(step)) for step in range(14)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4:] == [2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    again = optimization.WarmupLinearDecay(**schedule.get_config())
    assert float(again(6)) == float(schedule(6))


def test_a_schedule_without_warm_up_begins_at_the_peak_and_one_of_warm_up_only_ends_there():
    falling = optimization.WarmupLinearDecay(1.0, warmup_steps=0, total_steps=4)
    assert [float(falling(step)) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    rising = optimization.WarmupLinearDecay(1.0, warmup_steps=4, total_steps=4)
    assert [float(rising(step)) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_steps_equal_those_of_the_paper():
    random = np.random.default_rng(0)
    weight = keras.Variable(random.normal(size=5).astype("float32"), name="kernel")
    expected, mean, square = weight.numpy().astype("float64"), np.zeros(5), np.zeros(5)
    ours = optimizer(warmup_steps=2)
    for step in range(4):
        gradient = random.normal(size=5).astype("float32")
        ours.apply([tf.constant(gradient)], [weight])
        rate = 0.1 * min((step + 1) / 2, (10 - step) / 8, 1)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        # The decay is taken from the weight as it was, apart from the gradient.
        expected -= rate * 0.5 * expected
        hat = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
        expected -= rate * hat[0] / (np.sqrt(hat[1]) + 1e-6)
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "`learning_rate` is out of range; received learning_rate=0.0"),
        ({"learning_rate": float("inf")}, "`learning_rate` is out of range"),
        ({"total_steps": 0}, "`total_steps` is out of range"),
        ({"warmup_steps": 11}, "`warmup_steps` is out of range; received warmup_steps=11"),
        ({"weight_decay": -0.1}, "`weight_decay` is out of range"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        optimizer(**changes)
