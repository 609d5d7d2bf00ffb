"""What a pre-training would be, without training: `tfpt pretrain --dry-run`."""

import math
from types import ModuleType
from typing import Any, NamedTuple

import keras
from rich.text import Text

from tfpt import config, distribution, features, flops, show_batch
from tfpt.show_batch import Line


class Plan(NamedTuple):
    """What is to be read of a pre-training before it begins."""

    facts: list[Line]  # devices, parameters, operations, memory
    batch: list[Line]  # the first batch


def plan(recipe: ModuleType, settings: Any) -> Plan:
    """Build the model of a recipe and draw its first batch; writes nothing.

    Args:
        recipe: A module with `dataset(settings)` and `model(settings, tokenizer)`; see
            recipes/bert.py.
        settings: Its configuration.

    Raises:
        ValueError, FileNotFoundError: What is wrong with settings, devices or data.
    """
    numbers: config.Training = settings.training
    strategy = distribution.strategy(numbers.strategy)
    rows = distribution.rows_per_device(strategy, numbers.batch_size)
    batch, tokenizer, _ = show_batch.recipe_batch(recipe, settings, 0)
    with strategy.scope():
        keras.utils.set_random_seed(settings.seed)
        model = recipe.model(settings, tokenizer)
    shapes = {weight.path: tuple(weight.shape) for weight in model.trainable_weights}
    facts = {
        "devices": distribution.describe(strategy, numbers.batch_size),
        "training": (
            f"{numbers.total_steps:,} steps"
            if numbers.hours is None
            else f"{numbers.hours:g} hours of steps"
        )
        + f" of {numbers.batch_size:,} rows",
        "parameters": f"{sum(map(math.prod, shapes.values())):,}",
    }
    size = flops.size_of(model.encoder)
    if size is None:
        facts["operations"] = facts["memory"] = "not known: the encoder is none of tfpt.models"
    else:
        # Of buckets the first batch may be of short rows, of which it then has more.
        count, length = batch[0][features.TOKEN_IDS].shape
        whole, share = (
            flops.batch_of(model, batch, batch_size=count * part, sequence_length=length)
            for part in (1, rows / numbers.batch_size)
        )
        step = flops.step_flops(size, whole)
        facts["operations"] = f"{_prefixed(step)}FLOP in a step"
        if numbers.hours is None:
            facts["operations"] += f", {_prefixed(step * numbers.total_steps)}FLOP in all"
        memory = flops.memory(
            size, share, shapes, step=numbers.step, rematerialize=numbers.rematerialize
        )
        parts = (f"{name} {_prefixed(value)}B" for name, value in vars(memory).items() if value)
        facts["memory"] = (
            f"about {_prefixed(memory.total)}B on each device, besides TensorFlow's own: "
            + ", ".join(parts)
        )
    return Plan(
        [Line("", Text()), *(Line(name, Text(told)) for name, told in facts.items())],
        [Line("", Text()), *show_batch.lines(batch, tokenizer)],
    )


def _prefixed(value: float) -> str:
    """`1.23 G` for 1.23e9."""
    number = 0 if value < 1 else min(7, int(math.log10(value * 1.0005) // 3))
    return f"{value / 1000**number:.3g} {' kMGTPEZ'[number].strip()}"
