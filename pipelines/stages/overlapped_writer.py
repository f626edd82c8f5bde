"""Writing behind the stage's back: one thread encodes, digests and writes while the stage computes the next
rows.

Parquet encoding, hashing and file writes release the interpreter, so they cost the stage little on a machine
with a core to spare. Rows arrive in the order in which they were added; the bytes are those of the writer
alone.
"""

import queue
import threading
from types import TracebackType

from poses.batch import PoseBatch
from storage.writer import UnitWriter

_STOP = None


class OverlappedWriter:
    """Adds pairs to a `UnitWriter` from a thread; at most `depth` batches wait.

    Leave the context (or call `flush`) before anything else is done with the writer. An error of the thread
    is raised in the stage's thread by the next call.
    """

    def __init__(self, writer: UnitWriter, depth: int = 4) -> None:
        self._writer = writer
        self._queue: queue.Queue[PoseBatch | None] = queue.Queue(depth)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="posemill-writer", daemon=True)
        self._thread.start()

    def add_pairs(self, batch: PoseBatch) -> None:
        """Queue rows; the caller must not change them afterwards."""
        self._raise_error()
        self._queue.put(batch)

    def flush(self) -> None:
        """Wait until all rows are with the writer, and end the thread."""
        if self._thread.is_alive():
            self._queue.put(_STOP)
            self._thread.join()
        self._raise_error()

    def __enter__(self) -> "OverlappedWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
            return
        self._error = self._error or RuntimeError("the stage failed; what is queued is not written")
        self._queue.put(_STOP)
        self._thread.join()

    def _work(self) -> None:
        """Take batches until told to stop; after an error go on taking, so that the stage never blocks."""
        while (batch := self._queue.get()) is not None:
            if self._error is not None:
                continue
            try:
                self._writer.add_pairs(batch)
            except Exception as error:  # carried to the stage's thread, which raises it
                self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
