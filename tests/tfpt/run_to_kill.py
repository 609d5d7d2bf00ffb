"""Trains the tiny BERT with dropout into a run folder, or goes on with it; tests run and kill it.

run_to_kill.py FOLDER
"""

import sys

import keras
import numpy as np
import tiny_bert

from tfpt import training

TOTAL_STEPS, STEPS_PER_EPOCH = 40, 4


class Tell(keras.callbacks.Callback):
    """Prints the step, for the test to count."""

    def on_train_batch_end(self, batch, logs=None):
        print("step", int(self.model.optimizer.iterations.numpy()), flush=True)


def main(folder, callbacks):
    model = tiny_bert.pretrainer(dropout_rate=0.2)
    tiny_bert.compiled(model, total_steps=TOTAL_STEPS, clip_norm=0.5)
    history = training.fit(
        model,
        tiny_bert.stream,
        training.Run(folder, tokenizer=tiny_bert.TOKENIZER),
        steps_per_epoch=STEPS_PER_EPOCH,
        validation=training.Validation(data=tiny_bert.stream().take(2), monitor="val_loss"),
        callbacks=callbacks,
        verbose=0,
    )
    return model, history


if __name__ == "__main__":
    trained, _ = main(sys.argv[1], [Tell()])
    np.savez(f"{sys.argv[1]}/weights.npz", **tiny_bert.values(trained))
