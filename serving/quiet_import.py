"""TensorFlow without the lines it prints from C++, where no log level reaches them."""

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Keras imports these where they are installed, for pictures and for wrappers of its models. That
# takes a third of the time to start.
_NOT_NEEDED = ("matplotlib", "sklearn")


def import_tensorflow() -> None:
    """Import TensorFlow and tensorflow-text; what they print is shown only if the import fails.

    Keras then takes matplotlib and scikit-learn for not installed; others import them as always. It
    does nothing where TensorFlow is imported already.
    """
    if "tensorflow" in sys.modules:
        return
    # Fatal lines only: what fails is raised in Python too, and where there is no GPU driver the
    # search for one prints errors. TensorFlow reads the variable once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr(), _hidden(_NOT_NEEDED):
        importlib.import_module("tensorflow")
        if importlib.util.find_spec("tensorflow_text") is not None:
            importlib.import_module("tensorflow_text")


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Let modules that are not imported yet seem not to be installed."""
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(hidden))  # None: Python's own sign for it
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what is written to standard error, and show it only if an exception is raised.

    It is redirected as a file descriptor, since the lines come from C++; lines that other threads
    write meanwhile are held back too.
    """
    if sys.stderr is None:  # a process without standard error
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        except BaseException:
            caught.seek(0)
            os.write(stderr, caught.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
