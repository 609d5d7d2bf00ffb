"""One state for a whole text, to compare texts by.

Shape letters: B rows, T tokens in a row, H hidden width.
"""

import keras
import tensorflow as tf

from tfpt import config, features


def embedder(encoder: keras.Model, *, pooling: str = "mean") -> keras.Model:
    """An encoder that gives each text one state, of length 1: texts alike have products near 1.

    Args:
        encoder: From `models.encoder`, or with `sequence_output` (B, T, H).
        pooling: "mean": of the states of all tokens, [CLS] and [SEP] among them; "first": the state
            of [CLS].

    Returns:
        A functional model from the encoder's inputs to `embedding`, float32 (B, H).

    Raises:
        ValueError: An unknown pooling, or the encoder is packed.

    Source: Reimers and Gurevych 2019, section 3, https://arxiv.org/abs/1908.10084.
    """
    if pooling not in config.EMBEDDINGS:
        raise ValueError(
            f"`pooling` must be one of {', '.join(config.EMBEDDINGS)}; received {pooling!r}."
        )
    if features.TEXT_POSITIONS in encoder.input:
        raise ValueError(
            "An embedding is of one text to a row; the encoder is a packed one. Build it without "
            "packed=True: the weights are the same."
        )
    states = encoder.output[features.SEQUENCE_OUTPUT]
    mask = encoder.input[features.PADDING_MASK]
    outputs = {features.EMBEDDING: Embedding(pooling, name="embedding")(states, mask)}
    return keras.Model(encoder.input, outputs, name="embedder")


class Embedding(keras.layers.Layer):
    """States (B, T, H) and int32 (B, T), 1 for a token -> float32 (B, H), of length 1."""

    def __init__(self, pooling: str, **kwargs):
        super().__init__(**kwargs)
        self.pooling = pooling

    def call(self, states, padding_mask):
        states = tf.cast(states, tf.float32)
        pooled = mean_of_tokens(states, padding_mask) if self.pooling == "mean" else states[:, 0]
        return tf.math.l2_normalize(pooled, axis=-1)

    def compute_output_shape(self, states_shape, padding_mask_shape):
        return (states_shape[0], states_shape[-1])


def mean_of_tokens(states, padding_mask):
    """float32 (B, T, H), int32 (B, T) -> (B, H): the mean of the states that are no padding."""
    weights = tf.cast(padding_mask, tf.float32)[..., None]  # (B, T, 1)
    total = tf.reduce_sum(states * weights, axis=1)
    return total / tf.maximum(tf.reduce_sum(weights, axis=1), 1.0)
