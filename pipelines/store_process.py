"""A process that tokenizes parts of a store. Its start must not import TensorFlow unasked."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpt.pipelines.tokenizer import TextTokenizer, load_tokenizer

# The tokenizer of a process that tokenizes: made once, not for each part.
_of_process: list[TextTokenizer] = []


def start_process(partial: str) -> None:
    """Import TensorFlow quietly, with one thread: there are as many processes as cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with _quiet():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tokenizer = load_tokenizer(partial)
        tokenizer.tokenize(["once"])
    _of_process.append(tokenizer)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What is written to standard error meanwhile is shown only if there is an error."""
    with tempfile.TemporaryFile() as caught:
        error = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        except BaseException:
            caught.seek(0)
            os.write(error, caught.read())
            raise
        finally:
            os.dup2(error, 2)
            os.close(error)


def _end_with_parent() -> None:
    """A parent that is killed cannot tell; nobody would take what is written."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def write_part_in_process(part: Any, folder: str) -> Any:
    """`write_part` with the tokenizer of this process."""
    from tfpt.pipelines.store_parts import write_part

    return write_part(part, _of_process[0], Path(folder))
