"""What a fine-tuning is made of, found and checked before anything is written."""

import warnings
from types import ModuleType
from typing import Any, NamedTuple

import tensorflow as tf

from tfpt import config, console, distribution, importing, taking_over
from tfpt.checkpoints import Run
from tfpt.pipelines import TextTokenizer

_DATA = "data.json"


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
    trained, there = numbers.transfer.trained_layers, settings.model.num_layers
    if trained is not None and trained > there:
        raise ValueError(
            f"`training.transfer.trained_layers` is {trained}, but the encoder has {there} layers."
        )
    if source is not None and settings.model.has_pooler:
        _warn_of_random_pooler(source, numbers)
    strategy = distribution.strategy(numbers.strategy)
    distribution.rows_per_device(strategy, numbers.batch_size)
    data = recipe.dataset(settings, tokenizer)
    if hasattr(data, "described"):
        console.tell_once(f"Examples: {data.described()}.")
    if data.steps_per_epoch % numbers.step.steps_per_execution:
        raise ValueError(
            f"`training.step.steps_per_execution` is {numbers.step.steps_per_execution}, but the "
            f"{data.steps_per_epoch} steps of an epoch are no multiple of it. Choose a divisor."
        )
    return FineTuning(source, settings, tokenizer, strategy, data)


def check_same_rows(run: Run, data: Any) -> None:
    """Raise a ValueError where a run was begun with other rows; keep a digest of a new one's.

    What goes on with other rows would neither be the one training nor the other; and where one file
    is divided, rows that were trained on may be held out now.

    Args:
        run: Of this fine-tuning.
        data: What the recipe's `dataset` gives. One of a user may have no `digests`.
    """
    if not hasattr(data, "digests"):
        return
    known, found = run.read_record(_DATA), data.digests()
    if changed := [name for name in found if known and known.get(name) != found[name]]:
        raise ValueError(
            f"{run.path} was trained on other rows: those of {' and '.join(changed)} have changed "
            "since it was begun. Put them back to go on with it, or name another folder."
        )
    if not known:
        run.write_record(_DATA, found)


def _warn_of_random_pooler(source: Run, numbers: config.FineTuning) -> None:
    """Say so where a pooler that was drawn at the import stays as it is."""
    drawn = source.read_record(importing.RECORD).get("drawn", [])
    adaptation = numbers.adaptation
    is_trained = numbers.transfer.trained_layers != 0
    if adaptation.method != "none":
        is_trained = adaptation.train_pooler
    if not is_trained and any(path.startswith("pooler/") for path in drawn):
        warnings.warn(
            f"The pooler of {source.path} was drawn at random, since the checkpoint it comes from "
            "has none, and these settings do not train it.",
            stacklevel=4,
        )
