"""The exported tagger: strings in, entities with their places out; or tokens in, their tags out.

Shape letters: B texts, T tokens in a row, C tags, W words of all texts, E most entities of a text
in the request.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfpt import features
from tfpt.export.artifact import PACKED, Untracked, assets_in, of_one_shape, pack_rows, token_specs
from tfpt.export.entity_spans import Tags, find_words, spoken, without_punctuation
from tfpt.pipelines import spans
from tfpt.pipelines.tokenizer import TextTokenizer


class Tagger(tf.Module):
    """Owns what the SavedModel holds: the weights, the vocabulary, the tags.

    Args:
        model: From the encoder's inputs to the logits `token_classification` (B, T, C).
        tokenizer: The one the model was trained with.
        label_names: The tag of each class, by its id; BIO or BIOES.
        sequence_length: Most tokens in a row; words past it belong to no entity.
        separator: Of the words, as in training: blanks, or "" where each character is a word.
        assets: A folder whose files are copied into the SavedModel: the vocabulary and labels.txt.

    Attributes:
        find: The signature that takes texts; None where the tokenizer is not made of operations of
            the graph.
        tag_tokens: The signature that takes tokens.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: TextTokenizer,
        label_names: Sequence[str],
        *,
        sequence_length: int,
        separator: str,
        assets: Path,
    ):
        super().__init__(name="tagger")
        self._model = Untracked(model)
        self._tokenizer = Untracked(tokenizer)
        self._tags = Untracked(Tags(label_names))
        self._sequence_length = sequence_length
        self._separator = separator
        # A module tracks variables, not Keras models: the folder then needs no Keras to be read.
        self.weights = [weight.value for weight in model.weights]
        self.label_names = tf.constant(list(label_names))
        self.kinds = tf.constant(list(self._tags.value.kinds), tf.string)
        self.assets = assets_in(assets)
        self.resources = list(tokenizer.resources)
        self.find = None
        if tokenizer.in_graph:
            self.find = tf.function(
                self._find,
                input_signature=[tf.TensorSpec([None], tf.string, name="text")],
                autograph=False,
            )
        self.tag_tokens = tf.function(
            self._tag_tokens, input_signature=token_specs(), autograph=False
        )

    def signatures(self):
        """The functions by the names they are served under."""
        found = {"tokens": self.tag_tokens}
        return found if self.find is None else {**found, "serving_default": self.find}

    def _find(self, text):
        """string (B,) -> the entities of each text, (B, E), and how many it has; see `saved_model`.

        Each word has the tag of its first token; see `find_words`.
        """
        tokenizer = self._tokenizer.value
        longest = self._sequence_length - 2
        ids, starts, ends = (
            part[:, :longest] for part in tokenizer.tokenize_with_offsets(text, unit="byte")
        )
        scores = self._scores(*pack_rows([ids], tokenizer, self._sequence_length))  # (B, T, C)
        words = find_words(text, starts, ends, separator=self._separator)
        places = tf.stack([words.text, words.token + 1], axis=1)  # behind [CLS]
        of_words = tf.gather_nd(scores, places)  # (W, C)
        found = self._tags.value.find_entities(
            words, tf.argmax(of_words, axis=-1), tf.reduce_max(of_words, axis=-1)
        )
        if self._separator:
            found = without_punctuation(text, found)
        num_texts = tf.size(text, tf.int64)

        def by_text(values):
            return tf.RaggedTensor.from_value_rowids(values, found.text, num_texts, validate=False)

        start, end = by_text(found.start), by_text(found.end)
        char_start, char_end = spans.in_unit(text, start, end, "character")
        columns = {
            "label": by_text(tf.gather(self.kinds, found.kind)),
            "text": by_text(spoken(text, found)),
            "score": by_text(found.score),
            "start": start,
            "end": end,
            "char_start": char_start,
            "char_end": char_end,
        }
        count = tf.cast(start.row_lengths(), tf.int32)
        return {"count": count, **{name: part.to_tensor() for name, part in columns.items()}}

    def _tag_tokens(self, token_ids, segment_ids, padding_mask):
        """int32 (B, T) each, as features.py has them -> what each token has for a tag.

        Returns:
            `label` string (B, T), `score` float32 (B, T), `scores` float32 (B, T, C). Those of a
            word are those of its first token; the others were never trained.
        """
        scores = self._scores(*of_one_shape(token_ids, segment_ids, padding_mask))
        return {
            "label": tf.gather(self.label_names, tf.argmax(scores, axis=-1)),
            "score": tf.reduce_max(scores, axis=-1),
            "scores": scores,
        }

    def _scores(self, token_ids, segment_ids, padding_mask):
        """float32 (B, T, C): probabilities."""
        inputs = dict(zip(PACKED, (token_ids, segment_ids, padding_mask), strict=True))
        logits = self._model.value(inputs, training=False)[features.TOKEN_CLASSIFICATION]
        return tf.nn.softmax(logits)
