"""Talking to a server over gRPC."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfpt.serving import protos
from tfpt.serving.errors import HTTP_STATUS, RequestError
from tfpt.serving.signature import Arrays, most_exact

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # as over REST
)


class GrpcTransport:
    """Asks one model over one channel.

    Args:
        address: `host:port`.
        model: The model's name.
        version: A version, or None for the newest.
        timeout_seconds: How long one question may take.
    """

    def __init__(
        self, address: str, model: str, *, version: int | None, timeout_seconds: float
    ) -> None:
        self._address = address
        self._timeout = timeout_seconds
        self._spec = model_pb2.ModelSpec(name=model)
        if version is not None:
            self._spec.version.value = version
        channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(
        self, inputs: Mapping[str, Any], signature_name: str, signature: Mapping[str, Any]
    ) -> Arrays:
        """Outputs by name; `signature` is that signature's part of `metadata`."""
        request = predict_pb2.PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = signature_name
        for name, values in inputs.items():
            data_type = signature["inputs"].get(name, {}).get("dtype", "")
            array = _to_array(values, name, data_type)
            request.inputs[name].CopyFrom(protos.to_tensor_proto(array))
        response = self._ask(self._prediction.Predict, request)
        return {
            name: _from_array(protos.from_tensor_proto(response.outputs[name]), name)
            for name in sorted(response.outputs)
        }

    def status(self) -> dict[str, Any]:
        """The answer to GetModelStatus, as REST would give it."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=self._spec)
        return protos.status_json(self._ask(self._model.GetModelStatus, request))

    def metadata(self) -> dict[str, Any]:
        """The answer to GetModelMetadata, as REST would give it."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=[protos.SIGNATURE_DEF]
        )
        return protos.metadata_json(self._ask(self._prediction.GetModelMetadata, request))

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            is_answer = protos.REFUSED in (name for name, _ in error.trailing_metadata() or ())
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise TimeoutError(f"{self._address} did not answer within {self._timeout} seconds.")
        if code == grpc.StatusCode.UNAVAILABLE and not is_answer:
            raise ConnectionError(
                f"No gRPC server answers at {self._address} ({details}). Start one, as by "
                "`tfpt serve`, or check host and port (gRPC's is 8500 by default, REST's 8501)."
            )
        raise RequestError(HTTP_STATUS[code.name], details, code=code.name)


def _to_array(values: Any, name: str, data_type: str) -> np.ndarray:
    """Values as an array of the declared type where that loses nothing, else of their own type.

    The latter is for the server to refuse, so that both protocols give the same error.
    """
    if data_type == "DT_STRING":
        cells = np.array(values, dtype=object)
        if all(isinstance(value, str | bytes) for value in cells.ravel().tolist()):
            return cells
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"Input `{name}` is no array: {error}.") from error
    if array.dtype.kind in "US":
        return array.astype(object)
    return _cast(array, protos.numpy_type(data_type) or array.dtype)


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    # bfloat16 is of no kind that NumPy knows.
    sources = {"b": "b", "i": "iu", "u": "iu"}.get(dtype.kind, "iuf")
    if array.dtype.kind not in sources and array.size:
        return array
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if sources == "iuf":
        fits = np.array_equal(np.isfinite(cast), np.isfinite(array))
        if array.dtype.kind in "iu" and array.size:  # as the server has it over REST
            most = most_exact(dtype.name)
            fits &= bool(array.max() <= most and array.min() >= -most)
    else:
        fits = np.array_equal(cast, array)
    return cast if fits else array


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    """The array as it comes over REST: text as `str`, bfloat16 as float32."""
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype != object or name.endswith("_bytes"):
        return array
    text = np.empty(array.shape, object)
    try:
        text.ravel()[:] = [value.decode() for value in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Output `{name}` is not UTF-8 text; a model gives bytes under a name that ends in "
            "`_bytes`."
        ) from error
    return text
