"""The poses that a closed loop learns from, as arrays in memory: what an actor loads once and keeps."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from augment.contract import up_camera_of
from pipelines.frame_runs import sequence_numbers
from poses.batch import PoseBatch
from poses.cameras import screen_intrinsics
from poses.skeleton import Skeleton


@dataclass(frozen=True)
class SourcePoses:
    """N labelled poses: 3D in the camera frame, their 2D on the screen, and who they are.

    `keypoints_screen` is what the lifter sees (it may be detected); the augmentor projects anew from the 3D.
    `up_camera` is which way is up, in camera axes. `sequence` and `frame` say which rows follow one another in time:
    rows of one clip, camera and copy share a sequence; None where nobody asked for windows.
    """

    skeleton: Skeleton
    sample_id: Int[ndarray, " N"]
    joints_camera_m: Float[Tensor, "N J 3"]
    keypoints_screen: Float[Tensor, "N J 2"]
    intrinsics_screen: Float[Tensor, "N 9"]
    camera_px: Float[ndarray, "N 11"]
    up_camera: Float[Tensor, "N 3"]
    subject: ndarray
    sequence: Int[ndarray, " N"] | None = None
    frame: Int[ndarray, " N"] | None = None

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def joints_root_m(self) -> Float[Tensor, "N J 3"]:
        """The same joints with the root at the origin."""
        root = self.skeleton.root_index
        return self.joints_camera_m - self.joints_camera_m[:, root : root + 1]

    def take(self, index: ndarray) -> "SourcePoses":
        """The rows of `index`, in its order."""
        rows = torch.from_numpy(np.ascontiguousarray(index))
        return SourcePoses(
            self.skeleton,
            self.sample_id[index],
            self.joints_camera_m[rows],
            self.keypoints_screen[rows],
            self.intrinsics_screen[rows],
            self.camera_px[index],
            self.up_camera[rows],
            self.subject[index],
            None if self.sequence is None else self.sequence[index],
            None if self.frame is None else self.frame[index],
        )

    def to(self, device: str) -> "SourcePoses":
        """The same poses with their tensors on a device."""
        if device == "cpu":
            return self
        tensors = ("joints_camera_m", "keypoints_screen", "intrinsics_screen", "up_camera")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    @staticmethod
    def from_batch(batch: PoseBatch, in_time: bool = False) -> "SourcePoses":
        """The arrays that the loop needs of a batch of pairs.

        Args:
            batch: The pairs.
            in_time: Find out which rows follow one another, for windows.
        """
        intrinsics = screen_intrinsics(batch.camera_px)
        sequence = None
        if in_time:
            rig = batch.extra.get("rig", batch.camera_name)
            sequence = sequence_numbers(batch.clip, batch.camera_name, rig, batch.copy)
        return SourcePoses(
            batch.skeleton,
            batch.sample_id,
            torch.from_numpy(np.ascontiguousarray(batch.joints_camera_m, dtype=np.float32)),
            torch.from_numpy(np.ascontiguousarray(batch.keypoints_screen, dtype=np.float32)),
            torch.from_numpy(np.ascontiguousarray(intrinsics, dtype=np.float32)),
            np.ascontiguousarray(batch.camera_px, dtype=np.float32),
            torch.from_numpy(up_camera_of(batch)),
            batch.subject,
            sequence,
            batch.frame if in_time else None,
        )
