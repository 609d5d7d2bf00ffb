"""The head that finds the answer to a question in its context.

Shape letters: B rows, T tokens in a row, H hidden width.
"""

import keras
import tensorflow as tf

from tfpt import features
from tfpt.models.fused import cross_entropy, is_correct
from tfpt.objectives.objective import Objective
from tfpt.objectives.text import Dropout, Head

# The logit of a token that cannot be of the answer. Finite, so that sums of it are.
MASKED_LOGIT = -1e9


def question_answering(encoder: keras.Model, *, dropout_rate: float = 0.1) -> Objective:
    """Tell the first and the last token of an answer, [CLS] where a row holds none.

    Tokens that `answer_mask` leaves out, those of the question and padding, are not chosen among.
    The loss of a row is the mean of the two cross-entropies. Its accuracy is 1 where both places
    are right.

    Args:
        encoder: With `sequence_output` (B, T, H).
        dropout_rate: Share of the states dropped in training, in [0, 1).

    Returns:
        An objective with the input `answer_mask`, int32 (B, T), and the output
        `question_answering`, logits float32 (B, 2, T).

    Raises:
        ValueError: The encoder is packed.

    Source: Devlin et al. 2019, sections 4.2 and 4.3, https://arxiv.org/abs/1810.04805.
    """
    name = features.QUESTION_ANSWERING
    if features.TEXT_IDS in encoder.input:
        raise ValueError(
            f"`{name}` takes one question to a row; the encoder is a packed one. Build it without "
            "packed=True: the weights are the same."
        )
    answer_mask = keras.Input((None,), dtype="int32", name=features.ANSWER_MASK)
    states = Dropout(dropout_rate, name=f"{name}_dropout")(encoder.output[features.SEQUENCE_OUTPUT])
    logits = Head(2, name=f"{name}_head")(states)
    return Objective(
        name=name,
        output=PlaceLogits(name=f"{name}_logits")(logits, answer_mask),
        loss=cross_entropy,
        metrics={"accuracy": _both_correct},
        inputs={features.ANSWER_MASK: answer_mask},
    )


def _both_correct(labels, logits):
    """int32 (B, 2), (B, 2, T) -> float32 (B, 2): 1 for both where both are right."""
    correct = is_correct(labels, logits)
    return tf.reduce_min(correct, axis=-1, keepdims=True) * tf.ones_like(correct)


class PlaceLogits(keras.layers.Layer):
    """(B, T, 2) and `answer_mask` (B, T) -> logits (B, 2, T) over the tokens."""

    def call(self, logits, answer_mask):
        places = tf.transpose(logits, [0, 2, 1])
        return tf.where(answer_mask[:, None, :] > 0, places, MASKED_LOGIT)

    def compute_output_shape(self, logits_shape, answer_mask_shape):
        return (logits_shape[0], logits_shape[2], logits_shape[1])
