"""SavedModels of TensorFlow Serving's own tests, with known answers: y = x / 2 + 2."""

import base64
import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfpt import serving

TWO_VERSIONS = "saved_model_half_plus_two_2_versions"
MODELS = [TWO_VERSIONS, "saved_model_half_plus_two_cpu", "saved_model_half_plus_two_tf2_cpu"]


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data("serve_half_plus_two")


@pytest.fixture(scope="module")
def server(folder):
    folders = {name: folder / name for name in MODELS}
    with serving.Server(folders, rest_port=0, grpc_port=0, versions="all") as running:
        yield running


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.mark.parametrize("version", [None, 123])
@pytest.mark.parametrize("name", MODELS)
def test_the_known_answer_by_row_and_column(rest, name, version):
    path = f"/v1/models/{name}{'' if version is None else f'/versions/{version}'}:predict"
    assert rest(path, {"instances": [1.0, 2.0, 5.0]}) == (200, {"predictions": [2.5, 3.0, 4.5]})
    assert rest(path, {"inputs": [1.0, 2.0, 5.0]}) == (200, {"outputs": [2.5, 3.0, 4.5]})
    rows = [{"x": [1.0]}, {"x": [2.0]}, {"x": [5.0]}]
    assert rest(path, {"instances": rows}) == (200, {"predictions": [[2.5], [3.0], [4.5]]})
    columns = {"x": [[1.0], [2.0], [5.0]]}
    assert rest(path, {"inputs": columns}) == (200, {"outputs": [[2.5], [3.0], [4.5]]})


@pytest.mark.parametrize("name", MODELS)
def test_the_known_answer_over_grpc(stub, name):
    for shape in ((3,), (3, 1)):
        request = predict_pb2.PredictRequest(output_filter=["y"])
        request.model_spec.name = name
        x = np.array([1.0, 2.0, 5.0], np.float32).reshape(shape)
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
        y = stub.Predict(request, timeout=60).outputs["y"]
        assert list(y.float_val) == [2.5, 3.0, 4.5]
        assert tf.make_ndarray(y).shape == shape


def test_both_versions_answer_and_the_newer_one_by_default(stub):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = TWO_VERSIONS
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([2.0])))
    assert stub.Predict(request, timeout=60).model_spec.version.value == 124
    for version in (123, 124):
        request.model_spec.version.value = version
        response = stub.Predict(request, timeout=60)
        assert response.model_spec.version.value == version
        assert list(response.outputs["y"].float_val) == [3.0]


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_client_gets_the_known_answer(server, protocol):
    address = server.address if protocol == "rest" else server.grpc_address
    for name in MODELS:
        outputs = serving.Client(address, name, protocol=protocol).predict([1.0, 2.0, 5.0])
        np.testing.assert_array_equal(outputs["y"], np.float32([2.5, 3.0, 4.5]))


@pytest.mark.parametrize("name", MODELS)
def test_predict_runs_regress_and_classify_signatures(rest, name):
    """TF Serving lets Predict call them: a serialized Example goes in, a score comes out."""
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(80.0)
    b64 = {"b64": base64.b64encode(example.SerializeToString()).decode()}
    for signature in ("regress_x_to_y", "classify_x_to_y"):
        request = {"signature_name": signature, "instances": [b64, b64]}
        status, body = rest(f"/v1/models/{name}:predict", request)
        assert (status, body) == (200, {"predictions": [[42.0], [42.0]]})


def test_a_wrong_shape_or_type_is_refused(rest):
    path = f"/v1/models/{TWO_VERSIONS}:predict"
    status, body = rest(path, {"instances": [[1.0, 2.0]]})
    assert status == 400
    assert "float32 of shape (-1, 1); received shape (1, 2)" in body["error"]
    status, body = rest(path, {"instances": ["x", "y"]})
    assert status == 400
    assert 'received the string "x"' in body["error"]


def test_an_input_with_a_default_may_be_left_out(rest):
    path = "/v1/models/saved_model_half_plus_two_tf2_cpu:predict"
    assert rest(path, {"inputs": {}}) == (200, {"outputs": [2.0]})


def without_defaults(metadata):
    """The description of each signature; the published files were written before `defaults`."""
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    return {
        name: {key: value for key, value in signature.items() if key != "defaults"}
        for name, signature in signatures.items()
    }


def test_metadata_equal_the_published_ones(rest, folder):
    expected = json.loads((folder / f"{TWO_VERSIONS}_metadata.json").read_text())
    status, metadata = rest(f"/v1/models/{TWO_VERSIONS}/versions/123/metadata")
    assert status == 200
    assert metadata == expected


def test_metadata_of_a_tf2_model_equal_the_published_ones(rest, folder):
    file = folder / "saved_model_half_plus_two_tf2_2_versions_metadata.json"
    expected = json.loads(file.read_text())
    # The file describes a model of another name, exported with the same signatures.
    expected["model_spec"]["name"] = "saved_model_half_plus_two_tf2_cpu"
    _, metadata = rest("/v1/models/saved_model_half_plus_two_tf2_cpu/metadata")
    assert without_defaults(metadata) == without_defaults(expected)
    assert metadata["model_spec"] == expected["model_spec"]


def test_metadata_over_grpc_equal_the_published_ones(stub, folder):
    file = folder / f"{TWO_VERSIONS}_metadata.json"
    published = json.loads(file.read_text())["metadata"]["signature_def"]
    expected = json_format.ParseDict(published, get_model_metadata_pb2.SignatureDefMap())
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = TWO_VERSIONS
    received = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request, timeout=60).metadata["signature_def"].Unpack(received)
    assert received == expected
