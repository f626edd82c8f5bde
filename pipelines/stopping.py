"""Ending a job early and in order: a signal or a spot notice asks for it, executors heed it between units.

The first signal (or notice) only asks: executors start nothing new, finish what is in flight within a grace or give it
back, and raise `JobStoppedError`. A second signal, the end of the grace, or a first one while nobody heeds (a job that
goes on from its last checkpoint) ends the work at once by `StopNow` in the main thread.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import JobStoppedError
from pipelines.spot_notice import NoticeSettings, StopNotice

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_GIVEN_BACK = "what came after the last commit or checkpoint is given back"


class StopSettings(BaseModel):
    """How a job ends when it is asked to. All of it is run-time knobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace_s: float = Field(default=30.0, ge=0)
    """Units in flight may finish within it; those that do not are given back. Keep it below the two minutes of a spot
    notice and the grace of whoever sends SIGTERM (30 s on Kubernetes, less what the last commit needs)."""
    notice: NoticeSettings = NoticeSettings()


class StopNow(KeyboardInterrupt):
    """Ends the work at once. No `Exception`, so that no stage's handler takes it for a bad row."""


class StopRequest:
    """Whether the job shall end, why, and until when it may finish what it has begun.

    Args:
        grace_s: From the request on.
        clock: Monotonic seconds; tests pass their own.
    """

    def __init__(self, grace_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.grace_s = grace_s
        self.reason = ""
        self._clock = clock
        self.patience_s = 0.0
        """How long after the grace the work is interrupted."""
        self._requested_s: float | None = None
        self._heeding = 0

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._requested_s is not None

    @property
    def heeded(self) -> bool:
        """Whether an executor is at work that looks at this."""
        return self._heeding > 0

    @property
    def seconds_left(self) -> float:
        """Of the grace; infinity while nobody asked."""
        if self._requested_s is None:
            return float("inf")
        return self._requested_s + self.grace_s - self._clock()

    def request(self, reason: str) -> None:
        """Ask; the first reason stays. Safe in a signal handler."""
        if self._requested_s is None:
            self.reason = reason
            self._requested_s = self._clock()

    @contextmanager
    def heeding(self, patience_s: float = 0.0) -> Iterator[None]:
        """Around an executor's work.

        Args:
            patience_s: How long after the grace the executor needs to end by itself, before it is interrupted.
        """
        before, self.patience_s = self.patience_s, patience_s
        self._heeding += 1
        try:
            yield
        finally:
            self._heeding -= 1
            self.patience_s = before

    def error(self, what: str) -> JobStoppedError:
        """The error that ends the job.

        Args:
            what: What became of the work, such as "3 units given back".
        """
        return JobStoppedError(f"stopped on {self.reason}: {what}; run the same again (or resume) to go on")


@contextmanager
def stopping_on_signals(
    stop: StopRequest,
    notices: Sequence[StopNotice] = (),
    poll_s: float = 5.0,
    say: Callable[[str], None] = print,
) -> Iterator[None]:
    """Let SIGTERM, SIGINT and notices ask for the end; call it in the main thread, which alone may set handlers.

    Args:
        notices: Asked every `poll_s` in a thread of their own.
        say: Is told of a request, from another thread.

    Raises:
        JobStoppedError: in place of `StopNow`, and of the plain KeyboardInterrupt that a library makes of it.
    """
    watch = _Watch(stop, notices, poll_s, say)
    before = {number: signal.signal(number, watch.on_signal) for number in SIGNALS}
    threads = [threading.Thread(target=watch.enforce_grace, name="posemill-grace", daemon=True)]
    if notices:
        threads.append(threading.Thread(target=watch.look_for_notices, name="posemill-notices", daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not stop.requested:
            raise
        raise stop.error(str(interrupt) or _GIVEN_BACK) from interrupt
    finally:
        watch.end()
        for number, handler in before.items():
            signal.signal(number, handler)


class _Watch:
    """The handlers and threads of one job."""

    def __init__(
        self, stop: StopRequest, notices: Sequence[StopNotice], poll_s: float, say: Callable[[str], None]
    ) -> None:
        self._stop, self._notices, self._poll_s, self._say = stop, notices, poll_s, say
        self._signals = 0
        self._interrupt = ""
        self._wake, self._ended = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The first asks, whatever comes after ends at once. Says nothing: streams must not be entered twice."""
        del frame
        if self._ended.is_set():
            return
        if self._interrupt:
            raise StopNow(self._interrupt)
        self._signals += 1
        name = signal.Signals(number).name
        self._stop.request(name)
        self._wake.set()
        if self._signals > 1:
            raise StopNow(f"a second {name}, so what was in flight is given back")
        if not self._stop.heeded:
            raise StopNow(_GIVEN_BACK)

    def look_for_notices(self) -> None:
        """Ask the notices until one says that this machine goes away."""
        while True:
            reason = next(filter(None, (notice() for notice in self._notices)), None)
            if reason is not None:
                self._stop.request(reason)
                self._wake.set()
                if not self._stop.heeded:
                    self._interrupt_main(_GIVEN_BACK)
                return
            if self._ended.wait(self._poll_s):
                return

    def enforce_grace(self) -> None:
        """Tell of the request; interrupt a main thread that is still at work after the grace, say in a long unit."""
        self._wake.wait()
        if self._ended.is_set():
            return
        self._say(
            f"{self._stop.reason}: finishing what is in flight within {self._stop.grace_s:g} s, then stopping; "
            "a second signal ends at once"
        )
        while not self._ended.wait(max(0.01, min(1.0, self._seconds_to_interrupt()))):
            if self._seconds_to_interrupt() <= 0:
                self._interrupt_main("the grace is over, so what was in flight is given back")
                return

    def end(self) -> None:
        """From now on nothing interrupts."""
        with self._lock:
            self._ended.set()
        self._wake.set()

    def _seconds_to_interrupt(self) -> float:
        return self._stop.seconds_left + self._stop.patience_s

    def _interrupt_main(self, words: str) -> None:
        """Raise `StopNow` in the main thread: its handler runs there, even out of a sleep or a read."""
        ident = threading.main_thread().ident
        with self._lock:
            if not self._ended.is_set() and ident is not None:
                self._interrupt = words
                signal.pthread_kill(ident, SIGNALS[0])
