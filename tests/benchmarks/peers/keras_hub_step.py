"""The step of keras-hub's BERT backbone with Keras' own `fit`.

    python tests/benchmarks/peers/keras_hub_step.py WORK --steps 20
    python tests/benchmarks/peers/keras_hub_step.py WORK --policy mixed_bfloat16 --jit-compile yes

As it comes, Keras decides whether XLA compiles the step (`jit_compile="auto"`). The head is
keras-hub's own, at the masks only.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import keras_hub
import tensorflow as tf


def main() -> None:
    import step_work

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=step_work.Work.read)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--policy", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--jit-compile", choices=("auto", "yes", "no"), default="auto")
    arguments = parser.parse_args()
    keras.config.set_dtype_policy(arguments.policy)
    jit_compile = {"auto": "auto", "yes": True, "no": False}[arguments.jit_compile]
    model = pretrainer(arguments.work)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-4, weight_decay=0.01),
        loss={"masked_lm": loss, "next_sentence": loss},
        jit_compile=jit_compile,
    )
    clock = step_work.Clock(arguments.warmup)
    model.fit(
        tf.data.Dataset.from_tensors(batch(arguments.work)).repeat(),
        steps_per_epoch=arguments.warmup + arguments.steps,
        callbacks=[Ticks(clock)],
        verbose=0,
        shuffle=False,
    )
    print(json.dumps({**clock.result(), "memory_mb": step_work.peak_memory()}))


def pretrainer(work) -> keras.Model:
    """Both of BERT's objectives on keras-hub's backbone."""
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=work.vocabulary_size,
        num_layers=work.num_layers,
        num_heads=work.num_heads,
        hidden_dim=work.hidden_dim,
        intermediate_dim=work.intermediate_dim,
        dropout=work.dropout_rate,
        max_sequence_length=max(512, work.sequence_length),
    )
    positions = keras.Input((work.num_masks,), dtype="int32", name="mask_positions")
    states = backbone(backbone.input)
    # The activation that keras-hub's own BertMaskedLM gives it.
    words = keras_hub.layers.MaskedLMHead(
        vocabulary_size=work.vocabulary_size,
        token_embedding=backbone.token_embedding,
        intermediate_activation=lambda x: keras.activations.gelu(x, approximate=True),
        dtype=backbone.dtype_policy,
    )(states["sequence_output"], mask_positions=positions)
    following = keras.layers.Dense(2)(states["pooled_output"])
    inputs = {**backbone.input, "mask_positions": positions}
    return keras.Model(inputs, {"masked_lm": words, "next_sentence": following})


class Ticks(keras.callbacks.Callback):
    """Tells a clock that a step has ended."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        self.clock.tick()


def batch(work) -> tuple[dict, dict]:
    arrays = {name: values.astype("int32") for name, values in work.batch().items()}
    features = {
        "token_ids": arrays["tokens"],
        "segment_ids": arrays["segments"],
        "padding_mask": (arrays["tokens"] >= 0).astype("int32"),
        "mask_positions": arrays["positions"],
    }
    return features, {"masked_lm": arrays["labels"], "next_sentence": arrays["next"]}


if __name__ == "__main__":
    main()
