"""What a server takes at most, and when it begins to listen."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time

import numpy as np
import pytest

from tfpt import serving
from tfpt.serving import rest
from tfpt.serving.catalog import Catalog
from tfpt.serving.loaded_model import LoadedModel

NUM_THREADS = max(2, os.cpu_count() or 1)  # of a server, to run models


@pytest.fixture
def build(models):
    """A function that builds a server of `text` and `numbers` with some limits."""

    def server(**limits):
        folders = {name: models / name for name in ("text", "numbers")}
        return serving.Server(
            folders, rest_port=0, grpc_port=0, limits=serving.Limits(**limits) if limits else None
        )

    return server


def client_of(server, protocol, model, **given):
    address = server.address if protocol == "rest" else server.grpc_address
    return serving.Client(address, model, protocol=protocol, **given)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_request_that_is_too_large_is_refused_and_the_next_is_answered(build, protocol):
    with build(request_megabytes=0.1) as server:
        client = client_of(server, protocol, "text")
        for size in (100_000, 390_000):
            with pytest.raises(serving.RequestError) as caught:
                client.predict(["a" * size])
            assert caught.value.status == (413 if protocol == "rest" else 429)
            assert caught.value.code == (None if protocol == "rest" else "RESOURCE_EXHAUSTED")
        assert client.predict(["good", "a" * 90_000])["label"].tolist() == ["größer", "schlecht"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_without_an_end_is_not_read_to_it(build, declared):
    """A hundred megabytes, of which a few times what is allowed are read, and none are kept."""
    with build(request_megabytes=0.1) as server:
        connection = http.client.HTTPConnection(server.address, timeout=60)
        connection.putrequest("POST", "/v1/models/text:predict")
        header = ("Content-Length", "100000000") if declared else ("Transfer-Encoding", "chunked")
        connection.putheader(*header)
        connection.endheaders()
        piece = b" " * 50_000
        chunk = piece if declared else b"c350\r\n" + piece + b"\r\n"
        for _ in range(10):
            connection.send(chunk)
        response = connection.getresponse()
        assert response.status == 413
        told = json.loads(response.read())["error"]
        assert "this server takes 100,000 at most. Ask about fewer rows at once." in told
        connection.close()


def test_a_body_that_does_not_come_gives_its_place_back(build, monkeypatch):
    monkeypatch.setattr(rest, "_BODY_SECONDS", 0.3)
    with build(requests=1) as server:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(b"POST /v1/models/text:predict HTTP/1.1\r\nHost: a\r\n")
            slow.sendall(b"Content-Length: 100\r\n\r\n{")
            answer = ""
            while not answer.endswith("}"):
                answer += slow.recv(10_000).decode()
        assert answer.startswith("HTTP/1.1 408")
        assert "within 0.3 seconds, of which 1 bytes did" in answer
        client = client_of(server, "rest", "text")
        assert client.predict(["good"])["label"].tolist() == ["größer"]


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_requests_past_the_most_are_refused_at_once_and_others_are_answered(build, protocol):
    with build(requests=2) as server:
        spin = client_of(server, protocol, "numbers", signature_name="spin")
        text = client_of(server, protocol, "text")
        assert spin.predict(1)["trace"] == 200
        text.predict(["good"])
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(spin.predict(np.int32(4_000))))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        with pytest.raises(serving.RequestError, match="2 requests already") as caught:
            text.predict(["good"])
        assert caught.value.status == (429 if protocol == "rest" else 503)
        assert caught.value.code == (None if protocol == "rest" else "UNAVAILABLE")
        assert text.status()["model_version_status"][0]["state"] == "AVAILABLE"
        for thread in threads:
            thread.join()
        assert [found["trace"] for found in results] == [200, 200]
        assert text.predict(["good"])["label"].tolist() == ["größer"]


def test_what_waits_past_its_deadline_is_not_run(build, monkeypatch):
    """All threads of the models are taken; what comes then is gone before one is free."""
    run, seen, free = LoadedModel.predict, [], threading.Event()

    def predict(model, signature, inputs, **given):
        seen.append(model.name)
        if model.name == "numbers":
            assert free.wait(60)
        return run(model, signature, inputs, **given)

    with build() as server:
        spin = client_of(server, "grpc", "numbers", signature_name="spin")
        text = client_of(server, "grpc", "text", timeout_seconds=0.5)
        text.predict(["good"])
        spin.metadata()
        monkeypatch.setattr(LoadedModel, "predict", predict)
        threads = [threading.Thread(target=spin.predict, args=(1,)) for _ in range(NUM_THREADS)]
        for thread in threads:
            thread.start()
        while len(seen) < NUM_THREADS:
            time.sleep(0.01)
        with pytest.raises(TimeoutError):
            text.predict(["good"])
        time.sleep(0.2)  # the server is told that the client has gone
        free.set()
        for thread in threads:
            thread.join()
        text = client_of(server, "grpc", "text")
        text.predict(["good"])
    assert seen.count("text") == 1


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_nothing_listens_before_the_models_are_loaded(models, monkeypatch, protocol):
    """A client is refused then, not kept waiting; and so is a probe."""
    load, seen = Catalog.load, {}
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        rest_port, grpc_port = (one.getsockname()[1] for one in free)
    ports = {"rest_port": rest_port, "grpc_port": grpc_port}
    port = ports[f"{protocol}_port"]

    def load_slowly(catalog, folders):
        with socket.socket() as probe:
            seen["while loading"] = probe.connect_ex(("127.0.0.1", port))
        load(catalog, folders)

    monkeypatch.setattr(Catalog, "load", load_slowly)
    with serving.Server({"text": models / "text"}, **ports), socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == 0
    assert seen["while loading"] != 0


def test_a_port_taken_while_the_models_are_loaded_is_named(models, monkeypatch):
    load = Catalog.load
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def take(catalog, folders):
        taken.bind(("127.0.0.1", port))
        taken.listen()
        load(catalog, folders)

    monkeypatch.setattr(Catalog, "load", take)
    with (
        taken,
        pytest.raises(OSError, match=f"Port {port} of 127.0.0.1 is in use.*another grpc_port"),
    ):
        serving.Server({"text": models / "text"}, rest_port=0, grpc_port=port).start()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"request_megabytes": 0}, "between 0 and 2147; received request_megabytes=0"),
        ({"request_megabytes": 5_000}, "between 0 and 2147; received request_megabytes=5000"),
        ({"requests": 0}, "`requests` is at least 1; received requests=0"),
    ],
)
def test_limits_out_of_range_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        serving.Limits(**limits)
