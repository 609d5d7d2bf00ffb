"""What makes the training step fast: small functions of tensors, each with its reason.

Matrix products are done by oneDNN (CPU) or by the card's own library. What lies between two of
them reads and writes whole arrays of states to do next to no arithmetic; TensorFlow runs it
operation by operation, each a pass through memory. Here each such stretch is one function. On a
CPU, in training, it runs as two small programs of XLA ("clusters"), one forward and one backward:
see clusters.py. In inference, in an export, and inside of a step that XLA compiles as a whole (GPU,
TPU) the same functions run as they stand here.

Figures in docstrings are of tests/benchmarks/fused_functions.py: milliseconds on one core of an
AMD EPYC with AVX-512, 32 rows of 128 tokens, 384 wide, products in bfloat16.

Functions take and give operands of matrix products in the dtype of the products (bfloat16 or
float16, where those are fast) and calculate in float32; what is summed up over the layers, the
residual stream, is float32 all the way.

Shape letters: B rows, T tokens in a row, S places in a row, N = B * T, H hidden width, A heads, D =
H / A, I inner width, R rows of a table, V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfpt.models.clusters import cluster, in_clusters, program
from tfpt.models.clusters import clusters as clusters
from tfpt.models.random_bytes import random_bytes as random_bytes

# Added to the scores of what is not attended to, before the softmax.
_MASKED = -1e9
_BYTE_VALUES = 256


def shape_of(x) -> list[Any]:
    """The shape, a number wherever it is known: XLA on a TPU takes nothing else."""
    sizes = tf.shape(x)
    return [sizes[axis] if size is None else size for axis, size in enumerate(x.shape)]


def matmul(x, y, dtype: str, *, transpose_y: bool = False):
    """x @ y with operands and result of `dtype`; sums inside are float32."""
    return tf.matmul(tf.cast(x, dtype), tf.cast(y, dtype), transpose_b=transpose_y)


def gather_rows(table, ids):
    """`tf.gather(table, ids)` with a dense gradient: the rows of an id are summed up here.

    `tf.IndexedSlices` would have to be made dense before they are clipped or sent to other devices.

    Args:
        table: float32 (R, H).
        ids: int32 (K,), in [0, R).

    Returns:
        float32 (K, H).
    """

    @tf.custom_gradient
    def gather(table):
        num_rows = table.shape[0] if table.shape[0] is not None else tf.shape(table)[0]

        def gradient(upstream):
            return tf.math.unsorted_segment_sum(upstream, ids, num_rows)

        return tf.gather(table, ids), gradient

    return gather(tf.convert_to_tensor(table))


def dropout(x, noise, rate: float):
    """Drop the elements whose random byte is below `rate` * 256; `noise` None drops none."""
    if noise is None:
        return x
    threshold = _threshold(rate)
    kept = tf.cast(noise >= tf.constant(threshold, tf.uint8), x.dtype)
    return x * kept * (_BYTE_VALUES / (_BYTE_VALUES - threshold))


def _threshold(rate: float) -> int:
    # The share dropped is a multiple of 1/256; a rate in (0, 1) drops something, and not all.
    return min(max(1, round(rate * _BYTE_VALUES)), _BYTE_VALUES - 1)


def layer_norm(x, scale, offset, *, epsilon: float = 1e-12):
    """Layer normalization along the last axis. Source: Ba et al. 2016, arXiv:1607.06450."""
    centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
    return centered * tf.math.rsqrt(variance + epsilon) * scale + offset


@cluster
def sum_norm_dropout(noise, scale, offset, *embeddings, rate: float, epsilon: float = 1e-12):
    """The states the first layer begins with: dropout(norm(tokens + segments + positions))."""
    total = functools.reduce(tf.add, embeddings)
    return dropout(layer_norm(total, scale, offset, epsilon=epsilon), noise, rate)


def split_heads(product, bias, *, num_heads: int, num_parts: int = 3):
    """(B, T, 3H) and its bias -> queries, keys and values (B, A, T, D), of the product's dtype.

    Or keys and values of (B, T, 2H), or queries of (B, T, H): `num_parts`, always as a tuple.

    Forward and backward 6 ms instead of 11.
    """
    enabled = in_clusters()

    @tf.custom_gradient
    def split(product, bias):
        shape = shape_of(product)

        def gradient(*upstream):
            # Not a program of XLA: it takes twice as long for transpositions.
            rows = tf.concat([join_heads(heads) for heads in upstream], axis=-1)  # (N, 3H)
            return tf.reshape(rows, shape), program(_sum_of_rows, enabled)(rows)

        heads = program(_split_heads, enabled)(
            product, bias, num_heads=num_heads, num_parts=num_parts
        )
        return heads, gradient

    return split(product, tf.convert_to_tensor(bias))


def _split_heads(product, bias, num_heads: int, num_parts: int):
    rows, length, width = shape_of(product)
    states = tf.cast(_float32(product) + bias, product.dtype)
    head_dim = width // num_parts // num_heads
    states = tf.reshape(states, [rows, length, num_parts, num_heads, head_dim])
    return tuple(tf.unstack(tf.transpose(states, [2, 0, 3, 1, 4])))


def join_heads(heads):
    """(B, A, T, D) -> (N, H)."""
    return tf.reshape(tf.transpose(heads, [0, 2, 1, 3]), [-1, heads.shape[1] * heads.shape[3]])


def attention(query, key, value, visible, noise, *, rate: float = 0.0):
    """Each token's mixture of the values of those it attends to.

    dropout(softmax(q @ k / sqrt(D))) @ v.

    With a gradient of its own. What the gradient of a softmax subtracts, the sum of the weights
    times their gradients, is also the sum of the mixture times its gradient, D products instead of
    T; the rest is element by element. Forward and backward, products included, 39 ms; as plain
    operations with TensorFlow's derivative 50.

    Args:
        query: (B, A, S, D), of S places in a row, of all tokens or some; all three of one dtype.
        key: (B, A, T, D).
        value: (B, A, T, D).
        visible: bool, broadcast against (B, A, S, T).
        noise: uint8 (B, A, S, T), or None.

    Returns:
        (B, A, S, D) of the same dtype.

    Source of the gradient: Dao et al. 2022, section 3.1 and B.2, https://arxiv.org/abs/2205.14135.
    """
    enabled = in_clusters()
    scale = query.shape[-1] ** -0.5

    @tf.custom_gradient
    def mix(query, key, value):
        scores = tf.matmul(query, key, transpose_b=True)
        softmax = program(_masked_softmax, enabled)
        weights, largest, total = softmax(scores, visible, noise, scale, rate)
        mixed = tf.matmul(weights, value)

        def gradient(upstream):
            weights_gradient = tf.matmul(upstream, value, transpose_b=True)
            scores_gradient = program(_masked_softmax_gradient, enabled)(
                (weights_gradient, upstream, mixed),
                (scores, visible, largest, total),
                noise,
                scale,
                rate,
            )
            return (
                tf.matmul(scores_gradient, key),
                tf.matmul(scores_gradient, query, transpose_a=True),
                tf.matmul(weights, upstream, transpose_a=True),
            )

        return mixed, gradient

    return mix(query, key, value)


def attention_weights(query, key, visible):
    """float32 (B, A, T, T): what `attention` mixes by, without dropout."""
    scores = tf.matmul(query, key, transpose_b=True)
    return _masked_softmax(_float32(scores), visible, None, query.shape[-1] ** -0.5, 0.0)[0]


def _masked_softmax(scores, visible, noise, scale: float, rate: float):
    """Weights after dropout, in the dtype of the scores, and what their gradient needs."""
    shown = _shown(scores, visible, scale)
    largest = tf.reduce_max(shown, axis=-1, keepdims=True)
    exponents = tf.exp(shown - largest)
    total = tf.reduce_sum(exponents, axis=-1, keepdims=True)
    weights = dropout(exponents / total, noise, rate)
    return tf.cast(weights, scores.dtype), largest, total


def _masked_softmax_gradient(mixture, saved, noise, scale: float, rate: float):
    weights_gradient, mixed_gradient, mixed = mixture
    scores, visible, largest, total = saved
    weights = tf.exp(_shown(scores, visible, scale) - largest) / total
    products = _float32(mixed_gradient) * _float32(mixed)
    mean = tf.reduce_sum(products, axis=-1, keepdims=True)
    gradient = weights * (dropout(_float32(weights_gradient), noise, rate) - mean) * scale
    return tf.cast(gradient, scores.dtype)


def _shown(scores, visible, scale: float):
    return _float32(scores) * scale + tf.where(visible, 0.0, _MASKED)


@cluster
def bias_gelu(product, bias, *, dtype: str = "float32"):
    """GELU in its exact form, as transformers has it and BERT's code had at first.

    Forward and backward 19 ms instead of 49.
    """
    return tf.cast(tf.nn.gelu(_float32(product) + bias, approximate=False), dtype)


@cluster
def bias_gelu_norm(product, bias, scale, offset, *, dtype: str, epsilon: float = 1e-12):
    """The masked-word head between its two products."""
    activated = tf.nn.gelu(_float32(product) + bias, approximate=False)
    return tf.cast(layer_norm(activated, scale, offset, epsilon=epsilon), dtype)


class Block(NamedTuple):
    """Numbers of what follows an attention or a feed-forward block."""

    dropout_rate: float
    norm_epsilon: float = 1e-12


@cluster
def bias_dropout_residual_norm(product, bias, residual, noise, scale, offset, *, block: Block):
    """What follows the attention and the feed-forward block: norm(residual + dropout(x + bias)).

    Forward 4 ms instead of 6; forward and backward no faster, 13 ms, but with fewer arrays kept.
    """
    x = dropout(_float32(product) + bias, noise, block.dropout_rate)
    return layer_norm(residual + x, scale, offset, epsilon=block.norm_epsilon)


def logits(product, bias):
    """(N, V) and its bias -> float32; of the product's dtype in clusters, where no user sees it."""
    enabled = in_clusters()
    dtype = product.dtype if enabled else tf.float32

    @tf.custom_gradient
    def add(product, bias):
        def gradient(upstream):
            return tf.cast(upstream, product.dtype), program(_sum_of_rows, enabled)(upstream)

        return program(_add_bias, enabled)(product, bias, dtype=dtype), gradient

    return add(product, tf.convert_to_tensor(bias))


def _add_bias(product, bias, dtype):
    return tf.cast(_float32(product) + bias, dtype)


def _sum_of_rows(x):
    """(R, ...) -> float32 (...)."""
    *slices, rest = _slices(x, axis=0)
    total = functools.reduce(tf.add, [_float32(part) for part in slices])
    return tf.reduce_sum(total, axis=0) + tf.reduce_sum(_float32(rest), axis=0)


def _slices(x, *, axis: int) -> list[Any]:
    """Eight equal slices of a large array, and what is left over; a small one is left over whole.

    XLA writes an array of float32 before it sums up along an axis. The sum of slices is one loop
    without such an array.
    """
    size = x.shape[axis]
    width = 0 if size is None else size // 8
    if width == 0:
        return [x[:0] if axis == 0 else x[..., :0], x]
    return tf.split(x, [*[width] * 8, size - 8 * width], axis=axis)


def rematerialized(function: Callable[..., Any], x, *others):
    """function(x, *others), of which only `x` is kept for the backward pass, which calls it again.

    Args:
        function: The same whenever it is called with the same; it may read variables.
        x: float32.
        others: Integers, or None.

    Source: Chen et al. 2016, https://arxiv.org/abs/1604.06174.
    """
    enabled = in_clusters()

    @tf.custom_gradient
    def compute(x):
        def gradient(upstream, variables=()):
            # Inputs that follow from `upstream`: or else it would all be calculated early, or taken
            # for what the forward pass has calculated already. XLA looks at values only.
            first = tf.reshape(upstream, [-1])[0]
            with tf.control_dependencies([upstream]):
                again = [None if part is None else tf.identity(part) for part in (x, *others)]
                again[0] = tf.where(tf.math.is_nan(first), first, x)
            with clusters(enabled), tf.GradientTape() as tape:
                tape.watch(again[0])
                states = function(*again)
            found = tape.gradient(states, [again[0], *variables], output_gradients=upstream)
            return found[0], found[1:]

        return function(x, *others), gradient

    return compute(x)


def cross_entropy(labels, logits):
    """int32 (...) labels, (..., C) logits -> float32 (...); NaN where a label is none of C.

    With a gradient of its own, softmax minus one-hot in the dtype of the logits: what TensorFlow
    has keeps a float32 copy of all probabilities from the forward to the backward pass. Forward and
    backward 33 ms instead of 102, for (640, 30,522).
    """
    enabled = in_clusters()

    @tf.custom_gradient
    def loss_of(logits):
        loss, largest, total = program(_cross_entropy, enabled)(labels, logits)

        def gradient(upstream):
            shares = program(_cross_entropy_gradient, enabled)
            return shares(upstream, labels, logits, largest, total)

        return loss, gradient

    return loss_of(tf.convert_to_tensor(logits))


def _cross_entropy(labels, logits):
    """The loss, and what its gradient needs: float32 (...), twice (..., 1)."""
    *slices, rest = [_float32(part) for part in _slices(logits, axis=-1)]
    largest = _largest(logits)
    exponents = [tf.exp(part - largest) for part in slices]
    total = tf.reduce_sum(functools.reduce(tf.add, exponents), axis=-1, keepdims=True)
    total += tf.reduce_sum(tf.exp(rest - largest), axis=-1, keepdims=True)
    loss = (tf.math.log(total) + largest)[..., 0] - _picked(labels, logits)
    return loss, largest, total


def _cross_entropy_gradient(upstream, labels, logits, largest, total):
    shares = tf.exp(_float32(logits) - largest) / total
    is_label = labels[..., None] == tf.range(logits.shape[-1], dtype=labels.dtype)
    return tf.cast((shares - tf.cast(is_label, tf.float32)) * upstream[..., None], logits.dtype)


def is_correct(labels, logits):
    """int32 (...) labels, (..., C) logits -> float32 (...): 1 where none is above the label's.

    6 ms; `tf.argmax` takes 23.
    """
    return program(_is_largest, in_clusters())(labels, tf.convert_to_tensor(logits))


def _is_largest(labels, logits):
    return _float32(_picked(labels, logits) >= _largest(logits)[..., 0])


def _largest(logits):
    """float32 (..., 1)."""
    *slices, rest = [_float32(part) for part in _slices(logits, axis=-1)]
    largest = tf.reduce_max(functools.reduce(tf.maximum, slices), axis=-1, keepdims=True)
    return tf.maximum(largest, tf.reduce_max(rest, axis=-1, keepdims=True))


def _picked(labels, logits):
    """float32 (...): the logit of each label, NaN where it is none of the classes."""
    is_class = (labels >= 0) & (labels < logits.shape[-1])
    places = tf.where(is_class, labels, 0)
    picked = _float32(tf.gather(logits, places, batch_dims=places.shape.rank))
    return tf.where(is_class, picked, float("nan"))


def _float32(x):
    return tf.cast(x, tf.float32)
