"""Trains the tiny BERT in several ways under one strategy; writes what came out, for a test.

ways_to_step.py STRATEGY NUM_DEVICES FOLDER

A script, since logical devices are set before TensorFlow starts, and several workers are several
processes. FOLDER/ways.json has the number of layers, and lists the ways; of each,
FOLDER/STRATEGY-NUMBER.npz holds the weights, their averages and the losses of the steps.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tiny_bert

from tfpt import config, distribution, training, workers

NUM_STEPS = 20
NUM_ROWS = 24  # of a batch: even shares for 2, 3 and 4 devices, in two parts each


def rows():
    """Four batches; in two of them the first half of the devices has no masked word."""
    data = tiny_bert.uneven_rows(4 * NUM_ROWS)
    for first in (NUM_ROWS, 3 * NUM_ROWS):
        data[2]["masked_lm"][first : first + NUM_ROWS // 2] = 0
    return data


class KeepLosses(keras.callbacks.Callback):
    """The running mean of the loss after each call of the step."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))


def train(strategy, way, num_layers):
    step = config.Step(**{k: v for k, v in way.items() if k not in ("clip_norm", "product_dtype")})
    data = rows()
    with strategy.scope():
        model = tiny_bert.pretrainer(product_dtype=way["product_dtype"], num_layers=num_layers)
        training.compile(
            model,
            learning_rate=3e-3,
            total_steps=NUM_STEPS,
            warmup_steps=2,
            weight_decay=0.1,
            clip_norm=way["clip_norm"],
            step=step,
        )
    logs = KeepLosses()
    batches = distribution.distribute(
        strategy, lambda first: tiny_bert.stream(first, data=data, batch_size=NUM_ROWS), 0
    )
    model.fit(batches, steps_per_epoch=NUM_STEPS, callbacks=[logs], verbose=0, shuffle=False)
    averages = {f"average {name}": value.numpy() for name, value in model.averages.items()}
    window = model.read_window()
    return {
        **tiny_bert.values(model),
        **averages,
        "losses": np.array(logs.losses),
        "window": np.array([window[name] for name in sorted(window)]),
    }


def main(name, num_devices, folder):
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * num_devices
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = distribution.strategy(name)
    chosen = json.loads((folder / "ways.json").read_text())
    for number, way in enumerate(chosen["ways"]):
        results = train(strategy, way, chosen["num_layers"])
        if workers.is_chief(strategy):
            np.savez(folder / f"{name}-{number}.npz", **results)
    print("replicas", strategy.num_replicas_in_sync)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
