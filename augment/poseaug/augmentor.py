"""Mass generation from a trained augmentor: PoseBatch in, augmented PoseBatch and rejected rows out."""

import copy as copying
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from augment.contract import (
    UP_COLUMN,
    Augmented,
    before_one_camera,
    derived_pairs,
    split_by_reason,
    up_camera_of,
    window_random,
)
from augment.errors import AugmentError
from augment.poseaug.fake_filter import project
from augment.poseaug.frozen_generator import FrozenAugmented, FrozenGenerator
from augment.poseaug.generator import HEADS, PoseAugGenerator
from augment.poseaug.geometry import rotation_from_axis_angle
from augment.poseaug.trained import TrainedAugmentor
from augment.validity import ValiditySettings, reasons_to_reject
from augment.windows import POSE, WindowShape
from poses.batch import PoseBatch
from poses.cameras import project_px, screen_intrinsics

Normalisation = Literal["frozen", "batch"]
PURPOSE = "poseaug"
SCORE_DECIMALS = 4
"""Scores are computed in float64 and rounded: the last bits of a product depend on a row's place in its batch."""


class PoseAugAugmentor:
    """Makes copies of poses with a trained augmentor.

    Args:
        trained: The augmentor's networks.
        seed: Run seed; noise is a function of (seed, row id, copy).
        normalisation: 'frozen' folds the running statistics: fast, a row's result depends on the row alone.
            'batch' uses the statistics of each batch, as the published code does in training (its only mode).
        record_scores: Add the discriminators' scores as columns; more than doubles the cost.
        dtype: Of the matrix products in frozen mode.
    """

    name = "poseaug"

    def __init__(
        self,
        trained: TrainedAugmentor,
        seed: int,
        normalisation: Normalisation = "frozen",
        record_scores: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._trained = trained
        self._seed = seed
        self._record_scores = record_scores
        self._validity = ValiditySettings(z_min_m=trained.settings.z_min_m)
        self._device = next(trained.generator.parameters()).device
        self._frozen = FrozenGenerator(trained.generator, dtype) if normalisation == "frozen" else None
        self._by_batch = _with_batch_statistics(trained.generator)
        self._part_scorer = copying.deepcopy(trained.body_part_discriminator).double()
        self._projection_scorer = copying.deepcopy(trained.projection_discriminator).double()

    def augment(self, batch: PoseBatch, copy: int) -> Augmented:
        """One augmented pose per row, seen by the row's own camera.

        Args:
            batch: Source poses.
            copy: Which copy of them this is, from 1.

        Raises:
            AugmentError: if the batch has another skeleton than the augmentor was trained on.
        """
        return self.augment_windows(batch, copy, POSE)

    def augment_windows(self, batch: PoseBatch, copy: int, shape: WindowShape) -> Augmented:
        """Windows as the loop makes them for temporal estimators, seen by the camera of their output frame."""
        skeleton = self._trained.skeleton
        if batch.skeleton.joints != skeleton.joints:
            raise AugmentError(
                f"augmentor was trained on skeleton {skeleton.name!r} ({skeleton.n_joints} joints), got "
                f"poses of "
                f"{batch.skeleton.name!r} ({batch.skeleton.n_joints}); map them with "
                f"poses.skeleton.joint_map first"
            )
        batch = before_one_camera(batch, shape)
        made = self._generate(batch, copy, shape)
        joints_camera_m = made.joints_camera_m.cpu().numpy()
        with np.errstate(all="ignore"):
            keypoints_px = project_px(joints_camera_m, batch.camera_px)
        reason = reasons_to_reject(joints_camera_m, keypoints_px, batch.camera_px, self._validity)
        columns = {
            "joints_camera_m": joints_camera_m,
            "keypoints_px": keypoints_px,
            "keypoint_confidence": np.ones(keypoints_px.shape[:2], np.float32),
        }
        pairs = derived_pairs(batch, self._seed, PURPOSE, copy, columns, self._extra(batch, made))
        return split_by_reason(pairs, reason, shape)

    def _generate(self, batch: PoseBatch, copy: int, shape: WindowShape) -> FrozenAugmented:
        size = self._trained.settings.generator.noise_size
        random = window_random(self._seed, PURPOSE, batch, copy, shape)
        normals = torch.from_numpy(random.normal(len(HEADS) * size, stream="noise"))
        noise = normals.view(len(random), len(HEADS), size).to(self._device)
        joints_m = torch.from_numpy(np.ascontiguousarray(batch.joints_camera_m)).to(self._device)
        if self._frozen is not None:
            return self._frozen(joints_m, noise, shape)
        with torch.no_grad():
            made = self._by_batch(joints_m, noise, shape)
        return FrozenAugmented(
            joints_camera_m=made.joints_camera_m,
            bone_angle_change=made.bone_angle_change,
            bone_length_ratio=shape.on_frames(made.bone_length_ratio),
            axis_angle_rad=shape.on_frames(made.axis_angle_rad),
            translation_m=shape.on_frames(made.translation_m),
        )

    def _extra(self, batch: PoseBatch, made: FrozenAugmented) -> dict[str, np.ndarray]:
        extra = {
            "augment_bone_length_ratio": _numpy(made.bone_length_ratio),
            "augment_bone_angle_change": _numpy(made.bone_angle_change.mean(1)),
            "augment_axis_angle_rad": _numpy(made.axis_angle_rad),
            "augment_translation_m": _numpy(made.translation_m),
        }
        if UP_COLUMN in batch.extra:
            up_camera = torch.from_numpy(up_camera_of(batch)).to(self._device)
            rotation = rotation_from_axis_angle(made.axis_angle_rad)
            extra[UP_COLUMN] = _numpy((rotation @ up_camera.unsqueeze(-1))[..., 0])
        if self._record_scores:
            extra |= self._scores(batch, made)
        return extra

    def _scores(self, batch: PoseBatch, made: FrozenAugmented) -> dict[str, np.ndarray]:
        intrinsics = torch.from_numpy(screen_intrinsics(batch.camera_px)).to(self._device)
        keypoints = project(made.joints_camera_m, intrinsics, self._trained.settings.compat, clamp=True)
        with torch.no_grad():
            part_scores = self._part_scorer(made.joints_camera_m.double())
            projection_scores = self._projection_scorer(keypoints.double())[:, 0]
        return {
            "augment_score_3d": _numpy(part_scores.round(decimals=SCORE_DECIMALS).float()),
            "augment_score_2d": _numpy(projection_scores.round(decimals=SCORE_DECIMALS).float()),
        }


def _with_batch_statistics(generator: PoseAugGenerator) -> PoseAugGenerator:
    """A copy whose BatchNorm layers always use the statistics of the batch and keep none."""
    module = copying.deepcopy(generator)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.track_running_stats = False
            part.running_mean = part.running_var = None
    return module.eval()


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
