"""Where an encoder can be adapted: the linear maps of its layers, by what they do.

An encoder of `models.encoder`, or a backbone of keras-hub whose layers are its TransformerEncoder
(BERT, RoBERTa, XLM-RoBERTa, DistilBERT, ELECTRA and others).
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from tfpt import config
from tfpt.models.layers import Linear, TransformerLayer
from tfpt.peft import keras_layers

QUERY, KEY, VALUE, ATTENTION_OUTPUT, INTERMEDIATE, OUTPUT = config.ROLES


class Place(NamedTuple):
    """A linear map, or the columns of one."""

    layer: Any  # Linear of tfpt; Dense or EinsumDense of Keras
    columns: slice  # of its kernel as a matrix


class Block(NamedTuple):
    """A layer of an encoder."""

    layer: Any  # TransformerLayer of tfpt, TransformerEncoder of keras-hub
    places: dict[str, Place]  # by role
    num_heads: int
    head_dim: int

    def adapted_maps(self) -> list[Any]:
        """Its linear maps that have a delta, each once."""
        layers = {id(place.layer): place.layer for place in self.places.values()}.values()
        return [layer for layer in layers if getattr(layer, "delta", None) is not None]


def blocks(encoder: keras.Model) -> list[Block]:
    """The layers of an encoder, from the first to the last.

    Raises:
        ValueError: It has none that is known.
    """
    found = [_of_tfpt(layer) for layer in encoder.layers if isinstance(layer, TransformerLayer)]
    if not found:
        from keras_hub.layers import TransformerEncoder  # takes seconds

        theirs = [layer for layer in encoder.layers if isinstance(layer, TransformerEncoder)]
        found = [_of_keras_hub(layer) for layer in theirs]
    if not found:
        raise ValueError(
            f"The model {encoder.name} has no layers that are known: give an encoder of "
            "`models.encoder`, or a backbone of keras-hub with TransformerEncoder layers, such as "
            "BertBackbone."
        )
    return found


def attach(layer: Any, name: str, part: keras.layers.Layer) -> None:
    """Give a layer that is built a part more.

    Keras locks built layers. It unlocks them for its own LoRA, and has no public way to;
    tests/tfpt/test_peft.py looks whether the weights of the part are those of the model.
    """
    layer._tracker.unlock()
    setattr(layer, name, part)
    layer._tracker.lock()


def detach(layer: Any, name: str) -> None:
    """Take such a part off again."""
    layer._tracker.untrack(getattr(layer, name))
    delattr(layer, name)  # TensorFlow, which saves what it tracks, forgets it too
    object.__setattr__(layer, name, None)


def add_delta(layer: Any, delta: Any) -> None:
    """Let a linear map go through a delta, which is built for it."""
    is_of_keras = not isinstance(layer, Linear)
    if is_of_keras and delta.dropout_rate:  # layers of tfpt draw for theirs
        delta.seed_generator = keras.random.SeedGenerator()
    _build(delta, layer.kernel.path, keras_layers.kernel_shape(layer))
    attach(layer, "delta", delta)
    if is_of_keras:
        # What the model calls; the layer's own class stays as it is.
        layer.call = keras_layers.Map(layer)


def remove_delta(layer: Any) -> None:
    """Leave a linear map as it was before `add_delta`."""
    detach(layer, "delta")
    if not isinstance(layer, Linear):
        del layer.call


def _build(layer: Any, neighbour: str, *shapes: Any) -> None:
    """Make the weights of a layer, with paths beside that of a neighbour."""
    with contextlib.ExitStack() as scopes:
        for name in neighbour.split("/")[:-1]:
            scopes.enter_context(keras.name_scope(name))
        layer.build(*shapes)
    layer.built = True


def add_prefix(layer: Any, prefix: Any) -> None:
    """Let the tokens of a block attend to the keys and values of a prefix."""
    if isinstance(layer, TransformerLayer):
        _build(prefix, layer.query_key_value.path)
        attach(layer, "prefix", prefix)
        layer.num_more_keys = prefix.num_tokens
        return
    attention = attention_of(layer)
    _build(prefix, attention.query_dense.path)
    attach(attention, "prefix", prefix)
    attention.call = keras_layers.PrefixedAttention(attention)
    attention.key_dense.call = keras_layers.Lengthened(attention.key_dense, prefix.keys)
    attention.value_dense.call = keras_layers.Lengthened(attention.value_dense, prefix.values)


def remove_all(block: Block) -> None:
    """Leave a block as it was before anything was added."""
    for layer in block.adapted_maps():
        remove_delta(layer)
    layer = block.layer
    if isinstance(layer, TransformerLayer):
        layer.num_more_keys, layer.drops_prompts = 0, False
        owner = layer
    else:
        owner = attention_of(layer)
        changed = (layer, owner, owner.key_dense, owner.value_dense)
        for one in (one for one in changed if "call" in vars(one)):
            del one.call
    for one, name in ((owner, "prefix"), (layer, "prompts")):
        if getattr(one, name, None) is not None:
            detach(one, name)


def add_prompts(layers: Sequence[Any], prompts: Any) -> None:
    """Let prompts go through all blocks of an encoder."""
    _build(prompts, f"{layers[0].name}/prompts")
    attach(layers[0], "prompts", prompts)
    if isinstance(layers[0], TransformerLayer):
        for layer in layers:
            layer.num_more_keys = prompts.num_tokens
        layers[-1].drops_prompts = True
        return
    for layer in layers:
        layer.call = keras_layers.PromptedBlock(
            layer, prompts, is_first=layer is layers[0], is_last=layer is layers[-1]
        )


def _of_tfpt(layer: TransformerLayer) -> Block:
    hidden_dim = layer.attention_output.units
    together = layer.query_key_value
    places = {
        role: Place(together, slice(number * hidden_dim, (number + 1) * hidden_dim))
        for number, role in enumerate((QUERY, KEY, VALUE))
    }
    places |= {
        ATTENTION_OUTPUT: Place(layer.attention_output, slice(0, hidden_dim)),
        INTERMEDIATE: Place(layer.intermediate, slice(0, layer.intermediate_dim)),
        OUTPUT: Place(layer.output_projection, slice(0, hidden_dim)),
    }
    return Block(layer, places, layer.num_heads, hidden_dim // layer.num_heads)


def attention_of(layer: Any) -> Any:
    """The MultiHeadAttention of a TransformerEncoder of keras-hub, which has no public name for it.

    tests/tfpt/test_peft.py looks whether it, and the two below, are what they are taken for.
    """
    return layer._self_attention_layer


def _of_keras_hub(layer: Any) -> Block:
    attention = attention_of(layer)
    dense = {
        QUERY: attention.query_dense,
        KEY: attention.key_dense,
        VALUE: attention.value_dense,
        ATTENTION_OUTPUT: attention.output_dense,
        INTERMEDIATE: layer._feedforward_intermediate_dense,
        OUTPUT: layer._feedforward_output_dense,
    }
    places = {
        role: Place(one, slice(0, keras_layers.kernel_shape(one)[1])) for role, one in dense.items()
    }
    return Block(layer, places, attention.num_heads, attention.key_dim)
