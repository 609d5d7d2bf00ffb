"""Asking a server that speaks TensorFlow Serving's interfaces, over REST or gRPC."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tfpt.serving.errors import RequestError
from tfpt.serving.rest_client import RestTransport
from tfpt.serving.signature import Arrays

if TYPE_CHECKING:  # importing it imports TensorFlow
    from tfpt.serving.grpc_client import GrpcTransport


class Client:
    """Asks one model of a server: `tfpt serve`, `serving.Server` or TensorFlow Serving itself.

    Over REST it needs the standard library and NumPy only; over gRPC it imports TensorFlow. Nothing
    is sent before the first question. It may be used by several threads.

    Every question raises `RequestError` where the server refuses it, `ConnectionError` where none
    answers at the address and `TimeoutError` where the answer takes too long.

    Args:
        address: Host and port, such as "localhost:8501" (REST) or "localhost:8500" (gRPC);
            "https://host:port" for REST over TLS.
        model: The model's name.
        protocol: "rest" or "grpc".
        version: The version to ask; None for the newest that is served.
        signature_name: The signature to call.
        timeout_seconds: How long a question may take.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        protocol: Literal["rest", "grpc"] = "rest",
        version: int | None = None,
        signature_name: str = "serving_default",
        timeout_seconds: float = 60,
    ) -> None:
        if timeout_seconds <= 0:
            raise ValueError(
                f"`timeout_seconds` is positive; received timeout_seconds={timeout_seconds}."
            )
        self._model = model
        self._signature_name = signature_name
        self._signature: dict[str, Any] | None = None
        self._transport: RestTransport | GrpcTransport
        if protocol == "rest":
            self._transport = RestTransport(
                address, model, version=version, timeout_seconds=timeout_seconds
            )
        elif protocol == "grpc":
            from tfpt.serving.quiet_import import import_tensorflow

            import_tensorflow()
            from tfpt.serving.grpc_client import GrpcTransport

            self._transport = GrpcTransport(
                address, model, version=version, timeout_seconds=timeout_seconds
            )
        else:
            raise ValueError(f'`protocol` is "rest" or "grpc"; received protocol={protocol!r}.')

    def predict(self, inputs: Any) -> Arrays:
        """Ask the model.

        Args:
            inputs: For a signature with one input its values, batch first: a list of strings, or
                nested lists of numbers, or an array. For several inputs a dict from name to those.

        Returns:
            Arrays by output name, batch first, in alphabetic order; text as object arrays of `str`,
            of `bytes` where the output's name ends in `_bytes`. The same over both protocols.
        """
        known = self._describe()
        try:
            return self._ask(inputs, known)
        except RequestError as error:
            # The server may have gone on to a version whose signature is another.
            self._signature = None
            if error.status not in (http.HTTPStatus.OK, http.HTTPStatus.BAD_REQUEST):
                raise
            signature = self._describe()
            if signature == known:
                raise
        return self._ask(inputs, signature)

    def _ask(self, inputs: Any, signature: Mapping[str, Any]) -> Arrays:
        if not isinstance(inputs, Mapping):
            names = ", ".join(f"`{name}`" for name in sorted(signature["inputs"]))
            if len(signature["inputs"]) != 1:
                raise ValueError(
                    f"Signature `{self._signature_name}` takes the inputs {names}; give a dict "
                    f"from each name to its values, received a {type(inputs).__name__}."
                )
            inputs = dict.fromkeys(signature["inputs"], inputs)
        return self._transport.predict(inputs, self._signature_name, signature)

    def status(self) -> dict[str, Any]:
        """The versions of the model and whether they are available.

        Returns:
            `{"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ...}]}`.
        """
        return self._transport.status()

    def metadata(self) -> dict[str, Any]:
        """The signatures of the model: names, types and shapes of inputs and outputs.

        Returns:
            `{"model_spec": ..., "metadata": {"signature_def": {"signature_def": {NAME: ...}}}}`.
        """
        return self._transport.metadata()

    def _describe(self) -> dict[str, Any]:
        """The part of the metadata that describes the signature to call; asked for once."""
        if self._signature is None:
            signatures = self.metadata()["metadata"]["signature_def"]["signature_def"]
            if self._signature_name not in signatures:
                known = ", ".join(f"`{name}`" for name in sorted(signatures) if name[:2] != "__")
                raise RequestError(
                    400,
                    f'Serving signature key "{self._signature_name}" not found. '
                    f"Model `{self._model}` has {known}.",
                    code="FAILED_PRECONDITION",
                )
            self._signature = signatures[self._signature_name]
        return self._signature
