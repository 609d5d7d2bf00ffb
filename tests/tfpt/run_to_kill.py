"""Trains the tiny BERT with all that a step can have, or goes on; tests run it and kill it.

run_to_kill.py FOLDER [STRATEGY NUM_DEVICES]

Each worker prints its steps; the first one writes, after the last step, what a run ends with:
FOLDER/state.npz.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tiny_bert

from tfpt import config, distribution, training, workers

TOTAL_STEPS, STEPS_PER_EPOCH = 40, 4
STEP = config.Step(
    schedule="warmup_stable_decay", accumulation_steps=2, ema_momentum=0.9, max_spike=50.0
)


class Tell(keras.callbacks.Callback):
    """Prints the step, for the test to count."""

    def on_train_batch_end(self, batch, logs=None):
        print("step", int(self.model.steps.numpy()), flush=True)


def everything(model) -> dict[str, np.ndarray]:
    """All that a checkpoint holds."""
    variables = {
        # The names of random states count up over a process; their order does not.
        **{f"model {number}": variable for number, variable in enumerate(model.variables)},
        **{f"average {name}": variable for name, variable in model.averages.items()},
        **{f"step {name}": variable for name, variable in model.step_state().items()},
        **{f"optimizer {number}": v for number, v in enumerate(model.optimizer.variables)},
    }
    return {name: variable.numpy() for name, variable in variables.items()}


def main(folder, callbacks, strategy_name="one"):
    strategy = distribution.strategy(strategy_name)
    with strategy.scope():
        # float16: a loss scale that is adapted.
        model = tiny_bert.pretrainer(dropout_rate=0.2, product_dtype="float16")
        tiny_bert.compiled(model, total_steps=TOTAL_STEPS, clip_norm=0.5, step=STEP)
    history = training.fit(
        model,
        tiny_bert.stream,
        training.Run(folder, tokenizer=tiny_bert.TOKENIZER),
        steps_per_epoch=STEPS_PER_EPOCH,
        validation=training.Validation(
            data=tiny_bert.stream().take(2), monitor="val_loss", patience=20
        ),
        callbacks=callbacks,
        verbose=0,
    )
    return model, history


if __name__ == "__main__":
    out, strategy, num_devices = [*sys.argv[1:], "one", "1"][:3]
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * int(num_devices)
    tf.config.set_logical_device_configuration(cpu, devices)
    trained, _ = main(out, [Tell()], strategy)
    if workers.is_chief(trained.distribute_strategy):
        np.savez(Path(out) / "state.npz", **everything(trained))
