"""The whole training step as one XLA program of static shapes, as a TPU needs it."""

import re
from dataclasses import replace

import pytest
import tensorflow as tf
import tiny_bert

from tfpt import config, objectives

STEP = config.Step(accumulation_steps=2, ema_momentum=0.9, max_spike=3.0)


def step_of(model, **changes):
    tiny_bert.compiled(model, clip_norm=1.0, step=replace(STEP, **changes))
    model.make_train_function()
    return tf.function(model.train_step, jit_compile=True, autograph=False)


def operations(concrete):
    """All of a function and of the functions inside of it, with the shapes they give."""
    graph = concrete.graph.as_graph_def(add_shapes=True)
    inner = [node for function in graph.library.function for node in function.node_def]
    return [*graph.node, *inner]


@pytest.mark.parametrize(
    ("product_dtype", "optimizer"),
    [
        ("float32", "adamw"),
        ("bfloat16", "lamb"),
        pytest.param("float16", "adafactor", marks=pytest.mark.slow),
        pytest.param("bfloat16", "muon", marks=pytest.mark.slow),
    ],
)
def test_the_whole_step_is_one_program_of_static_shapes(product_dtype, optimizer):
    model = tiny_bert.pretrainer(product_dtype=product_dtype, dropout_rate=0.1)
    step = step_of(model, optimizer=optimizer)
    batch = next(iter(tiny_bert.stream()))
    found = operations(step.get_concrete_function(batch))
    assert len(found) > 500
    assert not {node.op for node in found if re.search("String|PyFunc|Iterator|Send|Recv", node.op)}
    shapes = [shape for node in found for shape in node.attr["_output_shapes"].list.shape]
    assert len(shapes) > 500
    assert not [shape for shape in shapes if any(dim.size < 0 for dim in shape.dim)]
    # XLA refuses to compile what is not in its set; a bounded dynamic size reads as `[<=8`.
    program = step.experimental_get_compiler_ir(batch)(stage="hlo")
    assert "<=" not in program
    step(batch)
    assert model.steps.numpy() == 1


def test_a_step_with_an_operation_outside_of_xla_is_found():
    model = tiny_bert.pretrainer()
    masked_lm, next_sentence = model.objectives
    text = replace(
        masked_lm,
        loss=lambda labels, logits: tf.strings.to_number(
            tf.strings.as_string(masked_lm.loss(labels, logits))
        ),
        metrics={},
    )
    step = step_of(objectives.model(model.encoder, text, next_sentence))
    with pytest.raises(tf.errors.OpError, match=r"StringToNumber|AsString"):
        step(next(iter(tiny_bert.stream())))
