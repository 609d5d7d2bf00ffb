"""Talking to a server over REST, with the standard library and NumPy only."""

import base64
import http.client
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from tfpt.serving.errors import RequestError
from tfpt.serving.signature import Arrays

_ADDRESS = r"([^/:\[\]]+|\[[^/\[\]]+\])(:[0-9]{1,5})?"  # [::1]:8501 has brackets

# NumPy has no bfloat16 of its own.
_DTYPES = {
    "DT_HALF": "float16",
    "DT_BFLOAT16": "float32",
    "DT_FLOAT": "float32",
    "DT_DOUBLE": "float64",
    "DT_INT8": "int8",
    "DT_INT16": "int16",
    "DT_INT32": "int32",
    "DT_INT64": "int64",
    "DT_UINT8": "uint8",
    "DT_UINT16": "uint16",
    "DT_UINT32": "uint32",
    "DT_UINT64": "uint64",
    "DT_BOOL": "bool",
    "DT_STRING": "object",
}
# Of the numbers in JSON that an output of a kind is written as.
_KINDS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}


class RestTransport:
    """Asks one model, by one connection for each question.

    Args:
        address: `host:port`, `http://host:port` or `https://host:port`.
        model: The model's name.
        version: A version, or None for the newest.
        timeout_seconds: How long to wait for the server at each step.

    Raises:
        ValueError: `address` has another form.
    """

    def __init__(
        self, address: str, model: str, *, version: int | None, timeout_seconds: float
    ) -> None:
        scheme, _, self._address = address.rpartition("://")
        if scheme not in ("", "http", "https") or not re.fullmatch(_ADDRESS, self._address):
            raise ValueError(
                f'An address is "host:port", such as "localhost:8501"; received {address!r}.'
            )
        secure = scheme == "https"
        self._connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._timeout = timeout_seconds
        self._path = f"/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._path += f"/versions/{version}"

    def predict(
        self, inputs: Mapping[str, Any], signature_name: str, signature: Mapping[str, Any]
    ) -> Arrays:
        """Outputs by name; `signature` is that signature's part of `metadata`."""
        # By columns, so that arrays that share no first size can be sent and received too.
        document = {"signature_name": signature_name, "inputs": dict(inputs)}
        body = json.dumps(document, default=_to_json)
        outputs = self._ask("POST", ":predict", body)["outputs"]
        expected = signature["outputs"]
        if len(expected) == 1:
            outputs = dict.fromkeys(expected, outputs)
        if not isinstance(outputs, dict) or outputs.keys() != expected.keys():
            raise _unlike(f"the outputs are {', '.join(sorted(expected))}")
        return {name: _to_array(outputs[name], name, expected[name]) for name in sorted(outputs)}

    def status(self) -> dict[str, Any]:
        """The answer to GET /v1/models/NAME."""
        return self._ask("GET", "")

    def metadata(self) -> dict[str, Any]:
        """The answer to GET /v1/models/NAME/metadata."""
        return self._ask("GET", "/metadata")

    def _ask(self, method: str, suffix: str, body: str | None = None) -> dict[str, Any]:
        connection = self._connection(self._address, timeout=self._timeout)
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, self._path + suffix, body and body.encode(), headers)
            response = connection.getresponse()
            status, content = response.status, response.read()
        except TimeoutError as error:
            raise TimeoutError(
                f"{self._address} did not answer within {self._timeout} seconds."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(
                f"No REST server answers at {self._address} ({error}). Start one, as by "
                "`tfpt serve`, or check host and port (REST's is 8501 by default, gRPC's 8500)."
            ) from error
        finally:
            connection.close()
        try:
            answer = json.loads(content)
            if status == http.client.OK:
                return answer
            message = answer["error"]
        except (ValueError, KeyError, TypeError):
            message = content.decode(errors="replace")[:500] or "(no message)"
        raise RequestError(status, message)


def _to_json(value: Any) -> Any:
    """What `json.dumps` does not know by itself: bytes and NumPy values."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"Inputs are text, bytes, numbers or arrays of them; received {value!r}.")


def _to_array(values: Any, name: str, info: Mapping[str, Any]) -> np.ndarray:
    """An output as the signature describes it.

    Raises:
        RequestError: It is of another type, as where the server has another version by now.
    """
    dtype = np.dtype(_DTYPES.get(info["dtype"], object))
    try:
        if dtype.kind == "O":
            array = np.array(values, dtype=object)
            # A new array is contiguous: its ravel is a view.
            array.ravel()[:] = [_decode(value) for value in array.ravel().tolist()]
        else:
            array = np.array(values)
            if array.size and array.dtype.kind not in _KINDS[dtype.kind]:
                raise TypeError(f"received {array.dtype}")
            array = array.astype(dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise _unlike(f"output `{name}` is {info['dtype']}") from error
    sizes = [int(one["size"]) for one in info["tensor_shape"].get("dim", [])]
    if not array.size:  # of no row, lists do not tell what else there is
        array = array.reshape(*array.shape, *(max(size, 0) for size in sizes[array.ndim :]))
    return array


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _unlike(expected: str) -> RequestError:
    return RequestError(
        http.client.OK, f"The answer is not what the server says of its signature: {expected}."
    )
