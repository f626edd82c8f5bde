"""What the base draw takes limbs and bodies from: local poses and bone lengths of the source dataset."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from augment.wide_base.body_plan import BodyPlan, body_plan
from augment.wide_base.local_pose import LocalPoses, rotate, to_local
from poses.kinematics import bone_lengths_m
from poses.skeleton import Skeleton


@dataclass(frozen=True)
class PoseLibrary:
    """Local poses (mirrored copies included) and the bone lengths (P, K) of the people among them."""

    poses: LocalPoses
    bone_lengths_m: Float[Tensor, "P K"]

    def tensors(self) -> dict[str, Tensor]:
        """Named tensors to save."""
        return {
            "world_from_pelvis": self.poses.world_from_pelvis,
            "pelvis_from_chest": self.poses.pelvis_from_chest,
            "directions": self.poses.directions,
            "bone_lengths_m": self.bone_lengths_m,
        }

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor]) -> "PoseLibrary":
        """Inverse of `tensors`."""
        poses = LocalPoses(tensors["world_from_pelvis"], tensors["pelvis_from_chest"], tensors["directions"])
        return PoseLibrary(poses, tensors["bone_lengths_m"])


def mirrored(joints_m: Float[Tensor, "N J 3"], skeleton: Skeleton) -> Float[Tensor, "N J 3"]:
    """Poses with left and right exchanged (x turned over)."""
    return joints_m[:, torch.as_tensor(skeleton.mirror_index)] * torch.tensor([-1.0, 1.0, 1.0])


def upright_from_camera(up_camera: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    """Rotations from camera axes into a frame whose y axis is up; the heading is left as it comes."""
    up = up_camera / up_camera.norm(dim=-1, keepdim=True)
    forward_hint = torch.tensor([0.0, 0.0, 1.0]).expand_as(up)
    sideways_hint = torch.tensor([1.0, 0.0, 0.0]).expand_as(up)
    hint = torch.where((up[:, 2:].abs() > 0.9), sideways_hint, forward_hint)
    right = torch.linalg.cross(up, hint)
    right = right / right.norm(dim=-1, keepdim=True)
    return torch.stack([right, up, torch.linalg.cross(right, up)], 1)


def upright(joints_root_m: Float[Tensor, "N J 3"], up_camera: Float[Tensor, "N 3"]) -> Float[Tensor, "N J 3"]:
    """Turn root-relative camera poses into a frame whose y axis is up."""
    return rotate(upright_from_camera(up_camera).unsqueeze(1), joints_root_m)


def build_library(
    joints_world_m: Float[Tensor, "N J 3"],
    subjects: np.ndarray,
    skeleton: Skeleton,
    max_poses: int = 8192,
    seed: int = 0,
) -> PoseLibrary:
    """The library of a source dataset: an even sample of its poses with their mirror images, and its people.

    Args:
        joints_world_m: Poses in a frame whose y axis is up.
        subjects: (N,) who each pose is of; each person gives one set of median bone lengths, sides averaged.
        max_poses: Poses kept before mirroring.
    """
    plan: BodyPlan = body_plan(skeleton)
    lengths_m = bone_lengths_m(joints_world_m, skeleton)
    people = [lengths_m[torch.from_numpy(subjects == name)].median(0).values for name in np.unique(subjects)]
    per_person = torch.stack(people)
    per_person = (per_person + per_person[:, torch.as_tensor(skeleton.bone_mirror_index)]) / 2
    if len(joints_world_m) > max_poses:
        chosen = np.random.Generator(np.random.PCG64(seed)).choice(
            len(joints_world_m), max_poses, replace=False
        )
        joints_world_m = joints_world_m[torch.from_numpy(np.sort(chosen))]
    both = torch.cat([joints_world_m, mirrored(joints_world_m, skeleton)])
    return PoseLibrary(to_local(both, plan), per_person)
