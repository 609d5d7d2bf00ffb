"""Into the weights: an encoder that computes what the adapted one did, without anything beside."""

import keras

from tfpt.peft import keras_layers, places
from tfpt.peft.methods import remove
from tfpt.peft.state import adaptation_of


def merge_if_possible(encoder: keras.Model) -> keras.Model:
    """`merge` where that can be done; the same encoder in any case."""
    adaptation = adaptation_of(encoder)
    is_mergeable = adaptation is not None and adaptation.method in MERGEABLE
    return merge(encoder) if is_mergeable else encoder


def merge(encoder: keras.Model) -> keras.Model:
    """Put what LoRA, AdaLoRA or IA3 trained into kernels and biases, and take it off the encoder.

    Its outputs stay the same but for rounding. After BitFit there is nothing to put anywhere.

    Args:
        encoder: Adapted.

    Returns:
        The same encoder, whose weights are trained as before it was adapted. A model on it that has
        predicted or evaluated already goes on with the graph it made then: compile it anew.

    Raises:
        ValueError: It is not adapted, or by a method that cannot be merged; it is as it was.
    """
    adaptation = adaptation_of(encoder)
    if adaptation is None:
        raise ValueError("The encoder is not adapted: there is nothing to merge.")
    if adaptation.method not in MERGEABLE:
        raise ValueError(
            f"{adaptation.method} cannot be merged into the weights of an encoder, only "
            f"{', '.join(MERGEABLE)}; export it as it is."
        )
    for block in places.blocks(encoder):
        for layer in {id(place.layer): place.layer for place in block.places.values()}.values():
            if getattr(layer, "delta", None) is not None:
                _merge(layer)
    return remove(encoder)


MERGEABLE = ("lora", "adalora", "ia3", "bitfit")


def _merge(layer) -> None:
    inner, outer = keras_layers.kernel_shape(layer)
    ops = keras.ops
    kernel = ops.cast(ops.reshape(layer.kernel, (inner, outer)), "float32")
    bias = ops.zeros(outer) if layer.bias is None else ops.reshape(layer.bias, (outer,))
    kernel, bias = layer.delta.merged(kernel, ops.cast(bias, "float32"))
    for weight, value in ((layer.kernel, kernel), (layer.bias, bias)):
        if weight is not None:
            weight.assign(ops.cast(ops.reshape(value, weight.shape), weight.dtype))
