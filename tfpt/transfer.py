"""What fine-tuning does with the layers of an encoder: leaves them, or trains them by and by.

The first layers of an encoder hold what any text has, the last ones what the pre-training asked
for. A small data set does best when the former are changed little.

Sources: Howard and Ruder 2018, section 3.2, https://arxiv.org/abs/1801.06146, for learning rates by
layer and gradual unfreezing; Sun et al. 2019, section 5.3.3, https://arxiv.org/abs/1905.05583, for
the decay in BERT.
"""

from typing import Any

import keras
import tensorflow as tf

from tfpt import config, objectives
from tfpt.models.layers import TransformerLayer
from tfpt.optimization import RateShare


def choose_layers(model: objectives.Model, transfer: config.Transfer, steps_per_epoch: int) -> None:
    """Say which layers of a model's encoder are trained, and how fast; before `training.compile`.

    With `trained_layers` the embeddings and the first layers stay as they are: they are no part of
    the gradient, which a step then need not calculate; their dropout stays on. With `layer_decay` a
    layer that is k below the heads has its k-th power of the learning rate. With
    `unfreezing_epochs` the last layer is trained from the start, the one below it after so many
    epochs, and so on down to the embeddings.

    Args:
        model: From `objectives.model`, on an encoder of `models.encoder`.
        transfer: What is chosen.
        steps_per_epoch: Steps of an epoch.

    Raises:
        ValueError: The encoder has fewer layers, or is none of `models.encoder`.
    """
    if transfer.trained_layers is not None:
        _freeze(model.encoder, transfer.trained_layers)
    if transfer.layer_decay != 1 or transfer.unfreezing_epochs:
        share = _rate_share(model.encoder, transfer, steps_per_epoch)
        object.__setattr__(model, "rate_share", share)


def _freeze(encoder: keras.Model, trained_layers: int) -> None:
    number = _number_of_layers(encoder)
    if trained_layers > number:
        raise ValueError(
            f"`trained_layers` is {trained_layers}, but the encoder has {number} layers."
        )
    first = number - trained_layers + 1
    for layer in encoder.layers:
        if layer.weights and _depth(layer.weights[0].path, number) < first:
            layer.trainable = False


def _rate_share(encoder: keras.Model, transfer: config.Transfer, steps_per_epoch: int) -> RateShare:
    number = _number_of_layers(encoder)
    paths = {weight.path for weight in encoder.weights}

    def share(path: str, steps: Any) -> Any:
        below = number + 1 - _depth(path, number) if path in paths else 0
        value = tf.constant(transfer.layer_decay**below, tf.float32)
        if transfer.unfreezing_epochs and below > 1:
            begin = (below - 1) * transfer.unfreezing_epochs * steps_per_epoch
            value *= tf.cast(tf.cast(steps, tf.float32) >= begin, tf.float32)
        return value

    return share


def _number_of_layers(encoder: keras.Model) -> int:
    number = sum(isinstance(layer, TransformerLayer) for layer in encoder.layers)
    if not number:
        raise ValueError(
            f"The model {encoder.name} is none of `models.encoder`, whose layers `transfer` counts."
        )
    return number


def _depth(path: str, num_layers: int) -> int:
    """0 for embeddings, n + 1 for `layer_n`, as much as the last layer for the pooler on it."""
    name = path.partition("/")[0]
    if name.startswith("layer_"):
        return int(name.removeprefix("layer_")) + 1
    return 0 if "embedding" in name else num_layers
