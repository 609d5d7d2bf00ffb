"""Trains a tiny encoder to tell groups of texts apart, under one strategy; for a test.

contrastive_on_devices.py STRATEGY NUM_DEVICES FOLDER

FOLDER/STRATEGY.npz then holds the weights, the losses and accuracies of the steps, and those of an
evaluation.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tiny_bert

from tfpt import distribution, models, objectives, training, workers

NUM_STEPS, NUM_ROWS = 8, 12


def rows():
    """Two batches of rows in groups of one to three; a row alone in its group has no weight."""
    inputs = tiny_bert.rows(2 * NUM_ROWS, seed=4)[0]
    del inputs["mask_positions"]
    groups = np.array([0, 0, 1, 2, 2, 2, 3, 1, 4, 4, 5, 9] * 2, np.int32)
    weights = np.isin(groups, (3, 5, 9), invert=True).astype("float32")
    return inputs, {"contrastive": groups}, {"contrastive": weights}


def model(**changes):
    keras.utils.set_random_seed(3)
    encoder = models.encoder(tiny_bert.size(**changes), tiny_bert.V)
    return objectives.model(
        encoder, objectives.contrastive(models.embedder(encoder), temperature=0.2)
    )


class KeepLogs(keras.callbacks.Callback):
    """The means of loss and accuracy after each step."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append([logs["loss"], logs["contrastive_accuracy"]])


def main(name, num_devices, folder):
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * num_devices
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = distribution.strategy(name)
    with strategy.scope():
        found = model()
        training.compile(found, learning_rate=1e-2, total_steps=NUM_STEPS, warmup_steps=2)

    def batches(first):
        return tiny_bert.stream(first, data=rows(), batch_size=NUM_ROWS)

    logs = KeepLogs()
    stream = distribution.distribute(strategy, batches, 0)
    found.fit(stream, steps_per_epoch=NUM_STEPS, callbacks=[logs], verbose=0, shuffle=False)
    measured = found.evaluate(
        distribution.distribute(strategy, lambda _: batches(0).take(2), 0),
        verbose=0,
        return_dict=True,
    )
    if workers.is_chief(strategy):
        np.savez(
            folder / f"{name}.npz",
            **tiny_bert.values(found),
            logs=np.array(logs.logs, "float64"),
            measured=np.array([measured[key] for key in sorted(measured)]),
        )
    print("replicas", strategy.num_replicas_in_sync)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
