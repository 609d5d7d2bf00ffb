"""A local server with TensorFlow Serving's REST and gRPC interfaces."""

import atexit
import os
import re
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, get_args

from tfpt.serving.answering import Admission, Answering, Limits
from tfpt.serving.catalog import Catalog, Versions, version_folders
from tfpt.serving.endpoints import GrpcEndpoint, RestEndpoint, loop_in_thread
from tfpt.serving.quiet_import import import_tensorflow


class Server:
    """Serves SavedModels as TensorFlow Serving does, for laptops and tests.

    A context manager: entered, it answers on both ports; left, it has finished the requests it was
    answering, freed ports and memory, and ended its threads. It answers Predict, model status and
    metadata.

    Args:
        models: Model name -> folder that holds one folder for each version, as `export` writes it.
        host: Address to listen on; "0.0.0.0" for every interface.
        rest_port: Port of the REST interface; 0 for any free one.
        grpc_port: Port of the gRPC interface; 0 for any free one.
        versions: "latest" serves the newest version of each model, TF Serving's default; "all"
            serves every version in the folders, older ones by `/versions/N`.
        limits: What is taken at most. A request that is too large is answered 413 (over gRPC
            RESOURCE_EXHAUSTED), one that is too many 429 (UNAVAILABLE).

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        models: Mapping[str, str | Path],
        *,
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
        versions: Versions = "latest",
        limits: Limits | None = None,
    ) -> None:
        _check(models, rest_port, grpc_port, versions)
        self.rest_port = rest_port  # once started, the one in use
        self.grpc_port = grpc_port
        self._wanted_ports = rest_port, grpc_port
        self._models = {name: Path(path) for name, path in models.items()}
        self._host = host
        self._versions: Versions = versions
        self._limits = limits or Limits()
        self._cleanup: ExitStack | None = None
        self._stopped = threading.Event()

    @property
    def address(self) -> str:
        """Where the REST interface answers on this machine, e.g. "127.0.0.1:8501"."""
        return _address(self._host, self.rest_port)

    @property
    def grpc_address(self) -> str:
        """Where the gRPC interface answers on this machine, e.g. "127.0.0.1:8500"."""
        return _address(self._host, self.grpc_port)

    def start(self) -> Self:
        """Load the models and return when both ports answer.

        Whether the ports are free is asked before TensorFlow is imported and the models are loaded;
        until they are, clients are refused. On an error nothing is left running.

        Raises:
            FileNotFoundError: A model's folder is not there or holds no version.
            OSError: A port is in use, or `host` is no address of this machine.
            RuntimeError: The server runs already.
            ValueError: A SavedModel cannot be loaded.
        """
        if self._cleanup:
            raise RuntimeError(f"The server runs already, at {self.address}.")
        folders = {
            name: version_folders(path, versions=self._versions)
            for name, path in self._models.items()
        }
        rest_port, grpc_port = self._wanted_ports
        # Left in the opposite order: no request is cut off, nothing is used after it was freed.
        with ExitStack() as stack:
            call = stack.enter_context(loop_in_thread())
            catalog = Catalog()
            stack.callback(catalog.close)
            # More threads than cores would only make TensorFlow's own threads compete.
            pool = stack.enter_context(
                ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="predict")
            )
            rest = stack.enter_context(RestEndpoint(self._host, rest_port, call))
            grpc = stack.enter_context(GrpcEndpoint(self._host, grpc_port, call))
            import_tensorflow()
            catalog.load(folders)
            answering = Answering(
                catalog=catalog,
                pool=pool,
                limits=self._limits,
                admission=Admission(self._limits),
            )
            rest.serve(answering)
            grpc.serve(answering)
            self.rest_port, self.grpc_port = rest.port, grpc.port
            self._cleanup = stack.pop_all()
        self._stopped.clear()
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Finish the requests that are being answered and free everything; may be called twice."""
        cleanup, self._cleanup = self._cleanup, None
        if cleanup:
            atexit.unregister(self.stop)
            cleanup.close()
            self._stopped.set()

    def wait(self) -> None:
        """Block until `stop` is called or, in the main thread, until Ctrl-C or SIGTERM comes."""
        if threading.current_thread() is not threading.main_thread():
            self._stopped.wait()
            return
        signals = signal.SIGINT, signal.SIGTERM
        interrupted = threading.Event()
        previous = [signal.signal(number, lambda *_: interrupted.set()) for number in signals]
        try:
            # Short waits, since a signal's handler does not run inside a long one everywhere.
            while self._cleanup and not interrupted.wait(0.2):
                pass
        finally:
            for number, handler in zip(signals, previous, strict=True):
                signal.signal(number, handler or signal.SIG_DFL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _check(models: Mapping[str, str | Path], rest_port: int, grpc_port: int, versions: str) -> None:
    if not models:
        raise ValueError('Give at least one model to serve, as {"NAME": "folder"}.')
    for name in models:
        if not re.fullmatch(r"[^/:]+", name):
            raise ValueError(
                f"A model's name is part of a URL and holds neither `/` nor `:`; received {name!r}."
            )
    for argument, port in (("rest_port", rest_port), ("grpc_port", grpc_port)):
        if not 0 <= port <= 65_535:
            raise ValueError(f"`{argument}` lies from 0 to 65535; received {argument}={port}.")
    if rest_port == grpc_port != 0:
        raise ValueError(f"REST and gRPC need a port each; received {rest_port} for both.")
    if versions not in get_args(Versions):
        raise ValueError(f'`versions` is "latest" or "all"; received versions={versions!r}.')


def _address(host: str, port: int) -> str:
    """Host and port as a client on this machine takes them."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
