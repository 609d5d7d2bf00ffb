"""The two ports of a server, and the thread with the event loop that answers on them.

Each is a context manager: entered, it holds its port; left, it has finished the requests that it
was answering and freed the port.
"""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import grpc
import uvicorn

from tfpt.serving.catalog import Catalog

Call = Callable[[Coroutine[Any, Any, Any]], Any]

_DRAIN_SECONDS = 10  # how long requests that are being answered may take when the server stops
_GRPC_OPTIONS = (
    # By default a second server on the same port starts too, and the two share the requests.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


@contextmanager
def loop_in_thread() -> Iterator[Call]:
    """An event loop in a thread of its own; gives a function that runs a coroutine there."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(_ignore_shared_poller)
    thread = threading.Thread(target=loop.run_forever, name="serving", daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class RestEndpoint:
    """The REST port. `call` runs a coroutine on the server's event loop."""

    def __init__(self, host: str, port: int, call: Call) -> None:
        self._call = call
        self._socket = _listen(host, port, "rest_port")
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    def serve(self, catalog: Catalog, pool: Executor) -> None:
        """Begin to answer; returns when the port does."""
        from tfpt.serving.rest import application  # imports TensorFlow

        config = uvicorn.Config(
            application(catalog, pool),
            log_config=None,
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        self._call(self._start(uvicorn.Server(config)))

    async def _start(self, server: uvicorn.Server) -> None:
        self._server = server
        self._task = asyncio.create_task(server.serve(sockets=[self._socket]))
        while not server.started and not self._task.done():
            await asyncio.sleep(0.01)
        if self._task.done():
            await self._task  # raises what went wrong

    async def _stop(self) -> None:
        if self._server and self._task:
            self._server.should_exit = True
            await self._task

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._call(self._stop())
        finally:
            self._socket.close()


class GrpcEndpoint:
    """The gRPC port. `call` runs a coroutine on the server's event loop."""

    def __init__(self, host: str, port: int, call: Call) -> None:
        self._call = call
        # gRPC reports a port in use by a RuntimeError and a line on standard error: ask first.
        _listen(host, port, "grpc_port").close()
        self._server: grpc.aio.Server | None = None
        self.port: int = call(self._bind(f"[{host}]" if ":" in host else host, port))

    async def _bind(self, host: str, port: int) -> int:
        self._server = grpc.aio.server(options=_GRPC_OPTIONS)
        return self._server.add_insecure_port(f"{host}:{port}")

    def serve(self, catalog: Catalog, pool: Executor) -> None:
        """Begin to answer; returns when the port does."""
        from tfpt.serving.grpc_services import add_services  # imports TensorFlow

        add_services(self._server, catalog, pool)
        self._call(self._start())

    async def _start(self) -> None:
        if self._server:
            await self._server.start()

    async def _stop(self) -> None:
        if self._server:
            await self._server.stop(_DRAIN_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._stop())
        # gRPC's polling thread ends when the last object that uses it is collected.
        self._server = None


def _listen(host: str, port: int, argument: str) -> socket.socket:
    """A socket that listens on `port`, which `argument` of the server names."""
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        raise OSError(_why_not(host, port, argument, error)) from error


def _why_not(host: str, port: int, argument: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is in use, by another server perhaps; stop that one, or give "
            f"another {argument} (0 takes any free one)."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} may not be used without privileges; give a {argument} from 1024 on."
    return f"Cannot listen on {host}, {argument}={port}: {error.strerror or error}."


def _ignore_shared_poller(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Pass over what gRPC makes of several event loops in one process (two servers, say).

    Older versions wake each loop for every event, and the one that comes second finds nothing to
    read: in grpcio 1.70 559 times in 2,000 calls, in 1.85 never. No request is lost by it.
    """
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)
