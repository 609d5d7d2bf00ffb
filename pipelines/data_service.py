"""Batches drawn by other machines, through the `tf.data` service, for a trainer of few cores.

A dispatcher hands out the numbers of batches, workers draw them, the trainer puts them in order: it
gets the same batches in the same order as without the service. See BEYOND_ONE_MACHINE.md.

Each worker maps the files of the store itself, at the path they have on the trainer.
"""

import contextlib
import os
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfpt.pipelines.batches import Batch, untuned

# Batches that the trainer holds while it waits for an earlier one. Workers give theirs in turns,
# and each is ahead by what it draws at once: when so many are there, the earlier one is lost.
_MOST_HELD = 128
# Batches that a worker draws at once, and has ready. More would only have to be held here.
_DRAWN_AT_ONCE, _READY = 4, 2
_LAST = 1 << 62
_LAST_PORT = 65_535
_SAID = re.compile(r"The tf\.data service at [^\n]*")

Stream = Callable[[int], tf.data.Dataset]
Job = Callable[[int, int], tf.data.Dataset]


def served(batches: Stream, service: str, *, timeout_seconds: float = 300) -> Stream:
    """A stream of batches that the workers of a `tf.data` service draw.

    The batches are those of `batches`, in their order, each once. A worker that ends takes the
    batches with it that it was drawing: the trainer asks for them again.

    Args:
        batches: Gives the stream from a batch on, such as
            `lambda first: masked_lm(store, ..., first_batch=first)`; of token stores.
        service: The address of the dispatcher, HOST:PORT.
        timeout_seconds: How long to wait for a batch before there is an error.

    Returns:
        A function from the number of the first batch to the infinite dataset from it on. It raises
        ConnectionError where nothing answers at `service`, and ValueError where `batches` are not
        drawn from a token store. While reading, `tf.errors.OpError` says what went wrong; see
        `service_errors_named`.
    """

    def stream(first_batch: int) -> tf.data.Dataset:
        _check_reachable(service)
        draw = getattr(batches(first_batch), "draw", None)
        if draw is None:
            raise ValueError(
                "Only batches that are drawn from a token store can be served (masked_lm, mlm_nsp, "
                "causal_lm, span_corruption); records are read from a bucket without a service."
            )
        drawn, spec = _without_captured_files(draw)

        def job(first: int, last: int) -> tf.data.Dataset:
            numbered = tf.data.Dataset.range(first, last).map(
                tf.autograph.experimental.do_not_convert(lambda number: (number, drawn(number))),
                num_parallel_calls=_DRAWN_AT_ONCE,
                deterministic=True,
            )
            policy = tf.data.experimental.service.ShardingPolicy.DYNAMIC
            return numbered.prefetch(_READY).apply(
                # To unpack takes the trainer longer than to receive.
                tf.data.experimental.service.distribute(
                    policy, f"grpc://{service}", compression=None
                )
            )

        received = tf.data.Dataset.from_generator(
            lambda: _in_order(job, first_batch, service, timeout_seconds), output_signature=spec
        )
        return untuned(received.prefetch(2))

    return stream


def start_dispatcher(port: int = 0, *, work_dir: str | None = None) -> Any:
    """Start what hands out the numbers of batches to workers.

    Args:
        port: 0: any free one.
        work_dir: A folder, also in a bucket, to note down in what is under way: a dispatcher that
            is started anew with it goes on.

    Returns:
        A `tf.data.experimental.service.DispatchServer`; its `target` has the address.

    Raises:
        OSError: The port is taken, or `work_dir` cannot be written.
        ValueError: `port` is none.
    """
    _check_free(port)
    config = tf.data.experimental.service.DispatcherConfig(
        port=port, work_dir=work_dir, fault_tolerant_mode=work_dir is not None
    )
    try:
        return tf.data.experimental.service.DispatchServer(config)
    except (RuntimeError, tf.errors.OpError) as error:  # it has Python's errors for some
        where = f" in {work_dir}" if work_dir else ""
        raise OSError(f"The dispatcher cannot work{where}: {error}") from error


def start_worker(dispatcher: str, port: int = 0, *, address: str | None = None) -> Any:
    """Start a worker, which draws batches.

    Args:
        dispatcher: Its address, HOST:PORT.
        port: 0: any free one.
        address: Where trainers reach this worker, HOST:PORT; by default this machine's name and
            the port.

    Returns:
        A `tf.data.experimental.service.WorkerServer`.

    Raises:
        ConnectionError: Nothing answers at `dispatcher`.
        OSError: The port is taken.
        ValueError: An address is not HOST:PORT, or `port` is none.
    """
    if address is not None:
        _check_address(address, "worker")
    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401  for pipelines of yours that tokenize
    _check_reachable(dispatcher)
    _check_free(port)
    port = port or _free_port()
    config = tf.data.experimental.service.WorkerConfig(
        dispatcher_address=dispatcher,
        worker_address=address or f"{socket.getfqdn()}:{port}",
        port=port,
    )
    return tf.data.experimental.service.WorkerServer(config)


@contextlib.contextmanager
def service_errors_named() -> Iterator[None]:
    """Raise what `served` says while batches are read as an OSError, not TensorFlow's own."""
    try:
        yield
    except tf.errors.OpError as error:
        if said := _SAID.search(str(error)):
            raise OSError(said[0]) from error
        raise


def _in_order(job: Job, first_batch: int, service: str, timeout_seconds: float) -> Iterator[Batch]:
    """The batches by ascending number, each once; asks again for those that were lost."""
    held: dict[int, Batch] = {}
    number = first_batch
    with _Reading(job(first_batch, _LAST), service, timeout_seconds) as reading:
        while True:
            while number not in held:
                if len(held) < _MOST_HELD:
                    found, batch = reading.next()
                else:
                    with _Reading(job(number, number + 1), service, timeout_seconds) as again:
                        found, batch = again.next()
                if found >= number:
                    held[found] = batch
            yield held.pop(number)
            number += 1


class _Reading:
    """Reads a dataset in a thread of its own, so that waiting for it can end."""

    def __init__(self, dataset: tf.data.Dataset, service: str, timeout_seconds: float):
        self._arrived: queue.Queue[Any] = queue.Queue(2)
        self._service, self._timeout_seconds = service, timeout_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(dataset,), daemon=True)

    def __enter__(self) -> "_Reading":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()

    def next(self) -> tuple[int, Batch]:
        """The batch that came next, and its number."""
        try:
            arrived = self._arrived.get(timeout=self._timeout_seconds)
        except queue.Empty:
            raise TimeoutError(
                f"The tf.data service at {self._service} gave no batch for "
                f"{self._timeout_seconds:g} seconds. Check that the dispatcher and its workers run "
                "and reach each other, and that this machine reaches the workers."
            ) from None
        if isinstance(arrived, str):
            raise OSError(f"The tf.data service at {self._service} {arrived}")
        number, batch = arrived
        return int(number), batch

    def _read(self, dataset: tf.data.Dataset) -> None:
        iterator = iter(dataset)
        try:
            while not self._stopped.is_set():
                self._put(next(iterator))
        except StopIteration:
            return
        except Exception as error:
            self._put(f"could not draw a batch: {' '.join(str(error).split())}")
        else:
            with contextlib.suppress(ConnectionError):
                _check_reachable(self._service)
                return
        # To give back an iterator whose dispatcher is gone waits for it, and holds Python's lock:
        # nothing else would run, and the process would not end. So it stays with this thread.
        threading.Event().wait()

    def _put(self, arrived: Any) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._arrived.put(arrived, timeout=0.5)
                return


def _without_captured_files(draw: Callable[[Any], Batch]) -> tuple[Callable[[Any], Batch], Any]:
    """A function that does the same and maps the files of a store itself, and what it gives.

    What a function captures travels in its graph. A tensor over a file is therefore replaced by an
    operation that maps the file on the machine that runs it.
    """
    number = tf.TensorSpec([], tf.int64)
    traced = tf.function(draw, autograph=False).get_concrete_function(number)
    argument, *captured = [tensor.name for tensor in traced.inputs]
    graph = traced.graph.as_graph_def()
    outputs = [tensor.name for tensor in tf.nest.flatten(traced.structured_outputs)]
    arrays = [getattr(tensor, "mapped", None) for tensor in traced.captured_inputs]
    for array in arrays:
        # A part of a file would be mapped from the file's beginning.
        if array is not None and array.nbytes != os.path.getsize(array.filename):
            raise ValueError(f"{array.filename} is not what was opened. Open the store anew.")
    spec = tf.nest.map_structure(
        lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), traced.structured_outputs
    )

    def drawn(batch):
        values = {argument: batch}
        for name, tensor, array in zip(captured, traced.captured_inputs, arrays, strict=True):
            values[name] = tf.identity(tensor) if array is None else _mapped(array)
        found = tf.graph_util.import_graph_def(graph, values, outputs, name="draw")
        return tf.nest.pack_sequence_as(traced.structured_outputs, found)

    return drawn, spec


def _mapped(array: Any) -> Any:
    """A tensor over the file of a mapped array, in the graph."""
    graph = tf.compat.v1.GraphDef()
    node = graph.node.add(name="mapped", op="ImmutableConst")
    node.attr["dtype"].type = tf.as_dtype(array.dtype).as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    node.attr["memory_region_name"].s = os.path.realpath(array.filename).encode()
    # TensorFlow folds constants, and would copy the file into memory. It leaves those alone that
    # have this attribute (common_runtime/constant_folding.cc); an empty list has no other effect.
    node.attr["_scoped_allocator"].list.SetInParent()
    return tf.graph_util.import_graph_def(graph, return_elements=["mapped:0"])[0]


def _check_address(address: str, of: str) -> tuple[str, int]:
    """The host and port of an address."""
    host, _, port = address.rpartition(":")
    is_host = host and "/" not in host and (":" not in host or host[0] + host[-1] == "[]")
    if not is_host or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ValueError(f"The address of a {of} is HOST:PORT; received {address!r}.")
    return host.strip("[]"), int(port)


def _check_reachable(address: str) -> None:
    place = _check_address(address, "dispatcher")
    try:
        socket.create_connection(place, timeout=10).close()
    except OSError as error:
        raise ConnectionError(
            f"No dispatcher answers at {address} ({error}). Start one by `tfpt data-service "
            "dispatcher`, or check address and network."
        ) from None


def _check_free(port: int) -> None:
    """TensorFlow ends the process where it cannot have a port."""
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(f"A port is a number from 0 to {_LAST_PORT}; received {port}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise OSError(f"Port {port} cannot be had: {error.strerror}. Name another.") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
