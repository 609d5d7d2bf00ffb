"""The methods, each by one call on an encoder, which from then on is trained like any other.

All of them freeze the encoder's weights. What they add are layers of the encoder itself: heads,
`compile`, `fit`, strategies and checkpoints see nothing else than trainable and other weights.

    encoder = peft.lora(models.encoder(...), rank=8)     # the weights are read before
    model = objectives.model(encoder, objectives.classification(encoder, num_classes=2))
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpt import config
from tfpt.models.layers import TransformerLayer
from tfpt.peft import adaptive, deltas, places
from tfpt.peft.state import State, adaptation_of, set_state, state_of

# Layers between the states and a head, in tfpt and in keras-hub.
POOLERS = ("pooler", "pooled_dense")
# Names of the weights that are added: biases of linear maps, and offsets of norms.
_BIASES = ("bias", "offset", "beta")
_SCALES_AND_OFFSETS = ("scale", "offset", "gamma", "beta")
# Prompts begin as states of frequent tokens, which stand in the first places of a vocabulary; those
# of BERT have entries that are not used before.
_FREQUENT = (1_000, 6_000)


def adapt(encoder: keras.Model, adaptation: config.Adaptation) -> keras.Model:
    """Adapt an encoder by the method that is named; "none" leaves it as it is.

    A model on the encoder that has predicted or evaluated already goes on with the graph it made
    then: compile it anew.

    Raises:
        ValueError: It is adapted already, is packed, or has layers that are not known. The encoder
            is as it was.
    """
    method = adaptation.method
    if method == "none":
        return encoder
    if before := adaptation_of(encoder):
        raise ValueError(
            f"The encoder is adapted already, by {before.method}. Take that off (`peft.merge`, "
            "`peft.remove`), or begin with the encoder as it was."
        )
    found = places.blocks(encoder)
    if any(getattr(block.layer, "packed", False) for block in found):
        raise ValueError(
            "The encoder is a packed one, for pre-training. Build it without packed=True: the "
            "weights are the same."
        )
    add: Any = {
        "lora": _add_lora,
        "adalora": _add_adalora,
        "ia3": _add_ia3,
        "adapters": _add_adapters,
        "prefix_tuning": _add_prefixes,
        "prompt_tuning": _add_prompts,
        "bitfit": _train_biases,
    }[method]
    state = State(adaptation, tuple((one, one.trainable) for one in encoder.weights))
    for block in found:
        set_state(block.layer, state)
    try:
        _freeze(encoder, adaptation.train_pooler)
        budget = add(encoder, found, adaptation)
    except BaseException:
        remove(encoder)
        raise
    for block in found if budget else ():
        set_state(block.layer, replace(state, budget=budget))
    return encoder


def remove(encoder: keras.Model) -> keras.Model:
    """Take off an encoder what a method added: it computes, and is trained, as before.

    Weights of its own that were trained meanwhile (BitFit; the norms of adapters; the pooler) stay
    as they are now.

    Returns:
        The same encoder.
    """
    state = state_of(encoder)
    if state is None:
        return encoder
    for block in places.blocks(encoder):
        places.remove_all(block)
        set_state(block.layer, None)
    for weight, is_trained in state.before:
        weight.trainable = is_trained
    return encoder


def lora(
    encoder: keras.Model,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    dropout_rate: float = 0.0,
    roles: Sequence[str] = ("query", "value"),
    train_pooler: bool = True,
) -> keras.Model:
    """LoRA: train a product of two narrow matrices beside each kernel; see `deltas.LowRank`.

    Args:
        encoder: From `models.encoder`, with its weights, or a backbone of keras-hub; see `places`.
        rank: Columns of the first matrix and rows of the second.
        alpha: alpha / rank scales the product.
        dropout_rate: Share of what the first matrix is given that is dropped in training.
        roles: The linear maps that have one, of `config.ROLES`.
        train_pooler: Whether the pooler, between encoder and head, is trained too.

    Returns:
        The same encoder.

    Raises:
        ValueError: As `adapt`.
    """
    numbers = {"rank": rank, "alpha": alpha, "dropout_rate": dropout_rate, "roles": tuple(roles)}
    return _adapted(encoder, "lora", train_pooler, numbers)


def adalora(
    encoder: keras.Model,
    *,
    rank: int = 8,
    target_rank: int = 4,
    alpha: float = 16.0,
    dropout_rate: float = 0.0,
    roles: Sequence[str] = ("query", "value"),
    train_pooler: bool = True,
) -> keras.Model:
    """AdaLoRA: as LoRA, with ranks that the maps compete for; see `adaptive.RankBudget`.

    The step of `objectives.model` divides the ranks. In a plain Keras model they stay as they are.

    Args:
        rank: Of each map at first.
        target_rank: Of a map at the end, in the mean. Others, Returns and Raises: As `lora`.
    """
    numbers = {"rank": rank, "alpha": alpha, "dropout_rate": dropout_rate, "roles": tuple(roles)}
    numbers |= {"target_rank": target_rank}
    return _adapted(encoder, "adalora", train_pooler, numbers)


def ia3(encoder: keras.Model, *, train_pooler: bool = True) -> keras.Model:
    """IA3: train factors of keys, values and inner activations; see `deltas.OutputScale`.

    Args and Raises: As `lora`.
    """
    return _adapted(encoder, "ia3", train_pooler, {})


def adapters(encoder: keras.Model, *, width: int = 64, train_pooler: bool = True) -> keras.Model:
    """Bottleneck adapters after both halves of each layer, and its norms; see `deltas.Bottleneck`.

    They stand before the dropout. They cannot be merged.

    Args:
        width: Of the middle of an adapter. Others and Raises: As `lora`.
    """
    return _adapted(encoder, "adapters", train_pooler, {"width": width})


def prefix_tuning(
    encoder: keras.Model, *, num_tokens: int = 20, train_pooler: bool = True
) -> keras.Model:
    """Train keys and values that each layer attends to besides; see `deltas.Prefix`.

    Args:
        num_tokens: In each layer. Others and Raises: As `lora`.
    """
    return _adapted(encoder, "prefix_tuning", train_pooler, {"num_tokens": num_tokens})


def prompt_tuning(
    encoder: keras.Model, *, num_tokens: int = 20, train_pooler: bool = True
) -> keras.Model:
    """Train states that go through all layers with each row; see `deltas.Prompts`.

    Args:
        num_tokens: That each row has more of, inside of the encoder. Others and Raises: As `lora`.
    """
    return _adapted(encoder, "prompt_tuning", train_pooler, {"num_tokens": num_tokens})


def bitfit(encoder: keras.Model, *, train_pooler: bool = True) -> keras.Model:
    """Train the biases of linear maps and the offsets of norms, and nothing else.

    Args and Raises: As `lora`.

    Source: Ben Zaken et al. 2022, section 3, https://arxiv.org/abs/2106.10199.
    """
    return _adapted(encoder, "bitfit", train_pooler, {})


def _adapted(
    encoder: keras.Model, method: str, train_pooler: bool, numbers: dict[str, Any]
) -> keras.Model:
    adaptation = config.Adaptation(method=method, train_pooler=train_pooler, **numbers)
    return adapt(encoder, adaptation)


def _freeze(encoder: keras.Model, train_pooler: bool) -> None:
    """Weight by weight: a layer that is not trainable trains nothing that it is given later."""
    for layer in encoder.layers:
        if not (train_pooler and layer.name in POOLERS):
            for weight in layer.weights:
                weight.trainable = False


def _add_lora(encoder: Any, found: list[places.Block], adaptation: config.Adaptation) -> None:
    for block in found:
        for layer, parts in _maps(block, adaptation.roles):
            delta = deltas.LowRank(parts, adaptation, _product_dtype(layer), name="lora")
            places.add_delta(layer, delta)


def _add_adalora(
    encoder: Any, found: list[places.Block], adaptation: config.Adaptation
) -> adaptive.RankBudget:
    maps = [one for block in found for one in _maps(block, adaptation.roles)]
    # The mean over all matrices, P and Q of each part.
    orthogonality = adaptation.orthogonality / sum(2 * len(parts) for _, parts in maps)
    added = []
    for layer, parts in maps:
        delta = adaptive.AdaptiveLowRank(
            parts, adaptation, _product_dtype(layer), orthogonality, name="adalora"
        )
        places.add_delta(layer, delta)
        added.append(delta)
    return adaptive.RankBudget(added, adaptation)


def _add_ia3(encoder: Any, found: list[places.Block], adaptation: config.Adaptation) -> None:
    for block in found:
        for layer, parts in _maps(block, (places.KEY, places.VALUE)):
            places.add_delta(layer, deltas.OutputScale(parts, name="ia3"))
        places.add_delta(block.places[places.OUTPUT].layer, deltas.InputScale(name="ia3"))


def _add_adapters(encoder: Any, found: list[places.Block], adaptation: config.Adaptation) -> None:
    for block in found:
        for role in (places.ATTENTION_OUTPUT, places.OUTPUT):
            layer = block.places[role].layer
            places.add_delta(
                layer, deltas.Bottleneck(adaptation.width, _product_dtype(layer), name="adapter")
            )
        _train(block.layer, _SCALES_AND_OFFSETS)


def _add_prefixes(encoder: Any, found: list[places.Block], adaptation: config.Adaptation) -> None:
    for block in found:
        prefix = deltas.Prefix(
            adaptation.num_tokens, block.num_heads, block.head_dim, name="prefix"
        )
        places.add_prefix(block.layer, prefix)


def _add_prompts(encoder: Any, found: list[places.Block], adaptation: config.Adaptation) -> None:
    if getattr(encoder, "num_layers", len(found)) != len(found):
        raise ValueError(
            f"The layers of {encoder.name} share their weights, so that prompts cannot go through "
            "them one after the other. Take another method."
        )
    states = _states_of_tokens(encoder, found[0], adaptation.num_tokens)
    prompts = deltas.Prompts(states, name="prompts")
    places.add_prompts([block.layer for block in found], prompts)


def _train_biases(encoder: Any, found: list[places.Block], adaptation: config.Adaptation) -> None:
    for layer in encoder.layers:
        if layer.name not in POOLERS:
            _train(layer, _BIASES)


def _train(layer: Any, names: Sequence[str]) -> None:
    for weight in layer.weights:
        if weight.name in names:
            weight.trainable = True


def _maps(block: places.Block, roles: Sequence[str]) -> list[tuple[Any, list[slice]]]:
    """The linear maps of some roles, each with the columns of those roles."""
    found: dict[int, tuple[Any, list[slice]]] = {}
    for role in config.ROLES:  # in the order of the columns
        if role in roles:
            layer, columns = block.places[role]
            found.setdefault(id(layer), (layer, []))[1].append(columns)
    return list(found.values())


def _product_dtype(layer: Any) -> str:
    return getattr(layer, "product_dtype", "float32")


def _states_of_tokens(encoder: keras.Model, first: places.Block, number: int) -> np.ndarray:
    """float32 (P, H): what the first layer is given for texts of one token each, drawn by Keras."""
    states = tf.nest.flatten(first.layer.input)[0]  # the mask comes after them
    embedding = keras.Model(encoder.input, states)
    size = _vocabulary_size(encoder)
    frequent = _FREQUENT if size >= _FREQUENT[1] else (min(5, size - 1), size)
    rows = {name: tf.zeros([number, 1], tf.int32) for name in encoder.input}
    rows["token_ids"] = tf.convert_to_tensor(keras.random.randint((number, 1), *frequent, "int32"))
    rows["padding_mask"] = tf.ones([number, 1], tf.int32)
    return np.asarray(keras.ops.cast(embedding(rows, training=False), "float32"))[:, 0]


def _vocabulary_size(encoder: keras.Model) -> int:
    if isinstance(places.blocks(encoder)[0].layer, TransformerLayer):
        return encoder.get_layer("token_embedding").input_dim
    return encoder.token_embedding.input_dim  # of any backbone of keras-hub
