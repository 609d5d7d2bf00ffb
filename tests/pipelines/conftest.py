"""A small corpus with a vocabulary of its own, and files to read; makes `drawn` importable."""

import sys
import uuid
from pathlib import Path

import numpy as np
import pytest

from tfpt.pipelines import Tokenizer

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "benchmarks")]

WORDS = [f"w{number}" for number in range(200)]


@pytest.fixture(scope="session")
def tokenizer():
    """Every word of `WORDS` is one token."""
    return Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


@pytest.fixture(scope="session")
def corpus():
    """60 documents of 1 to 30 sentences of 1 to 40 words."""
    random = np.random.default_rng(0)
    return [
        tuple(
            " ".join(random.choice(WORDS, random.integers(1, 41)))
            for _ in range(random.integers(1, 31))
        )
        for _ in range(60)
    ]


@pytest.fixture(scope="session")
def store(corpus, tokenizer, tmp_path_factory):
    from tfpt.pipelines import write_store

    return write_store(corpus, tokenizer, tmp_path_factory.mktemp("stores") / "small")


@pytest.fixture
def write(tmp_path):
    """A function that writes a file (text as UTF-8, or bytes) and gives its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.fixture
def remote():
    """A function that writes a file into TensorFlow's own file system in memory; gives its path.

    Its `root` is a folder of this test alone.
    """
    import tensorflow as tf

    root = f"ram://{uuid.uuid4().hex}"

    def write_file(name, content):
        path = f"{root}/{name}"
        tf.io.gfile.makedirs(path.rpartition("/")[0])
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    write_file.root = root
    yield write_file
    if tf.io.gfile.exists(root):
        tf.io.gfile.rmtree(root)
