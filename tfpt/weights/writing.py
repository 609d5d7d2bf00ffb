"""A model of tfpt in a format of others."""

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from tfpt import config, models, pipelines
from tfpt.weights import google, hub, hugging_face, hugging_face_heads


def write(
    path: str | os.PathLike[str],
    model: keras.Model,
    *,
    to: str,
    size: models.Model,
    tokenizer: pipelines.TextTokenizer,
    label_names: Sequence[str] = (),
    heads: bool = True,
) -> Path:
    """Write a model in a format of others, as a whole folder or not at all.

    Args:
        path: The folder; made, and never overwritten.
        model: An encoder of `models.encoder`, or objectives on one.
        to: "hugging-face" (`transformers` loads it), "google" (google-research's checkpoint of
            TensorFlow 1) or "keras-hub" (a preset of the backbone: heads have no place there).
        size: The numbers the encoder was built with.
        tokenizer: The model's vocabulary.
        label_names: Of a classifier; by default LABEL_0, LABEL_1 and so on.
        heads: Whether heads are written too; False writes the encoder alone.

    Returns:
        The folder.

    Raises:
        FileExistsError: There is something at `path`.
        ValueError: The format has no place for the model, or a weight of it.
    """
    target = Path(path)
    if to not in config.WEIGHT_FORMATS:
        formats = ", ".join(config.WEIGHT_FORMATS)
        raise ValueError(f"`to` must be one of {formats}; received {to!r}.")
    if target.exists():
        raise FileExistsError(f"{target} exists. Nothing is overwritten: name another folder.")
    written = model if heads else getattr(model, "encoder", model)
    values = {weight.path: keras.ops.convert_to_numpy(weight) for weight in written.weights}
    label_names = _names_of_classes(values, label_names)
    partial = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        if to == "hugging-face":
            hugging_face.write(partial, values, size, tokenizer, label_names)
        elif to == "google":
            google.write(partial, values, size, tokenizer)
        else:
            hub.write(partial, values, size, tokenizer)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _names_of_classes(values: Mapping[str, Any], label_names: Sequence[str]) -> Sequence[str]:
    """A name for each class of a classifier, which has to be as many as it tells apart."""
    head = hugging_face_heads.head_here(values)
    if head not in (hugging_face_heads.CLASSES, hugging_face_heads.LABELS, hugging_face_heads.TAGS):
        return ()
    number = len(values[f"{head.ours}/bias"])
    if label_names and len(label_names) != number:
        raise ValueError(
            f"The model tells {number} classes apart; received {len(label_names)} `label_names`."
        )
    return label_names or [f"LABEL_{place}" for place in range(number)]
