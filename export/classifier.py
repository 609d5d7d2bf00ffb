"""What an exported classifier answers: the label of each text.

Shape letters: B texts, C classes.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfpt import features
from tfpt.export.text_model import Answers


def class_answers(label_names: Sequence[str]) -> Answers:
    """Of logits `classification` (B, C), label string (B,), score float32 (B,), scores (B, C)."""

    def answers(outputs):
        scores = tf.nn.softmax(outputs[features.CLASSIFICATION])
        return {
            "label": tf.gather(tf.constant(list(label_names)), tf.argmax(scores, axis=-1)),
            "score": tf.reduce_max(scores, axis=-1),
            "scores": scores,
        }

    return answers
