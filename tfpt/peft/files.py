"""What was trained, alone, as a file of safetensors: megabytes beside the encoder's hundreds."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from tfpt import __version__, config
from tfpt.peft.methods import adapt, remove
from tfpt.peft.state import adaptation_of, kept_weights


def save(model: keras.Model, path: str | Path) -> int:
    """Write the trained weights of an adapted encoder, or of a model on one, with its heads.

    With them go the method and a fingerprint of the weights that stayed as they were.

    Args:
        model: Its encoder was adapted by a function of this room.
        path: A file, new or to be replaced.

    Returns:
        The size of the file, in bytes.

    Raises:
        ValueError: The encoder is not adapted.
        OSError: The file cannot be written; what was there is as it was.
    """
    adaptation = adaptation_of(model)
    if adaptation is None:
        raise ValueError("The encoder is not adapted: save the whole model.")
    metadata = {
        "tfpt": __version__,
        "adaptation": json.dumps(config.to_dict(adaptation)),
        "frozen_sha256": fingerprint(model),
    }
    values = {weight.path: _value(weight) for weight in kept_weights(model)}
    path = Path(path)
    partial = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        safetensors.numpy.save_file(values, partial, metadata=metadata)
        partial.replace(path)
    except safetensors.SafetensorError as error:  # of a full disk too
        raise OSError(f"{path} could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def load(model: keras.Model, path: str | Path) -> keras.Model:
    """Give an encoder, or a model on one, what `save` wrote.

    Args:
        model: With the weights that the file's stood beside. An encoder, or that of a model of
            `objectives.model`, that is not adapted yet is adapted first.
        path: From `save`.

    Returns:
        The same model.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or was trained beside other weights, by another method or
            for other heads; the model is as it was.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        adaptation = config.from_dict(config.Adaptation(), json.loads(metadata["adaptation"]))
        frozen = metadata["frozen_sha256"]
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or is none of `peft.save`: {error}. Take a whole file."
        ) from error
    there = adaptation_of(model)
    encoder = getattr(model, "encoder", model)
    if there is None:
        adapt(encoder, adaptation)
    elif there != adaptation:
        changes = config.changed_fields(config.to_dict(there), config.to_dict(adaptation))
        told = [f"{name} is {now!r} in it, {is_!r} here" for name, (is_, now) in changes.items()]
        raise ValueError(f"{path} is of another adaptation: {'; '.join(told)}.")
    try:
        _check(model, path, values, frozen)
    except ValueError:
        if there is None:
            remove(encoder)
        raise
    for weight in kept_weights(model):
        weight.assign(values[weight.path])
    return model


def fingerprint(model: keras.Model) -> str:
    """SHA-256 of the names and values of the weights that stay as they are, in hexadecimal."""
    digest = hashlib.sha256()
    kept = {id(weight) for weight in kept_weights(model)}
    frozen = [weight for weight in model.weights if id(weight) not in kept]
    for weight in sorted(frozen, key=lambda one: one.path):
        digest.update(weight.path.encode())
        digest.update(_value(weight).tobytes())
    return digest.hexdigest()


def check_fingerprint(model: keras.Model, record: dict[str, Any], *, of: Path) -> None:
    """Raise a ValueError where a model has not the weights that something was trained beside.

    Args:
        model: On an adapted encoder.
        record: What is known of them: `sha256`, and the `run` that had them.
        of: What was trained, for the message.
    """
    if record["sha256"] != fingerprint(model):
        raise ValueError(
            f"{of} was trained beside weights that {record['run']} does not have any more. Put "
            "them back, or train anew into another folder."
        )


def _check(model: keras.Model, path: Path, values: dict[str, Any], frozen: str) -> None:
    shapes = {weight.path: tuple(weight.shape) for weight in kept_weights(model)}
    wrong = [f"{name} is in it, not in the model" for name in sorted(values.keys() - shapes)]
    wrong += [f"{name} is not in it" for name in sorted(shapes.keys() - values)]
    wrong += [
        f"{name} is {values[name].shape} in it, {shapes[name]} in the model"
        for name in sorted(values.keys() & shapes)
        if values[name].shape != shapes[name]
    ]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{path} does not fit the model: {'; '.join(wrong[:3])}{more}.")
    if fingerprint(model) != frozen:
        raise ValueError(
            f"{path} was trained beside other weights than those of this encoder, and means "
            "nothing without them. Give the encoder the weights it was adapted with."
        )


def _value(weight: Any) -> np.ndarray:
    return np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
