"""What the answer of a store means: passing, final, "the name is taken", "no room", or no answer of a store.

The client libraries (s3fs over botocore, gcsfs, adlfs over azure) raise their own classes, and none of them is
imported here: an answer is known by its HTTP status, its error code, its errno, or the library it came from.
"""

import errno
from collections.abc import Iterator

PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP: timeout, too early, too many requests, and faults of the server or what stands before it."""

PASSING_CODES = frozenset(
    {
        "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException",
        "RequestLimitExceeded", "ServerBusy", "OperationTimedOut",
        "IncompleteBody", "XAmzContentSHA256Mismatch",  # the request was cut on its way
        "ConditionalRequestConflict", "OperationAborted",  # S3: two conditional writes met; ask who won
    }
)  # fmt: skip

_PASSING_ERRNO = frozenset(
    {
        errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED,
        errno.ECONNABORTED, errno.EPIPE, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTUNREACH,
        getattr(errno, "EREMOTEIO", errno.EIO),  # how s3fs says "500"
    }
)  # fmt: skip

_FULL_ERRNO = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_PASSING_CLASSES = frozenset(
    {
        # botocore
        "HTTPClientError", "ConnectionError", "EndpointConnectionError", "ConnectTimeoutError",
        "ReadTimeoutError", "ConnectionClosedError", "ProxyConnectionError", "ResponseStreamingError",
        "IncompleteReadError", "ResponseParserError",
        # aiohttp, urllib3, http, requests
        "ClientPayloadError", "ServerDisconnectedError", "ClientOSError", "ClientConnectionError",
        "ClientConnectorError", "ServerTimeoutError", "IncompleteRead", "ProtocolError", "ProxyError",
        "ChunkedEncodingError", "ReadTimeout", "ConnectTimeout", "Timeout", "RemoteDisconnected",
        "BadStatusLine",
        # gcsfs, azure
        "ChecksumError", "ServiceRequestError", "ServiceResponseError", "ServiceRequestTimeoutError",
        "ServiceResponseTimeoutError", "TransportError",
    }
)  # fmt: skip

_LIBRARIES = frozenset(
    {
        "botocore", "aiobotocore", "s3fs", "gcsfs", "google", "azure", "adlfs", "fsspec", "aiohttp", "urllib3",
        "requests", "http", "ssl", "asyncio",
    }
)  # fmt: skip


def is_of_storage(error: BaseException) -> bool:
    """Whether a store or the way to it raised this; everything else is a fault of the program."""
    return isinstance(error, OSError | EOFError | NotImplementedError | ValueError) or _library(error) != ""


def is_passing(error: BaseException) -> bool:
    """Whether the same question may get another answer soon."""
    status, code = http_status(error), error_code(error)
    if code in PASSING_CODES or _passes(error):  # before the status: aiohttp calls half an answer a "400"
        return True
    if status is not None:
        return status in PASSING_STATUS
    if is_full(error) or isinstance(error, FileNotFoundError | FileExistsError | PermissionError):
        return False
    return any(_passes(link) for link in _chain(error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError | EOFError):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING_ERRNO:
        return True
    ancestors = {kind.__name__ for kind in type(error).__mro__ if kind.__module__ != "builtins"}
    return bool(_library(error)) and bool(ancestors & _PASSING_CLASSES)


def is_taken(error: BaseException) -> bool:
    """Whether a conditional write was refused because the name is taken."""
    if isinstance(error, FileExistsError) or error_code(error) in ("PreconditionFailed", "BlobAlreadyExists"):
        return True
    return http_status(error) == 412


def is_full(error: BaseException) -> bool:
    """Whether there is no room left, on the disk or in the quota."""
    return any(isinstance(link, OSError) and link.errno in _FULL_ERRNO for link in _chain(error))


def http_status(error: BaseException) -> int | None:
    """The HTTP status of the answer, or None when there was none."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict):  # botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if isinstance(status, int):
                return status
        for name in ("status_code", "status", "code"):  # azure, aiohttp, gcsfs
            status = getattr(link, name, None)
            if isinstance(status, str) and status.isdigit():
                status = int(status)
            if isinstance(status, int) and 100 <= status < 600:
                return status
    return None


def error_code(error: BaseException) -> str:
    """The store's own name for the fault, such as SlowDown; "" without one."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            code = response.get("Error", {}).get("Code")
            if isinstance(code, str):
                return code
        code = getattr(link, "error_code", None)  # azure
        if code is not None:
            return str(getattr(code, "value", code))
    return ""


def words_of(error: BaseException) -> str:
    """The answer in one line: status and code where known, and the library's words."""
    status, code = http_status(error), error_code(error)
    named = " ".join(dict.fromkeys(str(part) for part in (status, code) if part))
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = " ".join(str(said).split())
    text = text if len(text) <= 300 else f"{text[:297]}..."
    return f"{named} ({text})" if named and named not in text else text


def _library(error: BaseException) -> str:
    """The client library that a class belongs to, or ""."""
    for kind in type(error).__mro__:
        top = kind.__module__.partition(".")[0]
        if top in _LIBRARIES:
            return top
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, to a depth of ten."""
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        yield link
        link = link.__cause__
