"""What goes wrong in serving, with the status codes of TF Serving over REST and gRPC."""

# A canonical code (the names of `grpc.StatusCode`, in the order of their numbers, from 1) as the
# HTTP status of the REST interface.
# Source: ToHTTPStatusCode in tensorflow_serving/model_servers/http_server.cc,
# https://github.com/tensorflow/serving.
HTTP_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


class ServingError(Exception):
    """A request that cannot be answered; the server turns it into a status and a sentence.

    Attributes:
        code: A key of `HTTP_STATUS`.
        message: What was wrong, what came, what to do.
        status: The HTTP status, where it is another than that of the code.
    """

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or HTTP_STATUS[code]


class RequestError(RuntimeError):
    """A server refused or could not answer a request of a `Client`.

    Attributes:
        status: The HTTP status, e.g. 400; over gRPC the one its code stands for in REST.
        code: The gRPC code, e.g. "INVALID_ARGUMENT"; None over REST, which does not carry it.
        message: The server's sentence.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None) -> None:
        super().__init__(f"{code or status}: {message}")
        self.status = status
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """The error for a request whose sender must change it (HTTP 400)."""
    return ServingError("INVALID_ARGUMENT", message)
