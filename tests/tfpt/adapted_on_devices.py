"""Trains an adapted tiny classifier under one strategy; writes what came out, for a test.

adapted_on_devices.py STRATEGY NUM_DEVICES FOLDER

FOLDER/STRATEGY-METHOD.npz then holds all weights, the ranks of AdaLoRA among them.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tiny_bert

from tfpt import config, distribution, models, objectives, peft, training, workers

NUM_STEPS = 12
METHODS = {
    "adalora": config.Adaptation(
        method="adalora",
        rank=4,
        target_rank=2,
        budget_steps=2,
        budget_warmup_rate=0.1,
        budget_final_rate=0.2,
    ),
    "prefix_tuning": config.Adaptation(method="prefix_tuning", num_tokens=3),
    "prompt_tuning": config.Adaptation(method="prompt_tuning", num_tokens=3),
    "adapters": config.Adaptation(method="adapters", width=4),
}
# By the way of a step too.
STEPS = {"adalora": config.Step(ema_momentum=0.9)}


def rows():
    inputs = tiny_bert.rows(4 * tiny_bert.B)[0]
    del inputs["mask_positions"]
    labels = np.random.default_rng(0).integers(0, 2, 4 * tiny_bert.B).astype("int32")
    weights = np.random.default_rng(1).random(4 * tiny_bert.B) < 0.7
    return inputs, {"classification": labels}, {"classification": weights.astype("float32")}


def train(strategy, method):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        encoder = models.encoder(tiny_bert.size(num_layers=2), tiny_bert.V)
        read = models.at_first(encoder)
        head = objectives.classification(read, num_classes=2, dropout_rate=0.0)
        model = objectives.model(encoder, head)
        peft.adapt(encoder, METHODS[method])
        training.compile(
            model,
            learning_rate=1e-2,
            total_steps=NUM_STEPS,
            weight_decay=0.1,
            step=STEPS.get(method),
        )

    def batches(first):
        return tiny_bert.stream(first, data=rows())

    stream = distribution.distribute(strategy, batches, 0)
    model.fit(stream, steps_per_epoch=NUM_STEPS, verbose=0, shuffle=False)
    return tiny_bert.values(model)


def main(name, num_devices, folder):
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * num_devices
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = distribution.strategy(name)
    for method in METHODS:
        values = train(strategy, method)
        if workers.is_chief(strategy):
            np.savez(folder / f"{name}-{method}.npz", **values)
    print("replicas", strategy.num_replicas_in_sync)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
