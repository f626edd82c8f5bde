"""RepNet's weak-perspective camera: a 2 x 3 matrix K that turns a pose into its normalised image.

K should be a scaled rotation without its last row: s [r1; r2]. Source: Wandt and Rosenhahn, CVPR 2019,
section 3.3; specs/lifters.md 1.4 for the code's distances.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

_FLOOR = 1e-12

Distance = Literal["sum_abs", "frobenius"]


@dataclass(frozen=True)
class CameraParts:
    """What is nearest to K among scaled rotations.

    Args:
        scale: s, normalised image units per metre.
        rotation: Camera from pose, a proper rotation whose first two rows are r1 and r2.
    """

    scale: Float[Tensor, " B"]
    rotation: Float[Tensor, "B 3 3"]


def reproject(camera: Float[Tensor, "B 2 3"], joints_m: Float[Tensor, "B J 3"]) -> Float[Tensor, "B J 2"]:
    """K x of every joint."""
    return joints_m @ camera.transpose(1, 2)


def camera_parts(camera: Float[Tensor, "B 2 3"]) -> CameraParts:
    """Scale and rotation of a camera: the polar factor of K, its third row the cross product of the first two.

    Differentiable wherever the rows of K are independent; a camera of rank 1 or 0 gives finite numbers without
    meaning.
    """
    gram = camera @ camera.transpose(1, 2)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)
    determinant = (gram[:, 0, 0] * gram[:, 1, 1] - gram[:, 0, 1] * gram[:, 1, 0]).clamp_min(_FLOOR**2)
    root_determinant = determinant.sqrt()
    singular_sum = (trace + 2 * root_determinant).clamp_min(_FLOOR).sqrt()
    identity = torch.eye(2, dtype=camera.dtype, device=camera.device)
    root = (gram + root_determinant[:, None, None] * identity) / singular_sum[:, None, None]
    # The inverse of a symmetric 2 x 2 matrix is (trace I - matrix) / determinant, and sqrt(M) has det sqrt(det M).
    adjugate = singular_sum[:, None, None] * identity - root
    rows = (adjugate / root_determinant[:, None, None]) @ camera
    third = torch.linalg.cross(rows[:, 0], rows[:, 1], dim=-1)
    return CameraParts(singular_sum / 2, torch.cat([rows, third[:, None]], dim=1))


def camera_loss(camera: Float[Tensor, "B 2 3"], distance: Distance = "sum_abs") -> Float[Tensor, " B"]:
    """How far K is from a scaled rotation: |2 / trace(K K^T) K K^T - I|, summed or as a Frobenius norm."""
    gram = camera @ camera.transpose(1, 2)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)
    identity = torch.eye(2, dtype=camera.dtype, device=camera.device)
    difference = 2 / trace[:, None, None] * gram - identity
    if distance == "sum_abs":
        return difference.abs().sum((1, 2))
    return _norm(difference.flatten(1))


def reprojection_loss(
    keypoints: Float[Tensor, "B J 2"],
    reprojected: Float[Tensor, "B J 2"],
    weight: Float[Tensor, "*B J"],
    distance: Distance = "sum_abs",
) -> Float[Tensor, " B"]:
    """Distance of a pose's image from its keypoints.

    Args:
        keypoints: Normalised keypoints. reprojected: `reproject` of the pose. weight: Of each joint, in each
        row or in all. distance: "sum_abs": sum of weight |difference| over 2 J, as the code has it;
        "frobenius": the norm of the
            weighted differences (the paper, which has no weights).
    """
    difference = (keypoints - reprojected) * weight[..., None]
    if distance == "sum_abs":
        return (
            difference.abs().sum((1, 2)) / difference[0].numel() if len(difference) else keypoints.sum((1, 2))
        )
    return _norm(difference.flatten(1))


def centre_on_available(
    joints_m: Float[Tensor, "B J 3"], availability: Float[Tensor, "B J"]
) -> Float[Tensor, "B J 3"]:
    """Move poses so that the mean of their available joints is where the mean of all was.

    Keypoints are centred by the joints that were seen, poses by all; without this the two would be apart.
    """
    weight = (availability > 0).to(joints_m.dtype)[..., None]
    seen = (joints_m * weight).sum(1) / weight.sum(1).clamp_min(1.0)
    return joints_m - (seen - joints_m.mean(1))[:, None]


def _norm(flat: Tensor) -> Tensor:
    return flat.square().sum(1).clamp_min(_FLOOR**2).sqrt()
