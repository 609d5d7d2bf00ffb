"""A process that tokenizes parts of a store. Its start must not import TensorFlow unasked."""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfpt.pipelines import part_work
from tfpt.pipelines.tokenizer import TextTokenizer, load_tokenizer

# The tokenizer of a process that tokenizes: made once, not for each part.
_of_process: list[TextTokenizer] = []
_importing = threading.Lock()


def start_process(partial: str) -> None:
    """Import TensorFlow quietly, with one thread: there are as many processes as cores."""
    part_work.start_process()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with quiet():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tokenizer = load_tokenizer(partial)
        tokenizer.tokenize(["once"])
    _of_process.append(tokenizer)


def import_tensorflow() -> None:
    """Import TensorFlow without the lines it prints, once in a process, whatever its threads do."""
    with _importing:
        if "tensorflow" not in sys.modules:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            with quiet():
                import tensorflow  # noqa: F401


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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


def write_part_in_process(partial: str, part: Any, number: int) -> int:
    """`write_part` with the tokenizer of this process; gives the number of documents."""
    from tfpt.pipelines.store_parts import write_part

    folder = part_work.part_folder(Path(partial), number)
    return write_part(part, _of_process[0], folder).num_documents
