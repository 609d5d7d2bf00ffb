"""The gRPC interface of TF Serving: Predict, GetModelMetadata and GetModelStatus."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfpt.serving import protos
from tfpt.serving.answering import Answering
from tfpt.serving.catalog import Catalog
from tfpt.serving.errors import ServingError, invalid
from tfpt.serving.signature import Signature

_log = logging.getLogger(__name__)

_MAX_DETAILS = 2_000  # bytes; clients refuse trailers past 8 KiB, where each byte may take three


def add_services(server: grpc.aio.Server, answering: Answering) -> None:
    """Let `server` answer; models run in the pool, never on the event loop."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(answering), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(answering), server)


async def _unimplemented(self: Any, request: Any, context: grpc.aio.ServicerContext) -> None:
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        "This server answers Predict, GetModelMetadata and GetModelStatus.",
    )


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    Classify = Regress = MultiInference = _unimplemented

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    async def Predict(self, request, context):  # noqa: N802  (gRPC's name)
        return await _answer(context, self._answering, _predict, request)

    async def GetModelMetadata(self, request, context):  # noqa: N802
        return await _answer(context, self._answering, _metadata, request)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    HandleReloadConfigRequest = _unimplemented

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    async def GetModelStatus(self, request, context):  # noqa: N802
        return await _answer(context, self._answering, _status, request)


async def _answer(
    context: grpc.aio.ServicerContext,
    answering: Answering,
    function: Callable[[Catalog, Any], Any],
    request: Any,
) -> Any:
    """Run `function(catalog, request)` in the pool; end the call with a status where it raises.

    What waits for the pool when its deadline passes is cancelled, and never run.
    """
    run = asyncio.get_running_loop().run_in_executor
    try:
        with answering.admission.one() if function is _predict else nullcontext():
            return await run(answering.pool, function, answering.catalog, request)
    except ServingError as error:
        code, message = error.code, error.message
    except Exception as error:
        _log.exception("%s", function.__name__)
        code, message = "INTERNAL", f"{type(error).__name__}: {error}"
    details = message.encode(errors="replace")[:_MAX_DETAILS].decode(errors="ignore")
    return await context.abort(
        grpc.StatusCode[code], details, trailing_metadata=((protos.REFUSED, code),)
    )


def _predict(catalog: Catalog, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    model = catalog.find(**_target(request))
    signature = model.signature(request.model_spec.signature_name)
    signature.check_names(list(request.inputs))
    inputs = {
        name: _to_array(request.inputs[name], name, signature) for name in sorted(request.inputs)
    }
    outputs = model.predict(signature, inputs, only=list(request.output_filter))
    response = predict_pb2.PredictResponse()
    response.model_spec.name = model.name
    response.model_spec.version.value = model.version
    response.model_spec.signature_name = signature.name
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(protos.to_tensor_proto(array))
    return response


def _metadata(
    catalog: Catalog, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    fields = list(request.metadata_field)
    if set(fields) != {protos.SIGNATURE_DEF}:
        raise invalid(
            f'GetModelMetadataRequest must ask for metadata_field "{protos.SIGNATURE_DEF}", the '
            f"one that there is; received {fields}."
        )
    model = catalog.find(**_target(request))
    return protos.metadata_response(model.name, model.version, model.signature_defs)


def _status(
    catalog: Catalog, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    return protos.status_response(catalog.versions(**_target(request)))


def _target(request: Any) -> dict[str, Any]:
    """The model that a request names, as the arguments of `Catalog.find`."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec: set `model_spec.name` to the model's name.")
    spec: model_pb2.ModelSpec = request.model_spec
    version = spec.version.value if spec.HasField("version") else None
    return {"name": spec.name, "version": version, "label": spec.version_label}


def _to_array(proto: tensor_pb2.TensorProto, name: str, signature: Signature) -> np.ndarray:
    takes = f"Input `{name}` of signature `{signature.name}` takes {signature.inputs[name]}"
    type_name = protos.type_name(proto.dtype)
    if type_name != signature.inputs[name].type_name:
        raise invalid(f"{takes}; received {type_name}.")
    try:
        return protos.from_tensor_proto(proto)
    except ValueError as error:
        raise invalid(f"{takes}; {error}.") from error
