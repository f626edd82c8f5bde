"""Small parts for tests of the closed loop: poses that look like people, a tiny lifter, tiny augmentors."""

import numpy as np
import torch

from augment.feedback_loop.settings import FeedbackLoopSettings, ResidualSettings
from augment.poseaug.settings import (
    DiscriminatorSettings,
    FeedbackSettings,
    GeneratorSettings,
    PoseAugSettings,
)
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.training.trainer import LifterTrainerSettings
from pipelines.closed_loop.settings import (
    ClosedLoopSettings,
    FeedbackAugmentation,
    PoseAugAugmentation,
)
from pipelines.closed_loop.source_poses import SourcePoses
from poses.cameras import make_camera_px, project_screen, screen_intrinsics
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")
LIFTER = SimpleBaselineSettings(width=16, stages=1, dropout=0.1)
POSEAUG = PoseAugSettings(
    generator=GeneratorSettings(width=16, blocks=1, noise_size=4),
    discriminators=DiscriminatorSettings(part_width=16, part_neck=8, projection_width=8, pool_size=32),
    feedback=FeedbackSettings(warmup_epochs=1),
    epochs=4,
)

# A person standing straight, metres, y up; the order is h36m_16's.
_STANDING_M = np.array(
    [
        [0.0, 0.95, 0.0], [-0.13, 0.95, 0.0], [-0.13, 0.5, 0.02], [-0.13, 0.08, 0.0],
        [0.13, 0.95, 0.0], [0.13, 0.5, 0.02], [0.13, 0.08, 0.0], [0.0, 1.18, 0.0],
        [0.0, 1.43, 0.0], [0.0, 1.68, 0.03], [0.18, 1.4, 0.0], [0.22, 1.12, 0.0],
        [0.24, 0.87, 0.05], [-0.18, 1.4, 0.0], [-0.22, 1.12, 0.0], [-0.24, 0.87, 0.05],
    ],
    np.float32,
)  # fmt: skip


def source_poses(rows: int, seed: int = 0) -> SourcePoses:
    """Jittered standing people four metres before a level camera, each of two subjects."""
    random = np.random.Generator(np.random.PCG64(seed))
    joints_m = _STANDING_M + random.normal(0, 0.04, (rows, 16, 3)).astype(np.float32)
    joints_m = joints_m * np.float32([1.0, -1.0, -1.0]) + np.float32([0.0, 1.0, 4.0])
    camera_px = np.tile(make_camera_px((1100, 1100), (500, 500), (1000, 1000)), (rows, 1))
    intrinsics = torch.from_numpy(np.ascontiguousarray(screen_intrinsics(camera_px), np.float32))
    joints_camera_m = torch.from_numpy(joints_m.astype(np.float32))
    return SourcePoses(
        skeleton=SKELETON,
        sample_id=np.arange(1, rows + 1, dtype=np.int64) + 1000 * seed,
        joints_camera_m=joints_camera_m,
        keypoints_screen=project_screen(joints_camera_m, intrinsics, clamp=False),
        intrinsics_screen=intrinsics,
        camera_px=camera_px,
        up_camera=torch.tensor([[0.0, -1.0, 0.0]]).repeat(rows, 1),
        subject=np.array([f"S{row % 2}" for row in range(rows)], dtype=object),
    )


def poseaug_loop(**changes: object) -> ClosedLoopSettings:
    """A tiny loop in the published order."""
    base = ClosedLoopSettings(
        augmentor=PoseAugAugmentation(settings=POSEAUG),
        lifter=LIFTER,
        trainer=LifterTrainerSettings(learning_rate=1e-3),
        diet="alternate",
        batch_rows=16,
        rounds=4,
        chunk_batches=2,
    )
    return base.model_copy(update=changes)


def feedback_loop(**changes: object) -> ClosedLoopSettings:
    """A tiny loop of posemill's own."""
    settings = FeedbackLoopSettings(residual=ResidualSettings(batch_rows=8, train_every=2, poseaug=POSEAUG))
    base = ClosedLoopSettings(
        augmentor=FeedbackAugmentation(settings=settings),
        lifter=LIFTER,
        trainer=LifterTrainerSettings(learning_rate=1e-3, loss="l2"),
        diet="mixed",
        batch_rows=16,
        rounds=4,
        batches_per_round=4,
        chunk_batches=2,
    )
    return base.model_copy(update=changes)
