"""Which weight of ours is which of others: the tables, one for each family of models.

A line has the kind of a layer, its name here, and the names of its parts there. `{n}` is the number
of a transformer layer. Several parts stand side by side in the weight here, in this order: BERT has
queries, keys and values as three products, tfpt as one. What the kinds mean in a format (`kernel`
or `weight`, transposed or not) is told by `Style`.

Lines without a group belong to every model. A group is there as a whole or not at all.

Sources: modeling_bert.py, modeling_roberta.py, modeling_electra.py, modeling_distilbert.py of
https://github.com/huggingface/transformers; modeling.py of
https://github.com/google-research/bert; the backbones of
https://github.com/keras-team/keras-hub.
"""

from dataclasses import dataclass
from typing import NamedTuple

MASKED_LM, NEXT_SENTENCE, POOLER = "masked_lm", "next_sentence", "pooler"
SEGMENTS, PROJECTION, CLASSIFICATION = "segments", "projection", "classification"
HEADS = frozenset({MASKED_LM, NEXT_SENTENCE, CLASSIFICATION})


class Line(NamedTuple):
    """A layer here and there."""

    kind: str  # "linear", "norm", "rows" (a table of embeddings), "vector" or "transposed" (turned)
    ours: str
    theirs: tuple[str, ...]
    group: str = ""
    num_before: int = 0  # rows there before the first one here
    by_entry: bool = False  # a row, or a number, for each entry of the vocabulary, and maybe more
    # Whether its two classes have each other's place there: 0 is a pair that follows, 1 a random
    # one; here 1 is what is true.
    swaps: bool = False


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a format names and lays out the variables of a layer."""

    kernel: str
    bias: str
    scale: str
    offset: str
    rows: str
    transposes: bool = False  # kernels are (out, in)


PYTORCH = Style(
    kernel=".weight", bias=".bias", scale=".weight", offset=".bias", rows=".weight", transposes=True
)
TENSORFLOW_1 = Style(kernel="/kernel", bias="/bias", scale="/gamma", offset="/beta", rows="")
KERAS_HUB = Style(
    kernel="/kernel", bias="/bias", scale="/gamma", offset="/beta", rows="/embeddings"
)


def linear(ours: str, *theirs: str, group: str = "") -> Line:
    """A line of a linear map."""
    return Line("linear", ours, theirs, group, swaps=group == NEXT_SENTENCE)


def _norm(ours: str, theirs: str, group: str = "") -> Line:
    return Line("norm", ours, (theirs,), group)


def _rows(ours: str, theirs: str, group: str = "") -> Line:
    return Line("rows", ours, (theirs,), group, by_entry=ours == "token_embedding")


def _vector(ours: str, theirs: str, group: str = "") -> Line:
    return Line("vector", ours, (theirs,), group, by_entry=ours == "masked_lm_head/bias")


# The layers of BERT, RoBERTa and ELECTRA in transformers.
_LAYERS = (
    linear(
        "layer_{n}/query_key_value",
        "encoder.layer.{n}.attention.self.query",
        "encoder.layer.{n}.attention.self.key",
        "encoder.layer.{n}.attention.self.value",
    ),
    linear("layer_{n}/attention_output", "encoder.layer.{n}.attention.output.dense"),
    _norm("layer_{n}/attention_norm", "encoder.layer.{n}.attention.output.LayerNorm"),
    linear("layer_{n}/intermediate", "encoder.layer.{n}.intermediate.dense"),
    linear("layer_{n}/output_projection", "encoder.layer.{n}.output.dense"),
    _norm("layer_{n}/output_norm", "encoder.layer.{n}.output.LayerNorm"),
)
_EMBEDDINGS = (
    _rows("token_embedding", "embeddings.word_embeddings"),
    _rows("position_embedding", "embeddings.position_embeddings"),
    _norm("position_embedding/norm", "embeddings.LayerNorm"),
)
_SEGMENTS = _rows("segment_embedding", "embeddings.token_type_embeddings", SEGMENTS)

BERT = (
    *_EMBEDDINGS,
    _SEGMENTS,
    *_LAYERS,
    linear("pooler", "pooler.dense", group=POOLER),
    linear("masked_lm_head/transform", "cls.predictions.transform.dense", group=MASKED_LM),
    _norm("masked_lm_head/norm", "cls.predictions.transform.LayerNorm", MASKED_LM),
    _vector("masked_lm_head/bias", "cls.predictions.bias", MASKED_LM),
    linear("next_sentence_head", "cls.seq_relationship", group=NEXT_SENTENCE),
    linear("classification_head", "classifier", group=CLASSIFICATION),
)

# Positions count from the one after the id of padding there, which is 1; see hugging_face.py.
ROBERTA = (
    _rows("token_embedding", "embeddings.word_embeddings"),
    Line("rows", "position_embedding", ("embeddings.position_embeddings",), num_before=2),
    _norm("position_embedding/norm", "embeddings.LayerNorm"),
    _SEGMENTS,
    *_LAYERS,
    linear("pooler", "pooler.dense", group=POOLER),
    linear("masked_lm_head/transform", "lm_head.dense", group=MASKED_LM),
    _norm("masked_lm_head/norm", "lm_head.layer_norm", MASKED_LM),
    _vector("masked_lm_head/bias", "lm_head.bias", MASKED_LM),
)

ELECTRA = (
    *_EMBEDDINGS,
    _SEGMENTS,
    linear("embedding_projection", "embeddings_project", group=PROJECTION),
    *_LAYERS,
    linear("masked_lm_head/transform", "generator_predictions.dense", group=MASKED_LM),
    _norm("masked_lm_head/norm", "generator_predictions.LayerNorm", MASKED_LM),
    _vector("masked_lm_head/bias", "generator_lm_head.bias", MASKED_LM),
)

DISTILBERT = (
    *_EMBEDDINGS,
    linear(
        "layer_{n}/query_key_value",
        "transformer.layer.{n}.attention.q_lin",
        "transformer.layer.{n}.attention.k_lin",
        "transformer.layer.{n}.attention.v_lin",
    ),
    linear("layer_{n}/attention_output", "transformer.layer.{n}.attention.out_lin"),
    _norm("layer_{n}/attention_norm", "transformer.layer.{n}.sa_layer_norm"),
    linear("layer_{n}/intermediate", "transformer.layer.{n}.ffn.lin1"),
    linear("layer_{n}/output_projection", "transformer.layer.{n}.ffn.lin2"),
    _norm("layer_{n}/output_norm", "transformer.layer.{n}.output_layer_norm"),
    linear("masked_lm_head/transform", "vocab_transform", group=MASKED_LM),
    _norm("masked_lm_head/norm", "vocab_layer_norm", MASKED_LM),
    _vector("masked_lm_head/bias", "vocab_projector.bias", MASKED_LM),
)

# Classifiers of texts whose head has two layers, the first of which is our pooler.
_TWO_LAYERS = (
    linear("pooler", "classifier.dense", group=POOLER),
    linear("classification_head", "classifier.out_proj", group=CLASSIFICATION),
)
ROBERTA_CLASSIFIER = (*(line for line in ROBERTA if line.group != POOLER), *_TWO_LAYERS)
ELECTRA_CLASSIFIER = (*ELECTRA, *_TWO_LAYERS)
DISTILBERT_CLASSIFIER = (
    *DISTILBERT,
    linear("pooler", "pre_classifier", group=POOLER),
    linear("classification_head", "classifier", group=CLASSIFICATION),
)

# google-research's checkpoints. The kernel of the next-sentence head is (out, in) there.
BERT_TF1 = (
    _rows("token_embedding", "bert/embeddings/word_embeddings"),
    _rows("position_embedding", "bert/embeddings/position_embeddings"),
    _norm("position_embedding/norm", "bert/embeddings/LayerNorm"),
    _rows("segment_embedding", "bert/embeddings/token_type_embeddings", SEGMENTS),
    linear(
        "layer_{n}/query_key_value",
        "bert/encoder/layer_{n}/attention/self/query",
        "bert/encoder/layer_{n}/attention/self/key",
        "bert/encoder/layer_{n}/attention/self/value",
    ),
    linear("layer_{n}/attention_output", "bert/encoder/layer_{n}/attention/output/dense"),
    _norm("layer_{n}/attention_norm", "bert/encoder/layer_{n}/attention/output/LayerNorm"),
    linear("layer_{n}/intermediate", "bert/encoder/layer_{n}/intermediate/dense"),
    linear("layer_{n}/output_projection", "bert/encoder/layer_{n}/output/dense"),
    _norm("layer_{n}/output_norm", "bert/encoder/layer_{n}/output/LayerNorm"),
    linear("pooler", "bert/pooler/dense", group=POOLER),
    linear("masked_lm_head/transform", "cls/predictions/transform/dense", group=MASKED_LM),
    _norm("masked_lm_head/norm", "cls/predictions/transform/LayerNorm", MASKED_LM),
    _vector("masked_lm_head/bias", "cls/predictions/output_bias", MASKED_LM),
    Line(
        "transposed",
        "next_sentence_head/kernel",
        ("cls/seq_relationship/output_weights",),
        NEXT_SENTENCE,
        swaps=True,
    ),
    Line(
        "vector",
        "next_sentence_head/bias",
        ("cls/seq_relationship/output_bias",),
        NEXT_SENTENCE,
        swaps=True,
    ),
)

# keras-hub's backbones, by the paths of their weights.
_LAYERS_KERAS_HUB = (
    linear(
        "layer_{n}/query_key_value",
        "transformer_layer_{n}/self_attention_layer/query",
        "transformer_layer_{n}/self_attention_layer/key",
        "transformer_layer_{n}/self_attention_layer/value",
    ),
    linear(
        "layer_{n}/attention_output",
        "transformer_layer_{n}/self_attention_layer/attention_output",
    ),
    _norm("layer_{n}/attention_norm", "transformer_layer_{n}/self_attention_layer_norm"),
    linear("layer_{n}/intermediate", "transformer_layer_{n}/feedforward_intermediate_dense"),
    linear("layer_{n}/output_projection", "transformer_layer_{n}/feedforward_output_dense"),
    _norm("layer_{n}/output_norm", "transformer_layer_{n}/feedforward_layer_norm"),
)
_NORM_KERAS_HUB = _norm("position_embedding/norm", "embeddings_layer_norm")
BERT_KERAS_HUB = (
    _rows("token_embedding", "token_embedding"),
    _rows("position_embedding", "position_embedding"),
    _NORM_KERAS_HUB,
    _rows("segment_embedding", "segment_embedding", SEGMENTS),
    *_LAYERS_KERAS_HUB,
    linear("pooler", "pooled_dense", group=POOLER),
)
ELECTRA_KERAS_HUB = (
    *BERT_KERAS_HUB,
    linear("embedding_projection", "embeddings_projection", group=PROJECTION),
)
DISTILBERT_KERAS_HUB = (
    _rows("token_embedding", "token_and_position_embedding/token_embedding"),
    _rows("position_embedding", "token_and_position_embedding/position_embedding"),
    _NORM_KERAS_HUB,
    *_LAYERS_KERAS_HUB,
)
ROBERTA_KERAS_HUB = (
    _rows("token_embedding", "embeddings/token_embedding"),
    _rows("position_embedding", "embeddings/position_embedding"),
    _NORM_KERAS_HUB,
    *_LAYERS_KERAS_HUB,
)
