"""A small corpus with a vocabulary of its own; makes `drawn` importable."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tfpt.pipelines import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))

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
