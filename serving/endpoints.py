"""The two ports of a server, and the thread with the event loop that answers on them.

Each is a context manager: entered, it holds its port; left, it has finished the requests that it
was answering and freed the port.
"""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import grpc
import uvicorn

from tfpt.serving.answering import Answering, Limits

Call = Callable[[Coroutine[Any, Any, Any]], Any]

_DRAIN_SECONDS = 10  # how long requests that are being answered may take when the server stops
_BACKLOG = 128  # connections that wait to be taken


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
    """The REST port, on which nothing listens before `serve`.

    Args:
        host, port: Of the server.
        call: Runs a coroutine on the server's event loop.
    """

    def __init__(self, host: str, port: int, call: Call) -> None:
        self._call = call
        self._host = host
        self._socket = _bind(host, port, "rest_port")
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    def serve(self, answering: Answering) -> None:
        """Begin to answer; returns when the port does."""
        from tfpt.serving.rest import application  # imports TensorFlow

        _listen(self._socket, self._host, "rest_port")
        config = uvicorn.Config(
            application(answering),
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
    """The gRPC port, taken by `serve`; arguments as of `RestEndpoint`."""

    def __init__(self, host: str, port: int, call: Call) -> None:
        self._call = call
        self._host = host
        self._check_free(port)
        self._server: grpc.aio.Server | None = None
        self.port = port  # once it answers, the one in use

    def _check_free(self, port: int) -> None:
        """Raise for a port in use, which gRPC tells of by a line on standard error."""
        with _bind(self._host, port, "grpc_port") as probe:
            _listen(probe, self._host, "grpc_port")

    def serve(self, answering: Answering) -> None:
        """Begin to answer; returns when the port does."""
        self._check_free(self.port)
        self._call(self._start(answering))

    async def _start(self, answering: Answering) -> None:
        from tfpt.serving.grpc_services import add_services  # imports TensorFlow

        self._server = grpc.aio.server(options=_grpc_options(answering.limits))
        add_services(self._server, answering)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.port = self._server.add_insecure_port(f"{host}:{self.port}")
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


def _grpc_options(limits: Limits) -> tuple[tuple[str, int], ...]:
    return (
        # By default a second server on the same port starts too, and the two share the requests.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_send_message_length", -1),
    )


def _bind(host: str, port: int, argument: str) -> socket.socket:
    """A socket for `port`, which `argument` of the server names; nothing listens on it yet.

    A client that comes while models are loaded is refused, not kept waiting.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # where it does not let two servers share a port
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        raise OSError(_why_not(host, port, argument, error)) from error
    return bound


def _listen(bound: socket.socket, host: str, argument: str) -> None:
    try:
        bound.listen(_BACKLOG)
    except OSError as error:  # two servers were bound before the other listened
        raise OSError(_why_not(host, bound.getsockname()[1], argument, error)) from error


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
