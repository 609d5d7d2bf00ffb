"""The gRPC interface of a running server, asked with TensorFlow Serving's own stubs."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfpt.serving import protos

Code = grpc.StatusCode
A = np.array([[1, 2, 3]], np.float32)
B = np.array([1], np.int32)


@pytest.fixture(scope="module")
def channel(server):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc_address, options=options) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model_service(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request(name, *, signature_name="", version=None, only=(), **inputs):
    message = predict_pb2.PredictRequest(output_filter=only)
    message.model_spec.name = name
    message.model_spec.signature_name = signature_name
    if version is not None:
        message.model_spec.version.value = version
    for key, value in inputs.items():
        is_proto = isinstance(value, tensor_pb2.TensorProto)
        message.inputs[key].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
    return message


def refusal(call, message):
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=60)
    return caught.value.code(), caught.value.details()


def test_predict_gives_typed_values_and_the_model_that_answered(prediction):
    response = prediction.Predict(request("numbers", a=A, b=B), timeout=60)
    assert response.model_spec.name == "numbers"
    assert response.model_spec.version.value == 20
    assert response.model_spec.signature_name == "serving_default"
    # TF Serving fills the typed fields, and clients read them.
    assert list(response.outputs["total"].float_val) == [2, 3, 4]
    assert list(response.outputs["twice"].int64_val) == [2]
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["total"]), [[2, 3, 4]])


def test_strings_go_in_and_out_as_bytes(prediction):
    texts = tf.make_tensor_proto(["a good film", "bad"])
    outputs = prediction.Predict(request("text", text=texts), timeout=60).outputs
    assert list(outputs["label"].string_val) == ["größer".encode(), b"schlecht"]
    assert tf.make_ndarray(outputs["scores"]).shape == (2, 2)
    marked = request("text", signature_name="mark", text=tf.make_tensor_proto([b"\x00\xff"]))
    outputs = prediction.Predict(marked, timeout=60).outputs
    assert list(outputs["marked_bytes"].string_val) == [b"\xff\x00\xff"]


def test_outputs_of_every_type_come_back(prediction):
    x = np.array([0.2, -1, 0], np.float32)
    message = request("numbers", signature_name="kinds", x=x)
    outputs = prediction.Predict(message, timeout=60).outputs
    arrays = {name: tf.make_ndarray(proto) for name, proto in outputs.items()}
    np.testing.assert_array_equal(arrays["negative"], [False, True, False])
    np.testing.assert_array_equal(arrays["wide"], x.astype(np.float64) / 3)
    np.testing.assert_array_equal(arrays["half"], x.astype(tf.bfloat16.as_numpy_dtype))
    np.testing.assert_allclose(arrays["log"][0], np.log(x[0]), rtol=1e-6)
    assert arrays["byte"].dtype == np.uint8


def test_only_the_outputs_asked_for_are_sent(prediction):
    response = prediction.Predict(request("numbers", a=A, b=B, only=["twice"]), timeout=60)
    assert list(response.outputs) == ["twice"]


def test_a_version_is_asked_by_number(prediction):
    response = prediction.Predict(request("numbers", version=3, a=A, b=B), timeout=60)
    assert response.model_spec.version.value == 3


def test_large_messages_go_through(prediction):
    a = np.ones((500_000, 3), np.float32)  # 6 MB each way; gRPC's own limit is 4
    b = np.zeros(500_000, np.int32)
    response = prediction.Predict(request("numbers", a=a, b=b), timeout=60)
    assert tf.make_ndarray(response.outputs["total"]).shape == a.shape


def uneven():
    proto = tf.make_tensor_proto(np.array([1, 2, 3], np.float32))
    proto.tensor_shape.dim[0].size = 7
    return proto


def of_shape(*sizes, dtype=types_pb2.DT_FLOAT, **values):
    """A message whose values, few or none, stand for all of a shape."""
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in sizes:
        proto.tensor_shape.dim.add().size = size
    return proto


@pytest.mark.parametrize(
    ("message", "code", "parts"),
    [
        (request("numbers", a=A), Code.INVALID_ARGUMENT, ["lacks `b`"]),
        (request("numbers", a=A, b=B, c=B), Code.INVALID_ARGUMENT, ["holds `c`"]),
        (request("numbers", A=A, b=B), Code.INVALID_ARGUMENT, ["lacks `a` and holds `A`"]),
        (
            request("numbers", a=A.astype(np.float64), b=B),
            Code.INVALID_ARGUMENT,
            ["Input `a`", "float32 of shape (-1, 3)", "received float64"],
        ),
        (request("numbers", a=A, b=["x"]), Code.INVALID_ARGUMENT, ["`b`", "received string"]),
        (request("numbers", a=A[:, :2], b=B), Code.INVALID_ARGUMENT, ["Input `a`", "(1, 2)"]),
        (request("numbers", a=A, b=B[0]), Code.INVALID_ARGUMENT, ["Input `b`", "shape ()"]),
        (request("text", text=[["a"]]), Code.INVALID_ARGUMENT, ["Input `text`", "(1, 1)"]),
        (
            request("numbers", a=tensor_pb2.TensorProto(), b=B),
            Code.INVALID_ARGUMENT,
            ["Input `a`", "no known type"],
        ),
        (
            request("numbers", signature_name="kinds", x=uneven()),
            Code.INVALID_ARGUMENT,
            ["Input `x`", "cannot be read"],
        ),
        (
            request("numbers", signature_name="kinds", x=of_shape(500_000_000)),
            Code.INVALID_ARGUMENT,
            ["Input `x`", "asks for 500,000,000 values, and the message has"],
        ),
        (
            request("numbers", signature_name="kinds", x=of_shape(1 << 40, 1 << 40)),
            Code.INVALID_ARGUMENT,
            ["Input `x`", "asks for 1,208,925,819,614,629,174,706,176 values"],
        ),
        (
            request("numbers", signature_name="kinds", x=of_shape(-1, float_val=[1.0])),
            Code.INVALID_ARGUMENT,
            ["Input `x`", "its shape [-1] is not known"],
        ),
        (
            request("numbers", a=A, b=B, only=["nope"]),
            Code.INVALID_ARGUMENT,
            ["`nope`", "`total`, `twice`"],
        ),
        (
            request("numbers", a=A, b=B, only=["twice", "twice"]),
            Code.INVALID_ARGUMENT,
            ["`twice` twice"],
        ),
        (
            request("numbers", signature_name="nope", a=A, b=B),
            Code.FAILED_PRECONDITION,
            ['"nope" not found', "`serving_default`"],
        ),
        (
            request("numbers", signature_name="__saved_model_init_op"),
            Code.INVALID_ARGUMENT,
            ["cannot be called"],
        ),
        (
            request("numbers", signature_name="picky", x=np.array([-2.5], np.float32)),
            Code.INVALID_ARGUMENT,
            ["failed on these inputs", "x must rise"],
        ),
        (request("nope", a=A), Code.NOT_FOUND, ["Servable not found for request: Latest(nope)"]),
        (request("numbers", version=4, a=A), Code.NOT_FOUND, ["Specific(numbers, 4)", "3, 20"]),
        (predict_pb2.PredictRequest(), Code.INVALID_ARGUMENT, ["Missing ModelSpec"]),
    ],
)
def test_a_bad_request_is_refused_in_one_sentence_and_the_server_lives_on(
    prediction, message, code, parts
):
    received, details = refusal(prediction.Predict, message)
    assert received == code
    assert "\n" not in details
    for part in parts:
        assert part in details
    response = prediction.Predict(request("numbers", a=A, b=B), timeout=60)
    assert list(response.outputs["twice"].int64_val) == [2]


@pytest.mark.parametrize(
    "proto",
    [
        of_shape(1, dtype=types_pb2.DT_UINT8, int_val=[300]),
        of_shape(1, dtype=types_pb2.DT_HALF, half_val=[70_000]),
    ],
)
def test_a_number_that_its_type_has_no_room_for_cannot_be_read(proto):
    with pytest.raises(ValueError, match="the tensor cannot be read: "):
        protos.from_tensor_proto(proto)


@pytest.mark.parametrize("letter", ["x", "é", "好"])
def test_a_very_long_sentence_arrives_shortened(prediction, letter):
    code, details = refusal(prediction.Predict, request("numbers", **{letter * 20_000: A}))
    assert code == Code.INVALID_ARGUMENT
    assert details.startswith("The inputs of signature `serving_default` are `a`, `b`; ")
    assert letter * 100 in details


def test_a_version_label_is_refused(prediction):
    message = request("numbers", a=A, b=B)
    message.model_spec.version_label = "stable"
    assert refusal(prediction.Predict, message)[0] == Code.INVALID_ARGUMENT


def test_thirty_two_parallel_requests_get_their_own_answers(prediction):
    def ask(i):
        message = request("numbers", a=A * i, b=np.array([i], np.int32))
        return prediction.Predict(message, timeout=60).outputs

    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(ask, range(96)))
    for i, outputs in enumerate(results):
        assert list(outputs["total"].float_val) == [2 * i, 3 * i, 4 * i]
        assert list(outputs["twice"].int64_val) == [2 * i]


def test_status_tells_the_versions(model_service):
    message = get_model_status_pb2.GetModelStatusRequest()
    assert refusal(model_service.GetModelStatus, message)[0] == Code.INVALID_ARGUMENT
    message.model_spec.name = "numbers"
    statuses = model_service.GetModelStatus(message, timeout=60).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(status.version, status.state) for status in statuses] == [
        (20, available),
        (3, available),
    ]
    message.model_spec.version.value = 4
    code, details = refusal(model_service.GetModelStatus, message)
    assert code == Code.NOT_FOUND
    assert "Could not find version 4 of model numbers" in details


def test_metadata_hold_the_signatures(prediction):
    message = get_model_metadata_pb2.GetModelMetadataRequest()
    message.model_spec.name = "text"
    assert refusal(prediction.GetModelMetadata, message)[0] == Code.INVALID_ARGUMENT
    message.metadata_field.append("weather")
    code, details = refusal(prediction.GetModelMetadata, message)
    assert code == Code.INVALID_ARGUMENT
    assert "weather" in details
    message.metadata_field[:] = ["signature_def"]
    response = prediction.GetModelMetadata(message, timeout=60)
    assert (response.model_spec.name, response.model_spec.version.value) == ("text", 1)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def["serving_default"].outputs) == {"label", "score", "scores"}


def test_other_methods_are_unimplemented(prediction, model_service):
    for call, message in (
        (prediction.Classify, classification_pb2.ClassificationRequest()),
        (model_service.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()),
    ):
        code, details = refusal(call, message)
        assert code == Code.UNIMPLEMENTED
        assert "Predict, GetModelMetadata and GetModelStatus" in details
