"""TensorFlow Serving's messages: tensors to and from arrays, status and metadata."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

# Values that a message may stand for without having room for them.
_MOST_REPEATED = 1 << 24
# Metadata of an answer that is a refusal: gRPC has one code, UNAVAILABLE, for a server that is not
# there and for one that has too much to do.
REFUSED = "tfpt-refused"
SIGNATURE_DEF = "signature_def"  # the one kind of metadata there is

# The typed field that carries a tensor's values. TF Serving answers by these fields, and clients
# read them (`response.outputs["score"].float_val`), so `tensor_content` is not used.
_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def type_name(data_type: int) -> str:
    """TensorFlow's name of a `DataType`, such as "float32"; what is not set has no name."""
    try:
        return tf.dtypes.as_dtype(data_type).name
    except TypeError:
        return f"no known type (dtype {data_type})"


def numpy_type(data_type: str) -> np.dtype | None:
    """The NumPy type of a `DataType`'s name, such as "DT_FLOAT"; None where there is none."""
    try:
        return np.dtype(tf.dtypes.as_dtype(types_pb2.DataType.Value(data_type)).as_numpy_dtype)
    except (TypeError, ValueError):
        return None


def from_tensor_proto(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The array in a message; strings as an object array of bytes.

    Raises:
        ValueError: The values do not fill the shape, or do not fit the type, or it has no array.
    """
    _check_shape(proto)
    try:
        array = tf.make_ndarray(proto)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"the tensor cannot be read: {error}") from error
    return array.astype(object) if array.dtype.kind == "S" else array


def _check_shape(proto: tensor_pb2.TensorProto) -> None:
    """Raise where a small message stands for a tensor that fills the memory.

    The last value of a message is repeated until the shape is full, and none stands for zeros.
    """
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise ValueError(f"the tensor cannot be read: its shape {sizes} is not known")
    number = math.prod(sizes)
    if number > _MOST_REPEATED and number > proto.ByteSize():
        raise ValueError(
            f"the tensor cannot be read: its shape {sizes} asks for {number:,} values, and the "
            f"message has {proto.ByteSize():,} bytes"
        )


def to_tensor_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """A message with the values of `array`, an object array of bytes or str being strings."""
    dtype = tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)
    field = _FIELDS.get(dtype)
    if field is None:
        return tf.make_tensor_proto(array)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    values = array.ravel().tolist()
    if dtype == tf.string:
        values = [value.encode() if isinstance(value, str) else value for value in values]
    getattr(proto, field).extend(values)
    return proto


def status_response(versions: Iterable[int]) -> get_model_status_pb2.GetModelStatusResponse:
    """The answer that all `versions` of a model are available."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        status = response.model_version_status.add(
            version=version, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE
        )
        status.status.SetInParent()
    return response


def metadata_response(
    name: str, version: int, signature_defs: Mapping[str, meta_graph_pb2.SignatureDef]
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The answer with the signatures of one version of a model."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, definition in signature_defs.items():
        signatures.signature_def[key].CopyFrom(definition)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def status_json(response: get_model_status_pb2.GetModelStatusResponse) -> dict[str, Any]:
    """A status as TF Serving's REST interface prints it."""
    return _to_dict(response)


def metadata_json(response: get_model_metadata_pb2.GetModelMetadataResponse) -> dict[str, Any]:
    """Metadata as TF Serving's REST interface prints them: without the mark of the `Any`."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[SIGNATURE_DEF].Unpack(signatures)
    return {
        "model_spec": _to_dict(response.model_spec),
        "metadata": {SIGNATURE_DEF: _to_dict(signatures)},
    }


def _to_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
