"""A job that is asked to stop: real signals to this process, a file that appears, a metadata service on loopback."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.errors import JobStoppedError
from pipelines.heartbeat import error_line
from pipelines.in_process import InProcessExecutor
from pipelines.ray_session import _own_sigterm
from pipelines.spot_notice import AwsSpotNotice, AwsSpotSettings, NoticeSettings, StopNotice, notices_of
from pipelines.stopping import StopRequest, stopping_on_signals
from storage.commit import list_commits
from storage.object_store import open_store
from tests.contracts.executor_cases import RUN, Behaviour, stage_factory, units


def ask(after_s: float, number: int = signal.SIGTERM, times: int = 1) -> threading.Thread:
    """Send this process signals from a thread."""

    def send() -> None:
        for _ in range(times):
            time.sleep(after_s)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_the_first_signal_lets_the_unit_finish_and_starts_no_other(tmp_path: Path) -> None:
    stop, said = StopRequest(grace_s=20.0), []
    sender = ask(0.45)
    executor = InProcessExecutor(stop=stop)
    stage = stage_factory(tmp_path, Behaviour(seconds=0.3))
    with (
        pytest.raises(JobStoppedError, match=r"stopped on SIGTERM: \d units done now; run the same again"),
        stopping_on_signals(stop, say=said.append),
    ):
        executor.run(stage, units(8), lambda _: None)
    sender.join()
    done = list_commits(open_store(tmp_path), RUN)
    assert 1 <= len(done) < 8
    assert "SIGTERM: finishing what is in flight within 20 s" in said[0]


@pytest.mark.parametrize(
    ("grace_s", "signals", "words"), [(0.1, 1, "the grace is over"), (60.0, 2, "a second SIGINT")]
)
def test_a_unit_that_outlasts_the_grace_or_a_second_signal_is_given_back(
    tmp_path: Path, grace_s: float, signals: int, words: str
) -> None:
    stop = StopRequest(grace_s)
    sender = ask(0.2, signal.SIGINT, signals)
    started_s = time.monotonic()
    executor = InProcessExecutor(stop=stop)
    with (
        pytest.raises(JobStoppedError, match=words),
        stopping_on_signals(stop, say=lambda _: None),
    ):
        executor.run(stage_factory(tmp_path, Behaviour(seconds=30.0)), units(2), lambda _: None)
    sender.join()
    assert time.monotonic() - started_s < 15.0
    assert list_commits(open_store(tmp_path), RUN) == []


def test_work_that_heeds_no_request_ends_at_once_and_handlers_come_back() -> None:
    stop = StopRequest(grace_s=60.0)
    before = signal.getsignal(signal.SIGTERM)
    sender = ask(0.1)
    with (
        pytest.raises(JobStoppedError, match="what came after the last commit or checkpoint is given back"),
        stopping_on_signals(stop, say=lambda _: None),
    ):
        time.sleep(30.0)
    sender.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_library_that_makes_a_plain_interrupt_of_ours_changes_nothing() -> None:
    """Ray Train does."""

    def library() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5.0)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    stop = StopRequest(grace_s=60.0)
    with (
        pytest.raises(JobStoppedError, match="stopped on SIGTERM: what came after the last commit"),
        stopping_on_signals(stop, say=lambda _: None),
    ):
        library()
    with pytest.raises(KeyboardInterrupt), stopping_on_signals(StopRequest(), say=lambda _: None):
        raise KeyboardInterrupt  # nobody asked
    assert error_line(KeyboardInterrupt()) == "stopped: interrupted"


def test_rays_own_handler_does_not_replace_ours() -> None:
    """`ray.init` sets a handler that ends the driver at once."""
    before = signal.getsignal(signal.SIGTERM)

    def ours(number: int, frame: object) -> None: ...

    signal.signal(signal.SIGTERM, ours)
    try:
        with _own_sigterm():
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_file_stops_the_job(tmp_path: Path) -> None:
    notice, stop = tmp_path / "terminate", StopRequest(grace_s=20.0)
    notices = notices_of(NoticeSettings(file=str(notice)))
    threading.Timer(0.3, notice.touch).start()
    executor = InProcessExecutor(stop=stop)
    stage = stage_factory(tmp_path / "out", Behaviour(seconds=0.1))
    with (
        pytest.raises(JobStoppedError, match=r"stopped on notice .*terminate"),
        stopping_on_signals(stop, notices, poll_s=0.05, say=lambda _: None),
    ):
        executor.run(stage, units(300), lambda _: None)


class Metadata(BaseHTTPRequestHandler):
    """IMDSv2 as AWS answers: a token for a PUT, 401 without a good one, 404 until the notice is there."""

    going = False
    valid: str = "token-1"
    asked: tuple[str, ...] = ()

    def do_PUT(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600"
        self._answer(200, type(self).valid.encode())

    def do_GET(self) -> None:
        type(self).asked += (self.headers.get("X-aws-ec2-metadata-token", ""),)
        if self.headers.get("X-aws-ec2-metadata-token") != type(self).valid:
            self._answer(401, b"")
        elif not type(self).going:
            self._answer(404, b"")
        else:
            self._answer(200, b'{"action": "terminate", "time": "2026-11-21T08:22:00Z"}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def metadata() -> Iterator[tuple[type[Metadata], StopNotice]]:
    """A metadata service of our own, and the notice that asks it."""

    class Fresh(Metadata):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield Fresh, notices_of(NoticeSettings(aws_spot=AwsSpotSettings(endpoint=endpoint)))[0]
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_aws_notice_is_told_when_it_comes(metadata: tuple[type[Metadata], StopNotice]) -> None:
    service, notice = metadata
    assert notice() is None
    service.going = True
    assert notice() == "AWS spot notice (terminate at 2026-11-21T08:22:00Z)"


def test_an_expired_token_is_renewed(metadata: tuple[type[Metadata], StopNotice]) -> None:
    service, notice = metadata
    assert notice() is None
    service.valid, service.going = "token-2", True
    assert [notice() is None for _ in range(2)] == [True, False]
    assert service.asked == ("token-1", "token-1", "token-2")


def test_no_metadata_service_is_no_notice() -> None:
    assert AwsSpotNotice("http://127.0.0.1:9")() is None


def test_notices_are_off_unless_asked_for() -> None:
    assert notices_of(NoticeSettings()) == []
