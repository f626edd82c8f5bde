"""An augmentor that collapses: back to the last good checkpoint with another seed, a bounded number of times."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from estimators.weights import flatten_state
from pipelines.closed_loop import build_crew
from pipelines.closed_loop.build_crew import CrewPlan, crew_factory
from pipelines.closed_loop.checkpoint import LoopCheckpoints, LoopState, MemberState
from pipelines.closed_loop.collapse import signs_of_collapse, with_new_randomness
from pipelines.closed_loop.crew import Crew, CrewFactory, InProcessCrew
from pipelines.closed_loop.errors import CollapseError, CrewLostError
from pipelines.closed_loop.feedback_member import FeedbackMember
from pipelines.closed_loop.loop import run_loop
from pipelines.closed_loop.reports import MetricsLog, TrainingReport
from pipelines.closed_loop.settings import PoseAugAugmentation, RandomAugmentation
from pipelines.closed_loop.source_data import LoopData
from pipelines.progress import RecordingProgress
from storage.object_store import open_store
from tests.unit.pipelines.closed_loop.loop_parts import feedback_loop, poseaug_loop, source_poses

ROWS = 40
SETTINGS = feedback_loop(augmentor=RandomAugmentation(preset="narrow"), rounds=5, batches_per_round=2)


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    data = LoopData(source_poses(ROWS), source_poses(10, 1))
    monkeypatch.setattr(build_crew, "load_loop_data", lambda *_: data)


class _SickCrew(InProcessCrew):
    """Complains after rounds of the first `sick_attempts` attempts, from round `first_sick_round` on."""

    def __init__(self, healthy: Crew, attempt: int, sick_attempts: int, first_sick_round: int) -> None:
        assert isinstance(healthy, InProcessCrew)
        super().__init__(healthy.augmentors, healthy.trainer)
        self._sick_from = first_sick_round if attempt < sick_attempts else 10_000
        self._round = -1

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        self._round = round_index
        return super().consume(round_index, chunks, share)

    def complaints(self) -> tuple[str, ...]:
        return ("augmentor-0: it copies its input",) if self._round >= self._sick_from else ()


def sick_factory(sick_attempts: int, first_sick_round: int) -> CrewFactory:
    healthy = crew_factory(CrewPlan(SETTINGS, "in memory", 1, 3), on_ray=False)
    return lambda attempt: _SickCrew(healthy(attempt), attempt, sick_attempts, first_sick_round)


def finish(
    folder: Path, factory: CrewFactory, restarts: int = 3
) -> tuple[InProcessCrew, MetricsLog, RecordingProgress, LoopCheckpoints]:
    store = open_store(folder)
    log, progress = MetricsLog(store, "metrics.jsonl"), RecordingProgress()
    checkpoints = LoopCheckpoints(store, "checkpoints", "settings")
    order = SETTINGS.model_copy(update={"collapse_restarts": restarts}).order(ROWS)
    crew = run_loop(order, factory, checkpoints, log, progress)
    assert isinstance(crew, InProcessCrew)
    return crew, log, progress, checkpoints


def flat(crew: InProcessCrew) -> torch.Tensor:
    return flatten_state(crew.trainer.lifter).flat


def test_a_collapse_goes_back_to_the_checkpoint_and_takes_another_seed(tmp_path: Path) -> None:
    healthy, *_ = finish(tmp_path / "healthy", sick_factory(0, 3))
    restarted, log, progress, checkpoints = finish(tmp_path / "sick", sick_factory(1, 3))
    assert [line["epoch"] for line in log.lines] == [0, 1, 2, 3, 4]
    assert checkpoints.read_note("restarts") == [
        {"collapsed_round": 3, "rounds_kept": 3, "reasons": ["augmentor-0: it copies its input"]}
    ]
    assert any("going back to 3 rounds" in message for message in progress.messages)
    assert not torch.equal(flat(healthy), flat(restarted))


def test_each_restart_goes_one_checkpoint_further_back(tmp_path: Path) -> None:
    *_, checkpoints = finish(tmp_path, sick_factory(3, 3))
    assert [made["rounds_kept"] for made in checkpoints.read_note("restarts")] == [3, 2, 1]


def test_a_collapse_before_the_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    _, log, _, checkpoints = finish(tmp_path, sick_factory(2, 0))
    assert [made["rounds_kept"] for made in checkpoints.read_note("restarts")] == [0, 0]
    assert len(log.lines) == 5


def test_an_augmentor_that_keeps_collapsing_ends_the_loop(tmp_path: Path) -> None:
    with pytest.raises(CollapseError, match=r"copies its input.* round\(s\) 3, 3 before"):
        finish(tmp_path, sick_factory(100, 3), restarts=2)


def test_without_restarts_a_collapse_is_only_told(tmp_path: Path) -> None:
    healthy, *_ = finish(tmp_path / "healthy", sick_factory(0, 3))
    crew, _, progress, _ = finish(tmp_path / "sick", sick_factory(100, 3), restarts=0)
    assert torch.equal(flat(crew), flat(healthy))
    assert [message for message in progress.messages if "looks collapsed" in message] != []


@pytest.mark.parametrize("killed_round", [3, 4])
def test_a_loop_killed_after_a_restart_resumes_to_the_same_numbers(tmp_path: Path, killed_round: int) -> None:
    undisturbed, log, *_ = finish(tmp_path / "undisturbed", sick_factory(2, 3))
    factory = sick_factory(2, 3)

    def doomed(attempt: int) -> Crew:
        crew = factory(attempt)
        consume = crew.consume

        def dying(round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
            if attempt == 2 and round_index == killed_round:
                raise KeyboardInterrupt
            return consume(round_index, chunks, share)

        crew.consume = dying
        return crew

    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path / "killed", doomed)
    resumed, resumed_log, *_ = finish(tmp_path / "killed", factory)
    assert torch.equal(flat(undisturbed), flat(resumed))
    assert log.lines == resumed_log.lines


def test_released_settings_never_restart() -> None:
    released = poseaug_loop(augmentor=PoseAugAugmentation(preset="released"))
    assert released.order(ROWS).collapse_restarts == 0
    assert poseaug_loop().order(ROWS).collapse_restarts == 3


def test_a_loss_that_is_no_number_is_a_collapse() -> None:
    crew = crew_factory(CrewPlan(SETTINGS, "in memory", 1, 3), on_ray=False)(0)
    report = TrainingReport(
        0, 1, 1, 0, 1.0, 0, augmentor_metrics=[{"loss_generator": math.nan, "x": math.nan}]
    )
    assert signs_of_collapse(crew, report) == ("loss_generator is not a number",)


def test_members_pass_on_what_the_monitor_calls_a_collapse() -> None:
    plan = CrewPlan(feedback_loop(batches_per_round=2), "in memory", 1, 3)
    crew = crew_factory(plan, on_ray=False)(0)
    assert isinstance(crew, InProcessCrew)
    crew.produce(0, 0, 0, 2, crew.weights())
    assert crew.complaints() == ()
    member = crew.augmentors[0]
    assert isinstance(member, FeedbackMember)
    residual = member.learner.residual
    assert residual is not None
    residual.monitor.updates = 10_000
    residual.monitor.means |= {"kept_fraction": 0.0}
    assert any("only 0.0% of augmented poses" in reason for reason in crew.complaints())


def test_new_randomness_keeps_networks_and_the_trainer() -> None:
    def state(value: float) -> LoopState:
        tensors = {name: torch.tensor([value]) for name in ("generator/w", "random/noise", "pool_3d/random")}
        scalars = {"iteration": value, "learner": {"monitor": {"updates": value}, "batches": value}}
        return LoopState(2, {name: MemberState(tensors, scalars) for name in ("trainer", "augmentor-0")})

    mixed = with_new_randomness(state(1.0), state(2.0))
    assert {name: float(value) for name, value in mixed.members["augmentor-0"].tensors.items()} == {
        "generator/w": 1.0,
        "random/noise": 2.0,
        "pool_3d/random": 2.0,
    }
    assert mixed.members["augmentor-0"].scalars == {
        "iteration": 1.0,
        "learner": {"monitor": {"updates": 2.0}, "batches": 1.0},
    }
    assert mixed.members["trainer"] == state(1.0).members["trainer"]


class _LosingCrew(InProcessCrew):
    """Loses a member in every round, as often as `losses` says for that round."""

    losses: dict[int, int]

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        if self.losses.get(round_index, 0) > 0:
            self.losses[round_index] -= 1
            raise CrewLostError("a member of the loop was lost: test")
        return super().consume(round_index, chunks, share)


@pytest.mark.parametrize(("losses", "survives"), [({0: 2, 1: 2, 3: 2, 4: 2}, True), ({2: 4}, False)])
def test_losses_count_only_without_progress(
    tmp_path: Path, losses: dict[int, int], survives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.closed_loop.loop.time.sleep", lambda _: None)
    healthy = crew_factory(CrewPlan(SETTINGS, "in memory", 1, 3), on_ray=False)

    def losing(attempt: int) -> Crew:
        crew = healthy(attempt)
        assert isinstance(crew, InProcessCrew)
        crew = _LosingCrew(crew.augmentors, crew.trainer)
        crew.losses = losses
        return crew

    undisturbed, *_ = finish(tmp_path / "undisturbed", healthy)
    if not survives:
        with pytest.raises(CrewLostError):
            finish(tmp_path / "losing", losing)
        return
    crew, *_ = finish(tmp_path / "losing", losing)
    assert torch.equal(flat(crew), flat(undisturbed))
