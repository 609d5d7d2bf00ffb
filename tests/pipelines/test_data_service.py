"""Batches drawn by a dispatcher and two workers on loopback are those that are drawn here."""

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from drawn import assert_untuned

from tfpt import pipelines
from tfpt.cli import main
from tfpt.pipelines import CausalDrawing, Drawing, Share, data_service, examples, served

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60  # nothing here waits longer


class Started:
    """A process of `tfpt data-service`, with the line that it says when it is ready."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "tfpt", "data-service", *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def line(self):
        timer = threading.Timer(SECONDS, self.process.kill)
        timer.start()
        said = self.process.stdout.readline()
        timer.cancel()
        assert said, "it ended, or said nothing in time"
        return said

    def kill(self):
        self.process.kill()
        self.process.wait(SECONDS)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def start():
    """A function that starts a process, which ends with the tests."""
    processes = []

    def start_process(*arguments):
        processes.append(Started(*arguments))
        return processes[-1]

    yield start_process
    for process in processes:
        process.kill()


@pytest.fixture(scope="module")
def dispatcher(start):
    """The address of a dispatcher."""
    port = re.search(r"port (\d+)", start("dispatcher", "--port", 0).line())[1]
    return f"localhost:{port}"


@pytest.fixture(scope="module")
def worker(start, dispatcher):
    """A function that starts a worker on a port, without waiting for it."""

    def start_worker(port):
        address = f"localhost:{port}"
        return start("worker", dispatcher, "--port", port, "--address", address)

    return start_worker


@pytest.fixture(scope="module")
def ports():
    return [data_service._free_port() for _ in range(2)]


@pytest.fixture(scope="module")
def workers(worker, ports):
    started = [worker(port) for port in ports]
    for one in started:
        one.line()
    return started


def assert_same(ours, theirs, count):
    compared = 0
    for one, other in itertools.islice(zip(ours, theirs, strict=True), count):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
        compared += 1
    assert compared == count


def masked(store, first, **drawing):
    return pipelines.masked_lm(
        store, sequence_length=64, batch_size=8, first_batch=first, drawing=Drawing(**drawing)
    )


STREAMS = {
    "pairs": masked,
    "a share of each batch": lambda store, first: pipelines.masked_lm(
        store, sequence_length=64, batch_size=8, first_batch=first, share=Share(1, 2)
    ),
    "packed": lambda store, first: masked(store, first, layout="packed", max_texts=4),
    "rows of several lengths, of two stores": lambda store, first: masked(
        [store, store], first, layout="bucketed", pairing="single"
    ),
    "causal": lambda store, first: pipelines.causal_lm(
        store, sequence_length=64, batch_size=8, first_batch=first, drawing=CausalDrawing()
    ),
}


def stream(name, first_batch):
    marks = [] if name in ("pairs", "a share of each batch", "causal") else [pytest.mark.slow]
    return pytest.param(name, first_batch, marks=marks)


@pytest.mark.parametrize(
    ("name", "first_batch"), [stream("pairs", 0), *(stream(name, 1234567) for name in STREAMS)]
)
def test_the_trainer_gets_the_batches_it_would_draw(store, dispatcher, workers, name, first_batch):
    def stream(first):
        return STREAMS[name](store, first)

    here = stream(first_batch)
    there = served(stream, dispatcher, timeout_seconds=SECONDS)(first_batch)
    assert there.element_spec == here.element_spec
    assert_untuned(here, there)
    assert_same(there, here, 50)


def test_a_store_whose_examples_are_kept_is_drawn_the_same(
    corpus, tokenizer, dispatcher, workers, tmp_path, monkeypatch
):
    monkeypatch.setattr(examples, "_WORTH_KEEPING", 1)
    large = pipelines.write_store(corpus, tokenizer, tmp_path / "large")
    here = masked(large, 5)
    assert list(large.path.glob("examples/61-2.bin"))  # 64 tokens less [CLS], [SEP] and [SEP]
    there = served(lambda first: masked(large, first), dispatcher, timeout_seconds=SECONDS)(5)
    assert_same(there, here, 50)


def test_what_a_killed_worker_was_drawing_is_drawn_again(
    store, dispatcher, worker, workers, ports, monkeypatch
):
    monkeypatch.setattr(data_service, "_MOST_HELD", 16)
    there = iter(served(lambda n: masked(store, n), dispatcher, timeout_seconds=SECONDS)(0))
    here = iter(masked(store, 0))
    assert_same(there, here, 20)
    workers[0].kill()
    assert_same(there, here, 60)
    worker(ports[0]).line()  # in its place
    assert_same(there, here, 60)


def test_a_store_that_is_not_on_the_workers_is_a_clear_error(
    corpus, tokenizer, dispatcher, workers, tmp_path
):
    store = pipelines.write_store(corpus, tokenizer, tmp_path / "gone")
    stream = served(lambda first: masked(store, first), dispatcher, timeout_seconds=SECONDS)(0)
    (store.path / "token_ids.bin").unlink()
    said = r"service at localhost:\d+ could not draw a batch: .*gone/token_ids.bin"
    with pytest.raises(OSError, match=said), pipelines.service_errors_named():
        next(iter(stream))


def test_workers_map_the_files_of_a_store_without_a_copy(tokenizer, dispatcher, workers, tmp_path):
    store = sparse_store(tokenizer, tmp_path / "large", num_tokens=100_000_000)
    stream = served(lambda first: masked(store, first), dispatcher, timeout_seconds=SECONDS)(0)
    before = anonymous_megabytes(workers[1].process.pid)
    for _ in itertools.islice(stream, 20):
        pass
    assert anonymous_megabytes(workers[1].process.pid) - before < 100  # the file has 200


def sparse_store(tokenizer, path, *, num_tokens):
    """A store of 1,000 long documents, the tokens of which are a hole in the file."""
    pipelines.write_store([("w1",)], tokenizer, path)
    with open(path / "token_ids.bin", "wb") as file:
        file.truncate(2 * num_tokens)
    np.linspace(0, num_tokens, 2001).astype("<i8").tofile(path / "sentence_offsets.bin")
    np.arange(0, 2001, 2).astype("<i8").tofile(path / "document_offsets.bin")
    description = json.loads((path / "store.json").read_text())
    counts = {"num_tokens": num_tokens, "num_sentences": 2000, "num_documents": 1000}
    for name, file in description["files"].items():
        file["bytes"] = (path / name).stat().st_size
    (path / "store.json").write_text(json.dumps(description | counts))
    return pipelines.open_store(path)


def anonymous_megabytes(pid):
    memory = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Anonymous: +(\d+) kB", memory)[1]) / 1024


def test_without_a_worker_waiting_ends(store, start):
    port = re.search(r"port (\d+)", start("dispatcher", "--port", 0).line())[1]
    stream = served(lambda first: masked(store, first), f"localhost:{port}", timeout_seconds=2)
    with pytest.raises(OSError, match="gave no batch for 2 seconds"):  # noqa: SIM117
        with pipelines.service_errors_named():
            next(iter(stream(0)))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["its dispatcher is killed", "another is in its place"])
def test_a_program_ends_when_its_service_is_gone(store, start, end):
    port = data_service._free_port()
    dispatcher = start("dispatcher", "--port", port)
    dispatcher.line()
    worker_port = data_service._free_port()
    address = f"localhost:{worker_port}"
    start("worker", f"localhost:{port}", "--port", worker_port, "--address", address).line()
    code = f"""
import sys
from tfpt import pipelines
from tfpt.cli import main
store = pipelines.open_store({str(store.path)!r})
def batches(first):
    return pipelines.masked_lm(store, sequence_length=64, batch_size=8, first_batch=first)
stream = iter(pipelines.served(batches, "localhost:{port}", timeout_seconds=10)(0))
next(stream)
print("begun", flush=True)
sys.stdin.readline()
try:
    while True:
        next(stream)
except Exception as error:
    print("The tf.data service" in str(error), flush=True)
sys.stdin.readline()
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(2 * SECONDS, program.kill)
    timer.start()
    assert program.stdout.readline() == "begun\n"
    dispatcher.kill()
    if end == "another is in its place":
        dispatcher = start("dispatcher", "--port", port)
        dispatcher.line()
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "True\n"
    dispatcher.kill()
    assert program.communicate("\n", timeout=SECONDS) == ("", None)
    timer.cancel()
    assert program.returncode == 0


@pytest.mark.parametrize(
    "address",
    ["localhost", "grpc://localhost:1", ":1", "localhost:x", "localhost:99999", "one:two:3"],
)
def test_an_address_that_is_none_is_refused(store, address):
    with pytest.raises(ValueError, match="dispatcher is HOST:PORT; received"):
        served(lambda first: masked(store, first), address)(0)
    with pytest.raises(ValueError, match="worker is HOST:PORT; received"):
        pipelines.start_worker("localhost:1", address=address)


@pytest.mark.parametrize("command", [["dispatcher"], ["worker", "localhost:1"]])
def test_a_port_that_is_none_is_refused(command):
    result = CliRunner().invoke(main, ["data-service", *command, "--port", "99999"])
    assert result.exit_code == 2
    assert "99999 is not in the range 0<=x<=65535" in result.stderr
    with pytest.raises(ValueError, match="from 0 to 65535; received 99999"):
        pipelines.start_dispatcher(99999)


@pytest.mark.parametrize("work_dir", ["/dev/null", "nowhere://bucket/work"])
def test_a_folder_that_cannot_be_written_is_named(work_dir):
    with pytest.raises(OSError, match=f"The dispatcher cannot work in {work_dir}: "):
        pipelines.start_dispatcher(work_dir=work_dir)


def test_no_dispatcher_is_a_clear_error(store):
    address = f"localhost:{data_service._free_port()}"
    with pytest.raises(ConnectionError, match=f"No dispatcher answers at {address}"):
        served(lambda first: masked(store, first), address)(0)
    with pytest.raises(ConnectionError, match=f"No dispatcher answers at {address}"):
        pipelines.start_worker(address)


def test_a_port_that_is_taken_is_a_clear_error(dispatcher):
    port = int(dispatcher.rpartition(":")[2])
    with pytest.raises(OSError, match=f"Port {port} cannot be had"):
        pipelines.start_dispatcher(port)
    with pytest.raises(OSError, match=f"Port {port} cannot be had"):
        pipelines.start_worker(dispatcher, port)


def test_other_datasets_are_refused(dispatcher):
    with pytest.raises(ValueError, match="drawn from a token store can be served"):
        served(lambda first: tf.data.Dataset.range(5), dispatcher)(0)


def test_a_dispatcher_ends_with_ctrl_c(start):
    process = start("dispatcher", "--port", 0)
    process.line()
    process.process.send_signal(signal.SIGINT)
    assert process.process.wait(SECONDS) == 130
