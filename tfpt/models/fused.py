"""What makes the training step fast: small functions of tensors, each with its reason.

Matrix products are done by oneDNN (CPU) or by the card's own library; what lies between two of them
reads and writes whole arrays of states to do next to no arithmetic. TensorFlow runs it operation by
operation, each a pass through memory. Here each such stretch is one function. On a CPU, in training,
it runs as two small programs of XLA ("clusters"), one forward and one backward: see `clusters`. In
inference, in an export, and inside of a step that XLA compiles as a whole (GPU, TPU) the same
functions run as they stand here.

Functions take and give operands of matrix products in the dtype of the products (bfloat16 or
float16, where those are fast) and calculate in float32; what is summed up over the layers, the
residual stream, is float32 all the way.

Shape letters: B rows, T tokens in a row, N = B * T, H hidden width, A heads, D = H / A, I inner
width, R rows of a table, V vocabulary.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# Added to the scores of what is not attended to, before the softmax.
_MASKED = -1e9
_NORM_EPSILON = 1e-12
_BYTE_VALUES = 256

_in_clusters = contextvars.ContextVar("in_clusters", default=False)


@contextlib.contextmanager
def clusters(enabled: bool = True) -> Iterator[None]:
    """Inside, the functions of this file that are marked `cluster` run as small programs of XLA.

    For the forward pass and the loss of a training step on a CPU; the backward pass, wherever it is
    called, follows the forward one. Not for what is exported (a stock TF Serving has no XLA), nor
    inside of a program of XLA, which fuses more than this. Holds for the thread that enters it:
    under a strategy, enter it in the function that runs on each replica.
    """
    token = _in_clusters.set(enabled)
    try:
        yield
    finally:
        _in_clusters.reset(token)


def cluster(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function run as one program of XLA forward and one backward, where `clusters` says so.

    The backward program calculates the forward one again from its inputs, which costs less than to
    write what lies in between to memory and to read it back.

    Args:
        function: Of tensors (or None) by position and plain values by keyword, to a tensor or a
            tuple of tensors. It differentiates with respect to all inputs that are floats.
    """

    @functools.wraps(function)
    def call(*inputs, **settings):
        if not _in_clusters.get():
            return function(*inputs, **settings)
        given = [tf.convert_to_tensor(x) for x in inputs if x is not None]
        pattern = tuple(x is not None for x in inputs)
        return _programs(function, pattern, tuple(settings.items()))(*given)

    return call


@functools.cache
def _programs(function, pattern: tuple[bool, ...], settings: tuple[tuple[str, Any], ...]):
    """The two programs of a cluster, joined; shared by all layers that have the same shapes."""

    def plain(*given):
        rest = iter(given)
        inputs = (next(rest) if is_given else None for is_given in pattern)
        return function(*inputs, **dict(settings))

    def gradients(upstream, *given):
        sources = [x for x in given if x.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            results = plain(*given)
        return tape.gradient(results, sources, output_gradients=upstream)

    forward = tf.function(plain, jit_compile=True, autograph=False)
    backward = tf.function(gradients, jit_compile=True, autograph=False)

    @tf.custom_gradient
    def both(*given):
        results = forward(*given)

        def gradient(*upstream):
            several = isinstance(results, list | tuple)
            found = iter(backward(list(upstream) if several else upstream[0], *given))
            return [next(found) if x.dtype.is_floating else None for x in given]

        return results, gradient

    return both


def shape_of(x) -> list[Any]:
    """The shape, a number wherever it is known: XLA on a TPU takes nothing else."""
    sizes = tf.shape(x)
    return [sizes[axis] if size is None else size for axis, size in enumerate(x.shape)]


def matmul(x, y, dtype: str, *, transpose_y: bool = False):
    """x @ y with operands and result of `dtype`; sums inside are float32."""
    return tf.matmul(tf.cast(x, dtype), tf.cast(y, dtype), transpose_b=transpose_y)


def gather_rows(table, ids):
    """`tf.gather(table, ids)` with a dense gradient, which sums up faster than `tf.IndexedSlices`.

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


def random_bytes(shape, seed, number: int):
    """uint8 of `shape`, drawn from a seed (2,) and the number of the draw; others on each replica.

    `tf.nn.dropout` draws and compares a float for each element; a byte costs a third of that.
    """
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    # Both halves of a seed are below 2**32.
    apart = tf.stack([tf.constant(number << 32, tf.int64), tf.cast(replica, tf.int64) * 2**32])
    size = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform(
        [(size + 3) // 4],
        tf.cast(seed, tf.int64) + apart,
        minval=None,
        maxval=None,
        dtype=tf.int32,
    )
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size], shape)


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


def layer_norm(x, scale, offset):
    """Layer normalization along the last axis. Source: Ba et al. 2016, arXiv:1607.06450."""
    centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
    return centered * tf.math.rsqrt(variance + _NORM_EPSILON) * scale + offset


@cluster
def sum_norm_dropout(tokens, segments, positions, scale, offset, noise, *, rate: float):
    """The states the first layer begins with: dropout(norm(tokens + segments + positions))."""
    return dropout(layer_norm(tokens + segments + positions, scale, offset), noise, rate)


@cluster
def split_heads(product, bias, *, num_heads: int, dtype: str):
    """(B, T, 3H) and its bias -> queries, keys and values (B, A, T, D) of `dtype`.

    Queries are scaled here, by 1 / sqrt(D), so that scores do not overflow in float16.
    """
    rows, length, width = shape_of(product)
    head_dim = width // 3 // num_heads
    states = tf.reshape(_float32(product) + bias, [rows, length, 3, num_heads, head_dim])
    query, key, value = tf.unstack(tf.transpose(states, [2, 0, 3, 1, 4]))
    return tuple(tf.cast(x, dtype) for x in (query * head_dim**-0.5, key, value))


@cluster
def masked_softmax(scores, visible, noise, *, rate: float = 0.0, dtype: str = "float32"):
    """Attention weights of `dtype`: softmax along the last axis over what is visible, then dropout.

    Args:
        scores: (B, A, T, T), scaled.
        visible: bool, broadcast against the scores.
        noise: uint8 like the scores, or None.
    """
    scores = _float32(scores) + tf.where(visible, 0.0, _MASKED)
    return tf.cast(dropout(tf.nn.softmax(scores), noise, rate), dtype)


@cluster
def bias_gelu(product, bias, *, dtype: str = "float32"):
    """GELU in its exact form, as BERT's original code has it."""
    return tf.cast(tf.nn.gelu(_float32(product) + bias, approximate=False), dtype)


@cluster
def bias_gelu_norm(product, bias, scale, offset, *, dtype: str):
    """The masked-word head between its two products."""
    activated = tf.nn.gelu(_float32(product) + bias, approximate=False)
    return tf.cast(layer_norm(activated, scale, offset), dtype)


@cluster
def bias_dropout_residual_norm(product, bias, residual, noise, scale, offset, *, rate: float):
    """What follows the attention and the feed-forward block: norm(residual + dropout(x + bias))."""
    x = dropout(_float32(product) + bias, noise, rate)
    return layer_norm(residual + x, scale, offset)


def add_bias(product, bias):
    """float32 (N, V); in clusters, where no user sees it, in the dtype of the product."""
    # Not asked for inside: the backward program is made when `clusters` is left.
    return _add_bias(product, bias, dtype=product.dtype.name if _in_clusters.get() else "float32")


@cluster
def _add_bias(product, bias, *, dtype: str):
    return tf.cast(_float32(product) + bias, dtype)


def rematerialized(function: Callable[..., Any], x, *others):
    """function(x, *others), of which only `x` is kept for the backward pass, which calls it again.

    Args:
        function: The same whenever it is called with the same; it may read variables.
        x: float32.
        others: Integers, or None.

    Source: Chen et al. 2016, https://arxiv.org/abs/1604.06174.
    """
    in_clusters = _in_clusters.get()

    @tf.custom_gradient
    def compute(x):
        def gradient(upstream, variables=()):
            # Inputs that follow from `upstream`: or else it would all be calculated early, or taken
            # for what the forward pass has calculated already.
            with tf.control_dependencies([upstream]):
                again = [None if part is None else tf.identity(part) for part in (x, *others)]
            with clusters(in_clusters), tf.GradientTape() as tape:
                tape.watch(again[0])
                states = function(*again)
            found = tape.gradient(states, [again[0], *variables], output_gradients=upstream)
            return found[0], found[1:]

        return function(x, *others), gradient

    return compute(x)


def cross_entropy(labels, logits):
    """int32 (...) labels, (..., C) logits -> float32 (...); NaN where a label is none of C.

    With a gradient of its own, softmax minus one-hot in the dtype of the logits: what TensorFlow
    has keeps a float32 copy of all probabilities from the forward to the backward pass.
    """
    enabled = _in_clusters.get()
    forward, backward = _CROSS_ENTROPY_PROGRAMS if enabled else (_cross_entropy, _softmax_minus_one)

    @tf.custom_gradient
    def loss_of(logits):
        loss, log_sum = forward(labels, logits)
        return loss, lambda upstream: backward(upstream, labels, logits, log_sum)

    return loss_of(tf.convert_to_tensor(logits))


def _cross_entropy(labels, logits):
    """The loss, and the logarithm of the sum of exponents: float32 (...) each."""
    logits = _float32(logits)
    largest = tf.reduce_max(logits, axis=-1, keepdims=True)
    log_sum = tf.math.log(tf.reduce_sum(tf.exp(logits - largest), axis=-1)) + largest[..., 0]
    picked = tf.reduce_sum(tf.where(_is_label(labels, logits), logits, 0.0), axis=-1)
    is_class = (labels >= 0) & (labels < logits.shape[-1])
    return tf.where(is_class, log_sum - picked, float("nan")), log_sum


def _softmax_minus_one(upstream, labels, logits, log_sum):
    shares = tf.exp(_float32(logits) - log_sum[..., None])
    shares -= tf.cast(_is_label(labels, logits), tf.float32)
    return tf.cast(shares * upstream[..., None], logits.dtype)


_CROSS_ENTROPY_PROGRAMS = tuple(
    tf.function(function, jit_compile=True, autograph=False)
    for function in (_cross_entropy, _softmax_minus_one)
)


@cluster
def is_correct(labels, logits):
    """int32 (...) labels, (..., C) logits -> float32 (...): 1 where the label's is largest."""
    return tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels), tf.float32)


def _is_label(labels, logits):
    """bool (..., C)."""
    return labels[..., None] == tf.range(logits.shape[-1], dtype=labels.dtype)


def _float32(x):
    return tf.cast(x, tf.float32)
