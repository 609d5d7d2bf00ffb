"""Steps of each optimizer against NumPy, what is decayed, and two replicas beside one device."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import config, optimization, schedules

SCRIPT = Path(__file__).with_name("ways_to_step.py")
DECAY, PEAK, NUM_STEPS = 0.5, 0.1, 3
SHAPES = {
    "layer_0/output/kernel": (3, 5),
    "token_embedding/embeddings": (6, 4),
    "masked_lm_head/transform/kernel": (4, 4),
    "layer_0/output/bias": (5,),
    "layer_0/norm/scale": (4,),
}
NOT_DECAYED = {"layer_0/output/bias", "layer_0/norm/scale"}


def learning_rate():
    return schedules.schedule("linear", learning_rate=PEAK, warmup_steps=2, total_steps=10)


def rate_of(step):
    return PEAK * min((step + 1) / 2, (10 - step) / 8, 1)


def draws():
    """First weights and the gradients of each step, by path."""
    random = np.random.default_rng(0)
    weights = {path: random.normal(size=shape) for path, shape in SHAPES.items()}
    gradients = [
        {path: random.normal(size=shape) * 10.0 ** -(step + 1) for path, shape in SHAPES.items()}
        for step in range(NUM_STEPS)
    ]
    return weights, gradients


def variable_at(path, value):
    *folders, name = path.split("/")
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.enter_context(keras.name_scope(folder))
        return keras.Variable(value, dtype="float32", name=name)


def trained(name, jit_compile):
    first, gradients = draws()
    variables = [variable_at(path, value) for path, value in first.items()]
    assert [variable.path for variable in variables] == list(SHAPES)
    made = optimization.optimizer(name, learning_rate(), weight_decay=DECAY)
    made.build(variables)
    step = tf.function(
        lambda values: made.apply(values, variables), jit_compile=jit_compile, autograph=False
    )
    for given in gradients:
        step([tf.constant(value, tf.float32) for value in given.values()])
    return {variable.path: variable.numpy() for variable in variables}


def adam_step(state, gradient, step, epsilon=1e-6):
    """For a learning rate of 1, without decay."""
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * gradient
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * gradient**2
    mean, square = state["m"] / (1 - 0.9 ** (step + 1)), state["v"] / (1 - 0.999 ** (step + 1))
    return mean / (np.sqrt(square) + epsilon)


def adamw(path, weight, gradient, state, step, epsilon=1e-6):
    decay = 0 if path in NOT_DECAYED else DECAY
    # "Epsilon hat" of Kingma and Ba: it is added to the root before the correction for the start.
    update = adam_step(state, gradient, step, epsilon / np.sqrt(1 - 0.999 ** (step + 1)))
    # The decay is taken from the weight as it was, apart from the gradient.
    return weight - rate_of(step) * (decay * weight + update)


def lamb(path, weight, gradient, state, step):
    update = adam_step(state, gradient, step)
    if path not in NOT_DECAYED:
        update = update + DECAY * weight
        update = update * np.linalg.norm(weight) / np.linalg.norm(update)
    return weight - rate_of(step) * update


def adafactor(path, weight, gradient, state, step):
    decay = 1 - (step + 1.0) ** -0.8
    square = gradient**2 + 1e-30
    if weight.ndim == 1:
        state["v"] = expected = decay * state.get("v", 0) + (1 - decay) * square
    else:
        state["r"] = decay * state.get("r", 0) + (1 - decay) * square.sum(axis=1)
        state["c"] = decay * state.get("c", 0) + (1 - decay) * square.sum(axis=0)
        expected = np.outer(state["r"], state["c"]) / state["r"].sum()
    update = gradient / np.sqrt(expected)
    update = update / max(1, np.sqrt(np.mean(update**2)))
    kept = weight - rate_of(step) * (0 if path in NOT_DECAYED else DECAY) * weight
    # The size is that of the decayed weight, since Keras decays before the step.
    return kept - rate_of(step) * max(1e-3, np.sqrt(np.mean(kept**2))) * update


def lion(path, weight, gradient, state, step):
    mean = state.get("m", 0)
    decay = 0 if path in NOT_DECAYED else DECAY
    update = np.sign(0.9 * mean + 0.1 * gradient) + decay * weight
    state["m"] = 0.99 * mean + 0.01 * gradient
    return weight - rate_of(step) * update


def muon(path, weight, gradient, state, step):
    if path != "layer_0/output/kernel":
        return adamw(path, weight, gradient, state, step)
    state["m"] = 0.95 * state.get("m", 0) + gradient
    x = gradient + 0.95 * state["m"]
    x = x / np.linalg.norm(x)
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    update = x * np.sqrt(max(weight.shape)) * 0.2
    return weight - rate_of(step) * (DECAY * weight + update)


REFERENCES = {
    "adamw": adamw,
    "lamb": lamb,
    "adafactor": adafactor,
    "lion": lion,
    "muon": muon,
}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", config.OPTIMIZERS)
def test_steps_equal_those_of_the_paper(name, jit_compile):
    found = trained(name, jit_compile)
    expected, gradients = draws()
    states = {path: {} for path in SHAPES}
    for step in range(NUM_STEPS):
        for path, gradient in gradients[step].items():
            expected[path] = REFERENCES[name](path, expected[path], gradient, states[path], step)
    for path, value in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-5, err_msg=path)


def after_a_step_without_gradient(model, name):
    """What is left of ones: 0.95 where a weight is decayed."""
    for weight in model.weights:
        weight.assign(tf.ones(weight.shape))
    gradients = [tf.zeros(weight.shape) for weight in model.trainable_weights]
    made = optimization.optimizer(name, PEAK, weight_decay=DECAY)
    made.apply(gradients, model.trainable_weights)
    return {weight.path: float(weight.numpy().ravel()[0]) for weight in model.weights}


@pytest.mark.parametrize("name", config.OPTIMIZERS)
def test_only_kernels_and_embeddings_are_decayed(name):
    left = after_a_step_without_gradient(tiny_bert.pretrainer(), name)
    kept = {path for path, value in left.items() if value == 1}
    # Lamb makes any step, that of the decay alone too, as large as the weight.
    after = 1 - PEAK * (1 if name == "lamb" else DECAY)
    decayed = {path for path, value in left.items() if value == pytest.approx(after)}
    assert kept | decayed == left.keys()
    assert {path.rpartition("/")[2] for path in kept} == {"bias", "scale", "offset"}
    assert {path.rpartition("/")[2] for path in decayed} == {"kernel", "embeddings"}
    assert "position_embedding/embeddings" in decayed


def test_norms_and_biases_of_keras_hub_are_not_decayed():
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=4, intermediate_dim=4
    )
    left = after_a_step_without_gradient(backbone, "adamw")
    kept = {path.rpartition("/")[2] for path, value in left.items() if value == 1}
    assert kept == {"bias", "gamma", "beta"}


def test_muon_makes_the_kernels_of_the_encoder_orthogonal_and_nothing_else():
    model = tiny_bert.pretrainer()
    made = optimization.optimizer("muon", PEAK, weight_decay=0.0)
    made.build(model.trainable_weights)
    velocities = zip(model.trainable_weights, made.adam_velocities, strict=True)
    by_muon = {weight.path for weight, velocity in velocities if velocity is None}
    kernels = {weight.path for weight in model.encoder.weights if weight.path.endswith("kernel")}
    assert by_muon == kernels
    assert "layer_0/query_key_value/kernel" in by_muon


def test_adafactor_keeps_rows_and_columns_only():
    weight = keras.Variable(np.ones((300, 200)), dtype="float32", name="kernel")
    made = optimization.optimizer("adafactor", PEAK, weight_decay=0.0)
    made.build([weight])
    shapes = sorted(tuple(variable.shape) for variable in made.variables if len(variable.shape))
    assert shapes == [(200,), (300,)]


@pytest.mark.parametrize("rows", [8, 3_000])
def test_large_and_small_weights_take_the_same_step_of_adamw(rows):
    """Large ones by a program of their own; with an epsilon as large as the gradients."""
    random, epsilon = np.random.default_rng(0), 0.5
    for path in ("layer_0/output/kernel", "layer_0/output/bias"):
        first = random.normal(size=(rows, 30)).astype("float32")
        weight, expected, state = variable_at(path, first), first, {}
        made = optimization.optimizer("adamw", learning_rate(), weight_decay=DECAY, epsilon=epsilon)
        for step in range(NUM_STEPS):
            gradient = random.normal(size=first.shape)
            made.apply([tf.constant(gradient, tf.float32)], [weight])
            expected = adamw(path, expected, gradient, state, step, epsilon)
        np.testing.assert_allclose(weight.numpy(), expected, rtol=0, atol=1e-5)


def test_adafactor_leaves_weights_alone_that_have_no_gradient():
    """Where both a row and a column have none, the square of the paper is 0 in float32."""
    weight = keras.Variable(np.ones((3, 3)), dtype="float32", name="kernel")
    made = optimization.optimizer("adafactor", PEAK, weight_decay=0.0)
    made.apply([tf.constant([[0.0, 0, 0], [0, 1e3, 1e3], [0, 1e3, 1e3]])], [weight])
    left = weight.numpy()
    assert np.isfinite(left).all()
    assert (left[0] == 1).all()
    assert (left[:, 0] == 1).all()
    assert (left[1:, 1:] < 1).all()


def test_what_is_out_of_range_or_unknown_is_refused():
    with pytest.raises(ValueError, match=r"`weight_decay` is out of range; received .*=-0.1"):
        optimization.optimizer("adamw", PEAK, weight_decay=-0.1)
    with pytest.raises(ValueError, match=r"`epsilon` must be positive; received epsilon=0"):
        optimization.optimizer("adamw", PEAK, weight_decay=0.0, epsilon=0)
    with pytest.raises(ValueError, match=r"one of adamw, lamb, .*; received 'sgd'"):
        optimization.optimizer("sgd", PEAK, weight_decay=0.0)


def but_keys(name, values):
    """Without the bias of the keys: it changes no attention, so its gradient is rounding alone, of
    which Lion takes the sign."""
    if not name.endswith("query_key_value/bias"):
        return values
    query, _, value = np.split(values, 3)
    return np.concatenate([query, value])


@pytest.mark.slow
def test_two_replicas_train_as_one_device_by_each_optimizer(tmp_path):
    ways = [
        {"optimizer": name, "clip_norm": 0.0, "product_dtype": "float32"}
        for name in config.OPTIMIZERS
    ]
    (tmp_path / "ways.json").write_text(json.dumps({"num_layers": 2, "ways": ways}))
    for kind, num_devices in (("one", 1), ("mirrored", 2)):
        result = subprocess.run(
            [sys.executable, SCRIPT, kind, str(num_devices), tmp_path],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
        assert result.returncode == 0, result.stderr[-3_000:]
        assert result.stdout.strip() == f"replicas {num_devices}"
    different, moved = {}, {}
    first = tiny_bert.values(tiny_bert.pretrainer())
    for number, way in enumerate(ways):
        with (
            np.load(tmp_path / f"one-{number}.npz") as one,
            np.load(tmp_path / f"mirrored-{number}.npz") as two,
        ):
            names = [name for name in one if name not in ("losses", "window")]
            different[way["optimizer"]] = max(
                np.abs(but_keys(name, one[name]) - but_keys(name, two[name])).max()
                for name in names
            )
            moved[way["optimizer"]] = max(np.abs(one[name] - first[name]).max() for name in first)
    assert max(different.values()) < 2e-5, different
    assert min(moved.values()) > 1e-3, moved
