"""The terms of VideoPose3D's semi-supervised loss (Pavllo et al. 2019, section 4), each a mean.

Shapes have a time axis of output frames T; B labelled, U unlabelled windows.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from estimators.errors import LifterInputError
from poses.cameras import SCREEN_FIELDS, project_screen
from poses.kinematics import bone_lengths_m
from poses.skeleton import Skeleton

LensModel = Literal["brown_conrady", "published", "none"]
"""How the lens bends: as posemill's datasets are projected (and OpenCV does it), as VideoPose3D's code does it (other
tangential terms), or not at all."""
_LENS = ("k1", "k2", "k3", "p1", "p2")


@dataclass(frozen=True)
class SemiLosses:
    """One step's losses before weighting; projection and bones are 0 in steps without unlabelled windows."""

    total: float
    position: float
    trajectory: float
    projection: float = 0.0
    bones: float = 0.0


@dataclass(frozen=True)
class Labelled:
    """B windows with 3D.

    Attributes:
        keypoints_screen: (B, T, J, 2).
        joints_root_m: (B, T', J, 3), one pose per output frame; (B, J, 3) counts as T' = 1.
        root_camera_m: (B, T', 3) the root in camera axes, in front of the camera; (B, 3) counts as T' = 1.
    """

    keypoints_screen: Tensor
    joints_root_m: Tensor
    root_camera_m: Tensor


@dataclass(frozen=True)
class Unlabelled:
    """U windows without 3D.

    Attributes:
        keypoints_screen: (U, T, J, 2), T as of the labelled windows.
        target_screen: (U, T', J2, 2) keypoints of the output frames, which the projection should meet, in the trainer's
            target skeleton; (U, J2, 2) counts as T' = 1.
        intrinsics_screen: (U, 9) of their cameras, the published order (`poses.cameras.SCREEN_FIELDS`).
    """

    keypoints_screen: Tensor
    target_screen: Tensor
    intrinsics_screen: Tensor


@dataclass(frozen=True)
class SharedJoints:
    """Where the joints that two skeletons share by name stand in each."""

    predicted: tuple[int, ...]
    target: tuple[int, ...]


def shared_joints(predicted: Skeleton, target: Skeleton) -> SharedJoints:
    """The joints to compare of a pose of one skeleton with keypoints of another, by name, never by position.

    Raises:
        LifterInputError: if no joint has the same name in both.
    """
    names = [joint for joint in predicted.joints if joint in target.joints]
    if not names:
        raise LifterInputError(
            f"projection loss: skeletons {predicted.name!r} and {target.name!r} share no joint; name the skeleton of "
            "the 2D keypoints, or map them to the lifter's with poses.skeleton.joint_map"
        )
    return SharedJoints(
        tuple(predicted.index(name) for name in names), tuple(target.index(name) for name in names)
    )


def mean_distance(predicted: Float[Tensor, "*B D"], target: Float[Tensor, "*B D"]) -> Tensor:
    """Mean Euclidean distance."""
    return torch.linalg.vector_norm(predicted - target, dim=-1).mean()


def trajectory_term(predicted_m: Float[Tensor, "B T 3"], target_m: Float[Tensor, "B T 3"]) -> Tensor:
    """Mean distance of the root in units of its true depth: far people count less, as their place is less certain.

    Raises:
        LifterInputError: if a true root is not in front of the camera.
    """
    depth_m = target_m[..., 2]
    if not bool((depth_m > 0).all()):
        raise LifterInputError(
            f"trajectory loss: wanted roots in front of the camera (z > 0 m), got depths down to "
            f"{float(depth_m.min()):.4g} m; drop poses behind the camera"
        )
    return (torch.linalg.vector_norm(predicted_m - target_m, dim=-1) / depth_m).mean()


def projection_term(
    joints_camera_m: Float[Tensor, "U T J 3"],
    target_screen: Float[Tensor, "U T J2 2"],
    intrinsics_screen: Float[Tensor, "U 9"],
    shared: SharedJoints,
    distortion: LensModel,
) -> Tensor:
    """Mean distance on the screen between projected poses and keypoints, over the joints that both have.

    As published, x/z and y/z are limited to [-1, 1]; then comes the lens.
    """
    if distortion == "none":
        keep = [0.0 if field in _LENS else 1.0 for field in SCREEN_FIELDS]
        intrinsics_screen = intrinsics_screen * intrinsics_screen.new_tensor(keep)
    chosen = joints_camera_m[..., list(shared.predicted), :]
    lens = "published" if distortion == "published" else "brown_conrady"
    projected = project_screen(chosen, intrinsics_screen[:, None], clamp=True, distortion=lens)
    return mean_distance(projected, target_screen[..., list(shared.target), :])


def bone_term(
    labelled_m: Float[Tensor, "B T J 3"], unlabelled_m: Float[Tensor, "U T J 3"], skeleton: Skeleton
) -> Tensor:
    """How far the mean bone lengths of the two halves of a batch are apart, mean over bones, metres."""
    known = bone_lengths_m(labelled_m, skeleton).mean((0, 1))
    guessed = bone_lengths_m(unlabelled_m, skeleton).mean((0, 1))
    return (known - guessed).abs().mean()
