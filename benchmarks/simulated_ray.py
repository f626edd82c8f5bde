"""Ray without processes: actors that only sleep, on a clock that runs while the coordinator computes and jumps while it
waits. The coordinator, its pools, the staffing and the supervisor are the real ones.

`simulation(...)` puts a stand-in for the module `ray` and for the clocks of `pipelines` in place, and takes them away
again. An answer is pickled and read back as Ray would; what Ray itself takes for a call comes as `call_s` and `wait_s`.
"""

import heapq
import itertools
import pickle
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from pipelines import ray_coordinator, ray_staffing
from pipelines.supervision import Task
from pipelines.worker import Outcome
from storage.commit import UnitCommit

NODE = "node"
_LOOKS = 2_000


class Call:
    """A reference to an answer that is ready at a time."""

    __slots__ = ("answer", "ready_at_s")

    def __init__(self, answer: Any, ready_at_s: float) -> None:
        self.answer, self.ready_at_s = answer, ready_at_s


@dataclass
class SimulatedRay:
    """A cluster of actors that sleep.

    Args:
        actors: CPUs of the cluster.
        unit_s: How long a unit takes; every actor a little longer or shorter, so that they do not march in step.
        commit: What every unit's commit is like.
        call_s: What Ray takes of the driver for one call.
        wait_s: What Ray takes of the driver in a wait, for each reference that is waited for.
    """

    actors: int
    unit_s: float
    commit: UnitCommit
    call_s: float = 0.0
    wait_s: float = 0.0
    exceptions: Any = None
    busy_s: float = 0.0
    skipped_s: float = 0.0
    _running: list[tuple[float, int, Call]] = field(default_factory=list)
    _ready: dict[Call, None] = field(default_factory=dict)
    _number: Any = field(default_factory=itertools.count)
    _looks: int = 0
    _look_s: float = 0.0

    def __post_init__(self) -> None:
        started_s = time.process_time()
        for _ in range(_LOOKS):
            time.process_time()
        self._look_s = (time.process_time() - started_s) / _LOOKS

    def monotonic(self) -> float:
        """Time of the simulation: what this process computed, and what it would have waited."""
        return self.computed_s() + self.skipped_s

    def computed_s(self) -> float:
        """What this process computed, less what looking at the clock took: that is slow in some containers."""
        self._looks += 1
        return time.process_time() - self._looks * self._look_s

    def sleep(self, seconds: float) -> None:
        """Waiting takes no time here."""
        self.skipped_s += seconds

    def call(self, answer: Any, seconds: float) -> Call:
        """A call that takes so long."""
        self.skipped_s += self.call_s
        made = Call(answer, self.monotonic() + seconds)
        heapq.heappush(self._running, (made.ready_at_s, next(self._number), made))
        return made

    def wait(
        self, calls: list[Call], num_returns: int, timeout: float | None = None
    ) -> tuple[list[Call], list[Call]]:
        """As `ray.wait`, but the second list, which nobody reads, is empty."""
        self.skipped_s += self.wait_s * len(calls)
        self._advance()
        if not self._ready and timeout:
            next_s = self._running[0][0] if self._running else float("inf")
            self.skipped_s += max(0.0, min(timeout, next_s - self.monotonic()))
            self._advance()
        taken = list(itertools.islice(self._ready, num_returns))
        for call in taken:
            del self._ready[call]
        return taken, []

    def _advance(self) -> None:
        now_s = self.monotonic()
        while self._running and self._running[0][0] <= now_s:
            call = heapq.heappop(self._running)[2]
            self._ready[call] = None

    def get(self, call: Call) -> Any:
        """The answer, which travelled as bytes."""
        return pickle.loads(call.answer)  # noqa: S301 - our own bytes, of this process

    def remote(self, _: type) -> Any:
        """An actor class."""
        made = SimpleNamespace(remote=lambda *_: self._actor())
        return SimpleNamespace(options=lambda **_: made)

    def _actor(self) -> Any:
        number = next(self._number)
        pace = self.unit_s * (0.8 + 0.4 * (number * 0.6180339887 % 1.0))

        def perform(task: Task) -> Call:
            self.busy_s += pace
            commit = replace_unit(self.commit, task.unit.unit_id)
            return self.call(commit, pace)

        name = f"{number:032x}"[::-1]
        return SimpleNamespace(
            _actor_id=SimpleNamespace(hex=lambda: name),
            place=SimpleNamespace(remote=lambda: self.call(pickle.dumps((NODE, 1)), 0.0)),
            setup_and_describe=SimpleNamespace(remote=lambda: self.call(pickle.dumps((None, True)), 0.0)),
            perform=SimpleNamespace(remote=perform),
        )

    def kill(self, actor: Any, no_restart: bool = True) -> None:
        """Nothing to end."""

    def is_initialized(self) -> bool:
        """It always is."""
        return True

    def nodes(self) -> list[dict[str, Any]]:
        """One large node."""
        return [{"NodeID": NODE, "Alive": True, "Resources": {"CPU": float(self.actors)}}]

    def available_resources(self) -> dict[str, float]:
        """Of it."""
        return {"CPU": float(self.actors)}


def replace_unit(commit: UnitCommit, unit_id: str) -> bytes:
    """The pickled answer of a worker that did this unit; costs the simulation little."""
    template = _TEMPLATES.get(id(commit))
    if template is None:
        named = commit.model_copy(update={"unit_id": _PLACEHOLDER})
        template = _TEMPLATES[id(commit)] = pickle.dumps(replace(Outcome(), commit=named))
    name = unit_id.encode()[-len(_PLACEHOLDER) :].rjust(len(_PLACEHOLDER), b".")
    return template.replace(_PLACEHOLDER.encode(), name)


_PLACEHOLDER = "?" * 24
_TEMPLATES: dict[int, bytes] = {}


@contextmanager
def simulation(cluster: SimulatedRay) -> Iterator[None]:
    """The stand-in instead of Ray and the clock."""
    import ray
    import ray.exceptions

    stand_in: Any = cluster
    cluster.exceptions = ray.exceptions
    modules: tuple[Any, ...] = (ray_coordinator, ray_staffing)
    sys.modules["ray"] = stand_in
    for module in modules:
        module.time = stand_in
    try:
        yield
    finally:
        sys.modules["ray"] = ray
        for module in modules:
            module.time = time
