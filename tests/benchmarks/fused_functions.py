r"""What each function of tfpt/models/fused.py costs on one core, and what it is instead of.

    python tests/benchmarks/fused_functions.py

In the shapes of a training step of 6 layers of 384 with 32 rows of 128 and 20 masked words each,
products in bfloat16. "here": in clusters, as a step on a CPU runs it. "plain": the same function
without clusters, operation by operation; or, where it has another name, what TensorFlow offers.
Times are medians of --repeats calls, in turns.
"""

import argparse
import statistics
import time

import tensorflow as tf

from tfpt import distribution
from tfpt.models import fused

ROWS, LENGTH, WIDTH, HEADS, MASKS, VOCABULARY = 32, 128, 384, 12, 20, 30_522
RATE = 0.1
WARMUP = 2
HALF = tf.bfloat16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--only", help="of the functions, a part of its name")
    arguments = parser.parse_args()
    distribution.keep_memory()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import turns

    rows = []
    for name, (inputs, ways) in functions().items():
        if arguments.only and arguments.only not in name:
            continue
        taken = _measured(inputs, ways, arguments.repeats)
        for way, (forward, both) in taken.items():
            told = "" if both is None else f"{1e3 * both:.1f}"
            rows.append([name, way, f"{1e3 * forward:.1f}", told])
    print(turns.table(["", "", "forward ms", "forward and backward ms"], rows))


def functions() -> dict[str, tuple[tuple, dict]]:
    """Of each function its inputs and, by name, the ways to calculate it; "here" in clusters."""
    tokens = ROWS * LENGTH
    states, wide = (tokens, WIDTH), (tokens, 4 * WIDTH)
    scores = (ROWS, HEADS, LENGTH, LENGTH)
    scale, offset = tf.ones([WIDTH]), tf.zeros([WIDTH])
    visible = tf.ones([ROWS, 1, 1, LENGTH], tf.bool)
    heads = [_normal((ROWS, HEADS, LENGTH, WIDTH // HEADS), HALF) for _ in range(3)]
    labels = tf.random.uniform([ROWS * MASKS], 0, VOCABULARY, tf.int32)
    logits = _normal((ROWS * MASKS, VOCABULARY), HALF)
    ids = tf.random.uniform([tokens], 0, VOCABULARY, tf.int32)
    seed = tf.constant([1, 2], tf.uint32)

    def both(function):
        return {"here": function, "plain": function}

    return {
        "sum_norm_dropout": (
            (scale, offset, *(_normal(states) for _ in range(3))),
            both(lambda *x: fused.sum_norm_dropout(_noise(states), *x, rate=RATE)),
        ),
        "split_heads": (
            (_normal((ROWS, LENGTH, 3 * WIDTH), HALF), tf.zeros([3 * WIDTH])),
            both(lambda *x: fused.split_heads(*x, num_heads=HEADS)),
        ),
        "attention": (
            heads,
            {
                **both(lambda *x: fused.attention(*x, visible, _noise(scores), rate=RATE)),
                "plain, TensorFlow's gradient": lambda *x: _attention(*x, visible, _noise(scores)),
            },
        ),
        "bias_gelu": (
            (_normal(wide, HALF), tf.zeros([4 * WIDTH])),
            both(lambda *x: fused.bias_gelu(*x, dtype="bfloat16")),
        ),
        "bias_dropout_residual_norm": (
            (_normal(states, HALF), scale, _normal(states), scale, offset),
            both(
                lambda x, bias, residual, *norm: fused.bias_dropout_residual_norm(
                    x, bias, residual, _noise(states), *norm, block=fused.Block(RATE)
                )
            ),
        ),
        "bias_gelu_norm": (
            (_normal((ROWS * MASKS, WIDTH), HALF), offset, scale, offset),
            both(lambda *x: fused.bias_gelu_norm(*x, dtype="bfloat16")),
        ),
        "logits": ((logits, tf.zeros([VOCABULARY])), both(fused.logits)),
        "cross_entropy": (
            (logits,),
            {
                **both(lambda x: fused.cross_entropy(labels, x)),
                "tf.nn": lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels, tf.cast(x, tf.float32)
                ),
            },
        ),
        "is_correct": (
            (logits,),
            {
                **both(lambda x: fused.is_correct(labels, x)),
                "tf.argmax": lambda x: tf.cast(tf.argmax(x, -1, tf.int32) == labels, tf.float32),
            },
        ),
        "gather_rows": (
            (_normal((VOCABULARY, WIDTH)),),
            {
                "here": lambda table: fused.gather_rows(table, ids),
                "tf.gather": lambda table: tf.gather(table, ids),
            },
        ),
        "random_bytes": (
            (),
            {
                **both(lambda: fused.random_bytes(scores, seed, 0)),
                "tf.random, floats": lambda: tf.random.stateless_uniform(scores, [1, 2]),
            },
        ),
    }


def _normal(shape, dtype=tf.float32):
    return tf.cast(tf.random.stateless_normal(shape, [3, 4]), dtype)


def _noise(shape):
    # Not drawn where time is taken: a constant of the graph.
    with tf.init_scope():
        return fused.random_bytes(shape, tf.constant([5, 6], tf.uint32), 0)


def _attention(query, key, value, visible, noise):
    scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
    scores = scores * query.shape[-1] ** -0.5 + tf.where(visible, 0.0, -1e9)
    weights = fused.dropout(tf.nn.softmax(scores), noise, RATE)
    return tf.matmul(tf.cast(weights, value.dtype), value)


def _measured(inputs, ways, repeats: int) -> dict[str, tuple[float, float | None]]:
    """Seconds of the forward pass, and of both; None where there is no backward one."""
    forward = {name: _forward(function, name == "here") for name, function in ways.items()}
    both = {name: _both(function, name == "here") for name, function in ways.items()}
    has_gradient = bool(inputs) and both["here"](*inputs)[-1] is not None
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats + WARMUP):
        for name in ways:
            first = _seconds(forward[name], inputs)
            taken[name].append((first, _seconds(both[name], inputs) if has_gradient else 0.0))
    medians = {
        name: [statistics.median(values) for values in zip(*times[WARMUP:], strict=True)]
        for name, times in taken.items()
    }
    return {name: (one, two if has_gradient else None) for name, (one, two) in medians.items()}


def _forward(function, in_clusters: bool):
    def call(*inputs):
        with fused.clusters(in_clusters):
            return tf.nest.flatten(function(*inputs))

    return tf.function(call, autograph=False)


def _both(function, in_clusters: bool):
    def call(*inputs):
        with fused.clusters(in_clusters), tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.nest.flatten(function(*inputs))
        upstream = [tf.ones_like(x) for x in outputs]
        found = tape.gradient(outputs, inputs, output_gradients=upstream)
        # The outputs too, or else what calculates them alone would be left out.
        return [*outputs, *(None if x is None else tf.convert_to_tensor(x) for x in found)]

    return tf.function(call, autograph=False)


def _seconds(function, inputs) -> float:
    began = time.perf_counter()
    results = function(*inputs)
    for result in results:
        if result is not None:
            tf.reshape(result, [-1])[0].numpy()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
