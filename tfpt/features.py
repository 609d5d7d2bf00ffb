"""The contract: every tensor that crosses a border between rooms, by name, dtype and shape.

A dataset yields `(features, labels, weights)`, three dicts. A label, its weight, the model output
it is compared with and the loss carry one name, so Keras `fit` needs no glue.

Shape letters: B rows in a batch, T tokens in a row, P mask slots in a row, S texts in a row
(1 where rows are not packed), U tokens in a row of a decoder, V vocabulary, C classes.
"""

from typing import NamedTuple


class Tensor(NamedTuple):
    """What crosses a border: dtype, shape letters, meaning."""

    dtype: str
    shape: tuple[str, ...]
    meaning: str


TOKEN_IDS = "token_ids"
SEGMENT_IDS = "segment_ids"
PADDING_MASK = "padding_mask"
MASK_POSITIONS = "mask_positions"
TEXT_IDS = "text_ids"
POSITION_IDS = "position_ids"
TEXT_POSITIONS = "text_positions"
ANSWER_MASK = "answer_mask"
DECODER_TOKEN_IDS = "decoder_token_ids"
DECODER_PADDING_MASK = "decoder_padding_mask"
MASKED_LM = "masked_lm"
NEXT_SENTENCE = "next_sentence"
SENTENCE_ORDER = "sentence_order"
CAUSAL_LM = "causal_lm"
SPAN_CORRUPTION = "span_corruption"
CLASSIFICATION = "classification"
CONTRASTIVE = "contrastive"
NO_GROUP = -1  # in its place, of a row that stands for nothing, and that no other is told from
MULTI_LABEL = "multi_label"
REGRESSION = "regression"
TOKEN_CLASSIFICATION = "token_classification"
QUESTION_ANSWERING = "question_answering"
SEQUENCE_OUTPUT = "sequence_output"
POOLED_OUTPUT = "pooled_output"
MASKED_OUTPUT = "masked_output"
EMBEDDING = "embedding"

FEATURES = {
    TOKEN_IDS: Tensor("int32", ("B", "T"), "entries of the vocabulary, or sentinels; 0 is padding"),
    SEGMENT_IDS: Tensor("int32", ("B", "T"), "0 for text A and padding, 1 for text B"),
    PADDING_MASK: Tensor("int32", ("B", "T"), "1 for a token, 0 for padding"),
    MASK_POSITIONS: Tensor("int32", ("B", "P"), "places of the tokens to predict; 0 where unused"),
    # Where a row holds several texts, or pairs of texts:
    TEXT_IDS: Tensor("int32", ("B", "T"), "the text of a token, 1 to S; 0 is padding"),
    POSITION_IDS: Tensor("int32", ("B", "T"), "the place of a token in its text, from 0"),
    TEXT_POSITIONS: Tensor("int32", ("B", "S"), "where each text begins; 0 where there is none"),
    # Where the answer to a question is to be found in the row:
    ANSWER_MASK: Tensor(
        "int32", ("B", "T"), "1 for [CLS] and for what can be of the answer, else 0"
    ),
    # Of a decoder: what it has written before each target.
    DECODER_TOKEN_IDS: Tensor(
        "int32", ("B", "U"), "the start token, then the targets but the last"
    ),
    DECODER_PADDING_MASK: Tensor("int32", ("B", "U"), "1 for a token, 0 for padding"),
}
LABELS = {
    MASKED_LM: Tensor("int32", ("B", "P"), "the original tokens at `mask_positions`"),
    NEXT_SENTENCE: Tensor("int32", ("B", "S"), "1 where text B follows text A, 0 where random"),
    SENTENCE_ORDER: Tensor("int32", ("B", "S"), "1 where text B follows text A, 0 where A follows"),
    CAUSAL_LM: Tensor("int32", ("B", "T"), "the token that follows"),
    SPAN_CORRUPTION: Tensor("int32", ("B", "U"), "sentinels, each with the span it stands for"),
    CLASSIFICATION: Tensor("int32", ("B",), "index into the label names"),
    CONTRASTIVE: Tensor(
        "int32", ("B",), "the group of a text: those of one group mean the same; -1: of a copy"
    ),
    MULTI_LABEL: Tensor("float32", ("B", "C"), "1 for each label that a row has, else 0"),
    REGRESSION: Tensor("float32", ("B",), "the score, in the units of the data"),
    # Of the first token of each word; 0 elsewhere, of weight 0.
    TOKEN_CLASSIFICATION: Tensor("int32", ("B", "T"), "index into the label names"),
    QUESTION_ANSWERING: Tensor(
        "int32", ("B", "2"), "first and last token of the answer; [CLS] where the row has none"
    ),
}
# A weight is float32, of its label's shape: 1 for a real target, 0 for a slot that does not count.
OUTPUTS = {
    MASKED_LM: Tensor("float32", ("B", "P", "V"), "logits"),
    NEXT_SENTENCE: Tensor("float32", ("B", "S", "2"), "logits"),
    SENTENCE_ORDER: Tensor("float32", ("B", "S", "2"), "logits"),
    CLASSIFICATION: Tensor("float32", ("B", "C"), "logits"),
    CONTRASTIVE: Tensor("float32", ("B", "H"), "what a text means, of length 1"),
    EMBEDDING: Tensor("float32", ("B", "H"), "what a text means, of length 1"),
    MULTI_LABEL: Tensor("float32", ("B", "C"), "a logit of each label, on its own"),
    REGRESSION: Tensor("float32", ("B",), "the score, in the units of the data"),
    TOKEN_CLASSIFICATION: Tensor("float32", ("B", "T", "C"), "logits"),
    QUESTION_ANSWERING: Tensor(
        "float32", ("B", "2", "T"), "logits of each token to be the first, and the last"
    ),
    SEQUENCE_OUTPUT: Tensor("float32", ("B", "T", "H"), "states of the last layer"),
    POOLED_OUTPUT: Tensor("float32", ("B", "H"), "projection of the [CLS] state, by tanh"),
    MASKED_OUTPUT: Tensor("float32", ("B", "P", "H"), "states of the last layer at masks"),
}
