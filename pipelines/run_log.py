"""A run's log: JSON lines with the ids of run, unit and worker, in `runs/<run_id>/log/`, beside the plan.

One file for every attempt. On a local disk each line is appended at once, so the log of a killed job is whole; on an
object store, which cannot append, lines go out in parts of some seconds. Secrets are taken out. The log is no part of
the dataset: no manifest names it, and a log that cannot be written ends no job.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pipelines.redaction import redacted
from storage.errors import StoreError
from storage.object_store import ObjectStore

Level = Literal["debug", "info", "warning", "error"]
_PART_S = 10.0
_PART_LINES = 1000
_MAX_TEXT = 8000
"""Longer texts (tracebacks) are cut in the middle."""


@contextmanager
def told_to_the_end(log: "RunLog", end: Callable[[BaseException | None], None]) -> Iterator[None]:
    """Around an attempt: whatever ends it, `end` is told (None: it is done), and the log has the last word."""
    try:
        yield
    except BaseException as error:
        end(error)
        log.event("attempt_ended", "error", error_class=type(error).__name__, error=str(error))
        log.flush()
        raise
    end(None)
    log.event("attempt_ended")
    log.flush()


class RunLog:
    """Writes the log of one attempt at a run.

    Args:
        store: The dataset's root.
        run_id, job: In every line.
        on_trouble: Is told, once, that the log cannot be written.
        clock: Seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        store: ObjectStore,
        run_id: str,
        job: str,
        on_trouble: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._clock, self._on_trouble = store, clock, on_trouble
        self._always = {"run_id": run_id, "job": job}
        started = datetime.fromtimestamp(clock(), UTC)
        self._stem = f"runs/{run_id}/log/{started:%Y%m%dT%H%M%S}-{socket.gethostname()}-{os.getpid()}"
        where = store.url_of(f"{self._stem}.jsonl")
        self._local = None if "://" in where else Path(where)
        self._lines: list[str] = []
        self._parts = 0
        self._flushed_s = clock()
        self._broken = False

    def event(self, event: str, level: Level = "info", **fields: Any) -> None:
        """One line; fields that are None or empty are left out."""
        if self._broken:
            return
        now_s = self._clock()
        time_text = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds")
        told = {key: _cut(value) for key, value in redacted(fields).items() if value not in (None, "")}
        line = {"time": time_text, "level": level, "event": event, **self._always, **told}
        self._lines.append(json.dumps(line, default=str) + "\n")
        if self._local is not None or len(self._lines) >= _PART_LINES or now_s - self._flushed_s >= _PART_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._broken or not self._lines:
            return
        data = "".join(self._lines).encode()
        self._lines.clear()
        self._flushed_s = self._clock()
        try:
            if self._local is None:
                self._store.write_bytes(f"{self._stem}-{self._parts:06d}.jsonl", data)
                self._parts += 1
                return
            self._local.parent.mkdir(parents=True, exist_ok=True)
            with self._local.open("ab") as file:
                file.write(data)
        except (StoreError, OSError) as error:
            self._broken = True
            self._on_trouble(f"the run's log cannot be written, and ends here: {error}")


def read_log(store: ObjectStore, run_id: str) -> list[Mapping[str, Any]]:
    """All lines of all attempts at a run, in order of time; a line that was cut off is left out."""
    lines: list[Mapping[str, Any]] = []
    for path in store.list(f"runs/{run_id}/log"):
        for text in store.read_bytes(path).decode("utf-8", "replace").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue  # the last line of a job that was killed while it wrote
    return sorted(lines, key=lambda line: str(line.get("time", "")))


def _cut(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= _MAX_TEXT:
        return value
    half = _MAX_TEXT // 2
    return f"{value[:half]} ... ({len(value) - _MAX_TEXT:,} characters) ... {value[-half:]}"
