"""The exported model of texts: strings or tokens in, answers out.

Shape letters: B texts, T tokens in a row.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfpt.export.artifact import PACKED, Untracked, assets_in, of_one_shape, pack_rows, token_specs
from tfpt.pipelines.tokenizer import TextTokenizer

# From the outputs of the model, by name, to what is answered, by name: (B, ...) each.
Answers = Callable[[Mapping[str, Any]], dict[str, Any]]


class TextModel(tf.Module):
    """Owns what the SavedModel holds: the weights and the vocabulary.

    Args:
        model: From the encoder's inputs to outputs for each row.
        tokenizer: The one the model was trained with.
        answers: What is answered of the model's outputs.
        sequence_length: Most tokens in a row; longer texts are cut, shorter rows are padded to the
            longest of the request only.
        num_texts: 1, or 2 for pairs of texts.
        assets: A folder whose files are copied into the SavedModel: the vocabulary and, where there
            are labels, labels.txt.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: TextTokenizer,
        answers: Answers,
        *,
        sequence_length: int,
        num_texts: int,
        assets: Path,
    ):
        super().__init__(name="text_model")
        self._model = Untracked(model)
        self._tokenizer = Untracked(tokenizer)
        self._answers = answers
        self._sequence_length = sequence_length
        # A module tracks variables, not Keras models: the folder then needs no Keras to be read.
        self.weights = [weight.value for weight in model.weights]
        self.assets = assets_in(assets)
        self.resources = list(tokenizer.resources)
        names = ("text",) if num_texts == 1 else ("text_a", "text_b")
        self.of_texts = None
        if tokenizer.in_graph:
            self.of_texts = tf.function(
                self._of_one if num_texts == 1 else self._of_pair,
                input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in names],
                autograph=False,
            )
        self.of_tokens = tf.function(
            self._of_tokens, input_signature=token_specs(), autograph=False
        )

    def signatures(self) -> dict[str, Any]:
        """The functions by the names they are served under.

        `tokens` alone where the tokenizer is not made of operations of the graph.
        """
        found = {"tokens": self.of_tokens}
        return found if self.of_texts is None else {**found, "serving_default": self.of_texts}

    def _of_one(self, text):
        return self._of_texts([text])

    def _of_pair(self, text_a, text_b):
        return self._of_texts([text_a, text_b])

    def _of_texts(self, texts):
        """string (B,) once or twice -> the answers."""
        tokenizer = self._tokenizer.value
        tokens = [tokenizer.tokenize(text) for text in texts]
        return self._of_rows(*pack_rows(tokens, tokenizer, self._sequence_length))

    def _of_tokens(self, token_ids, segment_ids, padding_mask):
        """int32 (B, T) each, as features.py has them -> the same answers."""
        return self._of_rows(*of_one_shape(token_ids, segment_ids, padding_mask))

    def _of_rows(self, *rows):
        inputs = dict(zip(PACKED, rows, strict=True))
        return self._answers(self._model.value(inputs, training=False))
