"""A time limit for code in this process: an exception out of a sleep, a read or a loop, raised by a signal.

Works in the main thread only, and only where the code comes back to Python: a call into a library that never returns
cannot be interrupted. There the Ray pool's deadline, which ends the process, is the one to use.
"""

import signal
import threading
from types import FrameType

_SIGNAL = signal.SIGVTALRM
"""Nobody else's: timers of tests and programs use SIGALRM."""


class UnitTimeout(BaseException):
    """The time is over. Like KeyboardInterrupt no `Exception`: no stage's handler shall swallow it."""


class Deadline:
    """`with Deadline(seconds):` raises `UnitTimeout` inside when the time is over; None never does.

    Outside of the main thread it does nothing.
    """

    def __init__(self, seconds: float | None) -> None:
        here = threading.current_thread() is threading.main_thread()
        self._seconds = seconds if here else None
        self._armed = False
        self._lock = threading.Lock()

    def __enter__(self) -> "Deadline":
        if self._seconds is not None:
            self._before = signal.signal(_SIGNAL, self._on_signal)
            self._armed = True
            self._timer = threading.Timer(self._seconds, self._ring)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._seconds is None:
            return
        try:
            with self._lock:
                self._armed = False
        finally:
            self._timer.cancel()
            signal.signal(_SIGNAL, self._before)

    def _ring(self) -> None:
        ident = threading.main_thread().ident
        with self._lock:
            if self._armed and ident is not None:
                signal.pthread_kill(ident, _SIGNAL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._armed:
            self._armed = False
            raise UnitTimeout
