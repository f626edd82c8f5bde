"""Windows of smooth motion: consecutive frames of generated clips before one camera."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from augment.feedback_loop.drawer import SourceRows
from augment.motion.generator import generate_clip
from augment.motion.settings import MotionSettings
from augment.windows import Motion, WindowShape
from poses.cameras import screen_intrinsics, world_to_camera
from poses.kinematics import bone_lengths_m
from poses.rigs import load_rig
from poses.skeleton import joint_map, load_skeleton

SKELETON = load_skeleton("h36m_16")
SHAPE = WindowShape(9, 4)
"""Of the sample windows."""


@dataclass(frozen=True)
class SampleWindows:
    """W windows: (W·T, J, 3) before the camera, and their ids."""

    joints_camera_m: Tensor
    up_camera: Tensor
    intrinsics_screen: Tensor
    row_id: np.ndarray
    shape: WindowShape = SHAPE

    @property
    def joints_root_m(self) -> Tensor:
        root = SKELETON.root_index
        return self.joints_camera_m - self.joints_camera_m[:, root : root + 1]

    @property
    def motion(self) -> Motion:
        lengths_m = bone_lengths_m(self.joints_root_m, SKELETON)
        return Motion.of(self.joints_camera_m, SKELETON.root_index, lengths_m, self.shape)

    @property
    def rows(self) -> SourceRows:
        """For the drawer."""
        tensors = self.joints_camera_m, self.up_camera, self.intrinsics_screen
        return SourceRows(self.row_id, *tensors, self.shape)

    @property
    def output_frames(self) -> "SampleWindows":
        """The poses that the windows are cut around, on their own."""
        cut = self.shape.output_frames
        return SampleWindows(
            cut(self.joints_camera_m).contiguous(),
            cut(self.up_camera).contiguous(),
            cut(self.intrinsics_screen).contiguous(),
            self.row_id,
            WindowShape(),
        )


@lru_cache(maxsize=2)
def sample_windows(windows: int = 40) -> SampleWindows:
    """Windows of people who walk, kick and reach, 9 consecutive frames each."""
    settings = MotionSettings(mixture={"walk": 1.0, "reach": 1.0, "kick": 1.0}, n_subjects=3)
    camera = load_rig("h36m_like").cameras[0]
    pieces: list[np.ndarray] = []
    for index in range(8):
        clip = generate_clip(settings, 5, index)
        joints_world_m = joint_map(clip.skeleton, SKELETON).apply(clip.joints_world_m)
        starts = range(0, len(joints_world_m) - SHAPE.frames, SHAPE.frames)
        pieces += [joints_world_m[start : start + SHAPE.frames] for start in starts]
    chosen = np.random.Generator(np.random.PCG64(2)).permutation(len(pieces))[:windows]
    joints_world_m = np.concatenate([pieces[index] for index in chosen]).astype(np.float32)
    count = len(joints_world_m)
    rotation = np.tile(camera.camera_from_world_rotation.astype(np.float32), (count, 1, 1))
    shift_m = np.tile(camera.camera_from_world_translation_m.astype(np.float32), (count, 1))
    joints_camera_m = np.ascontiguousarray(world_to_camera(joints_world_m, rotation, shift_m), np.float32)
    intrinsics = screen_intrinsics(np.tile(camera.camera_px, (count, 1)))
    return SampleWindows(
        torch.from_numpy(joints_camera_m),
        torch.from_numpy(np.ascontiguousarray(rotation[:, :, 1])),
        torch.from_numpy(np.ascontiguousarray(intrinsics, np.float32)),
        np.arange(1, len(chosen) + 1, dtype=np.int64) * 7919,
    )
