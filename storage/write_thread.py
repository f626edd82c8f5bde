"""A thread that writes behind a stage's back: calls in order, an error comes back to whoever calls next.

Parquet encoding, hashing, fsync and uploads release the interpreter, so a stage computes its next rows meanwhile. How
much may wait is up to the caller, who lends the thread a bounded number of buffers (`storage.pairs_file`).
"""

import queue
import threading
from collections.abc import Callable


class WriteThread:
    """Does calls one after the other, on a thread that starts with the first of them."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._dropping = False

    def do(self, call: Callable[[], None], lastly: Callable[[], None]) -> None:
        """Queue a call.

        Args:
            call: What to do; left out once an earlier call failed, or after `drop`.
            lastly: Done after it, even when it failed or was left out; must not fail.

        Raises:
            Exception: what an earlier call raised.
        """
        self._raise_error()

        def both() -> None:
            try:
                if self._error is None and not self._dropping:
                    call()
            finally:
                lastly()

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="posemill-writer", daemon=True)
            self._thread.start()
        self._calls.put(both)

    def finish(self) -> None:
        """Wait until everything is done, and end the thread.

        Raises:
            Exception: what a call raised.
        """
        self._join()
        self._raise_error()

    def drop(self) -> None:
        """Leave out what waits, wait for the call that is being done, and end the thread; errors are forgotten."""
        self._dropping = True
        self._join()
        self._error, self._dropping = None, False

    def _join(self) -> None:
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:  # carried to the caller's thread, which raises it
                self._error = self._error or error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
