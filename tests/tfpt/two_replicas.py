"""Trains the tiny BERT on one device and on two replicas; writes what came out, for a test.

A script, since logical devices are set before TensorFlow starts: two_replicas.py FOLDER
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tiny_bert

from tfpt import distribution, training
from tfpt.objectives.text import Dropout
from tfpt.pipelines.batches import untuned


class KeepLogs(keras.callbacks.Callback):
    """The logs of each step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append({name: float(value) for name, value in logs.items()})


def train(name, out):
    data = tiny_bert.uneven_rows(4 * tiny_bert.B)
    validation = tiny_bert.stream(data=data).take(3)
    strategy = distribution.strategy(name)
    with strategy.scope():
        model = tiny_bert.compiled(tiny_bert.pretrainer(), clip_norm=0.05, weight_decay=0.1)
    logs = KeepLogs()
    history = training.fit(
        model,
        lambda first: tiny_bert.stream(first, data=data),
        training.Run(out / name, tokenizer=tiny_bert.TOKENIZER),
        steps_per_epoch=3,
        validation=training.Validation(data=validation),
        callbacks=[logs],
        verbose=0,
    )
    np.savez(out / f"{name}.npz", **tiny_bert.values(model))
    # The last batch has five rows: no even share for a replica.
    uneven = tf.data.Dataset.from_tensor_slices(data).take(2 * tiny_bert.B + 5)
    uneven = untuned(uneven.batch(tiny_bert.B))
    told = {
        "devices": distribution.describe(strategy, tiny_bert.B),
        "history": history,
        "steps": logs.steps,
        "evaluation": model.evaluate(uneven, verbose=0, return_dict=True),
    }
    return {**told, "released": released(model)}


def released(model):
    """How many numbers each replica holds of the weights and their moments, before and after."""
    values = [one.value for one in (*model.trainable_variables, *model.optimizer.variables)]
    parts = [
        part
        for value in values
        if value.dtype.is_floating
        for part in model.distribute_strategy.experimental_local_results(value)
    ]

    def count():
        found = {}
        for part in parts:
            value = tf.raw_ops.ReadVariableOp(resource=part.handle, dtype=part.dtype)
            found[part.device] = found.get(part.device, 0) + int(tf.size(value))
        return list(found.values())

    before = count()
    distribution.release(model)
    return [before, count()]


def dropped():
    """What two replicas keep of ones, in two steps."""
    strategy = distribution.strategy("mirrored")
    with strategy.scope():
        layer = Dropout(0.5)
    step = tf.function(lambda: strategy.run(lambda: layer(tf.ones([4, 8]), training=True)))
    parts = [strategy.experimental_local_results(step()) for _ in range(2)]
    return [part.numpy().tolist() for part in tf.nest.flatten(parts)]


def refusal(batch_size):
    strategy = distribution.strategy("mirrored")
    try:
        distribution.distribute(
            strategy, lambda first: tiny_bert.stream(first, batch_size=batch_size), 0
        )
    except ValueError as error:
        return str(error)
    return ""


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    out = Path(sys.argv[1])
    results = {name: train(name, out) for name in ("one", "mirrored")}
    results["dropped"] = dropped()
    results["refusals"] = [refusal(7), refusal(6)]
    (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
