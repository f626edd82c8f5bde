"""The loop in sync mode: equal to a plain single-process loop, and to itself after being killed in the middle."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from augment.poseaug.bone_length_template import build_bone_length_template, swap_bone_lengths
from augment.poseaug.fake_filter import project
from augment.poseaug.learner import GanBatch, PoseAugLearner
from estimators.lifters.settings import build_lifter
from estimators.lifters.training.trainer import LifterTrainer
from estimators.weights import flatten_state
from pipelines.closed_loop import build_crew
from pipelines.closed_loop.build_crew import CrewPlan, crew_factory, member_seed
from pipelines.closed_loop.checkpoint import LoopCheckpoints, LoopState
from pipelines.closed_loop.crew import Crew, InProcessCrew
from pipelines.closed_loop.loop import run_loop
from pipelines.closed_loop.ordering import batch_bounds, shuffled
from pipelines.closed_loop.reports import MetricsLog
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.closed_loop.source_data import LoopData
from pipelines.progress import RecordingProgress
from poses.randomness import RowRandom
from storage.object_store import open_store
from tests.unit.pipelines.closed_loop.loop_parts import (
    LIFTER,
    POSEAUG,
    feedback_loop,
    poseaug_loop,
    source_poses,
)

SEED = 3
ROWS = 70
KINDS = {"poseaug": poseaug_loop, "feedback": feedback_loop}


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    data = LoopData(source_poses(ROWS), source_poses(20, 1))
    monkeypatch.setattr(build_crew, "load_loop_data", lambda *_: data)


def finish(
    settings: ClosedLoopSettings, folder: Path, factory: Any = None
) -> tuple[InProcessCrew, list[dict[str, Any]]]:
    """Run (or go on with) a loop in `folder`."""
    store = open_store(folder)
    log = MetricsLog(store, "metrics.jsonl")
    plan = CrewPlan(settings, "in memory", 1, SEED)
    crew = run_loop(
        settings.order(ROWS),
        factory or crew_factory(plan, on_ray=False),
        LoopCheckpoints(store, "checkpoints", "settings"),
        log,
        RecordingProgress(),
    )
    assert isinstance(crew, InProcessCrew)
    return crew, log.lines


def flat_weights(crew: InProcessCrew) -> Tensor:
    return flatten_state(crew.trainer.lifter).flat


def reference_loop(settings: ClosedLoopSettings) -> Tensor:
    """PoseAug's published order in one plain loop, with nothing of the crew, its chunks or its checkpoints."""
    source = source_poses(ROWS)
    lifter = build_lifter(LIFTER, source.skeleton, member_seed(SEED, "lifter"))
    trainer = LifterTrainer(settings.trainer, lifter, member_seed(SEED, "trainer"))
    seed = member_seed(SEED, "augmentor-0")
    learner = PoseAugLearner(POSEAUG, source.skeleton, seed)
    template = build_bone_length_template(source.joints_camera_m.numpy(), source.subject, source.skeleton)
    rows = settings.batch_rows
    batches = -(-ROWS // rows)
    real_pass = 0
    for epoch in range(settings.rounds):
        uniform = RowRandom(seed, "poseaug.bone_length_swap", source.sample_id, epoch).uniform(
            1, stream="person"
        )
        joints = swap_bone_lengths(source.joints_camera_m, template, torch.from_numpy(uniform)[:, 0])
        keypoints = project(joints, source.intrinsics_screen, POSEAUG.compat, clamp=True)
        orders = [
            torch.from_numpy(shuffled(ROWS, seed, f"poseaug.{what}", epoch))
            for what in ("source", "real_3d", "real_2d")
        ]
        snapshot = build_lifter(LIFTER, source.skeleton, 0)
        snapshot.load_state_dict(lifter.state_dict())
        snapshot.eval().requires_grad_(False)
        fakes: list[tuple[Tensor, Tensor]] = []
        for batch in range(batches):
            a, b, c = (order[batch * rows : (batch + 1) * rows] for order in orders)
            gan_batch = GanBatch(
                joints[a],
                keypoints[a],
                source.intrinsics_screen[a],
                joints[b],
                keypoints[c],
                torch.ones(len(a)),
            )
            made = learner.gan_step(gan_batch, snapshot, epoch + 1).fakes
            kept = made.joints_camera_m[made.keep]
            fakes.append((made.keypoints_screen[made.keep], kept - kept[:, :1]))
        if epoch + 1 <= POSEAUG.feedback.warmup_epochs:
            continue
        fake_2d, fake_3d = torch.cat([f[0] for f in fakes]), torch.cat([f[1] for f in fakes])
        diet = member_seed(SEED, "diet")
        order = torch.from_numpy(shuffled(len(fake_2d), diet, "trainer.fakes.0", epoch))
        for start, stop in batch_bounds(len(order), rows):
            if stop - start < 2:
                continue
            part = order[start:stop]
            trainer.step(fake_2d[part], fake_3d[part])
        order = torch.from_numpy(shuffled(ROWS, diet, "trainer.real", real_pass))
        real_pass += 1
        for start in range(0, ROWS, rows):
            part = order[start : start + rows]
            trainer.step(source.keypoints_screen[part], source.joints_root_m[part])
    return flatten_state(lifter).flat


def test_sync_loop_equals_a_plain_loop(tmp_path: Path) -> None:
    settings = poseaug_loop()
    crew, lines = finish(settings, tmp_path)
    torch.testing.assert_close(flat_weights(crew), reference_loop(settings), rtol=1e-6, atol=1e-7)
    assert sum(line["fakes"] for line in lines) > 0


@pytest.mark.parametrize("kind", list(KINDS))
def test_chunk_size_changes_nothing(kind: str, tmp_path: Path) -> None:
    one, _ = finish(KINDS[kind](chunk_batches=1), tmp_path / "one")
    many, _ = finish(KINDS[kind](chunk_batches=64), tmp_path / "many")
    assert torch.equal(flat_weights(one), flat_weights(many))


class _KilledError(Exception):
    """Stands for the end of the process."""


class _DoomedCrew(InProcessCrew):
    """Dies in the middle of a round: after an augmentor's chunk, before the trainer has seen it."""

    doomed_round = 2

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        if round_index == self.doomed_round:
            raise _KilledError
        return super().consume(round_index, chunks, share)


@pytest.mark.parametrize("kind", list(KINDS))
def test_resume_after_a_kill_in_mid_round_gives_the_same_numbers(kind: str, tmp_path: Path) -> None:
    settings = KINDS[kind]()
    undisturbed, expected = finish(settings, tmp_path / "undisturbed")

    def doomed(attempt: int) -> Crew:
        crew = crew_factory(CrewPlan(settings, "in memory", 1, SEED), on_ray=False)(attempt)
        assert isinstance(crew, InProcessCrew)
        return _DoomedCrew(crew.augmentors, crew.trainer)

    with pytest.raises(_KilledError):
        finish(settings, tmp_path / "killed", doomed)
    resumed, lines = finish(settings, tmp_path / "killed")
    assert torch.equal(flat_weights(undisturbed), flat_weights(resumed))
    assert lines == expected
    assert _same_state(undisturbed.state(4), resumed.state(4))


def _same_state(one: LoopState, other: LoopState) -> bool:
    return all(
        member.scalars == other.members[name].scalars
        and all(torch.equal(value, other.members[name].tensors[key]) for key, value in member.tensors.items())
        for name, member in one.members.items()
    )


def test_lifter_steps_end_the_loop_exactly(tmp_path: Path) -> None:
    crew, lines = finish(feedback_loop(rounds=50, lifter_steps=10), tmp_path)
    assert crew.trainer.trainer.steps == 10
    assert len(lines) == 3  # rounds of 4 batches


def test_best_estimator_is_the_one_with_the_lowest_validation_error(tmp_path: Path) -> None:
    crew, lines = finish(feedback_loop(), tmp_path)
    errors = [line["validation_mpjpe_mm"] for line in lines]
    assert crew.trainer.best_error_mm == min(errors)
