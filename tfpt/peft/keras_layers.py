"""Layers of Keras and keras-hub that are adapted: what they compute from then on.

An instance of these takes the place of `call` of one layer; its class stays as it is, and so do its
weights and their names. Each says in the terms of Keras' documentation what the layer computes.

Shape letters: B rows, T tokens in a row, P more of them, A heads, D width of a head.
"""

import math
from typing import Any

import keras
from keras import ops

from tfpt.models import fused


class Map:
    """Dense or EinsumDense with the delta that it was given, as a product of matrices."""

    def __init__(self, layer: Any):
        self.layer = layer

    def __call__(self, inputs, training=None):
        layer = self.layer
        inner, outer = kernel_shape(layer)
        num_inner = _num_inner(layer)
        leading = ops.shape(inputs)[: len(inputs.shape) - num_inner]
        x = layer.delta.before(ops.reshape(inputs, (-1, inner)))
        y = ops.matmul(x, ops.cast(ops.reshape(layer.kernel, (inner, outer)), x.dtype))
        if layer.bias is not None:
            y = y + ops.cast(ops.reshape(layer.bias, (outer,)), y.dtype)
        noise = None
        if training and layer.delta.dropout_rate:
            noise = fused.random_bytes(fused.shape_of(x), layer.delta.seed_generator.next(), 0)
        y = ops.cast(layer.delta.after(x, ops.cast(y, "float32"), noise=noise), inputs.dtype)
        y = ops.reshape(y, (*leading, *layer.kernel.shape[num_inner:]))
        return y if layer.activation is None else layer.activation(y)


class Lengthened:
    """The map of keys, or of values, followed by those of a prefix: (B, T + P, A, D)."""

    def __init__(self, layer: Any, more: Any):
        self.layer, self.more = layer, more

    def __call__(self, inputs, training=None):
        heads = type(self.layer).call(self.layer, inputs)
        more = ops.transpose(self.more, (1, 0, 2))[None]  # (1, P, A, D)
        more = ops.cast(ops.repeat(more, ops.shape(inputs)[0], axis=0), heads.dtype)
        return ops.concatenate([heads, more], axis=1)


class PrefixedAttention:
    """MultiHeadAttention whose keys and values are `Lengthened`: all tokens attend to these too."""

    def __init__(self, layer: Any):
        self.layer = layer

    def __call__(self, query, value, key=None, attention_mask=None, **others):
        if attention_mask is not None:
            attention_mask = _more_columns(attention_mask, self.layer.prefix.num_tokens)
        return type(self.layer).call(
            self.layer, query, value, key, attention_mask=attention_mask, **others
        )


class PromptedBlock:
    """TransformerEncoder of a row that is longer by prompts, which the first one appends."""

    def __init__(self, layer: Any, prompts: Any, *, is_first: bool, is_last: bool):
        self.layer, self.prompts = layer, prompts
        self.is_first, self.is_last = is_first, is_last

    def __call__(self, inputs, padding_mask=None, attention_mask=None, **others):
        if attention_mask is not None:
            raise ValueError("Prompts go with a `padding_mask`, not with an `attention_mask`.")
        number = self.prompts.num_tokens
        x = self.prompts.appended(inputs) if self.is_first else inputs
        if padding_mask is not None:
            padding_mask = _more_columns(padding_mask, number)
        states = type(self.layer).call(self.layer, x, padding_mask=padding_mask, **others)
        return states[:, :-number] if self.is_last else states


def kernel_shape(layer: Any) -> tuple[int, int]:
    """The kernel of a linear map as a matrix: inner and outer width."""
    shape, number = tuple(layer.kernel.shape), _num_inner(layer)
    return math.prod(shape[:number]), math.prod(shape[number:])


def _num_inner(layer: Any) -> int:
    """Axes of the kernel that are summed over: the first ones."""
    if not isinstance(layer, keras.layers.EinsumDense):
        return 1
    inputs, _, rest = layer.equation.partition(",")
    kernel, _, output = rest.partition("->")
    inner = "".join(letter for letter in kernel if letter not in output)
    # As those of MultiHeadAttention, abc,cde->abde: the last axes of rows that stay rows.
    leading = inputs.removesuffix(inner)
    if kernel != inner + output.removeprefix(leading) or leading + inner != inputs:
        raise ValueError(
            f"{layer.name}: only maps of the last axes are known; received {layer.equation}."
        )
    return len(inner)


def _more_columns(mask, number: int):
    """(B, ..., T) -> (B, ..., T + P): all true there."""
    widths = [(0, 0)] * (len(mask.shape) - 1) + [(0, number)]
    return ops.pad(ops.cast(mask, "bool"), widths, constant_values=True)
