"""Random augmentation: the baselines that a learned augmentor has to beat (specs/poseaug.md, section 5).

Per pose: perhaps a mirror image; bone lengths scaled group by group, left and right tied; every bone turned,
with all that hangs on it, by a random rotation vector; a random view; a random focal length and place.
`narrow` turns joints by 12 degrees (standard deviation per axis) and sees them about as the source does;
`wide` draws the deviation per pose from 0 to 29 degrees, adds mirror images, and sees them from anywhere
(pitch 29 degrees, depth 2-7 m, focal length 1.1-2.7).

A draw that falls outside the image is drawn again, a few times, from streams of its own; then it is rejected.
All numbers depend on (seed, purpose, row, copy, attempt) only, and every operation is elementwise per row, so
that any batch size gives the same bits (tested); torch's matrix products do not promise that for batches of
fewer than 4 rows.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from augment.contract import (
    UP_COLUMN,
    Augmented,
    before_one_camera,
    derived_pairs,
    split_by_reason,
    up_camera_of,
    window_random,
)
from augment.limb_turns import component_major, turn_limbs
from augment.validity import REASONS, ValiditySettings, reasons_to_reject
from augment.wide_base.library import upright
from augment.windows import POSE, Motion, WindowShape
from poses.batch import PoseBatch
from poses.cameras import CAMERA_FIELDS, project_px
from poses.kinematics import bone_lengths_m, rotate_joints
from poses.randomness import RowRandom
from poses.rotations import yaw_pitch_roll_to_matrix
from poses.skeleton import Skeleton

BLOCK_ROWS = 1024  # what a step touches stays in the processor's cache


class RandomAugmentationSettings(BaseModel):
    """How far random augmentation spreads. Presets: `narrow()`, `wide()`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mirror_share: float = Field(default=0.0, ge=0.0, le=1.0)
    bone_scale_sigma: float = Field(default=0.1, ge=0.0)
    bone_scale_limit: float = Field(default=0.35, ge=0.0, lt=1.0)
    rotation_sigma_deg: tuple[float, float] = (12.0, 12.0)
    """The standard deviation of the rotation about each axis, drawn per pose evenly between the two."""
    pitch_mean_deg: float = 10.0
    """Of the camera, positive when it looks down."""
    pitch_sigma_deg: float = Field(default=10.0, ge=0.0)
    roll_sigma_deg: float = Field(default=0.0, ge=0.0)
    depth_m: tuple[float, float] = (4.0, 6.0)
    focal_screen: tuple[float, float] = (1.8, 2.7)
    """Normalised focal length, 2 f / width."""
    position_sigma: float = Field(default=0.2, ge=0.0)
    """Of the root's place on the screen (the image's width spans -1 to 1)."""
    image_px: tuple[int, int] = (1000, 1000)
    attempts: int = Field(default=4, ge=1)
    validity: ValiditySettings = ValiditySettings()

    @staticmethod
    def preset(name: Literal["narrow", "wide"]) -> "RandomAugmentationSettings":
        """The settings of a published baseline by name."""
        return {"narrow": RandomAugmentationSettings.narrow, "wide": RandomAugmentationSettings.wide}[name]()

    @staticmethod
    def narrow() -> "RandomAugmentationSettings":
        """Joint rotations of 12 degrees, views like the source's."""
        return RandomAugmentationSettings()

    @staticmethod
    def wide() -> "RandomAugmentationSettings":
        """Mirror images, joint rotations of 0 to 29 degrees, any view; keep half of a batch real."""
        return RandomAugmentationSettings(
            mirror_share=0.5,
            rotation_sigma_deg=(0.0, 29.0),
            pitch_mean_deg=0.0,
            pitch_sigma_deg=29.0,
            depth_m=(2.0, 7.0),
            focal_screen=(1.1, 2.7),
        )


@dataclass(frozen=True)
class RandomDraw:
    """B drawn poses before their cameras.

    Attributes:
        joints_camera_m: (B, J, 3).
        camera_px: (B, 11) intrinsics, no distortion.
        up_camera: (B, 3) the world's up in camera axes.
    """

    joints_camera_m: Float[Tensor, "B J 3"]
    camera_px: Float[Tensor, "B 11"]
    up_camera: Float[Tensor, "B 3"]


def draw(
    joints_root_m: Float[Tensor, "B J 3"],
    up_camera: Float[Tensor, "B 3"],
    skeleton: Skeleton,
    randomness: RowRandom,
    settings: RandomAugmentationSettings,
    attempt: int = 0,
    shape: WindowShape = POSE,
    motion: Motion | None = None,
) -> RandomDraw:
    """One new pose per pose, wherever it may fall (nothing is rejected here).

    Windows: every bone is turned by one rotation in all frames, on top of the recorded motion; the person goes where
    the recording goes, seen from the drawn view, with steps as much longer as the body is larger.

    Args:
        joints_root_m: Root-relative poses in camera axes.
        up_camera: Which way is up for each, in the same axes; (0, -1, 0) for a level camera. The same in all frames of
            a window.
        skeleton: Bones, length groups and mirror pairs.
        randomness: Of the B rows, or of the W windows that they make up.
        settings: How far to spread.
        attempt: Number of the try; each has streams of its own.
        shape: Of windows, whose frames get the same draws.
        motion: Of windows, in the same camera axes; None leaves every root at the drawn place.
    """
    draws = _Streams(randomness, attempt, shape)
    n_bones = skeleton.n_bones
    sigma_rad = draws.between("sigma", settings.rotation_sigma_deg) * (math.pi / 180)
    turns_rad = (draws.normal("rotation", 3 * n_bones) * sigma_rad).unflatten(1, (3, n_bones))
    ratio = draws.normal("scale", skeleton.n_bone_groups) * settings.bone_scale_sigma + 1
    ratio = ratio.clamp(1 - settings.bone_scale_limit, 1 + settings.bone_scale_limit)
    ratio = ratio[:, torch.from_numpy(skeleton.bone_group_index.astype(np.int64))]
    mirrored = draws.uniform("mirror", 1)[:, 0] < settings.mirror_share
    up_camera = torch.where(mirrored.unsqueeze(1), up_camera * torch.tensor([-1.0, 1.0, 1.0]), up_camera)
    seen = _draw_view(up_camera, draws, settings)
    root_camera_m = seen.root_camera_m
    if motion is not None:
        root_camera_m = root_camera_m + _moved(motion, joints_root_m, ratio, mirrored, seen, skeleton)
    joints_camera_m = torch.empty_like(joints_root_m)
    for start in range(0, len(joints_root_m), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        joints_m = _mirror(component_major(joints_root_m[rows]), mirrored[rows], skeleton)
        turn = turns_rad[rows].permute(1, 2, 0).contiguous()
        joints_m = turn_limbs(joints_m, ratio[rows].T.contiguous(), turn, skeleton)
        columns = seen.new_from_old[rows].permute(2, 1, 0).contiguous()
        x, y, z = (joints_m[axis] for axis in range(3))
        turned = [columns[0, axis] * x + columns[1, axis] * y + columns[2, axis] * z for axis in range(3)]
        joints_camera_m[rows] = torch.stack(turned).permute(2, 1, 0) + root_camera_m[rows, None]
    return RandomDraw(joints_camera_m, seen.camera_px, seen.up_camera)


def _moved(
    motion: Motion, joints_root_m: Tensor, ratio: Tensor, mirrored: Tensor, seen: "_View", skeleton: Skeleton
) -> Float[Tensor, "B 3"]:
    """How far each root is from where it is in its window's output frame, in the new camera's axes."""
    lengths_m = bone_lengths_m(joints_root_m, skeleton)[motion.anchor]
    growth = (lengths_m * ratio).sum(1) / motion.size_m
    path_m = torch.where(mirrored.unsqueeze(1), motion.path_m * torch.tensor([-1.0, 1.0, 1.0]), motion.path_m)
    return rotate_joints((path_m * growth.unsqueeze(1)).unsqueeze(1), seen.new_from_old)[:, 0]


def _mirror(joints_m: Tensor, mirrored: Tensor, skeleton: Skeleton) -> Tensor:
    """Mirror images (x negated, left and right swapped) of some rows of (3, J, B) poses."""
    swapped = joints_m[:, torch.from_numpy(skeleton.mirror_index.astype(np.int64))]
    swapped[0].neg_()
    return torch.where(mirrored, swapped, joints_m)


@dataclass(frozen=True)
class _View:
    """How a pose is seen: from source camera axes to the new ones, and where it stands there."""

    new_from_old: Tensor
    root_camera_m: Tensor
    camera_px: Tensor
    up_camera: Tensor


def _draw_view(up_camera: Tensor, draws: "_Streams", settings: RandomAugmentationSettings) -> _View:
    """Any yaw about the vertical, a drawn pitch and roll, depth, place and focal length."""
    angles = draws.normal("view", 2) * (math.pi / 180)
    yaw = draws.uniform("yaw", 1)[:, 0] * (2 * math.pi)
    pitch = angles[:, 0] * settings.pitch_sigma_deg + math.radians(settings.pitch_mean_deg)
    turn = yaw_pitch_roll_to_matrix(yaw, pitch, angles[:, 1] * settings.roll_sigma_deg)
    level = torch.tensor([1.0, -1.0, -1.0])  # from y up to x right, y down, z forward
    axes = torch.eye(3).expand(len(yaw), 3, 3)
    new_from_old = rotate_joints(upright(axes, up_camera) * level, turn).transpose(1, 2)
    upwards = rotate_joints(torch.tensor([[[0.0, -1.0, 0.0]]]).expand(len(yaw), 1, 3), turn)[:, 0]
    focal, depth_m = draws.between("focal", settings.focal_screen), draws.between("depth", settings.depth_m)
    across_m = draws.normal("place", 2) * settings.position_sigma * (depth_m / focal)
    camera_px = _cameras_px(focal, settings.image_px)
    return _View(new_from_old, torch.cat([across_m, depth_m], dim=1), camera_px, upwards)


def _cameras_px(focal_screen: Tensor, image_px: tuple[int, int]) -> Tensor:
    """(B, 11) cameras without distortion, looking through the image's centre."""
    width_px, height_px = image_px
    ones = torch.ones_like(focal_screen)
    field = {
        "fx": focal_screen * (width_px / 2),
        "fy": focal_screen * (width_px / 2),
        "cx": ones * (width_px / 2),
        "cy": ones * (height_px / 2),
        "width": ones * width_px,
        "height": ones * height_px,
    }
    return torch.cat([field.get(name, torch.zeros_like(ones)) for name in CAMERA_FIELDS], dim=1)


class RandomAugmentor:
    """Random augmentation as an `Augmentor`.

    Args:
        settings: How far to spread.
        seed: Run seed.
        name: What it is called, "narrow" or "wide" for the presets; also the purpose of its random numbers.
    """

    def __init__(self, settings: RandomAugmentationSettings, seed: int, name: str = "random") -> None:
        self._settings, self._seed, self._name = settings, seed, name

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    def augment(self, batch: PoseBatch, copy: int) -> Augmented:
        """One new pair per row; rows that stay outside the image after all attempts are rejected."""
        return self.augment_windows(batch, copy, POSE)

    def augment_windows(self, batch: PoseBatch, copy: int, shape: WindowShape) -> Augmented:
        """Windows are drawn again whole, and rejected whole."""
        settings = self._settings
        batch = before_one_camera(batch, shape)
        out = _Columns.empty(len(batch), batch.skeleton.n_joints)
        pending = np.arange(len(batch) // shape.frames)
        for attempt in range(settings.attempts):
            if not len(pending):
                break
            rows = shape.rows_of(torch.from_numpy(pending)).numpy()
            drawn = self._drawn(batch.take(rows) if attempt else batch, copy, attempt, shape)
            out.put(rows, drawn, settings.validity)
            pending = pending[shape.first_reasons(out.reason[rows], REASONS) != ""]
        pairs = derived_pairs(
            batch,
            self._seed,
            self._name,
            copy,
            columns={
                "joints_camera_m": out.joints_camera_m,
                "keypoints_px": out.keypoints_px,
                "camera_px": out.camera_px,
                "keypoint_confidence": np.ones_like(batch.keypoint_confidence),
                "camera_name": np.full(len(batch), self._name, dtype=object),
            },
            extra={UP_COLUMN: out.up_camera},
        )
        return split_by_reason(pairs, out.reason, shape)

    def _drawn(self, batch: PoseBatch, copy: int, attempt: int, shape: WindowShape) -> RandomDraw:
        joints_m = torch.from_numpy(np.ascontiguousarray(batch.joints_root_m))
        up_camera = torch.from_numpy(up_camera_of(batch))
        randomness = window_random(self._seed, self._name, batch, copy, shape)
        motion = None
        if shape.temporal:
            lengths_m = bone_lengths_m(joints_m, batch.skeleton)
            placed_m = torch.from_numpy(batch.joints_camera_m)
            motion = Motion.of(placed_m, batch.skeleton.root_index, lengths_m, shape)
        return draw(joints_m, up_camera, batch.skeleton, randomness, self._settings, attempt, shape, motion)


@dataclass(frozen=True, eq=False)
class _Columns:
    """What is being filled in, attempt by attempt."""

    joints_camera_m: np.ndarray
    keypoints_px: np.ndarray
    camera_px: np.ndarray
    up_camera: np.ndarray
    reason: np.ndarray

    @staticmethod
    def empty(rows: int, joints: int) -> "_Columns":
        shapes = ((rows, joints, 3), (rows, joints, 2), (rows, len(CAMERA_FIELDS)), (rows, 3))
        joints_m, keypoints_px, camera_px, up_camera = (np.zeros(shape, np.float32) for shape in shapes)
        return _Columns(joints_m, keypoints_px, camera_px, up_camera, np.full(rows, "", object))

    def put(self, rows: np.ndarray, drawn: RandomDraw, validity: ValiditySettings) -> None:
        joints_camera_m, camera_px = drawn.joints_camera_m.numpy(), drawn.camera_px.numpy()
        keypoints_px = project_px(joints_camera_m, camera_px)
        self.joints_camera_m[rows], self.camera_px[rows] = joints_camera_m, camera_px
        self.keypoints_px[rows], self.up_camera[rows] = keypoints_px, drawn.up_camera.numpy()
        self.reason[rows] = reasons_to_reject(joints_camera_m, keypoints_px, camera_px, validity)


class _Streams:
    """The streams of one attempt, as tensors."""

    def __init__(self, randomness: RowRandom, attempt: int, shape: WindowShape = POSE) -> None:
        self._randomness, self._suffix = randomness, f"/{attempt}" if attempt else ""
        self._shape = shape

    def uniform(self, name: str, n: int) -> Tensor:
        return self._on_rows(self._randomness.uniform(n, stream=name + self._suffix))

    def normal(self, name: str, n: int) -> Tensor:
        return self._on_rows(self._randomness.normal(n, stream=name + self._suffix))

    def _on_rows(self, numbers: np.ndarray) -> Tensor:
        return self._shape.on_frames(torch.from_numpy(numbers))

    def between(self, name: str, limits: tuple[float, float]) -> Tensor:
        """(B, 1) evenly between two limits."""
        return limits[0] + (limits[1] - limits[0]) * self.uniform(name, 1)
