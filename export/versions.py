"""A SavedModel as the next version in a folder of versions: there when it is whole, or not at all.

What any exported model is checked for, too.
"""

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfpt import state_files
from tfpt.pipelines.special_tokens import require_roles
from tfpt.pipelines.tokenizer import TextTokenizer

_PARTIAL = ".tmp-"  # before the name of what is being written
_LEFT_SECONDS = 24 * 3600
_NUMBER = re.compile(r"[0-9]+")
_TOO_LARGE = 1 << 63  # for the protocol of TF Serving


class Served(Protocol):
    """A `tf.Module` that is to be written."""

    def signatures(self) -> dict[str, Any]:
        """The functions by the names they are served under."""


def write_version(
    build: Callable[[Path], Served],
    tokenizer: TextTokenizer,
    path: str | Path,
    *,
    labels: Sequence[str] = (),
) -> Path:
    """Write a model as the next version below `path`, as TF Serving expects it.

    Args:
        build: Makes the module, of the folder with its assets.
        tokenizer: An asset; where the graph cannot hold it, a warning says so.
        path: The folder of the model's versions.
        labels: An asset, where there are any.

    Returns:
        The folder that was written.

    Raises:
        ValueError: `path` is a URL.
        OSError: The disk is full, or the folder cannot be written.
    """
    if not tokenizer.in_graph:
        warnings.warn(
            f"{path} gets the signature `tokens` alone, which takes token ids: without "
            "tensorflow-text no operation of TensorFlow cuts texts for this vocabulary. Export "
            "where it is installed for a model that takes texts.",
            stacklevel=3,
        )
    if "://" in str(path):
        raise ValueError(
            f"{path}: a model is written to a folder of this machine. Name one, and copy it there."
        )
    folder = Path(path)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    # Not by the number of the process, which those in other containers may have too.
    partial = folder / f"{_PARTIAL}{uuid.uuid4().hex}"
    try:
        with tempfile.TemporaryDirectory() as name:
            assets = Path(name)
            tokenizer.save(assets)
            if labels:
                (assets / "labels.txt").write_text(_lines(labels), encoding="utf-8")
            _save(build(assets), partial)
        _sync(partial)
        version = _take_number(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):  # another export has written into it
                folder.rmdir()
        raise
    return version


def check_sizes(model: keras.Model, tokenizer: TextTokenizer, sequence_length: int) -> None:
    """Raise a ValueError where vocabulary or length do not fit a model."""
    require_roles(tokenizer, "pad", "cls", "sep")
    table = model.get_layer("token_embedding").embeddings
    if table.shape[0] != tokenizer.vocabulary_size:
        raise ValueError(
            f"The model has embeddings for {table.shape[0]} tokens, the tokenizer "
            f"{tokenizer.vocabulary_size} entries; pass the tokenizer the model was trained with."
        )
    positions = model.get_layer("position_embedding").weights[0].shape[0]
    if sequence_length > positions:
        raise ValueError(
            f"`sequence_length` is {sequence_length}, but the model has positions for {positions} "
            "tokens."
        )


def _save(module: Any, folder: Path) -> None:
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    signatures = module.signatures()
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
    except tf.errors.OpError as error:
        reason = state_files.reason_of(error)
        raise OSError(f"{folder.parent} could not be written: {reason}") from error


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed exports left; of those of today one may still be written."""
    for path in folder.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(OSError):  # its owner has just given it a name, or removed it
            if time.time() - path.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Have all files on the disk before the folder gets a name that says that it is whole."""
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _take_number(partial: Path, folder: Path) -> Path:
    """Name a written folder by the next number, which others may want too."""
    while True:
        version = folder / str(_next_version(folder))
        try:
            partial.rename(version)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return version


def _next_version(folder: Path) -> int:
    versions = [int(entry.name) for entry in folder.iterdir() if _NUMBER.fullmatch(entry.name)]
    return max([one for one in versions if one < _TOO_LARGE], default=0) + 1


def _lines(entries: Sequence[str]) -> str:
    return "".join(f"{entry}\n" for entry in entries)
