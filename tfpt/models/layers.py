"""Layers that the backbones share. What makes them fast is in fused.py.

The products take operands of `product_dtype`; weights, sums and the residual stream stay float32.
So bfloat16 gives the products' speed without rounding what is summed up over the layers. (Keras'
mixed policies would round the residual stream and the biases too.)

Shape letters: B rows, T tokens in a row, S places in a row, M = B * S, H hidden width, A heads, D =
H / A, I inner width, P mask slots in a row.
"""

from typing import Any

import keras
import tensorflow as tf

from tfpt.models import fused


def initializer(
    deviation: float = 0.02, *, truncated: bool = True
) -> keras.initializers.Initializer:
    """Truncated normal, by default as in the original code of Devlin et al. 2019.

    For one weight: Keras gives others of its shape the same numbers.

    Args:
        deviation: Before numbers of more than two deviations are drawn anew; after that it is 0.88
            times as large.
        truncated: Whether they are.
    """
    kind = keras.initializers.TruncatedNormal if truncated else keras.initializers.RandomNormal
    return kind(stddev=deviation)


class Linear(keras.layers.Layer):
    """x @ kernel + bias; `product` leaves the bias to whoever fuses it with what follows.

    `delta`, where there is one, changes what goes in and what comes out; see the room `peft`.
    `truncated` is that of `initializer`.
    """

    def __init__(
        self, units: int, product_dtype: str = "float32", truncated: bool = True, **kwargs
    ):
        super().__init__(**kwargs)
        self.units = units
        self.truncated = truncated
        self.product_dtype = product_dtype
        self.delta: Any = None

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=initializer(truncated=self.truncated),
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    @property
    def delta_dropout_rate(self) -> float:
        """The share of what the delta is given that it drops in training."""
        return self.delta.dropout_rate if self.delta is not None else 0.0

    def product(self, x, columns: slice = slice(None), noise: Any = None):
        """x @ kernel, (..., N) of `product_dtype`, and the bias (N,) that is still to be added.

        Args:
            x: (..., width of the kernel).
            columns: Those of the N columns that are asked for; all of them.
            noise: uint8 of the shape of x, for a delta that drops of it; None drops nothing.
        """
        kernel, bias = self.kernel, self.bias
        if columns != slice(None):
            kernel, bias = kernel[:, columns], bias[columns]
        if self.delta is None:
            return fused.matmul(x, kernel, self.product_dtype), bias
        x = self.delta.before(x)
        product = fused.matmul(x, kernel, self.product_dtype)
        y = self.delta.after(x, tf.cast(product, tf.float32) + bias, columns, noise)
        return tf.cast(y, product.dtype), tf.zeros_like(bias)

    def call(self, x):
        """float32 (..., units)."""
        product, bias = self.product(x)
        return tf.cast(product, tf.float32) + bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


class LayerNorm(keras.layers.Layer):
    """Layer normalization along the last axis, always in float32."""

    def __init__(self, epsilon: float = 1e-12, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=input_shape[-1:], initializer="ones")
        self.offset = self.add_weight(name="offset", shape=input_shape[-1:], initializer="zeros")

    def call(self, x):
        return fused.layer_norm(x, self.scale, self.offset, epsilon=self.epsilon)


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
        rows = fused.gather_rows(self.embeddings, tf.reshape(ids, [-1]))
        return tf.reshape(rows, [*fused.shape_of(ids), self.output_dim])

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.output_dim)


class PositionEmbedding(keras.layers.Layer):
    """Adds a learned row for each position, and normalizes and drops the sum."""

    def __init__(
        self, max_sequence_length: int, dropout_rate: float, epsilon: float = 1e-12, **kwargs
    ):
        super().__init__(**kwargs)
        self.max_sequence_length = max_sequence_length
        self.dropout_rate = dropout_rate
        self.norm = LayerNorm(epsilon, name="norm")
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, tokens_shape, segments_shape=None, position_ids_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_sequence_length, tokens_shape[-1]),
            initializer=initializer(),
        )
        self.norm.build(tokens_shape)

    def call(self, tokens, segments=None, position_ids=None, training=False):
        """Rows of tokens and, if any, of segments, float32 (B, T, H) each -> float32 (B, T, H)."""
        rate = self.dropout_rate
        shape = fused.shape_of(tokens)
        length = tokens.shape[1]
        if length is not None and length > self.max_sequence_length:
            raise ValueError(
                f"Rows of {length} tokens do not fit: the encoder has positions for "
                f"{self.max_sequence_length}. Shorten the rows, or set max_sequence_length."
            )
        if position_ids is None:
            rows = self.embeddings[: shape[1]]
        else:
            rows = fused.gather_rows(self.embeddings, tf.reshape(position_ids, [-1]))
            rows = tf.reshape(rows, shape)
        noise = None
        if training and rate:
            noise = fused.random_bytes(shape, self.seed_generator.next(), 0)
        norm = self.norm
        given = [part for part in (tokens, segments, rows) if part is not None]
        return fused.sum_norm_dropout(
            noise, norm.scale, norm.offset, *given, rate=rate, epsilon=norm.epsilon
        )

    def compute_output_shape(self, tokens_shape, segments_shape=None, position_ids_shape=None):
        return tokens_shape


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
        rematerialize: bool = False,
        epsilon: float = 1e-12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.packed = packed
        self.rematerialize = rematerialize
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout_rate = dropout_rate
        self.product_dtype = product_dtype
        self.seed_generator = keras.random.SeedGenerator()
        # Given by the room `peft`: keys and values besides those of the row; states that the first
        # layer appends to the row and the last one takes off again; how many of the one or the
        # other there are, which all tokens attend to.
        self.prefix: Any = None
        self.prompts: Any = None
        self.drops_prompts = False
        self.num_more_keys = 0

    def build(self, x_shape, text_ids_shape, places_shape=None):
        hidden_dim = x_shape[-1]
        dtype = self.product_dtype
        # One product for queries, keys and values is faster than three.
        self.query_key_value = Linear(3 * hidden_dim, dtype, name="query_key_value")
        self.attention_output = Linear(hidden_dim, dtype, name="attention_output")
        self.attention_norm = LayerNorm(self.epsilon, name="attention_norm")
        self.intermediate = Linear(self.intermediate_dim, dtype, name="intermediate")
        self.output_projection = Linear(hidden_dim, dtype, name="output_projection")
        self.output_norm = LayerNorm(self.epsilon, name="output_norm")
        for layer in (self.query_key_value, self.attention_output, self.intermediate):
            layer.build((None, hidden_dim))
        self.output_projection.build((None, self.intermediate_dim))
        self.attention_norm.build((None, hidden_dim))
        self.output_norm.build((None, hidden_dim))

    def call(self, x, text_ids, places=None, training=False):
        """The states that follow.

        Args:
            x: float32 (B, T, H).
            text_ids: int32 (B, T), 0 for padding, else 1; where packed, the number of the text.
            places: int32 (B, S), those of the tokens whose states are asked for; None: all.
            training: Whether dropout is on.

        Returns:
            float32 (B, S, H); (B, T, H) without `places`.
        """
        # Drawn here, so that what is calculated again is the same.
        seed = self.seed_generator.next() if training and self._drops() else None
        if self.prompts is not None:
            x = self.prompts.appended(x)
        if self.rematerialize and training:
            states = fused.rematerialized(self._states, x, text_ids, places, seed)
        else:
            states = self._states(x, text_ids, places, seed)
        if self.drops_prompts and places is None:
            states = states[:, : fused.shape_of(text_ids)[1]]
        return states

    def _drops(self) -> bool:
        maps = [self.query_key_value, self.attention_output]
        maps += [self.intermediate, self.output_projection]
        return bool(self.dropout_rate or any(one.delta_dropout_rate for one in maps))

    def attention_weights(self, x, text_ids):
        """float32 (B, A, T, T): the share of each token in each token's mixture, for pictures.

        Args:
            x: float32 (B, T, H), what the layer is called with.
            text_ids: int32 (B, T), likewise. With a prefix or prompts there are more than T keys.
        """
        if self.prompts is not None:
            x = self.prompts.appended(x)
        query, key, value = self._heads(x)
        if self.prefix is not None:
            key, _ = self.prefix.appended(key, value)
        return fused.attention_weights(query, key, self._visible(text_ids, None))

    def _states(self, x, text_ids, places, seed):
        """float32 (B, S, H): what the layer gives; `seed` None drops nothing."""
        read = x if places is None else states_at(x, places)
        shape = fused.shape_of(read)
        flat = tf.reshape(read, [-1, shape[-1]])  # (M, H)
        mixed = self._attention(x, None if places is None else read, text_ids, places, seed)
        product = self._product(self.attention_output, mixed, seed, 5)
        flat = self._residual(flat, product, self.attention_norm, seed, 1)
        product = self._product(self.intermediate, flat, seed, 6)
        inner = fused.bias_gelu(*product, dtype=self.product_dtype)
        product = self._product(self.output_projection, inner, seed, 7)
        flat = self._residual(flat, product, self.output_norm, seed, 2)
        return tf.reshape(flat, shape)

    def _product(self, linear, x, seed, number: int, columns: slice = slice(None)):
        """`linear.product`, with the random numbers that its delta drops by."""
        noise = self._noise(fused.shape_of(x), seed, number, linear.delta_dropout_rate)
        return linear.product(x, columns, noise)

    def _residual(self, flat, product, norm, seed, number: int):
        product, bias = product
        noise = self._noise(fused.shape_of(flat), seed, number, self.dropout_rate)
        return fused.bias_dropout_residual_norm(
            *(product, bias, flat, noise, norm.scale, norm.offset),
            block=fused.Block(self.dropout_rate, norm.epsilon),
        )

    def _heads(self, x, seed=None):
        """Queries, keys and values, (B, A, T, D) each."""
        rows, length, hidden_dim = fused.shape_of(x)
        flat = tf.reshape(x, [-1, hidden_dim])
        product, bias = self._product(self.query_key_value, flat, seed, 3)
        product = tf.reshape(product, [rows, length, 3 * hidden_dim])
        return fused.split_heads(product, bias, num_heads=self.num_heads)

    def _heads_at(self, x, read, seed):
        """Queries (B, A, S, D) of the states that are read; keys and values (B, A, T, D) of all."""
        hidden_dim = x.shape[-1]
        heads = []
        for number, (states, first, count) in enumerate(((read, 0, 1), (x, 1, 2)), 3):
            columns = slice(first * hidden_dim, (first + count) * hidden_dim)
            rows, length, _ = fused.shape_of(states)
            flat = tf.reshape(states, [-1, hidden_dim])
            product, bias = self._product(self.query_key_value, flat, seed, number, columns)
            product = tf.reshape(product, [rows, length, count * hidden_dim])
            heads += fused.split_heads(product, bias, num_heads=self.num_heads, num_parts=count)
        return heads

    def _attention(self, x, read, text_ids, places, seed):
        """(M, H): for each state that is read, None for all, a mixture of the values of its row."""
        heads = self._heads(x, seed) if read is None else self._heads_at(x, read, seed)
        query, key, value = heads
        if self.prefix is not None:
            key, value = self.prefix.appended(key, value)
        shape = [*fused.shape_of(query)[:3], fused.shape_of(key)[2]]
        visible = self._visible(text_ids, places)
        noise = self._noise(shape, seed, 0, self.dropout_rate)
        mixed = fused.attention(query, key, value, visible, noise, rate=self.dropout_rate)
        return fused.join_heads(mixed)

    def _visible(self, text_ids, places):
        """bool (B, 1, 1, T), or (B, 1, S, T) where packed: what a token attends to."""
        if self.packed:
            of_read = text_ids if places is None else tf.gather(text_ids, places, batch_dims=1)
            return of_read[:, None, :, None] == text_ids[:, None, None, :]
        visible = text_ids[:, None, None, :] != 0
        if not self.num_more_keys:
            return visible
        more = [[0, 0], [0, 0], [0, 0], [0, self.num_more_keys]]
        return tf.pad(visible, more, constant_values=True)

    @staticmethod
    def _noise(shape, seed, number: int, rate: float):
        """Random bytes of a number that no other draw of the layer has; None drops nothing."""
        return None if seed is None or not rate else fused.random_bytes(shape, seed, number)

    def compute_output_shape(self, x_shape, text_ids_shape, places_shape=None):
        return x_shape if places_shape is None else (*places_shape, x_shape[-1])


def states_at(x, places):
    """The states at some places of each row: (B, T, H) and int32 (B, S) -> (B, S, H)."""
    rows, length, hidden_dim = fused.shape_of(x)
    flat = tf.reshape(places + (tf.range(rows) * length)[:, None], [-1])
    states = fused.gather_rows(tf.reshape(x, [-1, hidden_dim]), flat)
    return tf.reshape(states, [*fused.shape_of(places), hidden_dim])


class StatesAt(keras.layers.Layer):
    """`states_at` in a functional model."""

    def call(self, x, places):
        return states_at(x, places)

    def compute_output_shape(self, x_shape, places_shape):
        return (*places_shape, x_shape[-1])


class Places(keras.layers.Layer):
    """Where states are read: the first token of each text of a row, then the mask slots."""

    def call(self, token_ids, text_positions=None, mask_positions=None):
        """int32 (B, T), which tells the rows; (B, S) where packed; (B, P) -> (B, S + P)."""
        first = tf.zeros_like(token_ids[:, :1]) if text_positions is None else text_positions
        return first if mask_positions is None else tf.concat([first, mask_positions], axis=1)

    def compute_output_shape(
        self, token_ids_shape, text_positions_shape=None, mask_positions_shape=None
    ):
        counts = [1 if text_positions_shape is None else text_positions_shape[1]]
        counts += [] if mask_positions_shape is None else [mask_positions_shape[1]]
        return (token_ids_shape[0], None if None in counts else sum(counts))


class DividedStates(keras.layers.Layer):
    """(B, S + P, H) and int32 (B, P) -> those of texts (B, S, H), and of mask slots (B, P, H)."""

    def call(self, states, mask_positions):
        num_texts = fused.shape_of(states)[1] - fused.shape_of(mask_positions)[1]
        return states[:, :num_texts], states[:, num_texts:]

    def compute_output_shape(self, states_shape, mask_positions_shape):
        rows, count, hidden_dim = states_shape
        num_masks = mask_positions_shape[1]
        num_texts = None if None in (count, num_masks) else count - num_masks
        return (rows, num_texts, hidden_dim), (rows, num_masks, hidden_dim)
