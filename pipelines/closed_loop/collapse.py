"""What the loop does about an augmentor that collapsed: back to the last good checkpoint, with another seed.

The published method collapses on some seeds, and its users change the seed by hand. Here the driver reads the collapse
monitor's verdict after every round, before it saves: so a checkpoint is always one of a healthy augmentor. The n-th
restart goes n checkpoints back (further where the nearer one led into a collapse again), past the oldest one to the
beginning; networks and optimisers are those of the checkpoint, the augmentors' random numbers are new. Restarts are
kept beside the checkpoints, so that a loop that is killed in one resumes to the same numbers.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.closed_loop.checkpoint import LoopCheckpoints, LoopState, MemberState
from pipelines.closed_loop.crew import TRAINER_NAME, UNPAIRED_NAME, Crew
from pipelines.closed_loop.errors import CollapseError
from pipelines.closed_loop.reports import TrainingReport

_NOTE = "restarts"


@dataclass(frozen=True)
class Collapse:
    """The round after which an augmentor counted as collapsed, and why."""

    round_index: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Restart:
    """A restart: the collapse behind it, and how many rounds were done at the state that it began from."""

    collapsed_round: int
    rounds_kept: int
    reasons: tuple[str, ...]


class Restarts:
    """The restarts of one loop so far, as its checkpoints keep them.

    Args:
        checkpoints: Of the loop.
        most: How many restarts are allowed.
    """

    def __init__(self, checkpoints: LoopCheckpoints, most: int) -> None:
        self._checkpoints = checkpoints
        self._most = most
        self._made = [
            Restart(entry["collapsed_round"], entry["rounds_kept"], tuple(entry["reasons"]))
            for entry in checkpoints.read_note(_NOTE) or []
        ]
        self._forget_collapsed()

    @property
    def attempt(self) -> int:
        """How many restarts there were."""
        return len(self._made)

    @property
    def allowed(self) -> bool:
        """False where a collapse is only told of."""
        return self._most > 0

    def begin(self, collapse: Collapse) -> Restart:
        """Note a restart and drop the states that it goes back behind.

        Raises:
            CollapseError: if all restarts are used up.
        """
        if self.attempt >= self._most:
            rounds = ", ".join(str(made.collapsed_round) for made in self._made)
            raise CollapseError(
                f"closed loop: the augmentor collapsed in round {collapse.round_index} ({'; '.join(collapse.reasons)})"
                f" and, with other seeds, in round(s) {rounds} before; lower the augmentor's learning rate or its"
                " adversarial weights, give it more data, or raise loop.collapse_restarts"
            )
        saved = self._checkpoints.regular_rounds()
        back = self.attempt + 1
        kept = saved[-back] if back <= len(saved) else 0
        restart = Restart(collapse.round_index, kept, collapse.reasons)
        self._made.append(restart)
        self._checkpoints.write_note(_NOTE, [asdict(made) for made in self._made])
        self._forget_collapsed()
        return restart

    def load_into(self, crew: Crew) -> int:
        """Give the crew the newest saved state; how many rounds are done then.

        After a restart the augmentors keep the random numbers that they were built with.
        """
        state = self._checkpoints.load_latest()
        if state is None:
            return 0
        if state.attempt < self.attempt:
            state = with_new_randomness(state, crew.state(0))
        crew.load_state(state)
        return state.rounds_done

    def save(self, crew: Crew, rounds_done: int, between: bool = False) -> None:
        """Save the crew's state."""
        self._checkpoints.save(replace(crew.state(rounds_done), attempt=self.attempt, between=between))

    def _forget_collapsed(self) -> None:
        if self._made:
            self._checkpoints.forget_after(self._made[-1].rounds_kept, self.attempt)


def with_new_randomness(saved: LoopState, fresh: LoopState) -> LoopState:
    """`saved`, but every augmentor has the random states and the collapse monitor of `fresh`."""
    members = {
        name: member if name in (TRAINER_NAME, UNPAIRED_NAME) else _renewed(member, fresh.members[name])
        for name, member in saved.members.items()
    }
    return replace(saved, members=members)


def _renewed(saved: MemberState, fresh: MemberState) -> MemberState:
    new = {name: value for name, value in fresh.tensors.items() if "random" in name.split("/")}
    return MemberState({**saved.tensors, **new}, _with_monitor(saved.scalars, fresh.scalars))


def _with_monitor(saved: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """The scalars of `saved` with every `monitor` in them, at any depth, from `fresh`."""
    return {
        name: fresh[name]
        if name == "monitor"
        else _with_monitor(value, fresh[name])
        if isinstance(value, dict) and isinstance(fresh.get(name), dict)
        else value
        for name, value in saved.items()
    }


def signs_of_collapse(crew: Crew, report: TrainingReport) -> tuple[str, ...]:
    """The monitors' complaints after a round, and losses of the augmentor that are no longer numbers."""
    broken = {
        name
        for metrics in report.augmentor_metrics
        for name, value in metrics.items()
        if name.startswith("loss_") and not math.isfinite(value)
    }
    return (*(f"{name} is not a number" for name in sorted(broken)), *crew.complaints())
