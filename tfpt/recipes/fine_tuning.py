"""What the recipes of fine-tuning share: checks of their numbers, their files, the encoder."""

from __future__ import annotations  # an annotation would load TensorFlow

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tfpt import models, pipelines
from tfpt.config import check

if TYPE_CHECKING:
    import keras

# Where nothing reads the pooled state, there is no pooler, whatever run the encoder comes from.
WITHOUT_POOLER = replace(models.BERT_SMALL, has_pooler=False)


def check_data(data: Any) -> None:
    """Raise a ValueError where the columns or the length of a recipe's `Data` are out of range."""
    check(data, "text", len(data.text) in (1, 2), "one column or two")
    check(data, "sequence_length", data.sequence_length >= 8, "at least 8 tokens")


def check_numbers(settings: Any) -> None:
    """Raise a ValueError where dropout or length of a recipe's `Config` are out of range."""
    check(settings, "dropout_rate", 0 <= settings.dropout_rate < 1, "a share in [0, 1)")
    if settings.data.sequence_length > settings.model.max_sequence_length:
        raise ValueError(
            f"`data.sequence_length` is {settings.data.sequence_length}, but the model has "
            f"positions for {settings.model.max_sequence_length} tokens; lower it."
        )


def check_name(data: Any) -> None:
    """Raise a ValueError where a recipe's `Data` names no texts."""
    if not data.name:
        raise ValueError(
            "`data.name` is not set: a folder with train, validation and test files (csv, tsv, "
            "jsonl, json, parquet), one such file, or tfds:NAME. Pass --set data.name=FOLDER."
        )


def files(data: Any, kinds: str) -> str | dict[str, str]:
    """The one source of a recipe's `Data`, or its files by split where more than one is named.

    Args:
        data: Names them by `name`, `validation` and `test`.
        kinds: The endings of files, for the error where none is named.

    Raises:
        ValueError: `data.name` is not set.
    """
    if not data.name:
        raise ValueError(
            f"`data.name` is not set: a folder with train, validation and test files ({kinds}), or "
            "one file. Pass --set data.name=FOLDER; or name files by data.name, data.validation "
            "and data.test."
        )
    others = {"validation": data.validation, "test": data.test}
    named = {"train": data.name} | {split: path for split, path in others.items() if path}
    return named if len(named) > 1 else data.name


def encoder(
    settings: Any, tokenizer: pipelines.TextTokenizer, *, has_pooler: bool | None = None
) -> keras.Model:
    """The encoder of a recipe's `Config`, with the dropout of fine-tuning.

    Args:
        settings: The configuration.
        tokenizer: Of its texts.
        has_pooler: False where nothing reads the pooled state, and a run need not have a pooler to
            start from; None: as `settings.model` has it.
    """
    if not settings.start and settings.model.dropout_rate != models.BERT_SMALL.dropout_rate:
        warnings.warn(
            "`model.dropout_rate` has no effect in fine-tuning; set `dropout_rate`.", stacklevel=3
        )
    size = replace(settings.model, dropout_rate=settings.dropout_rate)
    if has_pooler is not None:
        size = replace(size, has_pooler=has_pooler)
    training = settings.training
    return models.encoder(
        size,
        tokenizer.vocabulary_size,
        product_dtype=training.product_dtype,
        rematerialize=training.rematerialize,
    )
