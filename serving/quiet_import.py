"""TensorFlow without the lines it prints from C++, where no log level reaches them."""

import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Import TensorFlow and tensorflow-text; what they print is shown only if the import fails.

    It does nothing where TensorFlow is imported already.
    """
    if "tensorflow" in sys.modules:
        return
    # Fatal lines only: what fails is raised in Python too, and where there is no GPU driver the
    # search for one prints errors. TensorFlow reads the variable once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        importlib.import_module("tensorflow")
        if importlib.util.find_spec("tensorflow_text") is not None:
            importlib.import_module("tensorflow_text")


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
