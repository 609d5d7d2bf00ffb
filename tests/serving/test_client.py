"""The client, over both protocols."""

import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from tfpt import serving


@pytest.fixture(params=["rest", "grpc"])
def client(request, server):
    """A function from a model's name to a client, over each protocol in turn."""
    address = {"rest": server.address, "grpc": server.grpc_address}[request.param]

    def build(model, **kwargs):
        return serving.Client(address, model, protocol=request.param, **kwargs)

    return build


@pytest.fixture(scope="module")
def doubled(tmp_path_factory):
    """A folder with a model for each signature of `Doubled`."""
    folder, module = tmp_path_factory.mktemp("doubled"), Doubled()
    for name in ("double", "count", "double_both", "other_input"):
        signature = {"serving_default": getattr(module, name)}
        tf.saved_model.save(module, str(folder / name / "1"), signatures=signature)
    return folder


def refusal(call, *args):
    with pytest.raises(serving.RequestError) as caught:
        call(*args)
    return caught.value


def test_texts_give_named_arrays(client):
    outputs = client("text").predict(["a good film", "bad"])
    assert list(outputs) == ["label", "score", "scores"]
    assert outputs["label"].tolist() == ["größer", "schlecht"]
    assert outputs["score"].dtype == outputs["scores"].dtype == np.float32
    assert outputs["scores"].shape == (2, 2)
    np.testing.assert_array_equal(outputs["score"], outputs["scores"].max(axis=1))


def test_both_protocols_give_the_same_bits(server):
    texts = ["a good film", "bad", "", "good good bad"]
    rest = serving.Client(server.address, "text").predict(texts)
    grpc = serving.Client(server.grpc_address, "text", protocol="grpc").predict(texts)
    for name, array in rest.items():
        assert array.dtype == grpc[name].dtype
        np.testing.assert_array_equal(array, grpc[name])


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": [[1, 2, 3], [4, 5, 6]], "b": [1, 2]},
        {"a": np.array([[1, 2, 3], [4, 5, 6]], np.float64), "b": np.array([1, 2])},
        {"a": np.array([[1, 2, 3], [4, 5, 6]], np.float32), "b": (np.int32(1), np.int64(2))},
    ],
)
def test_several_inputs_are_given_by_name(client, inputs):
    outputs = client("numbers").predict(inputs)
    np.testing.assert_array_equal(outputs["total"], [[2, 3, 4], [6, 7, 8]])
    assert outputs["total"].dtype == np.float32
    np.testing.assert_array_equal(outputs["twice"], [2, 4])
    assert outputs["twice"].dtype == np.int64


def test_a_single_output_has_its_name(client):
    outputs = client("text", signature_name="mark").predict([b"\x00\xff", "a"])
    assert list(outputs) == ["marked_bytes"]
    assert outputs["marked_bytes"].tolist() == [b"\xff\x00\xff", b"\xffa"]


def test_outputs_of_every_type_have_their_type(client):
    x = np.array([0.2, -1, 0], np.float32)
    outputs = client("numbers", signature_name="kinds").predict(x)
    types = {"byte": "uint8", "half": "float32", "log": "float32", "negative": "bool"}
    assert {name: str(array.dtype) for name, array in outputs.items()} == {
        **types,
        "wide": "float64",
    }
    assert np.isnan(outputs["log"][1])
    assert outputs["log"][2] == -np.inf
    np.testing.assert_array_equal(outputs["wide"], x.astype(np.float64) / 3)


def test_scalar_outputs_have_no_dimension(client):
    outputs = client("numbers", signature_name="mean").predict([1.0, 2.0])
    assert outputs["mean"].shape == ()
    assert outputs["mean"] == 1.5


def test_status_and_metadata_have_the_form_of_rest(client):
    (status,) = client("numbers", version=3).status()["model_version_status"]
    assert status == {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    metadata = client("numbers").metadata()
    assert metadata["model_spec"]["version"] == "20"
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["outputs"]["twice"]["dtype"] == "DT_INT64"


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        ({"a": [[1, 2, 3]]}, "lacks `b`"),
        ({"a": [[1, 2, 3]], "b": [1], "c": [1]}, "holds `c`"),
        ({"a": [[1, 2]], "b": [1]}, "Input `a`"),
        ({"a": [["x", "y", "z"]], "b": [1]}, "Input `a`"),
        ({"a": [[1, 2, 3]], "b": [1.5]}, "Input `b`"),
        ({"a": [[1, 2, 3]], "b": [1 << 40]}, "Input `b`"),
        ({"a": [[True, True, True]], "b": [1]}, "Input `a`"),
    ],
)
def test_a_refused_request_carries_status_and_sentence(client, inputs, part):
    numbers = client("numbers")
    error = refusal(numbers.predict, inputs)
    assert error.status == 400
    assert error.code in (None, "INVALID_ARGUMENT")
    assert part in error.message
    assert part in str(error)
    assert numbers.predict({"a": [[1, 2, 3]], "b": [1]})["twice"] == [2]


def test_unknown_models_versions_and_signatures_are_refused(client):
    assert refusal(client("nope").predict, ["a"]).status == 404
    assert refusal(client("text", version=9).predict, ["a"]).status == 404
    assert refusal(client("nope").status).status == 404
    error = refusal(client("text", signature_name="nope").predict, ["a"])
    assert error.status == 400
    assert "`mark`, `not_text`, `serving_default`" in error.message


def test_plain_values_for_several_inputs_are_refused_before_sending(client):
    with pytest.raises(ValueError, match="takes the inputs `a`, `b`; give a dict"):
        client("numbers").predict([[1, 2, 3]])


def test_whole_numbers_that_a_float_has_no_room_for_are_refused(client):
    numbers = client("numbers")
    assert refusal(numbers.predict, {"a": [[1, 2, (1 << 24) + 1]], "b": [1]}).status == 400
    found = numbers.predict({"a": [[1, 2, 1 << 24]], "b": [0]})
    assert found["total"].tolist() == [[1, 2, 1 << 24]]


def test_a_batch_without_a_row_has_the_shapes_of_the_others(client):
    found = client("numbers").predict({"a": np.zeros((0, 3)), "b": []})
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        "total": ((0, 3), np.float32),
        "twice": ((0,), np.int64),
    }
    assert client("text").predict([])["scores"].shape[0] == 0


class Doubled(tf.Module):
    """Takes other inputs than the next version, and gives other outputs."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def double(self, x):
        return {"y": x * 2}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def count(self, x):
        return {"y": tf.cast(x * 2, tf.int32)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def double_both(self, x):
        return {"y": x * 2, "z": x}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32, name="w")])
    def other_input(self, w):
        return {"y": tf.cast(w, tf.float32) * 2}


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
@pytest.mark.parametrize("after", ["double", "count", "double_both", "other_input"])
@pytest.mark.parametrize("before", ["double", "count", "double_both", "other_input"])
def test_a_client_goes_on_when_the_served_version_has_another_signature(
    doubled, protocol, before, after
):
    ports = {"rest_port": 0, "grpc_port": 0}
    client = None
    for name in (before, after):
        with serving.Server({"m": doubled / name}, **ports) as server:
            ports = {"rest_port": server.rest_port, "grpc_port": server.grpc_port}
            address = server.address if protocol == "rest" else server.grpc_address
            client = client or serving.Client(address, "m", protocol=protocol)
            found = client.predict([1, 3])
            assert found["y"].tolist() == [2, 6]
            # Over REST 2 and 2.0 are numbers, and the client has no reason to ask anew.
            is_told = (protocol, before, name) != ("rest", "double", "count")
            assert found["y"].dtype == (np.int32 if name == "count" and is_told else np.float32)
            assert ("z" in found) == (name == "double_both")


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_no_server_is_a_connection_error_that_names_the_address(protocol):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConnectionError, match=f"at {address} .*`tfpt serve`"):
        serving.Client(address, "text", protocol=protocol).predict(["a"])


def test_the_other_protocols_port_is_a_connection_error(server):
    with pytest.raises(ConnectionError, match="gRPC's 8500"):
        serving.Client(server.grpc_address, "text").predict(["a"])
    with pytest.raises(ConnectionError, match="REST's 8501"):
        serving.Client(server.address, "text", protocol="grpc").predict(["a"])


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_slow_answer_is_a_timeout_error(server, protocol):
    address = server.address if protocol == "rest" else server.grpc_address
    client = serving.Client(
        address, "numbers", protocol=protocol, signature_name="spin", timeout_seconds=0.5
    )
    assert client.predict(np.int32(1))["trace"] == 200
    with pytest.raises(TimeoutError, match=f"{address} did not answer within 0.5 seconds"):
        client.predict(np.int32(10_000))


@pytest.mark.parametrize(
    ("address", "kwargs", "message"),
    [
        ("localhost:8501/v1", {}, '"host:port"'),
        ("ftp://localhost:8501", {}, '"host:port"'),
        ("localhost:rest", {}, '"host:port"'),
        ("", {}, '"host:port"'),
        ("localhost:8501", {"protocol": "http"}, '`protocol` is "rest" or "grpc"'),
        ("localhost:8501", {"timeout_seconds": 0}, "`timeout_seconds` is positive"),
    ],
)
def test_arguments_out_of_range_are_refused(address, kwargs, message):
    with pytest.raises(ValueError, match=message):
        serving.Client(address, "text", **kwargs)


def test_the_rest_client_needs_no_tensorflow(server):
    program = f"""
import sys
from tfpt import serving
client = serving.Client({server.address!r}, "text")
print(client.predict(["a good film"])["label"].tolist())
print(client.status()["model_version_status"][0]["state"])
try:
    client.predict([1])
except serving.RequestError as error:
    print(error.status)
print(sorted({{"tensorflow", "grpc", "starlette", "uvicorn"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", "-c", program],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.stderr == ""
    assert done.stdout.split("\n") == ["['größer']", "AVAILABLE", "400", "[]", ""]


def test_one_client_serves_several_threads(client):
    shared = client("numbers")
    results = {}

    def ask(i):
        results[i] = shared.predict({"a": [[i, i, i]], "b": [i]})["twice"].tolist()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: [2 * i] for i in range(16)}
