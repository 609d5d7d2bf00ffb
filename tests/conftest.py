"""What tests of every room share."""

import contextlib
import importlib.util
import os
import resource
import sysconfig
from pathlib import Path

import hypothesis
import pytest
from click.testing import CliRunner

# TensorFlow reads it once, at its import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# No test depends on how fast the machine is.
hypothesis.settings.register_profile("tfpt", deadline=None)
hypothesis.settings.load_profile("tfpt")

# Public data sets that are not part of the repository; see CONTRIBUTING.md.
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


# With two tests at once, a long file that is begun last leaves a core without work.
LONG_FILES = ("test_ways_to_step.py", "test_readme.py", "test_path.py", "test_data_service.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture(scope="session")
def shared_data():
    """A function from a data set's name to its folder; skips the test where it is absent.

    With TFPT_NEEDS_DATA set, as CI sets it, the test fails instead.
    """
    absent = pytest.fail if os.environ.get("TFPT_NEEDS_DATA") else pytest.skip

    def folder(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.is_dir():
            absent(f"the data set {name} is not on this machine")
        return path

    return folder


@pytest.fixture(scope="session")
def docstrings():
    """Real English text that every machine has: lists of docstrings by library."""
    from tfpt.pipelines import collect_docstrings

    def package(name: str) -> Path:
        return Path(importlib.util.find_spec(name).submodule_search_locations[0])

    standard = ("asyncio", "email", "http", "importlib", "logging", "unittest", "xml")
    numpy = ("lib", "linalg", "ma", "polynomial", "random")
    keras = ("callbacks", "initializers", "layers", "losses", "metrics", "ops", "optimizers")
    folders = {
        "python": [Path(sysconfig.get_path("stdlib"), name) for name in standard],
        "numpy": [package("numpy") / name for name in numpy],
        "keras": [package("keras") / "src" / name for name in keras],
    }
    return {library: collect_docstrings(roots) for library, roots in folders.items()}


@pytest.fixture(scope="session")
def files_of_at_most():
    """A context in which a write past a number of bytes fails, as one on a full disk does."""

    @contextlib.contextmanager
    def limited(num_bytes):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def tfpt():
    """A function that runs a command in this process and gives what it printed."""
    from tfpt.cli import main

    def run(*arguments: object) -> str:
        words = [str(argument) for argument in arguments]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run
