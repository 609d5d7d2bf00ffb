"""Heads and losses for text.

Shape letters: B rows, T tokens in a row, P mask slots in a row, S texts in a row, H hidden width,
V vocabulary, C classes.
"""

import math

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
    logits = Head(2, name=f"{name}_head")(pooled)
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
    if num_classes < 2:
        raise ValueError(f"`num_classes` must be at least 2; received {num_classes}.")
    pooled = _dropped_state(encoder, features.CLASSIFICATION, dropout_rate)
    return Objective(
        name=features.CLASSIFICATION,
        output=Head(num_classes, name="classification_head")(pooled),
        loss=cross_entropy,
        metrics={"accuracy": is_correct},
    )


def regression(
    encoder: keras.Model, *, dropout_rate: float = 0.1, mean: float = 0.0, deviation: float = 1.0
) -> Objective:
    """Tell a score of a text or of a pair of texts, such as how alike they are.

    The head tells by how many deviations a score differs from the mean, and the loss is the square
    of what it is wrong by, in deviations: learning is as easy in any units. The output is in the
    units of the data, and so is the metric, the absolute error.

    Args:
        encoder: With `pooled_output` (B, H); that of `models.at_first` is the fastest.
        dropout_rate: Share of the pooled state dropped in training, in [0, 1).
        mean: Of the training rows' scores. It and `deviation` are weights of the layer
            `regression_units` that are not trained, so that they are saved and exported with the
            others; `Units.adapt` sets them.
        deviation: The standard deviation of the training rows' scores, positive.

    Returns:
        An objective with the output `regression`, float32 (B,).

    Raises:
        ValueError: The deviation is not positive, or the encoder is packed.
    """
    pooled = _dropped_state(encoder, features.REGRESSION, dropout_rate)
    units = Units(mean, deviation, name="regression_units")
    return Objective(
        name=features.REGRESSION,
        output=units(Head(1, name="regression_head")(pooled)),
        loss=lambda scores, outputs: tf.square((outputs - scores) / units.deviation),
        metrics={"absolute_error": lambda scores, outputs: tf.abs(outputs - scores)},
    )


def multi_label(
    encoder: keras.Model, *, num_classes: int, dropout_rate: float = 0.1, threshold: float = 0.5
) -> Objective:
    """Tell which labels a text or a pair of texts has: any number of them, each on its own.

    Args:
        encoder: With `pooled_output` (B, H); that of `models.at_first` is the fastest.
        num_classes: C, at least 1.
        dropout_rate: Share of the pooled state dropped in training, in [0, 1).
        threshold: The probability from which on a row is said to have a label, in (0, 1); for the
            accuracy, and kept in the layer `multi_label_head` for reports and exports.

    Returns:
        An objective with the output `multi_label`, logits float32 (B, C).

    Raises:
        ValueError: No class, a threshold out of range, or the encoder is packed.
    """
    if num_classes < 1:
        raise ValueError(f"`num_classes` must be at least 1; received {num_classes}.")
    pooled = _dropped_state(encoder, features.MULTI_LABEL, dropout_rate)
    head = LabelHead(num_classes, threshold, name="multi_label_head")
    return Objective(
        name=features.MULTI_LABEL,
        output=head(pooled),
        loss=_sigmoid_cross_entropy,
        metrics={
            "accuracy": lambda labels, logits: tf.cast(
                (logits >= head.threshold_logit) == (labels > 0.5), tf.float32
            )
        },
    )


def _sigmoid_cross_entropy(labels, logits):
    """float32 (B, C) of 0 and 1, (B, C) -> float32 (B, C), in nats; of any finite logit finite."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


def _dropped_state(encoder: keras.Model, name: str, dropout_rate: float) -> keras.KerasTensor:
    """float32 (B, H): the pooled state that the head of an objective reads."""
    pooled = encoder.output[features.POOLED_OUTPUT]
    if len(pooled.shape) > 2:
        raise ValueError(
            f"`{name}` takes one text, or pair, to a row; the encoder is a packed one. "
            "Build it without packed=True: the weights are the same."
        )
    return Dropout(dropout_rate, name=f"{name}_dropout")(pooled)


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
            *self.transform.product(x),
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


class Units(keras.layers.Layer):
    """(B, 1), in deviations from the mean -> (B,), in the units of the data."""

    def __init__(self, mean: float = 0.0, deviation: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        _check_deviation(deviation)
        self.first_values = (mean, deviation)

    def build(self, states_shape):
        self.mean, self.deviation = (
            self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(value),
                trainable=False,
            )
            for name, value in zip(("mean", "deviation"), self.first_values, strict=True)
        )

    def adapt(self, mean: float, deviation: float) -> None:
        """Take the mean and the standard deviation of other scores."""
        _check_deviation(deviation)
        self.mean.assign(mean)
        self.deviation.assign(deviation)

    def call(self, x):
        return x[:, 0] * self.deviation + self.mean

    def compute_output_shape(self, states_shape):
        return states_shape[:1]


def _check_deviation(deviation: float) -> None:
    if not deviation > 0:
        raise ValueError(f"`deviation` must be positive; received {deviation}.")


class Head(Linear):
    """What maps states to the logits or the score of an objective.

    Its first values are of the full deviation 0.02, as in transformers. Of 0.0176, as the truncated
    ones of an encoder have it, a fine-tuning for many classes begins slower: the first epoch of
    Banking77's 77 classes with the weights of MiniLM has a mean loss of 2.76 instead of 2.71 and
    ends with 0.75 of the validation rows right instead of 0.77 (four and six heads; what is drawn
    is worth 0.03 either way).
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(units, truncated=False, **kwargs)


class LabelHead(Head):
    """A logit of each label, and the probability from which on a row is said to have it."""

    def __init__(self, num_classes: int, threshold: float, **kwargs):
        super().__init__(num_classes, **kwargs)
        if not 0 < threshold < 1:
            raise ValueError(
                f"`threshold` is a probability, in (0, 1); received threshold={threshold}."
            )
        self.threshold = threshold

    @property
    def threshold_logit(self) -> float:
        """The logit whose sigmoid is the threshold."""
        return math.log(self.threshold / (1 - self.threshold))


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
