"""A clip seen by the cameras of a rig, as 2D-3D pairs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from augment.validity import ValiditySettings, reasons_to_reject
from poses.batch import PoseBatch
from poses.cameras import project_px, world_to_camera
from poses.identity import stable_id
from poses.motion import MotionClip
from poses.rigs import RigCamera, load_rig
from poses.skeleton import Skeleton, joint_map


class ViewSettings(BaseModel):
    """How clips become pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame_step: int = Field(default=1, ge=1)
    """Every n-th frame becomes pairs; whole motions are kept in full."""
    validity: ValiditySettings = ValiditySettings(z_min_m=0.3, margin=0.5)
    """Which pairs are used. A pose may leave the image by half its width: its keypoints are true, though a
    camera would
    not see them all. Farther out, or close before the camera, projections grow without bound."""


@dataclass(frozen=True)
class View:
    """Pairs of one clip under one camera, and what was rejected."""

    pairs: PoseBatch
    rejected: Counter[str]


def on_skeleton(clip: MotionClip, skeleton: Skeleton) -> MotionClip:
    """The clip with the joints of another skeleton."""
    if clip.skeleton == skeleton:
        return clip
    joints = joint_map(clip.skeleton, skeleton).apply(clip.joints_world_m).astype(np.float32)
    return replace(clip, joints_world_m=joints, skeleton=skeleton)


def recentred(clip: MotionClip) -> MotionClip:
    """The clip moved on the floor so that the mean of its root's ground position is the origin; heights stay.

    That is the rigs' convention: their cameras stand around the origin.
    """
    if not len(clip):
        return clip
    root_m = clip.joints_world_m[:, clip.skeleton.root_index].astype(np.float64)
    shift_m = np.asarray([root_m[:, 0].mean(), 0.0, root_m[:, 2].mean()])
    return replace(clip, joints_world_m=(clip.joints_world_m - shift_m).astype(np.float32))


def views(clip: MotionClip, part: str, rigs: Sequence[str], settings: ViewSettings) -> Iterator[View]:
    """The clip under every camera of the rigs.

    Args:
        clip: Recentred as `recentred` does.
        part: Goes into the column "part"; the rig's name goes into "rig", and the world's up axis in camera
            axes (B, 3) into "up_camera".
        rigs: Names of camera rigs.
        settings: Which frames, and what is rejected.
    """
    for rig_name in rigs:
        for camera in load_rig(rig_name).cameras:
            yield _view(clip, part, rig_name, camera, settings)


def _view(clip: MotionClip, part: str, rig_name: str, camera: RigCamera, settings: ViewSettings) -> View:
    frames = np.arange(0, len(clip), settings.frame_step, dtype=np.int32)
    joints_m = world_to_camera(
        clip.joints_world_m[frames],
        np.asarray(camera.camera_from_world_rotation, np.float32),
        np.asarray(camera.camera_from_world_translation_m, np.float32),
    ).astype(np.float32)
    camera_px = np.broadcast_to(
        np.asarray(camera.camera_px, np.float32), (len(frames), len(camera.camera_px))
    )
    with np.errstate(all="ignore"):  # what lies in the camera's plane is rejected below
        keypoints_px = project_px(joints_m, camera_px).astype(np.float32)
    reason = reasons_to_reject(joints_m, keypoints_px, camera_px, settings.validity)
    keep = reason == ""
    rows = int(keep.sum())
    sample_id = _row_ids(clip.key, frames[keep], rig_name, camera.name)
    pairs = PoseBatch(
        skeleton=clip.skeleton,
        sample_id=sample_id,
        joints_camera_m=joints_m[keep],
        keypoints_px=keypoints_px[keep],
        keypoint_confidence=np.ones((rows, clip.skeleton.n_joints), np.float32),
        camera_px=camera_px[keep],
        source_id=sample_id,
        copy=np.zeros(rows, np.int32),
        frame=frames[keep],
        clip=_constant(clip.key, rows),
        subject=_constant(clip.subject, rows),
        action=_constant(clip.action, rows),
        camera_name=_constant(camera.name, rows),
        extra={
            "part": _constant(part, rows),
            "rig": _constant(rig_name, rows),
            # Which way is up, in camera axes: the world's y axis. Augmentors that tilt bodies need it.
            "up_camera": np.tile(np.asarray(camera.camera_from_world_rotation, np.float32)[:, 1], (rows, 1)),
        },
    )
    return View(pairs, Counter(reason[~keep].tolist()))


def _row_ids(clip_key: str, frames: np.ndarray, rig_name: str, camera_name: str) -> np.ndarray:
    camera = f"{rig_name}/{camera_name}"
    return np.asarray([stable_id(clip_key, frame, camera) for frame in frames.tolist()], np.int64)


def _constant(text: str, rows: int) -> np.ndarray:
    return np.full(rows, text, dtype=object)
