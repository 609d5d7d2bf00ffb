"""What a fine-tuning is made of, found and checked before anything is written."""

from types import ModuleType
from typing import Any, NamedTuple

import tensorflow as tf

from tfpt import config, distribution, taking_over
from tfpt.checkpoints import Run
from tfpt.pipelines import TextTokenizer


class FineTuning(NamedTuple):
    """What a recipe is trained with."""

    source: Run | None  # whose encoder is taken over; None from scratch
    settings: Any  # with the size of that encoder
    tokenizer: TextTokenizer
    strategy: tf.distribute.Strategy
    data: Any  # what the recipe's `dataset` gives


def fine_tuning(recipe: ModuleType, settings: Any) -> FineTuning:
    """Find the parts of a fine-tuning; everything that is wrong with them is told here.

    Args:
        recipe: As `training.finetune` takes it.
        settings: Its configuration.

    Raises:
        FileNotFoundError: There is no such run, vocabulary or data set.
        ValueError: Settings, run, data and devices do not fit each other.
    """
    numbers: config.FineTuning = settings.training
    distribution.keep_memory()
    distribution.threads(numbers.step.cpu_shards)
    source, settings, tokenizer = taking_over.start_of(settings, recipe)
    strategy = distribution.strategy(numbers.strategy)
    distribution.rows_per_device(strategy, numbers.batch_size)
    data = recipe.dataset(settings, tokenizer)
    if data.steps_per_epoch % numbers.step.steps_per_execution:
        raise ValueError(
            f"`training.step.steps_per_execution` is {numbers.step.steps_per_execution}, but the "
            f"{data.steps_per_epoch} steps of an epoch are no multiple of it. Choose a divisor."
        )
    return FineTuning(source, settings, tokenizer, strategy, data)
