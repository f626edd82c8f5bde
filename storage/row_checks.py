"""What must hold of every pair and every clip, checked for whole blocks of rows at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from poses.batch import PoseBatch
from poses.cameras import project_px
from poses.motion import MotionClip
from storage.bone_ranges import are_impossible, bone_lengths_m, bone_limits_m
from storage.schema import TENSOR_COLUMNS

NOISE_COLUMN = "augment_noise_px"
"""Extra column of pairs whose 2D is not the bare projection: how far every keypoint was moved (B,J), or every
keypoint of a row at most (B,), or its offset (B,J,2). The rest of the distance must be within the
tolerance."""
LABEL_COLUMN = "label_reprojection_px"
"""Extra column of pseudo-labels, whose 3D is an estimate: (B, J) how far each keypoint is from its joint's image."""


@dataclass(frozen=True)
class RowFault:
    """Rows of a block that break one rule.

    Args:
        check: Name of the rule.
        rows: (n,) indices in the block, ascending.
        describe: What is wrong with a row: wanted and got.
    """

    check: str
    rows: np.ndarray
    describe: Callable[[int], str]


def pair_faults(batch: PoseBatch, tolerance_px: float) -> Iterator[RowFault]:
    """Every rule that rows of a block break: finite, ids, camera, depth, confidence, projection, bones."""
    finite = np.ones(len(batch), bool)
    for name in TENSOR_COLUMNS:
        values = getattr(batch, name)
        bad = ~np.isfinite(values.reshape(len(batch), -1)).all(axis=1)
        finite &= ~bad
        yield _fault("finite", bad, lambda row, name=name: f"{name} holds NaN or infinity")
    yield _fault("id", batch.sample_id < 0, lambda row: f"sample_id {batch.sample_id[row]} is negative")
    focal_and_size = batch.camera_px[:, [0, 1, 9, 10]]
    yield _fault(
        "camera",
        finite & (focal_and_size <= 0).any(axis=1),
        lambda row: f"wanted positive fx, fy, width, height, got {focal_and_size[row].tolist()}",
    )
    confidence = batch.keypoint_confidence
    yield _fault(
        "confidence",
        finite & ((confidence < 0) | (confidence > 1)).any(axis=1),
        lambda row: f"wanted 0 to 1, got {confidence[row].min():.3g} to {confidence[row].max():.3g}",
    )
    depth_m = batch.joints_camera_m[..., 2]
    behind = finite & (depth_m <= 0).any(axis=1)
    yield _fault("depth", behind, lambda row: f"a joint is behind the camera, z = {depth_m[row].min():.3f} m")
    yield _projection_fault(batch, finite & ~behind, tolerance_px)
    yield _bone_fault(batch.joints_camera_m, finite, batch)


def _projection_fault(batch: PoseBatch, usable: np.ndarray, tolerance_px: float) -> RowFault:
    """Rows whose 3D does not project onto their 2D, beyond recorded noise; missing keypoints aside.

    Where keypoints have a skeleton of their own, only joints that both have (by name) are looked at; those are
    detections, so what they are off by belongs into the noise column.
    """
    shared = _joints_of_both(batch)
    error_px = np.zeros((len(batch), len(shared.names)), np.float32)
    rows = np.flatnonzero(usable)
    if len(rows) and shared.names:
        part = batch if len(rows) == len(batch) else batch.take(rows)
        projected = np.asarray(project_px(part.joints_camera_m, part.camera_px))[:, shared.joints]
        noise, told = part.extra.get(NOISE_COLUMN), part.extra.get(LABEL_COLUMN)
        if noise is not None and noise.ndim == 3:
            projected = projected + noise[:, shared.keypoints]
        distance = np.linalg.norm(part.keypoints_px[:, shared.keypoints] - projected, axis=-1)
        if noise is not None and noise.ndim < 3:
            distance = distance - (noise[:, shared.keypoints] if noise.ndim == 2 else noise[:, None])
        if told is not None:
            distance = np.abs(distance - told[:, shared.keypoints])
        error_px[rows] = np.where(part.keypoint_confidence[:, shared.keypoints] > 0, distance, 0)

    def describe(row: int) -> str:
        joint = int(error_px[row].argmax())
        return (
            f"wanted the 3D to project within {tolerance_px} px of the 2D, got {error_px[row, joint]:.2f}"
            " px at"
            f" {shared.names[joint]}"
        )

    return _fault("projection", (error_px > tolerance_px).any(axis=1), describe)


@dataclass(frozen=True)
class _SharedJoints:
    """Joints that poses and keypoints both have: their names, and where they stand in each."""

    names: tuple[str, ...]
    joints: np.ndarray
    keypoints: np.ndarray


def _joints_of_both(batch: PoseBatch) -> _SharedJoints:
    poses, keypoints = batch.skeleton.joints, batch.keypoints_of.joints
    names = tuple(name for name in poses if name in keypoints)
    at = [np.array([order.index(name) for name in names], np.int64) for order in (poses, keypoints)]
    return _SharedJoints(names, *at)


def _bone_fault(joints_m: np.ndarray, usable: np.ndarray, owner: PoseBatch | MotionClip) -> RowFault:
    """Rows with a bone that is shorter or longer than any human's."""
    skeleton = owner.skeleton
    length_m = bone_lengths_m(joints_m, skeleton)
    outside = usable[:, None] & are_impossible(length_m, skeleton)

    def describe(row: int) -> str:
        bone = int(outside[row].argmax())
        low, high = bone_limits_m(skeleton)[bone]
        return (
            f"bone {skeleton.bones[bone]}: wanted {low:.3f} to {high:.3f} m, got {length_m[row, bone]:.3f} m"
        )

    return _fault("bones", outside.any(axis=1), describe)


def clip_faults(clip: MotionClip) -> Iterator[RowFault]:
    """Every rule that frames of a clip break: finite, bones."""
    finite = np.asarray(np.isfinite(clip.joints_world_m.reshape(len(clip), -1)).all(axis=1))
    yield _fault("finite", ~finite, lambda row: f"clip {clip.key!r}: joints_world_m holds NaN or infinity")
    fault = _bone_fault(clip.joints_world_m, finite, clip)
    yield RowFault(fault.check, fault.rows, lambda row: f"clip {clip.key!r}: {fault.describe(row)}")


def _fault(check: str, bad: ArrayLike, describe: Callable[[int], str]) -> RowFault:
    return RowFault(check, np.flatnonzero(bad), describe)
