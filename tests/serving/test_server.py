"""A server's life: ports, threads, versions, start and stop."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tfpt import serving
from tfpt.serving.endpoints import loop_in_thread


@pytest.fixture
def build(models):
    """A function that builds a server of the model `text`, on free ports unless told otherwise."""

    def server(**kwargs):
        kwargs = {"rest_port": 0, "grpc_port": 0, **kwargs}
        return serving.Server({"text": models / "text"}, **kwargs)

    return server


@pytest.fixture
def taken():
    """A port that something listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def serving_threads():
    """Names of the threads that servers start, gRPC's polling thread among them."""
    return sorted(
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(("serving", "predict")) or "_poll" in thread.name
    )


def test_a_started_server_answers_on_both_ports_and_a_stopped_one_leaves_nothing(build):
    before = serving_threads()
    server = build()
    assert server.start() is server
    for address, protocol in ((server.address, "rest"), (server.grpc_address, "grpc")):
        outputs = serving.Client(address, "text", protocol=protocol).predict(["good"])
        assert outputs["label"].tolist() == ["größer"]
    assert len(serving_threads()) > len(before)
    ports = server.rest_port, server.grpc_port
    assert not any(map(is_free, ports))
    server.stop()
    server.stop()
    assert serving_threads() == before
    assert all(map(is_free, ports))


def test_a_server_starts_again_on_the_same_ports(build):
    first = build()
    with first:
        ports = {"rest_port": first.rest_port, "grpc_port": first.grpc_port}
    server = build(**ports)
    for _ in range(2):
        with server:
            assert server.address == f"127.0.0.1:{ports['rest_port']}"
            assert server.grpc_address == f"127.0.0.1:{ports['grpc_port']}"
            serving.Client(server.address, "text").predict(["good"])


def test_starting_twice_is_refused(build):
    with build() as server:
        with pytest.raises(RuntimeError, match=f"runs already, at {server.address}"):
            server.start()
        serving.Client(server.address, "text").predict(["good"])


def test_two_servers_run_side_by_side(build, caplog):
    # gRPC wakes the event loops of both for each event: that shows with many at once, if at all.
    with build() as one, build() as two, ThreadPoolExecutor(16) as pool:
        clients = [
            serving.Client(server.grpc_address, "text", protocol="grpc") for server in (one, two)
        ]
        for outputs in pool.map(lambda i: clients[i % 2].predict(["good"]), range(400)):
            assert outputs["label"].tolist() == ["größer"]
    assert not caplog.records


def test_the_event_loop_passes_over_wake_ups_for_nothing_and_reports_other_errors(caplog):
    async def report(error):
        context = {"message": "in a callback", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)

    with loop_in_thread() as call:
        call(report(BlockingIOError(11, "Resource temporarily unavailable")))
        assert not caplog.records
        call(report(OSError("other")))
        assert "in a callback" in caplog.text


@pytest.mark.parametrize("argument", ["rest_port", "grpc_port"])
def test_a_port_in_use_is_named_and_nothing_is_left(build, taken, argument, capfd):
    before = serving_threads()
    with pytest.raises(OSError, match=f"Port {taken} of 127.0.0.1 is in use.*another {argument}"):
        build(**{argument: taken}).start()
    assert serving_threads() == before
    assert capfd.readouterr().err == ""


def test_a_second_server_on_the_same_ports_is_refused(build):
    with build() as server:
        for argument, port in (("rest_port", server.rest_port), ("grpc_port", server.grpc_port)):
            with pytest.raises(OSError, match=f"Port {port} .*{argument}"):
                build(**{argument: port}).start()
        serving.Client(server.address, "text").predict(["good"])


def test_an_address_of_another_machine_is_refused(build):
    with pytest.raises(OSError, match=r"Cannot listen on 192\.0\.2\.1"):
        build(host="192.0.2.1").start()


def test_a_broken_model_is_named_and_nothing_is_left(models, tmp_path):
    shutil.copytree(models / "text", tmp_path / "text")
    (tmp_path / "text" / "1" / "variables" / "variables.index").unlink()
    (tmp_path / "empty" / "4").mkdir(parents=True)
    (tmp_path / "empty" / "4" / "saved_model.pb").touch()
    before = serving_threads()
    for name in ("text", "empty"):
        folders = {"good": models / "numbers", name: tmp_path / name}
        server = serving.Server(folders, rest_port=0, grpc_port=0)
        message = f"{tmp_path / name}/. is no SavedModel that can be"
        with pytest.raises(ValueError, match=message) as caught:
            server.start()
        # `caught` holds the frames that started the server, and whatever these still hold.
        assert (serving_threads(), caught.type) == (before, ValueError)


def test_a_model_folder_without_versions_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder named by a version number"):
        serving.Server({"text": tmp_path}, rest_port=0, grpc_port=0).start()


def test_only_the_newest_version_is_served_by_default(models):
    with serving.Server({"numbers": models / "numbers"}, rest_port=0, grpc_port=0) as server:
        statuses = serving.Client(server.address, "numbers").status()["model_version_status"]
        assert [status["version"] for status in statuses] == ["20"]
        with pytest.raises(serving.RequestError) as caught:
            serving.Client(server.address, "numbers", version=3).metadata()
        assert caught.value.status == 404


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_stopping_lets_a_request_finish(models, protocol):
    with serving.Server({"numbers": models / "numbers"}, rest_port=0, grpc_port=0) as server:
        address = server.address if protocol == "rest" else server.grpc_address
        client = serving.Client(address, "numbers", protocol=protocol, signature_name="spin")
        client.predict(1)  # the first call builds the graph
        results = []
        thread = threading.Thread(target=lambda: results.append(client.predict(4_000)))
        thread.start()
        time.sleep(0.2)
        assert not results
    thread.join()
    assert results[0]["trace"] == 200


@pytest.mark.parametrize(
    ("models", "kwargs", "message"),
    [
        ({}, {}, "at least one model"),
        ({"a/b": "x"}, {}, "received 'a/b'"),
        ({"a:b": "x"}, {}, "received 'a:b'"),
        ({"": "x"}, {}, "received ''"),
        ({"a": "x"}, {"rest_port": 65_536}, "received rest_port=65536"),
        ({"a": "x"}, {"grpc_port": -1}, "received grpc_port=-1"),
        ({"a": "x"}, {"rest_port": 8500}, "received 8500 for both"),
        ({"a": "x"}, {"versions": "newest"}, "received versions='newest'"),
    ],
)
def test_arguments_out_of_range_are_refused(models, kwargs, message):
    with pytest.raises(ValueError, match=message):
        serving.Server(models, **kwargs)


PROGRAM = """
import sys, threading
from tfpt import serving

server = serving.Server({"text": sys.argv[1]}, rest_port=0, grpc_port=0)
assert not {"tensorflow", "tensorflow_text"} & set(sys.modules)
with server:
    print(server.address, flush=True)
    server.wait()
    print("interrupted", flush=True)
print(threading.active_count())

server.start()
for address, protocol in ((server.address, "rest"), (server.grpc_address, "grpc")):
    client = serving.Client(address, "text", protocol=protocol)
    print(client.predict(["good"])["label"].tolist())
    try:
        client.predict([["good"]])
    except serving.RequestError as error:
        print(error.status)
"""


def test_wait_ends_on_sigterm_and_the_console_stays_quiet_even_without_stop(models):
    command = [sys.executable, "-W", "error::ResourceWarning", "-X", "utf8", "-c", PROGRAM]
    process = subprocess.Popen(
        [*command, str(models / "text")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"},
    )
    address = process.stdout.readline().strip()
    assert serving.Client(address, "text").predict(["good"])["label"].tolist() == ["größer"]
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert err == ""
    answers = ["['größer']", "400"] * 2
    assert out.split() == ["interrupted", "1", *answers]
    assert process.returncode == 0


def test_wait_ends_when_another_thread_stops_the_server(build):
    server = build().start()
    waiting = threading.Thread(target=server.wait)
    waiting.start()
    stopping = threading.Timer(0.3, server.stop)
    stopping.start()
    handler = signal.getsignal(signal.SIGTERM)
    server.wait()
    waiting.join(5)
    assert not waiting.is_alive()
    assert signal.getsignal(signal.SIGTERM) is handler
    stopping.join()
