"""What Google's and Azure's clients send for a write-if-absent, and what is made of the answers.

The servers here know two requests each, enough for `put_if_absent` with its read-back: they prove which
condition goes over the wire and that a lost answer is no lost race, not that Google or Azure keep their word.
"""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from storage.object_store import ObjectStore, open_store
from storage.retries import StoreRetries

QUICK = StoreRetries(attempts=4, deadline_s=20, first_wait_s=0.01, longest_wait_s=0.02, request_timeout_s=5)
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class FakeCloud(ThreadingHTTPServer):
    """Blobs by name; what was asked; how many of the next writes are done without an answer or refused."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.blobs: dict[str, bytes] = {}
        self.conditions: list[str | None] = []
        self.lose_answers = 0
        self.refuse = 0
        self.lock = threading.Lock()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Connections are cut on purpose."""

    def create(self, name: str, data: bytes, conditional: bool) -> bool:
        """Writes a blob; False when the condition does not hold."""
        with self.lock:
            if conditional and name in self.blobs:
                return False
            self.blobs[name] = data
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeCloud

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def write(self, name: str, data: bytes, condition: str | None) -> bool | None:
        """Does a write as the plan says; None when there is nothing to answer any more."""
        self.server.conditions.append(condition)
        if self.server.refuse:
            self.server.refuse -= 1
            self.answer(503, b"")
            return None
        done = self.server.create(name, data, condition is not None)
        if done and self.server.lose_answers:
            self.server.lose_answers -= 1
            self.close_connection = True
            return None
        return done


class _Google(_Handler):
    """The JSON API: an upload in one request, and the bytes of an object."""

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        body = self.body()
        name, data = query.get("name", [""])[0], body
        if query["uploadType"] == ["multipart"]:
            metadata, data = _parts(body, self.headers["Content-Type"])
            found = re.search(rb'"name": ?"([^"]+)"', metadata)
            name = found.group(1).decode() if found else name
        done = self.write(name, data, query.get("ifGenerationMatch", [None])[0])
        if done is not None:
            text = f'{{"name": "{name}", "bucket": "b", "size": "{len(data)}", "generation": "1"}}'
            self.answer(200 if done else 412, text.encode(), Content_Type="application/json")

    def do_GET(self) -> None:
        name = unquote(urlsplit(self.path).path.split("/o/")[1])
        if "alt=media" in self.path:
            self.answer(200, self.server.blobs[name])
            return
        text = f'{{"name": "{name}", "bucket": "b", "size": "{len(self.server.blobs[name])}"}}'
        self.answer(200, text.encode(), Content_Type="application/json")


def _parts(body: bytes, content_type: str) -> tuple[bytes, bytes]:
    """Metadata and data of a multipart upload."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    sections = [section.strip(b"\r\n") for section in body.split(b"--" + boundary)]
    first, second = (re.split(rb"\r?\n\r?\n", section, maxsplit=1)[1] for section in sections[1:3])
    return first, second


class _Azure(_Handler):
    """Block blobs: one put, one get."""

    def do_PUT(self) -> None:
        name = unquote(urlsplit(self.path).path).split("/", 3)[-1]
        done = self.write(name, self.body(), self.headers.get("If-None-Match"))
        if done:
            self.answer(201, b"", ETag='"1"', Last_Modified="Sat, 21 Nov 2026 07:00:00 GMT")
        elif done is False:
            text = (
                b"<?xml version='1.0'?><Error><Code>BlobAlreadyExists</Code><Message>there</Message></Error>"
            )
            self.answer(409, text, x_ms_error_code="BlobAlreadyExists", Content_Type="application/xml")

    def do_GET(self) -> None:
        data = self.server.blobs[unquote(urlsplit(self.path).path).split("/", 3)[-1]]
        span = f"bytes 0-{len(data) - 1}/{len(data)}"
        self.answer(206, data, ETag='"1"', Content_Range=span, x_ms_blob_type="BlockBlob")


def _serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[FakeCloud]:
    cloud = FakeCloud(handler)
    thread = threading.Thread(target=cloud.serve_forever, daemon=True)
    thread.start()
    yield cloud
    cloud.shutdown()
    cloud.server_close()
    thread.join()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloud]:
    pytest.importorskip("gcsfs", reason="pip install 'posemill[gcs]' to test what is sent to Google")
    for cloud in _serve(_Google):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", cloud.endpoint)
        yield cloud


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloud]:
    pytest.importorskip("adlfs", reason="pip install 'posemill[azure]' to test what is sent to Azure")
    retry = import_module("azure.storage.blob.aio").ExponentialRetry
    monkeypatch.setattr(retry, "get_backoff_time", lambda self, settings: 0.01)  # else 15 s
    for cloud in _serve(_Azure):
        account = "devstoreaccount1"
        monkeypatch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={AZURITE_KEY};"
            f"BlobEndpoint={cloud.endpoint}/{account};",
        )
        yield cloud


def _laws(cloud: FakeCloud, store: ObjectStore, condition: str) -> None:
    """One winner; the condition on the wire; passing faults and lost answers are no lost races."""
    assert store.put_if_absent("commits/u.json", b"first")
    assert not store.put_if_absent("commits/u.json", b"second")
    assert cloud.conditions
    assert set(cloud.conditions) == {condition}
    assert cloud.blobs["dataset/commits/u.json"] == b"first"
    cloud.lose_answers = 1
    assert store.put_if_absent("commits/lost.json", b"mine")
    assert cloud.lose_answers == 0
    assert not store.put_if_absent("commits/lost.json", b"another's")
    cloud.refuse = 1
    assert store.put_if_absent("commits/late.json", b"mine")
    assert cloud.blobs["dataset/commits/late.json"] == b"mine"


def test_google_is_asked_for_generation_0(google: FakeCloud) -> None:
    _laws(google, open_store("gs://b/dataset", QUICK), "0")


def test_azure_is_asked_for_no_match(azure: FakeCloud) -> None:
    _laws(azure, open_store("az://b/dataset", QUICK), "*")
