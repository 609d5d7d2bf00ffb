"""The step of tfpt through its public API and Keras' `fit`; with the matrix products' peak.

    python tests/benchmarks/tfpt_step.py WORK --steps 20 --cpu-shards 2
    python tests/benchmarks/tfpt_step.py WORK --what overhead --blocks 5
    python tests/benchmarks/tfpt_step.py WORK --what peak

Run by training_step.py; WORK is `Work.written()` of step_work.py. "overhead": blocks of steps by a
bare loop over the step's function, by `fit`, and by `fit` with its progress bar, in turns in one
process. "peak": the fastest of some large matrix products, on all cores.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfpt import config, distribution, models, objectives, training
from tfpt.pipelines.batches import untuned

sys.path.insert(0, str(Path(__file__).parent))

# Rows, inner size and columns: square ones, and those of feed-forward blocks on many tokens.
PRODUCTS = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 768, 3072), (4096, 4096, 4096))


def main() -> None:
    import step_work

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=step_work.Work.read)
    parser.add_argument("--what", choices=("step", "overhead", "peak"), default="step")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--product-dtype", choices=config.PRODUCT_DTYPES, default="bfloat16")
    parser.add_argument("--cpu-shards", type=int, default=1)
    parser.add_argument("--jit-compile", action="store_true")
    parser.add_argument("--all-states", action="store_true", help="the last layer at all tokens")
    arguments = parser.parse_args()
    if arguments.what == "peak":
        print(json.dumps({"peak_gflops": _peak(arguments.product_dtype) / 1e9}))
        return
    distribution.keep_memory()
    distribution.threads(arguments.cpu_shards)
    model = _compiled(arguments)
    stream = untuned(tf.data.Dataset.from_tensors(_batch(arguments.work)).repeat())
    if arguments.what == "overhead":
        print(json.dumps(_overhead(model, stream, arguments)))
        return
    clock = step_work.Clock(arguments.warmup)
    fit(model, stream, arguments.warmup + arguments.steps, clock)
    print(json.dumps({**clock.result(), "memory_mb": step_work.peak_memory()}))


def pretrainer(work, product_dtype: str, *, all_states: bool = False) -> objectives.Model:
    """Both of BERT's objectives on the encoder of the size, as the recipe `bert` builds it.

    Args:
        work: A `Work` of step_work.py.
        product_dtype: Of the operands of products.
        all_states: Whether the last layer calculates all states and not only those that are read.
    """
    size = models.Model(
        num_layers=work.num_layers,
        hidden_dim=work.hidden_dim,
        num_heads=work.num_heads,
        intermediate_dim=work.intermediate_dim,
        dropout_rate=work.dropout_rate,
        max_sequence_length=max(512, work.sequence_length),
    )
    encoder = models.encoder(size, work.vocabulary_size, product_dtype=product_dtype)
    read = encoder if all_states else models.at_masks(encoder)
    masked_lm = objectives.masked_lm(read, product_dtype=product_dtype)
    return objectives.model(encoder, masked_lm, objectives.next_sentence(read))


def fit(model, stream, steps: int, clock=None, verbose: int = 0) -> None:
    """Keras' own loop."""
    callbacks = [] if clock is None else [Ticks(clock)]
    model.fit(stream, steps_per_epoch=steps, callbacks=callbacks, verbose=verbose, shuffle=False)


class Ticks(keras.callbacks.Callback):
    """Tells a clock that a step has ended."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        self.clock.tick()


def _compiled(arguments: argparse.Namespace) -> objectives.Model:
    keras.utils.set_random_seed(0)
    model = pretrainer(arguments.work, arguments.product_dtype, all_states=arguments.all_states)
    step = config.Step(
        cpu_shards=arguments.cpu_shards, jit_compile=True if arguments.jit_compile else None
    )
    training.compile(model, learning_rate=1e-4, total_steps=1_000_000, warmup_steps=10, step=step)
    return model


def _batch(work) -> tuple[dict, dict, dict]:
    arrays = {name: values.astype("int32") for name, values in work.batch().items()}
    features = {
        "token_ids": arrays["tokens"],
        "segment_ids": arrays["segments"],
        "padding_mask": np.ones_like(arrays["tokens"]),
        "mask_positions": arrays["positions"],
    }
    labels = {"masked_lm": arrays["labels"], "next_sentence": arrays["next"][:, None]}
    return features, labels, {name: np.ones(x.shape, "float32") for name, x in labels.items()}


def _overhead(model, stream, arguments: argparse.Namespace) -> dict[str, float]:
    """Mean time of a step of each kind, and the median over the blocks of what `fit` adds."""
    steps = arguments.steps
    fit(model, stream, arguments.warmup)

    def bare() -> None:
        for _ in range(steps):
            model.train_function(iterator)

    def with_bar() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            fit(model, stream, steps, verbose=1)

    ways = {"bare": bare, "fit": lambda: fit(model, stream, steps), "fit_with_bar": with_bar}
    taken = {name: [] for name in ways}
    for number in range(arguments.blocks):
        iterator = iter(stream)
        # Each way comes first, second and last as often: others may slow down the machine.
        names = list(ways)[number % 3 :] + list(ways)[: number % 3]
        for name in names:
            began = time.perf_counter(), time.process_time()
            ways[name]()
            ended = time.perf_counter(), time.process_time()
            taken[name].append([(b - a) / steps for a, b in zip(began, ended, strict=True)])
    figures = {}
    for place, unit in enumerate(("wall", "cpu")):
        for name, blocks in taken.items():
            times = [block[place] for block in blocks]
            figures[f"{name}_{unit}_ms"] = 1e3 * statistics.median(times)
            ratios = [a / b[place] for a, b in zip(times, taken["bare"], strict=True)]
            figures[f"{name}_added_{unit}"] = statistics.median(ratios) - 1
    return figures


def _peak(dtype: str, seconds: float = 2.0) -> float:
    """The most operations a second of any product, each repeated for so long."""
    best = 0.0
    for rows, inner, columns in PRODUCTS:
        x = tf.cast(tf.random.normal([rows, inner]), dtype)
        y = tf.cast(tf.random.normal([inner, columns]), dtype)
        tf.matmul(x, y)
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            tf.matmul(x, y)[0, 0].numpy()
            took = time.perf_counter() - start
            best = max(best, 2.0 * rows * inner * columns / took)
    return best


if __name__ == "__main__":
    main()
