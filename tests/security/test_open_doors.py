"""The token: whom it is shown to, where it may come from, and clusters that ask for none. No Ray: a server of ours."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs.cluster_access import Cluster, cluster_at, probe, require_access, token_of
from jobs.doctor import examine_cluster
from jobs.errors import ClusterError, RecipeError

TOKEN = "right" * 8


@dataclass
class FakeCluster:
    """Answers like Ray's dashboard, in several moods."""

    mood: str = "closed"
    address: str = ""
    seen: list[str] = field(default_factory=list)
    """The Authorization headers that it was shown."""

    def answer(self, authorization: str) -> tuple[int, bytes]:
        self.seen.append(authorization)
        if self.mood == "no ray":
            return 200, b"<html>hello</html>"
        if self.mood == "garbage":
            return 200, b"[" * 100_000
        if self.mood == "open" or authorization == f"Bearer {TOKEN}":
            return 200, b'{"ray_version": "2.60.0"}'
        return (403 if authorization else 401), b"no"


def serve(fake: FakeCluster, redirect_to: str = "") -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if redirect_to:
                self.send_response(302)
                self.send_header("Location", redirect_to + self.path)
                self.end_headers()
                return
            status, body = fake.answer(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.address = fake.address or f"http://127.0.0.1:{server.server_port}"
    return server


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    """A cluster on loopback."""
    cluster = FakeCluster()
    server = serve(cluster)
    yield cluster
    server.shutdown()
    server.server_close()


def test_the_right_token_on_a_closed_cluster_is_accepted(fake: FakeCluster) -> None:
    access = require_access(Cluster(fake.address, TOKEN))
    assert (access.accepted, access.open_to_all, access.ray_version) == (True, False, "2.60.0")


@pytest.mark.parametrize(("token", "words"), [(None, "there is none"), ("wrong", "refused the token")])
def test_a_closed_cluster_stays_closed(fake: FakeCluster, token: str | None, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        require_access(Cluster(fake.address, token))


@pytest.mark.parametrize("token", [None, TOKEN])
def test_an_open_cluster_is_refused_unless_it_is_wanted(fake: FakeCluster, token: str | None) -> None:
    fake.mood = "open"
    with pytest.raises(ClusterError, match="takes jobs from anyone"):
        require_access(Cluster(fake.address, token))
    assert require_access(Cluster(fake.address, token), open_cluster=True).open_to_all


@pytest.mark.parametrize("mood", ["no ray", "garbage"])
def test_something_else_at_the_address_is_said_so(fake: FakeCluster, mood: str) -> None:
    fake.mood = mood
    with pytest.raises(ClusterError, match="wanted Ray's job API"):
        probe(Cluster(fake.address, TOKEN))


def test_nobody_at_the_address_is_said_so() -> None:
    with pytest.raises(ClusterError, match="no answer from Ray's job API"):
        probe(Cluster("http://127.0.0.1:1", TOKEN))


def test_the_token_does_not_follow_a_redirect(fake: FakeCluster) -> None:
    """A cluster that sends us elsewhere is refused, and elsewhere sees no token."""
    sender = FakeCluster()
    server = serve(sender, redirect_to=fake.address)
    try:
        with pytest.raises(ClusterError, match="status 302"):
            probe(Cluster(sender.address, TOKEN))
    finally:
        server.shutdown()
        server.server_close()
    assert fake.seen == []


@pytest.mark.parametrize(
    ("mood", "token", "level", "words"),
    [
        ("closed", TOKEN, "ok", "ours is right"),
        ("closed", "wrong", "problem", "ours is refused"),
        ("closed", "", "problem", "there is none"),
        ("open", TOKEN, "problem", "takes jobs from anyone"),
    ],
)
def test_the_doctor_tells_of_the_door(
    fake: FakeCluster, monkeypatch: pytest.MonkeyPatch, mood: str, token: str, level: str, words: str
) -> None:
    fake.mood = mood
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    checks = {check.name: check for check in examine_cluster(fake.address)}
    assert checks["cluster token"].level == level
    assert words in checks["cluster token"].found
    assert TOKEN not in str(checks)


def test_the_token_is_in_no_text_of_the_cluster() -> None:
    assert TOKEN not in repr(Cluster("http://127.0.0.1:1", TOKEN))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://10.0.0.3:8265", "everyone on the way can read the token"),
        ("10.0.0.3:8265", "everyone on the way can read the token"),
        ("os://x", "wanted http"),
        ("ray://127.0.0.1:10001", "wanted http"),
        ("file:///etc/passwd", "wanted http"),
        ("http://me:pw@127.0.0.1:8265", "nothing more"),
        ("http://127.0.0.1:8265/x?token=y", "nothing more"),
        ("http://127.0.0.1:port", "not an address"),
        ("http://localhost.evil.org:8265", "everyone on the way"),
        (None, "no cluster"),
    ],
)
def test_addresses_that_would_show_the_token_or_run_code_are_refused(address: str | None, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as refused:
        cluster_at(address, environment={"RAY_AUTH_TOKEN": TOKEN})
    assert "pw" not in str(refused.value)


def test_https_and_loopback_are_taken() -> None:
    for address in (
        "https://ray.example.org",
        "http://127.0.0.1:8265",
        "localhost:8265",
        "http://[::1]:8265/",
    ):
        assert cluster_at(address, environment={}).address
    assert (
        cluster_at("http://10.0.0.3:8265", plain_http=True, environment={}).address == "http://10.0.0.3:8265"
    )


def test_the_token_comes_from_the_environment_or_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert token_of({}) is None
    assert token_of({"RAY_AUTH_TOKEN": f" {TOKEN}"}) == TOKEN
    assert token_of({"RAY_AUTH_TOKEN_PATH": str(file)}) == TOKEN


@pytest.mark.parametrize("content", [b"two words", b"a\r\nX-Header: b", b"\xff\xfe", b"line\nline"])
def test_what_is_no_token_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match="RAY_AUTH_TOKEN_PATH") as refused:
        token_of({"RAY_AUTH_TOKEN_PATH": str(file)})
    assert "two words" not in str(refused.value)
