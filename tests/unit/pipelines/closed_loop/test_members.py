"""Members of the loop on their own: who sees which source poses, and when the trainer validates."""

import math

import numpy as np
import pytest

from augment.poseaug.learner import GanBatch, GanStepResult, PoseAugLearner
from augment.windows import POSE
from estimators.lifters.settings import build_lifter
from estimators.lifters.training.schedules import LinearPoseAugSchedule
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from estimators.weights import flatten_state
from pipelines.closed_loop.async_round import merge_reports
from pipelines.closed_loop.chunks import PoseChunk
from pipelines.closed_loop.poseaug_member import PoseAugMember
from pipelines.closed_loop.reports import TrainingReport, round_metrics
from pipelines.closed_loop.source_windows import SourceWindows
from pipelines.closed_loop.trainer_worker import TrainerOrder, TrainerWorker
from tests.unit.pipelines.closed_loop.loop_parts import LIFTER, POSEAUG, SKELETON, source_poses

ROWS = 32


def test_an_augmentor_that_gets_every_other_batch_still_sees_all_its_poses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = source_poses(ROWS)
    seen: list[np.ndarray] = []
    step = PoseAugLearner.gan_step

    def watch(self: PoseAugLearner, batch: GanBatch, *arguments: object) -> GanStepResult:
        seen.append(batch.joints_camera_m[:, 3, 0].numpy())
        return step(self, batch, *arguments)

    monkeypatch.setattr(PoseAugLearner, "gan_step", watch)
    learner = PoseAugLearner(POSEAUG, SKELETON, 0)
    lifter = build_lifter(LIFTER, SKELETON, 0)
    member = PoseAugMember(
        learner, SourceWindows(source, POSE), lifter, ROWS // 2, 0, 0, swap_bone_lengths=False
    )
    weights = flatten_state(lifter)
    for first_batch in (0, 2):
        member.produce(0, first_batch, 1, weights)
    assert set(np.concatenate(seen).tolist()) == set(source.joints_camera_m[:, 3, 0].tolist())


def worker(diet: str = "mixed", **settings: object) -> TrainerWorker:
    lifter = build_lifter(LIFTER, SKELETON, 0)
    order = TrainerOrder(diet=diet, batch_rows=8, lifter_steps=None, seed=0, first_round=1)
    trainer = LifterTrainer(LifterTrainerSettings(**settings), lifter)
    return TrainerWorker(order, trainer, source_poses(ROWS), source_poses(8, 1))


def chunk(rows: int, joint_offset_m: float = 0.0) -> PoseChunk:
    poses = source_poses(rows, 2)
    joints = poses.joints_root_m.numpy() + np.float32(joint_offset_m)
    return PoseChunk(1, 0, 0, joints, poses.keypoints_screen.numpy(), [rows // 2, rows - rows // 2])


def test_the_trainer_validates_once_a_round_however_many_chunks() -> None:
    trainer = worker()
    reports = [trainer.consume(1, [chunk(8)], share)[0] for share in (0.5, 0.25, 0.25)]
    assert [bool(report.validation) for report in reports] == [False, False, True]


def test_schedules_by_epoch_count_rounds_after_pretraining() -> None:
    trainer = worker(schedule=LinearPoseAugSchedule(epochs=3))
    rates = []
    for round_index in range(4):
        trainer.consume(round_index, [chunk(8)], 1.0)
        rates.append(trainer.trainer.learning_rate)
    base = rates[0]
    assert rates == pytest.approx([base, base, base * 0.75, base * 0.5])


def test_the_real_diet_is_fed_no_fakes() -> None:
    fed_fakes, fed_other_fakes = worker("real"), worker("real")
    fed_fakes.consume(1, [chunk(8)], 1.0)
    fed_other_fakes.consume(1, [chunk(8, joint_offset_m=0.5)], 1.0)
    one, other = (flatten_state(each.lifter).flat for each in (fed_fakes, fed_other_fakes))
    assert one.tolist() == other.tolist()


def test_chunks_without_fakes_do_not_spoil_the_rounds_loss() -> None:
    reports = [
        TrainingReport(0, 1, 4, 0, 2.0, 5, validation={"mpjpe_mm": 80.0}),
        TrainingReport(0, 1, 4, 1, math.nan, 0),
    ]
    merged = merge_reports(reports)
    assert merged.loss_lifter == 2.0
    assert merged.validation == {"mpjpe_mm": 80.0}
    assert merged.staleness == 1


def test_what_is_not_a_number_stays_out_of_the_log() -> None:
    metrics = [{"loss_generator": math.nan, "kept": 1.0}]
    line = round_metrics(TrainingReport(0, 1, 4, 0, math.nan, 5, augmentor_metrics=metrics))
    assert "loss_generator" not in line
    assert "loss_lifter" not in line
    assert line["kept"] == 1.0
