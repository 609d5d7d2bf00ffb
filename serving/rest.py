"""The REST interface of TF Serving: paths, methods and status codes.

Source: https://www.tensorflow.org/tfx/serving/api_rest.
"""

import asyncio
import json
import logging
import re
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tfpt.serving import json_format, protos
from tfpt.serving.answering import Answering, Limits, too_large
from tfpt.serving.catalog import TOO_LARGE, Catalog
from tfpt.serving.errors import HTTP_STATUS, ServingError, invalid

_log = logging.getLogger(__name__)

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ACT = re.compile(
    rf"(?i)/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)", re.ASCII
)
_READ = re.compile(
    rf"(?i)/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?", re.ASCII
)
# Of a body that is too large so many times what is allowed is read, and thrown away: a client that
# sends it to the end before it listens gets its answer.
_TIMES_DRAINED = 4
# A body that takes longer would keep the place of others.
_BODY_SECONDS = 60
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass(frozen=True)
class _Target:
    """The model that a path names."""

    name: str
    version: int | None
    label: str


def application(answering: Answering) -> Starlette:
    """The ASGI application; models run in the pool, never on the event loop."""

    async def answer(request: Request) -> Response:
        try:
            return _response(200, await _answer(request, answering))
        except ServingError as error:
            return _response(error.status, {"error": error.message})
        except ClientDisconnect:
            return _response(HTTP_STATUS["CANCELLED"], {"error": "The client went away."})
        except Exception as error:
            _log.exception("%s %s", request.method, request.url.path)
            return _response(500, {"error": f"{type(error).__name__}: {error}"})

    return Starlette(routes=[Route("/{path:path}", answer, methods=_METHODS)])


async def _answer(request: Request, answering: Answering) -> bytes | dict[str, Any]:
    path = request.scope["path"]
    if request.method == "POST" and (match := _ACT.fullmatch(path)):
        if match["verb"].lower() != "predict":
            raise ServingError(
                "UNIMPLEMENTED", f"This server answers :predict, not :{match['verb']}."
            )
        run = asyncio.get_running_loop().run_in_executor
        with answering.admission.one():
            body = await _body(request, answering.limits)
            return await run(answering.pool, _predict, answering.catalog, _target(match), body)
    if request.method in ("GET", "HEAD") and (match := _READ.fullmatch(path)):
        return _read(answering.catalog, _target(match), metadata=bool(match["metadata"]))
    if path.lower().startswith("/v1/"):
        raise invalid(
            f"Malformed request: {request.method} {path}. The paths are POST "
            "/v1/models/NAME[/versions/VERSION]:predict and GET "
            "/v1/models/NAME[/versions/VERSION][/metadata]."
        )
    raise ServingError("NOT_FOUND", f"There is nothing at {path}; paths begin with /v1/models/.")


async def _body(request: Request, limits: Limits) -> bytes:
    """The body of a request; raises where it is too large, which keeps nothing of it, or slow."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _TIMES_DRAINED * limits.request_bytes:
                    break
                if size > limits.request_bytes:
                    chunks.clear()
                else:
                    chunks.append(chunk)
    except TimeoutError:
        raise ServingError(
            "DEADLINE_EXCEEDED",
            f"The body did not come within {_BODY_SECONDS} seconds, of which {size:,} bytes did.",
            status=408,
        ) from None
    if size > limits.request_bytes:
        raise too_large(size, limits)
    return b"".join(chunks)


def _predict(catalog: Catalog, target: _Target, body: bytes) -> bytes:
    model = catalog.find(target.name, version=target.version, label=target.label)
    request = json_format.parse_request(body, model.signature)
    outputs = model.predict(request.signature, request.inputs)
    return json_format.format_response(outputs, by_row=request.by_row)


def _read(catalog: Catalog, target: _Target, *, metadata: bool) -> dict[str, Any]:
    if metadata:
        model = catalog.find(target.name, version=target.version, label=target.label)
        return protos.metadata_json(
            protos.metadata_response(model.name, model.version, model.signature_defs)
        )
    versions = catalog.versions(target.name, version=target.version, label=target.label)
    return protos.status_json(protos.status_response(versions))


def _target(match: re.Match[str]) -> _Target:
    if match["name"] is None:
        raise invalid("Missing model name in request; the path is /v1/models/NAME.")
    version = None
    if match["version"] is not None:
        digits = match["version"].lstrip("0") or "0"
        if len(digits) > 19 or int(digits) >= TOO_LARGE:
            raise invalid(f"Failed to convert version: {match['version']} to numeric.")
        version = int(digits)
    return _Target(match["name"], version, match["label"] or "")


def _response(status: int, body: bytes | dict[str, Any]) -> Response:
    if isinstance(body, dict):
        # What is quoted of a request may hold half of a surrogate pair.
        body = json.dumps(body, ensure_ascii=False, indent=1).encode(errors="replace")
    return Response(body, status_code=status, media_type="application/json")
