"""Encoders of text as functional Keras models."""

import keras

from tfpt import features
from tfpt.models.layers import (
    DividedStates,
    Embedding,
    Linear,
    Places,
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
    width = size.embedding_dim or size.hidden_dim
    tokens = Embedding(vocabulary_size, width, name="token_embedding")(inputs[features.TOKEN_IDS])
    segments = None
    if size.num_segments:
        ids = inputs[features.SEGMENT_IDS]
        # RoBERTa has one segment, whatever the pairs of texts.
        ids = keras.ops.zeros_like(ids) if size.num_segments == 1 else ids
        segments = Embedding(size.num_segments, width, name="segment_embedding")(ids)
    positions = PositionEmbedding(
        size.max_sequence_length, size.dropout_rate, size.norm_epsilon, name="position_embedding"
    )
    x = positions(tokens, segments, inputs[features.POSITION_IDS] if packed else None)
    if width != size.hidden_dim:
        x = Linear(size.hidden_dim, product_dtype, name="embedding_projection")(x)

    # Layers
    for number in range(size.num_layers):
        layer = TransformerLayer(
            size.num_heads,
            size.intermediate_dim,
            size.dropout_rate,
            product_dtype=product_dtype,
            packed=packed,
            rematerialize=rematerialize,
            epsilon=size.norm_epsilon,
            name=f"layer_{number}",
        )
        x = layer(x, texts)

    # Outputs
    first = StatesAt(name="text_states")(x, inputs[features.TEXT_POSITIONS]) if packed else x[:, 0]
    if size.has_pooler:
        pooled = Linear(size.hidden_dim, product_dtype=product_dtype, name="pooler")(first)
        first = keras.layers.Activation(size.pooler_activation, name="pooled")(pooled)
    outputs = {features.SEQUENCE_OUTPUT: x, features.POOLED_OUTPUT: first}
    return keras.Model(inputs, outputs, name="encoder")


def at_masks(encoder: keras.Model) -> keras.Model:
    """The same encoder where only the states at masks and the first ones of texts are asked for.

    Its last layer calculates those, and of the other tokens keys and values alone. Outputs and
    gradients are the encoder's, with less work: with 20 masks in 128 tokens, two thirds of the last
    layer less. The weights are the encoder's own.

    Args:
        encoder: From `models.encoder`.

    Returns:
        A functional model that also takes `mask_positions`, int32 (B, P), with the outputs
        `masked_output` float32 (B, P, H) and `pooled_output` as the encoder has it.

    Raises:
        ValueError: The encoder is none of `models.encoder`.
    """
    masks = keras.Input((None,), dtype="int32", name=features.MASK_POSITIONS)
    states = _last_states(encoder, masks)
    texts, masked = DividedStates(name="divided_states")(states, masks)
    outputs = {features.MASKED_OUTPUT: masked, features.POOLED_OUTPUT: _pooled(encoder, texts)}
    inputs = {**encoder.input, features.MASK_POSITIONS: masks}
    return keras.Model(inputs, outputs, name="encoder_at_masks")


def at_first(encoder: keras.Model) -> keras.Model:
    """The same encoder where only the first states of texts are asked for; see `at_masks`.

    What a classifier needs: of the last layer's work a sixth is left.

    Returns:
        A functional model from the encoder's inputs to its `pooled_output`.

    Raises:
        ValueError: The encoder is none of `models.encoder`.
    """
    outputs = {features.POOLED_OUTPUT: _pooled(encoder, _last_states(encoder, None))}
    return keras.Model(encoder.input, outputs, name="encoder_at_first")


def _last_states(encoder: keras.Model, masks):
    """(B, S + P, H): those of the last layer at the first tokens of texts, and at masks if any."""
    layers = [layer for layer in encoder.layers if isinstance(layer, TransformerLayer)]
    if not layers:
        raise ValueError(
            f"The model {encoder.name} has no layer of an encoder of `models.encoder`: give one, "
            "or build the objectives on the model itself."
        )
    token_ids = encoder.input[features.TOKEN_IDS]
    texts = encoder.input.get(features.TEXT_POSITIONS)
    # Of the first call of the layer, that in `encoder`.
    x, text_ids = layers[-1].input
    return layers[-1](x, text_ids, Places(name="places")(token_ids, texts, masks))


def _pooled(encoder: keras.Model, texts):
    """(B, S, H) -> (B, S, H), or (B, H) where rows are not packed."""
    if features.TEXT_POSITIONS not in encoder.input:
        texts = texts[:, 0]
    if not any(layer.name == "pooler" for layer in encoder.layers):
        return texts
    return encoder.get_layer("pooled")(encoder.get_layer("pooler")(texts))
