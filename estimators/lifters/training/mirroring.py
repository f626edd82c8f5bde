"""What a mirrored image makes of roots and cameras, and test-time flips; poses: `poses.kinematics.mirror_joints`."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from poses.cameras import SCREEN_FIELDS
from poses.kinematics import mirror_joints
from poses.skeleton import Skeleton

_TURNED = ("cx", "p1")
"""Intrinsics that change sign: the centre's x, and the tangential term that pulls along x."""


def mirror_root(root_camera_m: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
    """The root's place in camera axes, x negated."""
    return root_camera_m * root_camera_m.new_tensor([-1.0, 1.0, 1.0])


def mirror_intrinsics(intrinsics_screen: Float[Tensor, "*B 9"]) -> Float[Tensor, "*B 9"]:
    """The camera that sees a mirrored person where the mirrored image has it: cx and p1 negated."""
    signs = [-1.0 if field in _TURNED else 1.0 for field in SCREEN_FIELDS]
    return intrinsics_screen * intrinsics_screen.new_tensor(signs)


def mean_of_both(
    lift: Callable[[Tensor], Tensor],
    keypoints_screen: Float[Tensor, "*B J C"],
    keypoint_skeleton: Skeleton,
    skeleton: Skeleton,
) -> Tensor:
    """Test-time flip: the mean of a prediction and of the mirrored prediction of the mirrored input.

    A third channel of the keypoints, the confidence, moves with its joint.
    """
    restored = mirror_joints(lift(mirror_joints(keypoints_screen, keypoint_skeleton)), skeleton)
    return 0.5 * (lift(keypoints_screen) + restored)
