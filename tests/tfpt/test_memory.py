"""Models that are not used any more hold no memory."""

import gc

import keras
import numpy as np
import tensorflow as tf
import tiny_bert

from tfpt import config, memory, training, watching


def num_elements(value):
    return sum(
        int(tf.size(tf.raw_ops.ReadVariableOp(resource=one.handle, dtype=one.dtype)))
        for one in getattr(value, "values", (value,))
    )


def test_no_variable_of_a_freed_model_has_an_element():
    model = tiny_bert.pretrainer()
    step = config.Step(ema_momentum=0.5)
    training.compile(model, learning_rate=1e-3, total_steps=4, step=step)
    values = [one.value for one in (*model.variables, *model.optimizer.variables)]
    values += model.averages.values()
    assert sum(map(num_elements, values)) > 3 * model.count_params()
    memory.free(model)
    assert sum(map(num_elements, values)) == 0


def test_the_parts_of_mirrored_variables_are_freed():
    devices = tf.config.list_logical_devices("CPU")[:1]
    with tf.distribute.MirroredStrategy([one.name for one in devices]).scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    values = [one.value for one in model.variables]
    assert sum(map(num_elements, values)) == 8
    memory.free(model)
    assert sum(map(num_elements, values)) == 0


def test_trainings_one_after_the_other_need_the_memory_of_one():
    """Without `free` each of these models stays, with 100 megabytes."""
    held = []
    for _ in range(4):
        model = keras.Sequential([keras.Input((2_048,)), keras.layers.Dense(4_096)])
        model.compile(optimizer=keras.optimizers.Adam(), loss="mse", jit_compile=False)
        rows = np.ones((2, 2_048), "float32"), np.ones((2, 4_096), "float32")
        model.fit(*rows, verbose=0)
        memory.free(model)
        del model
        gc.collect()
        held.append(watching.memory_bytes()["memory_gigabytes"] / 1e6)
    assert held[-1] - held[0] < 150  # and not 300
