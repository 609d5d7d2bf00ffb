"""The exported classifier: strings or tokens in, labels and scores out.

Shape letters: B texts, T tokens in a row, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfpt import features
from tfpt.export.artifact import PACKED, Untracked, assets_in, pack_rows, token_specs
from tfpt.pipelines.tokenizer import TextTokenizer


class Classifier(tf.Module):
    """Owns what the SavedModel holds: the weights, the vocabulary, the label names.

    Args:
        model: From the encoder's inputs to the logits `classification` (B, C).
        tokenizer: The one the model was trained with.
        label_names: The name of each class, by its id.
        sequence_length: Most tokens in a row; longer texts are cut, shorter rows are padded to the
            longest of the request only.
        num_texts: 1, or 2 for pairs of texts.
        assets: A folder whose files are copied into the SavedModel: the vocabulary and labels.txt.

    Attributes:
        classify: The signature that takes texts; None where the tokenizer is not made of operations
            of the graph.
        classify_tokens: The signature that takes tokens.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: TextTokenizer,
        label_names: Sequence[str],
        *,
        sequence_length: int,
        num_texts: int,
        assets: Path,
    ):
        super().__init__(name="classifier")
        self._model = Untracked(model)
        self._tokenizer = Untracked(tokenizer)
        self._sequence_length = sequence_length
        # A module tracks variables, not Keras models: the folder then needs no Keras to be read.
        self.weights = [weight.value for weight in model.weights]
        self.label_names = tf.constant(list(label_names))
        self.assets = assets_in(assets)
        self.resources = list(tokenizer.resources)
        names = ("text",) if num_texts == 1 else ("text_a", "text_b")
        self.classify = None
        if tokenizer.in_graph:
            self.classify = tf.function(
                self._classify_one if num_texts == 1 else self._classify_pair,
                input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in names],
                autograph=False,
            )
        self.classify_tokens = tf.function(
            self._classify_tokens, input_signature=token_specs(), autograph=False
        )

    def signatures(self):
        """The functions by the names they are served under."""
        found = {"tokens": self.classify_tokens}
        return found if self.classify is None else {**found, "serving_default": self.classify}

    def _classify_one(self, text):
        return self._classify([text])

    def _classify_pair(self, text_a, text_b):
        return self._classify([text_a, text_b])

    def _classify(self, texts):
        """string (B,) once or twice -> label string (B,), score float32 (B,), scores (B, C)."""
        tokenizer = self._tokenizer.value
        tokens = [tokenizer.tokenize(text) for text in texts]
        return self._classify_tokens(*pack_rows(tokens, tokenizer, self._sequence_length))

    def _classify_tokens(self, token_ids, segment_ids, padding_mask):
        """int32 (B, T) each, as features.py has them -> the same outputs."""
        inputs = dict(zip(PACKED, (token_ids, segment_ids, padding_mask), strict=True))
        scores = tf.nn.softmax(self._model.value(inputs, training=False)[features.CLASSIFICATION])
        return {
            "label": tf.gather(self.label_names, tf.argmax(scores, axis=-1)),
            "score": tf.reduce_max(scores, axis=-1),
            "scores": scores,
        }
