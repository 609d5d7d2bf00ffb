"""What tests of every room share."""

import os
from pathlib import Path

import pytest

# TensorFlow reads it once, at its import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Public data sets that are not part of the repository; see CONTRIBUTING.md.
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """A function from a data set's name to its folder; skips the test where it is absent."""

    def folder(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.is_dir():
            pytest.skip(f"the data set {name} is not on this machine")
        return path

    return folder
