"""Heads and losses for each token.

Shape letters: B rows, T tokens in a row, H hidden width, C classes.
"""

import keras

from tfpt import features
from tfpt.models.fused import cross_entropy, is_correct
from tfpt.objectives.objective import Objective
from tfpt.objectives.text import Dropout, Head


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
    if num_classes < 2:
        raise ValueError(f"`num_classes` must be at least 2; received {num_classes}.")
    states = Dropout(dropout_rate, name="token_classification_dropout")(
        encoder.output[features.SEQUENCE_OUTPUT]
    )
    return Objective(
        name=features.TOKEN_CLASSIFICATION,
        output=Head(num_classes, name="token_classification_head")(states),
        loss=cross_entropy,
        metrics={"accuracy": is_correct},
    )
