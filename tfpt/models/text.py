"""Encoders of text as functional Keras models."""

import keras

from tfpt import features
from tfpt.models.layers import (
    Embedding,
    Linear,
    PositionEmbedding,
    StatesAt,
    TransformerLayer,
)
from tfpt.models.sizes import Model

_INPUTS = (features.TOKEN_IDS, features.SEGMENT_IDS, features.PADDING_MASK)
_PACKED_INPUTS = (features.TEXT_IDS, features.POSITION_IDS, features.TEXT_POSITIONS)


def encoder(
    size: Model,
    vocabulary_size: int,
    *,
    product_dtype: str = "float32",
    packed: bool = False,
    rematerialize: bool = False,
) -> keras.Model:
    """BERT's encoder: token, segment and position embeddings, transformer layers, a pooler.

    Args:
        size: Its numbers, such as `models.BERT_BASE`.
        vocabulary_size: V, entries of the vocabulary.
        product_dtype: Of the operands of matrix products: "float32", or "bfloat16" or "float16"
            for speed. Weights, sums and outputs are float32 either way.
        packed: Whether a row may hold several texts. The weights are the same.
        rematerialize: Whether training calculates the states inside of a layer again in the
            backward pass instead of keeping them: less memory, a third more arithmetic.

    Returns:
        A functional model from `token_ids`, `segment_ids` and `padding_mask`, int32 (B, T) each, to
        `sequence_output` float32 (B, T, H) and `pooled_output` float32 (B, H). A packed one also
        takes `text_ids` and `position_ids`, int32 (B, T), and `text_positions`, int32 (B, S);
        attention stays within a text, and `pooled_output` is (B, S, H).

    Source: Devlin et al. 2019, section 3, https://arxiv.org/abs/1810.04805.
    """
    # Inputs
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in (*_INPUTS, *(_PACKED_INPUTS if packed else ()))
    }
    texts = inputs[features.TEXT_IDS if packed else features.PADDING_MASK]

    # Embeddings
    tokens = Embedding(vocabulary_size, size.hidden_dim, name="token_embedding")
    segments = Embedding(2, size.hidden_dim, name="segment_embedding")
    positions = PositionEmbedding(
        size.max_sequence_length, size.dropout_rate, name="position_embedding"
    )
    x = positions(
        tokens(inputs[features.TOKEN_IDS]),
        segments(inputs[features.SEGMENT_IDS]),
        inputs[features.POSITION_IDS] if packed else None,
    )

    # Layers
    for number in range(size.num_layers):
        layer = TransformerLayer(
            size.num_heads,
            size.intermediate_dim,
            size.dropout_rate,
            product_dtype=product_dtype,
            packed=packed,
            rematerialize=rematerialize,
            name=f"layer_{number}",
        )
        x = layer(x, texts)

    # Outputs
    first = StatesAt(name="text_states")(x, inputs[features.TEXT_POSITIONS]) if packed else x[:, 0]
    pooled = Linear(size.hidden_dim, product_dtype=product_dtype, name="pooler")(first)
    outputs = {
        features.SEQUENCE_OUTPUT: x,
        features.POOLED_OUTPUT: keras.layers.Activation("tanh", name="pooled")(pooled),
    }
    return keras.Model(inputs, outputs, name="encoder")
