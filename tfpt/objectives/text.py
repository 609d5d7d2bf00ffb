"""Heads and losses for text.

Shape letters: B rows, T tokens in a row, P mask slots in a row, S texts in a row, H hidden width,
V vocabulary, C classes.
"""

import keras
import tensorflow as tf

from tfpt import features
from tfpt.models import fused
from tfpt.models.fused import cross_entropy, is_correct
from tfpt.models.layers import LayerNorm, Linear, StatesAt
from tfpt.objectives.objective import Objective


def masked_lm(
    encoder: keras.Model,
    *,
    weight: float = 1.0,
    product_dtype: str = "float32",
    norm_epsilon: float = 1e-12,
) -> Objective:
    """Predict the tokens at `mask_positions`.

    Only these positions are projected onto the vocabulary, by the transposed token embedding.

    Args:
        encoder: With `masked_output` (B, P, H), as `models.at_masks` gives it, or else with
            `sequence_output` (B, T, H); and with a layer `token_embedding` with `embeddings`.
        weight: Factor of the loss.
        product_dtype: Of the operands of the head's matrix products; see `models.encoder`.
        norm_epsilon: Added to the variance in the head's norm; see `models.Model`.

    Returns:
        An objective with the output `masked_lm`, logits float32 (B, P, V).

    Source: Devlin et al. 2019, section 3.1, https://arxiv.org/abs/1810.04805.
    """
    if features.MASKED_OUTPUT in encoder.output:
        positions = encoder.input[features.MASK_POSITIONS]
        states = encoder.output[features.MASKED_OUTPUT]
    else:
        positions = keras.Input((None,), dtype="int32", name=features.MASK_POSITIONS)
        sequence = encoder.output[features.SEQUENCE_OUTPUT]
        states = StatesAt(name="masked_states")(sequence, positions)
    head = MaskedLMHead(
        encoder.get_layer("token_embedding"),
        product_dtype,
        epsilon=norm_epsilon,
        name="masked_lm_head",
    )
    return Objective(
        name=features.MASKED_LM,
        output=head(states),
        loss=cross_entropy,
        metrics={"accuracy": is_correct},
        inputs={features.MASK_POSITIONS: positions},
        weight=weight,
    )


def next_sentence(encoder: keras.Model, *, weight: float = 1.0) -> Objective:
    """Tell whether text B follows text A.

    Returns:
        An objective with the output `next_sentence`, logits float32 (B, S, 2); S is 1 unless the
        encoder is packed.

    Source: Devlin et al. 2019, section 3.1, https://arxiv.org/abs/1810.04805.
    """
    return _pair(encoder, features.NEXT_SENTENCE, weight)


def sentence_order(encoder: keras.Model, *, weight: float = 1.0) -> Objective:
    """Tell whether text B follows text A, or A follows B.

    Returns:
        An objective with the output `sentence_order`, logits float32 (B, S, 2); S is 1 unless the
        encoder is packed.

    Source: Lan et al. 2020, section 3.1, https://arxiv.org/abs/1909.11942.
    """
    return _pair(encoder, features.SENTENCE_ORDER, weight)


def _pair(encoder: keras.Model, name: str, weight: float) -> Objective:
    """One of two things is true of each pair of texts."""
    pooled = encoder.output[features.POOLED_OUTPUT]
    logits = Linear(2, name=f"{name}_head")(pooled)
    if len(logits.shape) == 2:
        logits = keras.layers.Reshape((1, 2), name=f"{name}_logits")(logits)
    return Objective(
        name=name,
        output=logits,
        loss=cross_entropy,
        metrics={"accuracy": is_correct},
        weight=weight,
    )


def classification(
    encoder: keras.Model, *, num_classes: int, dropout_rate: float = 0.1
) -> Objective:
    """Tell the class of a text or of a pair of texts, from the pooled state.

    Args:
        encoder: With `pooled_output` (B, H); that of `models.at_first` is the fastest.
        num_classes: C, at least 2.
        dropout_rate: Share of the pooled state dropped in training, in [0, 1).

    Returns:
        An objective with the output `classification`, logits float32 (B, C).

    Raises:
        ValueError: Fewer than 2 classes, or the encoder is packed.
    """
    _check_num_classes(num_classes)
    if len(encoder.output[features.POOLED_OUTPUT].shape) > 2:
        raise ValueError(
            "`classification` takes one text, or pair, to a row; the encoder is a packed one. "
            "Build it without packed=True: the weights are the same."
        )
    pooled = Dropout(dropout_rate, name="classification_dropout")(
        encoder.output[features.POOLED_OUTPUT]
    )
    return Objective(
        name=features.CLASSIFICATION,
        output=Linear(num_classes, name="classification_head")(pooled),
        loss=cross_entropy,
        metrics={"accuracy": is_correct},
    )


def token_classification(
    encoder: keras.Model, *, num_classes: int, dropout_rate: float = 0.1
) -> Objective:
    """Tell the class of each token, such as the tag of the word it begins.

    Rows of an encoder that is packed are told as any other: each token is a target of its own.

    Args:
        encoder: With `sequence_output` (B, T, H).
        num_classes: C, at least 2.
        dropout_rate: Share of the states dropped in training, in [0, 1).

    Returns:
        An objective with the output `token_classification`, logits float32 (B, T, C).

    Raises:
        ValueError: Fewer than 2 classes.

    Source: Devlin et al. 2019, section 5.3, https://arxiv.org/abs/1810.04805.
    """
    _check_num_classes(num_classes)
    states = Dropout(dropout_rate, name="token_classification_dropout")(
        encoder.output[features.SEQUENCE_OUTPUT]
    )
    return Objective(
        name=features.TOKEN_CLASSIFICATION,
        output=Linear(num_classes, name="token_classification_head")(states),
        loss=cross_entropy,
        metrics={"accuracy": is_correct},
    )


def _check_num_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise ValueError(f"`num_classes` must be at least 2; received {num_classes}.")


class MaskedLMHead(keras.layers.Layer):
    """(B, P, H) -> logits (B, P, V) over the vocabulary, by the transposed token embedding."""

    def __init__(
        self,
        token_embedding: keras.layers.Layer,
        product_dtype: str = "float32",
        epsilon: float = 1e-12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.product_dtype = product_dtype
        self.token_embedding = token_embedding

    def build(self, states_shape):
        # ELECTRA's embeddings are narrower than its states.
        vocabulary_size, width = self.token_embedding.embeddings.shape
        self.transform = Linear(width, self.product_dtype, name="transform")
        self.transform.build((None, states_shape[-1]))
        self.norm = LayerNorm(self.epsilon, name="norm")
        self.norm.build((None, width))
        self.bias = self.add_weight(name="bias", shape=(vocabulary_size,), initializer="zeros")

    def call(self, states):
        dtype = self.product_dtype
        shape = fused.shape_of(states)
        x = tf.reshape(states, [-1, shape[-1]])  # (B * P, H)
        x = fused.bias_gelu_norm(
            self.transform.product(x),
            self.transform.bias,
            self.norm.scale,
            self.norm.offset,
            dtype=dtype,
            epsilon=self.norm.epsilon,
        )
        product = fused.matmul(x, self.token_embedding.embeddings, dtype, transpose_y=True)
        logits = fused.logits(product, self.bias)
        return tf.reshape(logits, [*shape[:-1], logits.shape[-1]])

    def compute_output_shape(self, states_shape):
        return (*states_shape[:-1], self.token_embedding.embeddings.shape[0])


class Dropout(keras.layers.Layer):
    """Dropout by random bytes, as inside of the encoder."""

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x, training=False):
        if not (training and self.rate):
            return x
        noise = fused.random_bytes(fused.shape_of(x), self.seed_generator.next(), 0)
        return fused.dropout(x, noise, self.rate)
