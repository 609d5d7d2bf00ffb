"""A folder that several machines work in: of a file system that they share, or in a bucket.

What is there under its name is whole: it is written beside its name and renamed, or, in a bucket,
where a file appears when all of it was sent, the file that tells is sent last. The same may be
written by several machines at once.
"""

import contextlib
import os
import shutil
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tfpt.pipelines.files import is_remote, remote_errors
from tfpt.pipelines.tokenizer import TextTokenizer, load_tokenizer

_FILES_AT_ONCE = 16
# What a tokenizer saves, of whatever kind.
_VOCABULARY_FILES = ("vocab.txt", "vocab.settings.json", "tokenizer.json", "tokenizer.model")


def read_text(path: str) -> str:
    """The text of a file."""
    if not is_remote(path):
        return Path(path).read_text(encoding="utf-8")
    return read_bytes(path).decode()


def read_bytes(path: str) -> bytes:
    """The bytes of a file."""
    if not is_remote(path):
        return Path(path).read_bytes()
    import tensorflow as tf

    with remote_errors(path), tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def write_text(path: str, text: str) -> None:
    """Write a file that appears when it is whole."""
    write_bytes(path, text.encode())


def write_bytes(path: str, data: bytes) -> None:
    """Write a file that appears when it is whole."""
    if not is_remote(path):
        written = beside(path)
        written.write_bytes(data)
        written.rename(path)
        return
    import tensorflow as tf

    with remote_errors(path, "written"), tf.io.gfile.GFile(path, "wb") as file:
        file.write(data)


def exists(path: str) -> bool:
    """Whether there is a file or folder."""
    if not is_remote(path):
        return os.path.exists(path)
    import tensorflow as tf

    with remote_errors(path):
        return bool(tf.io.gfile.exists(path))


def remove(path: str) -> None:
    """Remove a folder with all that is in it; it need not be there."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    import tensorflow as tf

    with contextlib.suppress(FileNotFoundError), remote_errors(path, "written"):
        tf.io.gfile.rmtree(path)


def publish(source: Path, target: str, last: str) -> None:
    """Copy a folder of files of this machine; `last` is the file whose being there tells.

    Where the target is there already, another attempt was faster, and wrote the same.
    """
    if exists(f"{target}/{last}"):
        return
    if not is_remote(target):
        copied = beside(target)
        shutil.copytree(source, copied)
        move(copied, target, last)
        return
    import tensorflow as tf

    names = sorted(path.name for path in source.iterdir() if path.name != last)
    with remote_errors(target, "written"):
        tf.io.gfile.makedirs(target)
        for name in (*names, last):
            tf.io.gfile.copy(str(source / name), f"{target}/{name}", overwrite=True)


def move(source: Path, target: str, last: str) -> None:
    """Give a folder its name in the same file system, where no other attempt was faster."""
    try:
        source.rename(target)
    except OSError:
        shutil.rmtree(source, ignore_errors=True)
        if not exists(f"{target}/{last}"):
            raise


def fetch(folders: dict[str, Path]) -> None:
    """Copy folders of files to this machine, from the path of each to its place."""
    import tensorflow as tf

    copies = []
    for source, target in folders.items():
        target.mkdir(parents=True)
        with remote_errors(source):
            names = tf.io.gfile.listdir(source)
        copies += [(f"{source}/{name}", target / name) for name in names]

    def copy(files: tuple[str, Path]) -> None:
        with remote_errors(files[0]):
            tf.io.gfile.copy(files[0], str(files[1]))

    # A question to a bucket takes long, many at once no longer.
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        list(pool.map(copy, copies))


def saved_tokenizer(folder: str) -> TextTokenizer:
    """The tokenizer that was saved in a folder."""
    if not is_remote(folder):
        return load_tokenizer(folder)
    with tempfile.TemporaryDirectory() as here:
        for name in _VOCABULARY_FILES:
            if exists(f"{folder}/{name}"):
                Path(here, name).write_bytes(read_bytes(f"{folder}/{name}"))
        return load_tokenizer(here)


def beside(path: str | Path) -> Path:
    """A name that no other attempt at the same has."""
    return Path(f"{path}.{uuid.uuid4().hex}")
