"""The exported classifier: strings or tokens in, labels and scores out.

Shape letters: B texts, T tokens in a row, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfpt import features
from tfpt.pipelines.packing import pack_segments
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
        self._model = _Untracked(model)
        self._tokenizer = _Untracked(tokenizer)
        self._sequence_length = sequence_length
        # A module tracks variables, not Keras models: the folder then needs no Keras to be read.
        self.weights = [weight.value for weight in model.weights]
        self.label_names = tf.constant(list(label_names))
        self.assets = [tf.saved_model.Asset(str(path)) for path in sorted(assets.iterdir())]
        self.resources = list(tokenizer.resources)
        names = ("text",) if num_texts == 1 else ("text_a", "text_b")
        self.classify = None
        if tokenizer.in_graph:
            self.classify = tf.function(
                self._classify_one if num_texts == 1 else self._classify_pair,
                input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in names],
                autograph=False,
            )
        packed = (features.TOKEN_IDS, features.SEGMENT_IDS, features.PADDING_MASK)
        self.classify_tokens = tf.function(
            self._classify_tokens,
            input_signature=[tf.TensorSpec([None, None], tf.int32, name=name) for name in packed],
            autograph=False,
        )

    def _classify_one(self, text):
        return self._classify([text])

    def _classify_pair(self, text_a, text_b):
        return self._classify([text_a, text_b])

    def _classify(self, texts):
        """string (B,) once or twice -> label string (B,), score float32 (B,), scores (B, C)."""
        tokenizer = self._tokenizer.value
        packed = pack_segments(
            [tokenizer.tokenize(text) for text in texts],
            sequence_length=self._sequence_length,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
        )
        # Padding past the longest row would only cost time.
        longest = tf.reduce_max(tf.concat([tf.reduce_sum(packed[2], axis=1), [1]], axis=0))
        return self._classify_tokens(*(tensor[:, :longest] for tensor in packed))

    def _classify_tokens(self, token_ids, segment_ids, padding_mask):
        """int32 (B, T) each, as features.py has them -> the same outputs."""
        inputs = {
            features.TOKEN_IDS: token_ids,
            features.SEGMENT_IDS: segment_ids,
            features.PADDING_MASK: padding_mask,
        }
        scores = tf.nn.softmax(self._model.value(inputs, training=False)[features.CLASSIFICATION])
        return {
            "label": tf.gather(self.label_names, tf.argmax(scores, axis=-1)),
            "score": tf.reduce_max(scores, axis=-1),
            "scores": scores,
        }


class _Untracked:
    """Holds an object out of sight of `tf.Module`, which would save it too."""

    def __init__(self, value):
        self.value = value
