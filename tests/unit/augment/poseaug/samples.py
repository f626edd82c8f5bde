"""Small synthetic poses, cameras and learners for the PoseAug tests."""

import torch

from augment.poseaug.fake_filter import project
from augment.poseaug.learner import GanBatch, PoseAugLearner
from augment.poseaug.settings import (
    Compat,
    DiscriminatorSettings,
    GeneratorSettings,
    PoseAugSettings,
    poseaug_preset,
)
from poses.skeleton import Skeleton, load_skeleton

SKELETON = load_skeleton("h36m_16")
SCREEN_CAMERA = torch.tensor([2.29, 2.29, 0.02, 0.03, -0.2, 0.24, -0.002, -0.001, -0.003])

_OFFSETS_M = {
    "right_hip": (-0.13, 0.0, 0.0),
    "left_hip": (0.13, 0.0, 0.0),
    "spine": (0.0, -0.24, 0.0),
    "thorax": (0.0, -0.25, 0.0),
    "head": (0.0, -0.25, 0.0),
    "left_shoulder": (0.15, 0.05, 0.0),
    "right_shoulder": (-0.15, 0.05, 0.0),
}
_LIMB_M = (0.0, 0.4, 0.0)


def poses(rows: int, seed: int = 0, skeleton: Skeleton = SKELETON) -> torch.Tensor:
    """(rows, J, 3) upright bodies with random joint noise, 5 m before the camera."""
    generator = torch.Generator().manual_seed(seed)
    joints = torch.zeros(rows, skeleton.n_joints, 3)
    joints[:, skeleton.root_index] = torch.tensor([0.0, 0.0, 5.0])
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            offset = torch.tensor(_OFFSETS_M.get(skeleton.joints[joint], _LIMB_M))
            joints[:, joint] = joints[:, parent] + offset + 0.08 * torch.randn(rows, 3, generator=generator)
    return joints


def small_settings(preset: str = "default", **compat: bool) -> PoseAugSettings:
    """A preset with narrow networks and a small pool."""
    settings = poseaug_preset(preset)
    return settings.model_copy(
        update={
            "generator": settings.generator.model_copy(update={"width": 16, "noise_size": 4}),
            "discriminators": DiscriminatorSettings(
                part_width=12, part_neck=6, projection_width=10, pool_size=24
            ),
            "compat": settings.compat.model_copy(update=compat),
        }
    )


def small_generator_settings() -> GeneratorSettings:
    return GeneratorSettings(width=16, noise_size=4)


def gan_batch(rows: int = 16, seed: int = 0, skeleton: Skeleton = SKELETON) -> GanBatch:
    """Three independent draws."""
    cameras = SCREEN_CAMERA.expand(rows, 9)
    source, real_3d, real_2d = (poses(rows, 3 * seed + draw, skeleton) for draw in range(3))
    return GanBatch(
        joints_camera_m=source,
        keypoints_screen=project(source, cameras, Compat(), clamp=True),
        intrinsics_screen=cameras,
        real_joints_m=real_3d,
        real_keypoints_screen=project(real_2d, cameras, Compat(), clamp=True),
    )


def small_learner(preset: str = "default", seed: int = 0, **compat: bool) -> PoseAugLearner:
    return PoseAugLearner(small_settings(preset, **compat), SKELETON, seed=seed)
