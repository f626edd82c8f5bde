"""Every moment at which a process writes to a dataset, as a point where it can be struck.

Coarse points are before and after each write of a store: a data file or sequence folder moved into place, a commit, a
manifest, a quarantine file, the dataset's card, the plan, the heartbeat. Fine points are before and after each
rename, link and fsync below them, so that a strike also falls between the halves of one write.
"""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import storage.local_store
from storage.fsspec_store import FsspecStore
from storage.local_store import LocalStore

_STORE_CALLS = ("write_bytes", "put_if_absent", "adopt_file", "adopt_tree", "delete", "delete_tree")
_OS_CALLS = ("link", "replace", "rename", "fsync")
_STEADY_BEATS = 2
"""A heartbeat is written at the begin, at the end, and between them as often as time wants."""


@dataclass(frozen=True)
class Point:
    """A moment in the life of a process: before or after its n-th call of a kind on a path."""

    call: str
    path: str
    nth: int
    when: str

    def __str__(self) -> str:
        again = f" ({self.nth}.)" if self.nth > 1 else ""
        return f"{self.when} {self.call} {self.path}{again}"

    @property
    def is_steady(self) -> bool:
        """Whether every undisturbed run comes by here."""
        return "heartbeat.json" not in self.path or self.nth <= _STEADY_BEATS


OnPoint = Callable[[Point], None]


class Watch:
    """Calls `on_point` at every point of this process from `install` on.

    Args:
        on_point: Gets the point; may raise, sleep, or never come back.
        on_error: Gets the point and what the call raised.
        fine: Also inside the writes of a local store.
    """

    def __init__(
        self,
        on_point: OnPoint,
        on_error: Callable[[Point, BaseException], None] = lambda *_: None,
        fine: bool = False,
    ) -> None:
        self._on_point, self._on_error, self._fine = on_point, on_error, fine
        self._seen: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def install(self) -> None:
        """From now on; there is no way back but the end of the process."""
        for kind in (LocalStore, FsspecStore):
            for name in _STORE_CALLS:
                setattr(kind, name, self._store_call(getattr(kind, name), name))
        if self._fine:
            storage.local_store.os = _WatchedOs(self)  # pyright: ignore[reportAttributeAccessIssue]

    def _store_call(self, inner: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(store: Any, *args: Any) -> Any:
            with self.around(name, str(args[1] if name.startswith("adopt") else args[0])):
                return inner(store, *args)

        return call

    @contextmanager
    def around(self, call: str, path: str) -> Iterator[None]:
        """The points before and after something."""
        path = _steady(path)
        with self._lock:
            self._seen[call, path] += 1
            nth = self._seen[call, path]
        self._on_point(Point(call, path, nth, "before"))
        try:
            yield
        except BaseException as error:
            self._on_error(Point(call, path, nth, "before"), error)
            raise
        self._on_point(Point(call, path, nth, "after"))


class _WatchedOs:
    """The module `os` with some calls watched."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        inner = getattr(os, name)
        if name not in _OS_CALLS:
            return inner

        def call(*args: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else str(args[1])
            with self._watch.around(f"os.{name}", path):
                return inner(*args)

        return call


def _steady(path: str) -> str:
    """A path without what differs from run to run: the dataset's folder, temporary names, times, process ids."""
    below = re.sub(r"^/.*/OUT(/|$)", "", path)
    return re.sub(r"log/.*", "log/*", re.sub(r"[0-9a-f]{32}", "*", below)) or "."


def recorded(work: Callable[[], object], fine: bool = False) -> list[Point]:
    """Does something and gives every steady point that it came by. In a process of its own."""
    points: list[Point] = []
    Watch(points.append, fine=fine).install()
    work()
    return [point for point in points if point.is_steady]


def write_points(path: Path, points: Iterable[Point]) -> None:
    """Keeps points for another process."""
    path.write_text(json.dumps([asdict(point) for point in points]))


def read_points(path: Path) -> list[Point]:
    """What `write_points` kept."""
    return [Point(**values) for values in json.loads(path.read_text())]


def kill_at(wanted: Point, mark: Path) -> None:
    """This process is going to be killed at a point, and leaves a mark right before."""

    def on_point(point: Point) -> None:
        if point == wanted:
            die(mark)

    Watch(on_point, fine=wanted.call.startswith("os.")).install()


def die(mark: Path) -> None:
    """SIGKILL to this process, after it has left a mark."""
    leave(mark)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def leave(mark: Path) -> bool:
    """Makes an empty file; False if it was there."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True
