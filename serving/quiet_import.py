"""Importing TensorFlow without the lines it prints before its log level can be set."""

import importlib
import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Import TensorFlow and tensorflow-text; what they print is shown only if the import fails.

    It does nothing where TensorFlow is imported already. Standard error is redirected as a file
    descriptor, since the lines come from C++, so lines that other threads print meanwhile are lost.
    """
    if "tensorflow" in sys.modules:
        return
    # Fatal lines only: what fails is raised in Python too, and where there is no GPU driver the
    # search for one prints errors. TensorFlow reads the variable once.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.stderr is None:  # a process without standard error
        importlib.import_module("tensorflow_text")
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            importlib.import_module("tensorflow_text")
        except BaseException:
            caught.seek(0)
            os.write(stderr, caught.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
