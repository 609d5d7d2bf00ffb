"""One version of a SavedModel, loaded and ready to run.

It runs in a session, which is what TF Serving's own loader does: TF1 and TF2 models behave alike,
only the outputs that were asked for are computed, nothing is traced, and a call costs about 40
microseconds where a loaded Python signature costs 200 to 400.
"""

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from tfpt.serving.errors import HTTP_STATUS, ServingError
from tfpt.serving.protos import from_tensor_proto, type_name
from tfpt.serving.quiet_import import quiet_stderr
from tfpt.serving.signature import Arrays, Signature, TensorSpec

with suppress(ImportError):
    # Registers the operations of tokenizers inside a SavedModel. Not every system has a wheel, and
    # not every model needs them.
    import tensorflow_text  # noqa: F401

DEFAULT_SIGNATURE = "serving_default"

_CODES = list(HTTP_STATUS)  # TensorFlow numbers the codes as gRPC does: 1 is CANCELLED
_NUMBERS = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
}


class LoadedModel:
    """A SavedModel of one version; `predict` may be called from any number of threads.

    Args:
        path: A folder with a `saved_model.pb`.
        name: The model's name in requests.
        version: Its version number.

    Raises:
        ValueError: TensorFlow cannot read the folder or restore its variables.
    """

    def __init__(self, path: str | Path, *, name: str, version: int) -> None:
        self.name = name
        self.version = version
        graph = tf.Graph()
        # A server shares its GPU with whatever else runs on the machine.
        config = tf.compat.v1.ConfigProto()
        config.gpu_options.allow_growth = True
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default(), _quiet_loader():
                meta_graph = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(path)
                )
        except Exception as error:  # many types, depending on what is broken
            self._session.close()
            raise ValueError(
                f"{path} is no SavedModel that can be served: {_first_line(str(error))} "
                "The folder must be whole, with no ops but those of TensorFlow and tensorflow-text."
            ) from error
        self.signature_defs = dict(meta_graph.signature_def)
        self._signatures = {
            key: _signature(key, definition) for key, definition in self.signature_defs.items()
        }
        self._callables: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._lock = threading.Lock()

    def signature(self, name: str = "") -> Signature:
        """The signature of that name, the default one for "".

        Raises:
            ServingError: FAILED_PRECONDITION where there is none, as TF Serving answers.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self._signatures:
            known = ", ".join(
                f"`{key}`" for key in sorted(self._signatures) if not key.startswith("__")
            )
            raise ServingError(
                "FAILED_PRECONDITION",
                f'Serving signature key "{name}" not found. '
                f"Version {self.version} of model `{self.name}` has {known}.",
            )
        signature = self._signatures[name]
        signature.check_callable()
        return signature

    def predict(
        self, signature: Signature, inputs: Mapping[str, np.ndarray], *, only: Sequence[str] = ()
    ) -> Arrays:
        """Run a signature.

        Args:
            signature: What `signature` gave.
            inputs: Arrays by name, of the names and types of the signature (object arrays of bytes
                for strings); only their shapes are checked here.
            only: Names of the outputs to compute; all of them where empty.

        Returns:
            Arrays by output name, in alphabetic order; strings as object arrays of bytes.

        Raises:
            ServingError: INVALID_ARGUMENT where a shape or an output's name does not fit the
                signature; TensorFlow's code where the model fails.
        """
        signature.check_output_filter(only)
        for name, array in inputs.items():
            signature.check_shape(name, array.shape)
        fetches = tuple(sorted(only or signature.outputs))
        fed = {**signature.defaults, **inputs}
        try:
            run = self._callable(signature, fetches)
            values = run(*(fed[name] for name in sorted(signature.inputs)))
        except tf.errors.OpError as error:
            raise ServingError(
                _CODES[error.error_code - 1],
                f"Model `{self.name}` failed on these inputs: {_first_line(error.message)}",
            ) from error
        # A scalar comes as bytes or as a NumPy scalar.
        return {
            name: np.asarray(value, object if isinstance(value, bytes) else None)
            for name, value in zip(fetches, values, strict=True)
        }

    def close(self) -> None:
        """Free the memory of the variables; nothing may run any more."""
        self._callables.clear()
        self._session.close()

    def _callable(self, signature: Signature, fetches: tuple[str, ...]) -> Any:
        key = (signature.name, fetches)
        with self._lock:
            if key not in self._callables:
                definition = self.signature_defs[signature.name]
                options = config_pb2.CallableOptions()
                options.feed.extend(
                    definition.inputs[name].name for name in sorted(definition.inputs)
                )
                options.fetch.extend(definition.outputs[name].name for name in fetches)
                # `Session.run` refuses shapes that the placeholders do not declare, and TF Serving
                # feeds them. This private method compares no shapes; a test guards it.
                self._callables[key] = self._session._make_callable_from_options(options)
            return self._callables[key]


def _signature(name: str, definition: meta_graph_pb2.SignatureDef) -> Signature:
    return Signature(
        name=name,
        method_name=definition.method_name,
        inputs={key: _tensor_spec(info) for key, info in sorted(definition.inputs.items())},
        outputs={key: _tensor_spec(info) for key, info in sorted(definition.outputs.items())},
        defaults={key: from_tensor_proto(proto) for key, proto in definition.defaults.items()},
    )


def _tensor_spec(info: meta_graph_pb2.TensorInfo) -> TensorSpec:
    unknown = info.tensor_shape.unknown_rank
    shape = None if unknown else tuple(dim.size for dim in info.tensor_shape.dim)
    if info.WhichOneof("encoding") != "name":
        return TensorSpec(dtype=np.dtype(object), type_name="sparse", shape=shape, dense=False)
    name = type_name(info.dtype)
    if name in _NUMBERS:
        dtype = np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
        return TensorSpec(dtype=dtype, type_name=name, shape=shape)
    return TensorSpec(dtype=np.dtype(object), type_name=name, shape=shape, dense=name == "string")


def _first_line(message: str) -> str:
    """TensorFlow's message without the names of graph nodes and the stack that follow it."""
    line = re.sub(r"\{\{[^}]*\}\}", "", message.strip().split("\n", 1)[0]).strip()
    return line if line.endswith(".") else line + "."


@contextmanager
def _quiet_loader() -> Iterator[None]:
    """The loader warns that `tf.saved_model.load` is newer, which does not run in a session.

    TensorFlow 2.20 also tells, from C++, of a pass that sessions do without.
    """
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with quiet_stderr():
            yield
    finally:
        logger.setLevel(level)
