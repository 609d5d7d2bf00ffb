"""What a step costs: operations as the graph has them, memory as it is measured."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert

from tfpt import config, flops, models, objectives, optimization

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {
    "embedding": (7, 6),
    "bias": (6,),
    "kernel": (6, 24),
    "cube": (5, 2, 3),
    "lm_head/kernel": (6, 6),
}


def products(graph):
    """Multiplications and additions of the matrix products of a graph, by their static shapes."""
    total = 0
    for operation in graph.get_operations():
        if operation.type in ("MatMul", "BatchMatMulV2"):
            transposed = operation.get_attr(
                "transpose_a" if operation.type == "MatMul" else "adj_x"
            )
            left, out = operation.inputs[0].shape, operation.outputs[0].shape
            total += 2 * left[-2 if transposed else -1] * out.num_elements()
    return total


@pytest.fixture(scope="module", params=[False, True], ids=["at_masks", "all_states"])
def counted(request):
    """The model, its batch, and the operations in the graphs of a forward pass and of a step."""
    model = tiny_bert.pretrainer(num_layers=2, all_states=request.param)
    batch = tiny_bert.rows()
    inputs, labels, weights = tf.nest.map_structure(tf.constant, batch)

    def loss():
        outputs = model(inputs, training=True)
        return tf.add_n(
            [
                tf.reduce_sum(one.loss(labels[one.name], outputs[one.name]) * weights[one.name])
                for one in model.objectives
            ]
        )

    def gradients():
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, [weight.value for weight in model.trainable_weights])

    graphs = [tf.function(one).get_concrete_function().graph for one in (loss, gradients)]
    return model, batch, [products(graph) for graph in graphs]


def test_operations_are_those_of_the_products_in_the_graph(counted, request):
    model, batch, (forward, step) = counted
    size = flops.size_of(model.encoder)
    assert size == tiny_bert.size(num_layers=2, dropout_rate=0.1, max_sequence_length=512)
    shape = flops.batch_of(model, batch, batch_size=tiny_bert.B, sequence_length=tiny_bert.T)
    assert shape == flops.Batch(
        batch_size=8,
        sequence_length=12,
        vocabulary_size=50,
        num_masks=4,
        num_classes=2,
        num_states=None if request.node.callspec.id == "all_states" else 1 + 4,
    )
    assert flops.forward_flops(size, shape) == forward
    assert flops.step_flops(size, shape) == step


def test_a_batch_is_told_by_the_spec_of_a_dataset(counted):
    model, batch, _ = counted
    numbers = {"batch_size": 8, "sequence_length": 12}
    spec = tiny_bert.stream().element_spec
    assert flops.batch_of(model, spec, **numbers) == flops.batch_of(model, batch, **numbers)


def test_the_numbers_of_another_encoder_are_not_known():
    inputs = keras.Input((3,), name="x")
    encoder = keras.Model({"x": inputs}, {"sequence_output": keras.layers.Dense(2)(inputs)})
    assert flops.size_of(encoder) is None
    assert flops.product_dtype(encoder) == "float32"


@pytest.mark.parametrize("name", config.OPTIMIZERS)
def test_slots_are_those_that_the_optimizer_makes(name):
    built = optimization.optimizer(name, learning_rate=0.1, weight_decay=0.1)
    weights = []
    for path, shape in SHAPES.items():
        with keras.name_scope(path.rpartition("/")[0] or "layer"):
            weights.append(keras.Variable(np.zeros(shape), name=path.rpartition("/")[2]))
    built.build(weights)
    largest = [
        value for value in built.variables if value.path not in ("iteration", "learning_rate")
    ]
    expected = sum(4 * int(np.prod(value.shape)) for value in largest if value.ndim)
    scalars = 4 * sum(not value.ndim for value in largest)
    assert expected <= flops.slot_bytes(SHAPES, name) <= expected + scalars


def memory(step=None, **changes):
    size = tiny_bert.size(num_layers=3)
    batch = flops.Batch(batch_size=8, sequence_length=12, vocabulary_size=50, num_masks=4)
    return flops.memory(size, batch, SHAPES, step=step or config.Step(), **changes)


def test_memory_follows_how_a_step_is_taken():
    plain = memory()
    weights = 4 * sum(int(np.prod(shape)) for shape in SHAPES.values())
    assert (plain.weights, plain.gradients, plain.averages) == (weights, weights, 0)
    assert plain.total == sum(vars(plain).values())
    parts = memory(config.Step(accumulation_steps=2, ema_momentum=0.9, cpu_shards=2))
    assert parts.activations == plain.activations / 2
    assert (parts.gradients, parts.averages) == (3 * weights, weights)
    assert plain.activations / 3 < memory(rematerialize=True).activations < plain.activations / 2


@pytest.mark.slow
def test_the_memory_of_a_step_is_within_a_factor_of_two_of_the_estimate():
    """In a process of its own, whose peak is that of this step."""
    code = """
import json, tensorflow as tf, tiny_bert
from tfpt import config, flops, watching
def size(**changes):
    return tiny_bert.models.Model(num_layers=12, hidden_dim=128, num_heads=2, intermediate_dim=512)
tiny_bert.size = size
before = watching.memory_bytes()
model = tiny_bert.compiled()
data = tiny_bert.rows(64, num_positions=128)
dataset = tf.data.Dataset.from_tensors(data).repeat()
model.fit(dataset, steps_per_epoch=2, verbose=0)
after = watching.memory_bytes()
batch = flops.batch_of(model, data, batch_size=64, sequence_length=128)
shapes = {weight.path: tuple(weight.shape) for weight in model.trainable_weights}
told = flops.memory(flops.size_of(model.encoder), batch, shapes, step=config.Step())
used = after["peak_memory_gigabytes"] - before["memory_gigabytes"]
print(json.dumps([used, told.total]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    used, told = json.loads(result.stdout.splitlines()[-1])
    assert told / 2 < used < told * 2


def test_the_fastest_product_is_measured_once():
    flops.matmul_peak.cache_clear()
    first = flops.matmul_peak("float32", seconds=0.0)
    assert first > 0
    assert flops.matmul_peak("float32", seconds=0.0) == first


def test_a_classifier_has_no_mask_slots():
    keras.utils.set_random_seed(1)
    encoder = models.encoder(tiny_bert.size(), 50)
    first = models.at_first(encoder)
    model = objectives.model(encoder, objectives.classification(first, num_classes=5))
    inputs, labels, weights = tiny_bert.rows()
    del inputs["mask_positions"]
    batch = flops.batch_of(model, (inputs, labels, weights), batch_size=8, sequence_length=12)
    assert (batch.num_masks, batch.num_classes, batch.num_states) == (0, 5, 1)
