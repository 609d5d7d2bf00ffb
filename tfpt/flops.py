"""What a step costs by the numbers of a model, in operations and memory; and the fastest product.

A model operation is a multiplication or an addition that the mathematics of the model asks for, of
matrix products alone: what lies between them is less than a hundredth of it. Padding counts, for
the machine multiplies it; what is computed a second time (`rematerialize`) does not.

Shape letters: B rows, T tokens in a row, P mask slots in a row, S states in a row, H hidden width,
E width of the embeddings, I inner width, L layers, A heads, V vocabulary, C classes.
"""

import functools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfpt import config, features, models, objectives, peft
from tfpt.models.layers import Places, TransformerLayer

_BYTES = 4  # of a float32
# What a transformer layer keeps for its gradient, in float32 numbers for each token: states of the
# width H, of the inner width I, and rows of attention, T of each head.
_KEPT_HIDDEN, _KEPT_INNER, _KEPT_ATTENTION = 20, 3, 3
# Of each logit: itself and its gradient.
_KEPT_LOGITS = 2
# Objectives on the pooled state.
_OF_ROWS = (
    *(features.NEXT_SENTENCE, features.SENTENCE_ORDER),
    *(features.CLASSIFICATION, features.MULTI_LABEL, features.REGRESSION),
)
# Numbers that an optimizer keeps for each weight. Muon keeps a second one for what is no kernel of
# a layer; see `slot_bytes`.
_SLOTS = {"adamw": 2, "lamb": 2, "adafactor": 1, "lion": 1, "muon": 1}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The shape of what a step computes on."""

    batch_size: float  # B, over all devices; a mean where batches differ
    sequence_length: float  # T, padding included; a mean where rows differ
    vocabulary_size: int  # V
    num_masks: int = 0  # P, slots to predict, unused ones included; 0: no masked words
    num_classes: int = 2  # C of what is told of a row, such as whether sentences follow; 0: nothing
    num_states: int | None = None  # S, in a row, that the last layer gives; None: of all tokens


def forward_flops(size: models.Model, batch: Batch) -> float:
    """Operations of a forward pass.

    A product of (m, k) and (k, n) has 2 * m * k * n. For each token a layer has 2 * (2 * H * H) for
    keys and values. For each state that it gives, and that is each token but in the last layer of
    `models.at_masks` and `models.at_first`, it has 2 * (2 * H * H) for queries and the output,
    2 * (2 * H * I) for the feed-forward block, and 2 * (2 * T * H) for the scores and the mixture
    of the attention. For each row the pooler has 2 * H * H and its head 2 * H * C. For each mask
    slot, and there only, the head of masked words has 2 * (H * E + E * V). Embeddings are looked
    up: none; where their width E is not H, each token has 2 * E * H.

    Source: Kaplan et al. 2020, section 2.1, https://arxiv.org/abs/2001.08361; Chowdhery et al.
    2022, appendix B, https://arxiv.org/abs/2204.02311, for the attention.
    """
    layers = sum(_layer_flops(size, batch, number) for number in range(size.num_layers))
    ends = _head_flops(size, batch) + _projection_flops(size, batch)
    return layers + ends + _pooler_flops(size, batch)


def step_flops(size: models.Model, batch: Batch, *, trained_layers: int | None = None) -> float:
    """Operations of a training step: a forward pass, and twice as many for the gradients.

    Where the last layers alone are trained (`trained_layers`), the others have no gradients, and
    the first that has needs none of what it is given; without any, the head's weights alone have.
    """
    forward = forward_flops(size, batch)
    if trained_layers is None:
        return 3 * forward
    if not trained_layers:
        return forward + _head_flops(size, batch)
    first = size.num_layers - trained_layers
    trained = sum(_layer_flops(size, batch, n) for n in range(first, size.num_layers))
    of_inputs = (
        2 * size.hidden_dim**2 * (2 * batch.sequence_length + _num_states(size, batch, first))
    )
    trained += _head_flops(size, batch) + _pooler_flops(size, batch)
    return forward + 2 * trained - batch.batch_size * of_inputs


def _num_states(size: models.Model, batch: Batch, layer: int) -> float:
    """In a row, that a layer gives."""
    is_last = layer == size.num_layers - 1
    some = is_last and batch.num_states is not None
    return batch.num_states if some and batch.num_states else batch.sequence_length


def _layer_flops(size: models.Model, batch: Batch, layer: int) -> float:
    hidden, inner = size.hidden_dim, size.intermediate_dim
    state = 4 * hidden**2 + 4 * hidden * inner + 4 * batch.sequence_length * hidden
    row = batch.sequence_length * 4 * hidden**2 + _num_states(size, batch, layer) * state
    return batch.batch_size * row


def _pooler_flops(size: models.Model, batch: Batch) -> float:
    has_one = batch.num_classes and size.has_pooler
    return batch.batch_size * 2 * size.hidden_dim**2 if has_one else 0.0


def _head_flops(size: models.Model, batch: Batch) -> float:
    width = size.embedding_dim or size.hidden_dim
    row = 2 * size.hidden_dim * batch.num_classes
    row += batch.num_masks * 2 * width * (size.hidden_dim + batch.vocabulary_size)
    return batch.batch_size * row


def _projection_flops(size: models.Model, batch: Batch) -> float:
    """Of embeddings that are not as wide as the states."""
    width = size.embedding_dim or 0
    return batch.batch_size * batch.sequence_length * 2 * width * size.hidden_dim


@dataclass(frozen=True, kw_only=True)
class Memory:
    """An estimate of what a step needs on one device, in bytes."""

    weights: int
    gradients: int
    slots: int  # of the optimizer
    averages: int  # of the weights, where they are kept
    activations: int  # what the forward pass keeps for the gradients

    @property
    def total(self) -> int:
        return sum(vars(self).values())


def memory(
    size: models.Model,
    batch: Batch,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    step: config.Step,
    rematerialize: bool = False,
) -> Memory:
    """An estimate of the memory of a step; what was measured lies within a factor of 2 of it.

    Weights, gradients and slots are float32. Parts that are computed one after the other need a
    sum of gradients besides; each of `cpu_shards` has gradients of its own. Of a layer are kept,
    for each token, 20 * H + 3 * I + 3 * A * T numbers; with `rematerialize` H of each layer, and
    the rest of one. The head keeps its logits and their gradient, 2 * P * V for each row. What
    TensorFlow itself needs, half a gigabyte and more, comes on top.

    Args:
        size: The numbers of the encoder.
        batch: That of one device.
        shapes: Of the trainable weights, by path.
        step: How the step is taken.
        rematerialize: Whether states of the layers are computed again.
    """
    weights = _BYTES * sum(map(math.prod, shapes.values()))
    copies = step.cpu_shards + (step.accumulation_steps > 1)
    tokens = batch.batch_size * batch.sequence_length / step.accumulation_steps
    whole = (
        _KEPT_HIDDEN * size.hidden_dim
        + _KEPT_INNER * size.intermediate_dim
        + _KEPT_ATTENTION * size.num_heads * batch.sequence_length
    )
    layers = whole + size.num_layers * size.hidden_dim if rematerialize else size.num_layers * whole
    logits = _KEPT_LOGITS * batch.num_masks * batch.vocabulary_size
    rows = batch.batch_size / step.accumulation_steps
    return Memory(
        weights=weights,
        gradients=weights * copies,
        slots=slot_bytes(shapes, step.optimizer),
        averages=weights if step.ema_momentum else 0,
        activations=round(_BYTES * (tokens * layers + rows * logits)),
    )


def slot_bytes(shapes: Mapping[str, tuple[int, ...]], optimizer: str) -> int:
    """What an optimizer keeps for weights of these shapes, by path.

    AdamW and LAMB keep two numbers for each weight, Lion one; Adafactor one for each row and each
    column of a kernel, and for each number of a vector; Muon one for the kernels of layers, and two
    for vectors, embeddings and heads. See `optimization.optimizer`.
    """
    count = 0
    for path, shape in shapes.items():
        if optimizer == "adafactor" and len(shape) > 1:
            count += math.prod(shape[:-1]) + math.prod((*shape[:-2], shape[-1]))
            continue
        count += _SLOTS[optimizer] * math.prod(shape)
        if optimizer == "muon" and (len(shape) != 2 or "embedding" in path or "_head/" in path):
            count += math.prod(shape)
    return _BYTES * count


def size_of(encoder: keras.Model) -> models.Model | None:
    """The numbers of an encoder of ours; None for another one, and where it is adapted.

    An adapted one has few of the products for gradients, and some besides; see `peft`.
    """
    layers = _layers(encoder)
    if not layers or peft.adaptation_of(encoder):
        return None
    width, hidden_dim = (
        encoder.get_layer("token_embedding").output_dim,
        encoder.output[features.SEQUENCE_OUTPUT].shape[-1],
    )
    return models.Model(
        num_layers=len(layers),
        hidden_dim=hidden_dim,
        num_heads=layers[0].num_heads,
        intermediate_dim=layers[0].intermediate_dim,
        embedding_dim=None if width == hidden_dim else width,
        has_pooler=any(layer.name == "pooler" for layer in encoder.layers),
    )


def trained_layers(encoder: keras.Model) -> int | None:
    """How many of the last layers are trained; None: all, and the embeddings."""
    layers = _layers(encoder)
    if not layers or encoder.get_layer("token_embedding").trainable:
        return None
    return sum(layer.trainable for layer in layers)


def product_dtype(encoder: keras.Model) -> str:
    """Of the operands of its matrix products."""
    layers = _layers(encoder)
    return layers[0].product_dtype if layers else encoder.compute_dtype


def batch_of(
    model: objectives.Model, batch: Any, *, batch_size: float, sequence_length: float
) -> Batch:
    """What a model with an encoder of ours computes on.

    Args:
        model: From `objectives.model`.
        batch: `(features, labels, weights)`, or the `element_spec` of a dataset of them.
        batch_size: B.
        sequence_length: T.
    """
    num_masks = 0
    if features.MASK_POSITIONS in batch[0]:
        num_masks = _width(batch[0][features.MASK_POSITIONS])
    num_states = None
    if any(isinstance(layer, Places) for layer in model.layers):
        texts = batch[0].get(features.TEXT_POSITIONS)
        num_states = num_masks + (1 if texts is None else _width(texts))
    of_rows = [output.shape for name, output in model.output.items() if name in _OF_ROWS]
    return Batch(
        batch_size=batch_size,
        sequence_length=sequence_length,
        vocabulary_size=model.encoder.get_layer("token_embedding").embeddings.shape[0],
        num_masks=num_masks,
        num_classes=sum(shape[-1] if len(shape) > 1 else 1 for shape in of_rows),
        num_states=num_states,
    )


def has_equal_rows(spec: Any) -> bool:
    """Whether the batches of an `element_spec` are of one shape, as `batch_of` needs them."""
    return all(_width(one) is not None for one in spec[0].values())


def _width(of_batch: Any) -> int:
    """Numbers in a row; of a dataset that is divided among devices, those of the first."""
    return tf.nest.flatten(of_batch, expand_composites=True)[0].shape[-1]


def _layers(encoder: keras.Model) -> list[TransformerLayer]:
    return [layer for layer in encoder.layers if isinstance(layer, TransformerLayer)]


@functools.cache
def matmul_peak(dtype: str = "float32", seconds: float = 0.3) -> float:
    """Operations a second of the fastest product of two square matrices, on the first device.

    Measured for so many seconds, and once in a process. On a CPU with all its cores.
    """
    # A GPU is asked for several at once: it is told of the next while it works.
    side, count = (8_192, 8) if tf.config.list_logical_devices("GPU") else (1_024, 1)
    x = tf.cast(tf.random.stateless_uniform([side, side], [0, 0]), dtype)
    multiply = tf.function(tf.matmul, autograph=False)
    multiply(x, x)[0, 0].numpy()
    fastest, end = math.inf, time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        products = [multiply(x, x) for _ in range(count)]
        # One number is read, which waits for the last.
        products[-1][0, 0].numpy()
        now = time.perf_counter()
        fastest = min(fastest, now - began)
        if now > end:
            return count * 2 * side**3 / fastest
