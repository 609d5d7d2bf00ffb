"""Layers that the backbones share, shaped for speed.

What lies between two matrix products is one plain function each (`bias_gelu`, `masked_softmax`,
`bias_dropout_residual_norm`). The products take operands of `product_dtype`; weights, sums and the
residual stream stay float32. So bfloat16 gives the products' speed without rounding what is summed
up over the layers. (Keras' mixed policies would round the residual stream and the biases too.)

Shape letters: B rows, T tokens in a row, N = B * T, H hidden width, A heads, D = H / A, I inner
width, V vocabulary.
"""

import keras
import tensorflow as tf

# Added to the scores of padding, before the softmax.
_MASKED = -1e9
_NORM_EPSILON = 1e-12
_BYTE_VALUES = 256


def matmul(x, y, dtype: str, *, transpose_y: bool = False):
    """x @ y with operands of `dtype`; the result is float32."""
    product = tf.matmul(tf.cast(x, dtype), tf.cast(y, dtype), transpose_b=transpose_y)
    return tf.cast(product, tf.float32)


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
        num_rows = tf.shape(table)[0]

        def gradient(upstream):
            return tf.math.unsorted_segment_sum(upstream, ids, num_rows)

        return tf.gather(table, ids), gradient

    return gather(tf.convert_to_tensor(table))


def layer_norm(x, scale, offset):
    """Layer normalization along the last axis. Source: Ba et al. 2016, arXiv:1607.06450."""
    centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
    return centered * tf.math.rsqrt(variance + _NORM_EPSILON) * scale + offset


def dropout(x, noise, rate: float):
    """Drop the elements whose random byte is below `rate` * 256; `noise` None drops none."""
    if noise is None:
        return x
    threshold = _threshold(rate)
    kept = tf.cast(noise >= tf.constant(threshold, tf.uint8), x.dtype)
    return x * kept * (_BYTE_VALUES / (_BYTE_VALUES - threshold))


def bias_gelu(x, bias):
    """GELU in its exact form, as BERT's original code has it."""
    return tf.nn.gelu(x + bias, approximate=False)


def bias_dropout_residual_norm(x, bias, residual, noise, norm: "LayerNorm", rate: float):
    """What follows the attention and the feed-forward block: norm(residual + dropout(x + bias))."""
    return norm(residual + dropout(x + bias, noise, rate))


def masked_softmax(scores, mask_bias, noise, rate: float):
    """Attention weights: softmax along the last axis, then dropout."""
    return dropout(tf.nn.softmax(scores + mask_bias), noise, rate)


def mask_bias(padding_mask):
    """int32 (B, T) mask -> float32 (B, 1, 1, T) to add to the scores."""
    return (1.0 - tf.cast(padding_mask, tf.float32))[:, None, None, :] * _MASKED


def text_bias(text_ids):
    """int32 (B, T), the text of each token -> float32 (B, 1, T, T) to add to the scores."""
    apart = text_ids[:, None, :, None] != text_ids[:, None, None, :]
    return tf.cast(apart, tf.float32) * _MASKED


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


def _threshold(rate: float) -> int:
    # The share dropped is a multiple of 1/256; a rate in (0, 1) drops something, and not all.
    return min(max(1, round(rate * _BYTE_VALUES)), _BYTE_VALUES - 1)


def initializer() -> keras.initializers.Initializer:
    """Truncated normal of deviation 0.02 (Devlin et al. 2019, the original code)."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


class Linear(keras.layers.Layer):
    """x @ kernel + bias; `product` leaves the bias to whoever fuses it with what follows."""

    def __init__(self, units: int, product_dtype: str = "float32", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.product_dtype = product_dtype

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=initializer()
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def product(self, x):
        """float32 (..., units): x @ kernel, without the bias."""
        return matmul(x, self.kernel, self.product_dtype)

    def call(self, x):
        return self.product(x) + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


class LayerNorm(keras.layers.Layer):
    """Layer normalization along the last axis, always in float32."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=input_shape[-1:], initializer="ones")
        self.offset = self.add_weight(name="offset", shape=input_shape[-1:], initializer="zeros")

    def call(self, x):
        return layer_norm(x, self.scale, self.offset)


class Embedding(keras.layers.Layer):
    """A table of rows looked up by id. `embeddings` is public: the masked-word head shares it."""

    def __init__(self, input_dim: int, output_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.input_dim, self.output_dim), initializer=initializer()
        )

    def call(self, ids):
        rows = gather_rows(self.embeddings, tf.reshape(ids, [-1]))
        rows = tf.reshape(rows, tf.concat([tf.shape(ids), [self.output_dim]], axis=0))
        return tf.ensure_shape(rows, [*ids.shape, self.output_dim])

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.output_dim)


class PositionEmbedding(keras.layers.Layer):
    """Adds a learned row for each position, and normalizes and drops the sum."""

    def __init__(self, max_sequence_length: int, dropout_rate: float, **kwargs):
        super().__init__(**kwargs)
        self.max_sequence_length = max_sequence_length
        self.dropout_rate = dropout_rate
        self.norm = LayerNorm(name="norm")
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, x_shape, position_ids_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_sequence_length, x_shape[-1]),
            initializer=initializer(),
        )
        self.norm.build(x_shape)

    def call(self, x, position_ids=None, training=False):
        length = x.shape[1]
        if length is not None and length > self.max_sequence_length:
            raise ValueError(
                f"Rows of {length} tokens do not fit: the encoder has positions for "
                f"{self.max_sequence_length}. Shorten the rows, or set max_sequence_length."
            )
        if position_ids is None:
            rows = self.embeddings[: tf.shape(x)[1]]
        else:
            rows = gather_rows(self.embeddings, tf.reshape(position_ids, [-1]))
            rows = tf.reshape(rows, tf.shape(x))
        x = self.norm(x + rows)
        if not (training and self.dropout_rate):
            return x
        return dropout(
            x, random_bytes(tf.shape(x), self.seed_generator.next(), 0), self.dropout_rate
        )


class TransformerLayer(keras.layers.Layer):
    """One layer of BERT's encoder: attention, then feed-forward, each followed by a norm.

    Source: Vaswani et al. 2017, section 3, https://arxiv.org/abs/1706.03762.
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        dropout_rate: float,
        product_dtype: str = "float32",
        packed: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.packed = packed
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout_rate = dropout_rate
        self.product_dtype = product_dtype
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, x_shape, text_ids_shape):
        hidden_dim = x_shape[-1]
        dtype = self.product_dtype
        # One product for queries, keys and values is faster than three.
        self.query_key_value = Linear(3 * hidden_dim, dtype, name="query_key_value")
        self.attention_output = Linear(hidden_dim, dtype, name="attention_output")
        self.attention_norm = LayerNorm(name="attention_norm")
        self.intermediate = Linear(self.intermediate_dim, dtype, name="intermediate")
        self.output_projection = Linear(hidden_dim, dtype, name="output_projection")
        self.output_norm = LayerNorm(name="output_norm")
        for layer in (self.query_key_value, self.attention_output, self.intermediate):
            layer.build((None, hidden_dim))
        self.output_projection.build((None, self.intermediate_dim))
        self.attention_norm.build((None, hidden_dim))
        self.output_norm.build((None, hidden_dim))

    def call(self, x, text_ids, training=False):
        """`text_ids` int32 (B, T): 0 for padding, else 1; where packed, the number of the text."""
        rate = self.dropout_rate
        seed = self.seed_generator.next() if training and rate else None
        shape = tf.shape(x)
        flat = tf.reshape(x, [-1, x.shape[-1]])  # (N, H)

        bias = text_bias(text_ids) if self.packed else mask_bias(text_ids)
        attended = self._attention(flat, shape, bias, seed)
        flat = bias_dropout_residual_norm(
            self.attention_output.product(attended),
            self.attention_output.bias,
            flat,
            self._noise(tf.shape(flat), seed, 1),
            self.attention_norm,
            rate,
        )
        inner = bias_gelu(self.intermediate.product(flat), self.intermediate.bias)
        flat = bias_dropout_residual_norm(
            self.output_projection.product(inner),
            self.output_projection.bias,
            flat,
            self._noise(tf.shape(flat), seed, 2),
            self.output_norm,
            rate,
        )
        return tf.ensure_shape(tf.reshape(flat, shape), x.shape)

    def _attention(self, flat, shape, bias, seed):
        """float32 (N, H): every token's mixture of the values of its row."""
        hidden_dim = flat.shape[-1]
        head_dim = hidden_dim // self.num_heads
        qkv = tf.cast(self.query_key_value(flat), self.product_dtype)
        qkv = tf.reshape(qkv, [shape[0], shape[1], 3, self.num_heads, head_dim])
        query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))  # (B, A, T, D) each
        scores = matmul(query, key, self.product_dtype, transpose_y=True) * head_dim**-0.5
        weights = masked_softmax(
            scores, bias, self._noise(tf.shape(scores), seed, 0), self.dropout_rate
        )
        mixed = matmul(weights, value, self.product_dtype)  # (B, A, T, D)
        return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, hidden_dim])

    @staticmethod
    def _noise(shape, seed, number: int):
        return None if seed is None else random_bytes(shape, seed, number)

    def compute_output_shape(self, x_shape, text_ids_shape):
        return x_shape


class StatesAt(keras.layers.Layer):
    """The states at some places of each row: (B, T, H) and int32 (B, S) -> (B, S, H)."""

    def call(self, x, positions):
        shape = tf.shape(x)
        rows = tf.reshape(positions + (tf.range(shape[0]) * shape[1])[:, None], [-1])
        states = gather_rows(tf.reshape(x, [-1, x.shape[-1]]), rows)
        states = tf.reshape(states, [shape[0], tf.shape(positions)[1], x.shape[-1]])
        return tf.ensure_shape(states, [*positions.shape, x.shape[-1]])

    def compute_output_shape(self, x_shape, positions_shape):
        return (*positions_shape, x_shape[-1])
