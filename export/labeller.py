"""What an exported model of several labels answers: which of them each text has.

Shape letters: B texts, C labels.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from tfpt import features
from tfpt.export.text_model import Answers


def label_answers(label_names: Sequence[str], threshold: float) -> Answers:
    """Of logits `multi_label` (B, C), labels string, scores float32 and chosen bool, (B, C) each.

    Args:
        label_names: The name of each label, by its place; every row of `labels` has all of them.
        threshold: The probability from which on a label is chosen, in (0, 1).
    """

    def answers(outputs):
        logits = outputs[features.MULTI_LABEL]
        names = tf.constant([list(label_names)])
        return {
            "labels": tf.tile(names, [tf.shape(logits)[0], 1]),
            "scores": tf.sigmoid(logits),
            "chosen": logits >= math.log(threshold / (1 - threshold)),
        }

    return answers
