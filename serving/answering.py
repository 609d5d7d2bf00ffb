"""What both interfaces answer with: the models, threads to run them in, and limits."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

from tfpt.serving.catalog import Catalog
from tfpt.serving.errors import ServingError

MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server takes at most.

    Raises:
        ValueError: A number is out of range.
    """

    request_megabytes: float = 64  # of 10**6 bytes, in the body or the message
    requests: int = 256  # to predict, that are received, wait or are answered at once

    def __post_init__(self) -> None:
        # What gRPC takes for a limit has 32 bits.
        if not 0 < self.request_megabytes * MEGABYTE < 1 << 31:
            raise ValueError(
                "`request_megabytes` lies between 0 and 2147; received "
                f"request_megabytes={self.request_megabytes}."
            )
        if self.requests < 1:
            raise ValueError(f"`requests` is at least 1; received requests={self.requests}.")

    @property
    def request_bytes(self) -> int:
        """The most bytes of a request."""
        return int(self.request_megabytes * MEGABYTE)


class Admission:
    """Counts the requests of an event loop, and takes none that would be too many.

    Waiting requests would else take up memory and be answered when nobody waits any more.
    """

    def __init__(self, limits: Limits) -> None:
        self._most = limits.requests
        self._count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Inside, one request more is counted.

        Raises:
            ServingError: There are as many as there may be: UNAVAILABLE, HTTP 429.
        """
        if self._count >= self._most:
            raise ServingError(
                "UNAVAILABLE",
                f"The server has {self._count} requests already, as many as it takes at once. Ask "
                "again later, or more slowly.",
                status=429,
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What the endpoints of a server share."""

    catalog: Catalog
    pool: Executor  # runs the models, never the event loop
    limits: Limits
    admission: Admission


def too_large(num_bytes: int, limits: Limits) -> ServingError:
    """The error for a request of at least so many bytes, with the code that gRPC gives it."""
    return ServingError(
        "RESOURCE_EXHAUSTED",
        f"The request has {num_bytes:,} bytes or more, and this server takes "
        f"{limits.request_bytes:,} at most. Ask about fewer rows at once.",
        status=413,
    )
