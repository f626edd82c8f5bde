"""An S3 endpoint on loopback that fails by plan, for tests of the store and for the fault campaign.

    with faulty_s3() as s3:                      # moto behind a proxy; the environment points at the proxy
        s3.plan = at({3: SLOW_DOWN, 4: CUT})     # the third and fourth request from now on
        ... open_store(f"{s3.url}/dataset") ...  # in this process, or in one started with s3.environment
        s3.plan = no_faults
        assert s3.injected >= 2

Requests are numbered from 1, anew with every plan. A plan sees each request and says what is done to it;
`LOST_ANSWER` lets the write happen and drops the answer.
"""

import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Literal
from unittest.mock import patch

BUCKET = "posemill"


@dataclass(frozen=True)
class Fault:
    """What becomes of one request.

    Args:
        kind: "error": answered with `status` and `code`, nothing done. "delay": done after `seconds`, and
            answered. "cut": the connection ends before anything is done. "lost_answer": done, then the
            connection ends. "half_answer": done, then half of the body and the end of the connection.
    """

    kind: Literal["error", "delay", "cut", "lost_answer", "half_answer"]
    seconds: float = 0.0
    status: int = 500
    code: str = "InternalError"


INTERNAL_ERROR = Fault("error")
SLOW_DOWN = Fault("error", status=503, code="SlowDown")
FORBIDDEN = Fault("error", status=403, code="AccessDenied")
CONFLICT = Fault("error", status=409, code="ConditionalRequestConflict")
CUT = Fault("cut")
LOST_ANSWER = Fault("lost_answer")
HALF_ANSWER = Fault("half_answer")
PASSING = (INTERNAL_ERROR, SLOW_DOWN, CUT, LOST_ANSWER, HALF_ANSWER)
"""Faults that a store must get over by itself."""


def late(seconds: float) -> Fault:
    """Done and answered, but late."""
    return Fault("delay", seconds=seconds)


@dataclass(frozen=True)
class Request:
    """One request as the proxy got it; `number` counts from 1 since the plan was set."""

    number: int
    method: str
    path: str


Plan = Callable[[Request], Fault | None]


def no_faults(_: Request) -> Fault | None:
    """Everything works."""
    return None


def at(faults: Mapping[int, Fault], method: str = "", path: str = "") -> Plan:
    """These faults at these requests, counted among those of a method whose path has a match of `path`."""
    lock, seen = threading.Lock(), [0]

    def plan(request: Request) -> Fault | None:
        if (method and request.method != method) or not re.search(path, request.path):
            return None
        with lock:
            seen[0] += 1
            return faults.get(seen[0])

    return plan


def always(fault: Fault, method: str = "", path: str = "") -> Plan:
    """The same fault at every request of a method whose path has a match of `path`."""
    return lambda request: fault if method in ("", request.method) and re.search(path, request.path) else None


def at_rate(seed: int, rate: float, faults: Sequence[Fault] = PASSING) -> Plan:
    """A share of all requests, drawn from the seed and the request's number."""

    def plan(request: Request) -> Fault | None:
        digest = hashlib.sha256(f"{seed} {request.number}".encode()).digest()
        if int.from_bytes(digest[:4], "big") >= rate * 2**32:
            return None
        return faults[digest[4] % len(faults)]

    return plan


@dataclass
class FaultyS3:
    """The running endpoint. Setting `plan` begins a new count."""

    endpoint_url: str = ""
    moto_port: int = 0
    seen: list[tuple[Request, Fault | None]] = field(default_factory=list)
    injected: int = 0
    """Faults since the start."""
    _plan: Plan = no_faults
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """The bucket, as `open_store` takes it."""
        return f"s3://{BUCKET}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a process here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def plan(self) -> Plan:
        """What is done to requests."""
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        with self._lock:
            self._plan, self.seen = plan, []

    def judge(self, method: str, path: str) -> Fault | None:
        """Counts a request and says what becomes of it."""
        with self._lock:
            request = Request(len(self.seen) + 1, method, path)
            fault = self._plan(request)
            self.seen.append((request, fault))
            self.injected += fault is not None
            return fault

    def requests(self, method: str = "", path: str = "") -> list[Request]:
        """The requests since the plan was set."""
        return [
            request
            for request, _ in list(self.seen)
            if method in ("", request.method) and re.search(path, request.path)
        ]


class _Handler(BaseHTTPRequestHandler):
    """Hands a request on to moto, or does to it what the plan says."""

    protocol_version = "HTTP/1.1"
    endpoint: FaultyS3

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.endpoint.judge(self.command, self.path)
        if fault is not None and fault.kind == "cut":
            self._cut()
        elif fault is not None and fault.kind == "error":
            self._refuse(fault)
        else:
            time.sleep(fault.seconds if fault is not None else 0.0)
            self._forward(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        connection = HTTPConnection("127.0.0.1", self.endpoint.moto_port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            if fault is not None and fault.kind == "lost_answer":
                self._cut()
                return
            self._answer(answer, data, half=fault is not None and fault.kind == "half_answer")
        finally:
            connection.close()

    def _answer(self, answer: HTTPResponse, data: bytes, half: bool) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*_HOP, "content-length", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self.wfile.flush()
            self._cut()

    def _refuse(self, fault: Fault) -> None:
        data = f"<Error><Code>{fault.code}</Code><Message>planned by a test</Message></Error>".encode()
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went away, or we did
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


_HOP = ("connection", "keep-alive", "transfer-encoding", "expect", "te", "upgrade")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Connections end early here on purpose."""


@contextmanager
def faulty_s3(environment: Mapping[str, str] | None = None) -> Iterator[FaultyS3]:
    """Moto's server and a proxy that fails by plan, with an empty bucket; needs `moto[server]` and `s3fs`.

    Args:
        environment: Variables set while it runs, beside those that lead to it; by default short waits
            between attempts.
    """
    moto = import_module("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    endpoint = FaultyS3(moto_port=moto.get_host_and_port()[1])
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"endpoint": endpoint}))
    endpoint.endpoint_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    waits = {"POSEMILL_STORE_FIRST_WAIT_S": "0.01", "POSEMILL_STORE_LONGEST_WAIT_S": "0.1"}
    try:
        with patch.dict(
            os.environ, {**endpoint.environment, **(waits if environment is None else environment)}
        ):
            _make_bucket(endpoint.moto_port)
            yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        moto.stop()


def _make_bucket(moto_port: int) -> None:
    """An empty bucket: moto's memory is shared by all its servers in a process."""
    connection = HTTPConnection("127.0.0.1", moto_port, timeout=60)
    try:
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
        connection.request("PUT", f"/{BUCKET}")
        connection.getresponse().read()
    finally:
        connection.close()
