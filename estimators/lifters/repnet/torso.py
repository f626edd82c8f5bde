"""The frame that RepNet's 3D poses live in: aligned by hips and shoulders to an upright body before the camera.

The paper aligns its 3D poses to a template by the rotation and scale that fit hips and shoulders best, and
subtracts their centre; the view is left to the camera network. Axes are those of a camera in front of the
body: x right, y down, z away from the camera, metres. The pose's centre is the mean of its joints, because 2D
is centred that way too.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from estimators.lifters.repnet.settings import TorsoSettings
from poses.errors import SkeletonError
from poses.skeleton import Skeleton

TORSO_JOINTS = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
_SMALLEST_TORSO_M2 = 1e-8


@dataclass(frozen=True)
class AlignedPoses:
    """Poses in the body's frame, and the way back: original = rotation^T aligned / scale + centre.

    Args:
        joints_m: Aligned poses, centred on the mean of their joints.
        rotation: Body frame from the original one.
        scale: Aligned size over original size; 1 where scale is not aligned.
    """

    joints_m: Float[Tensor, "B J 3"]
    rotation: Float[Tensor, "B 3 3"]
    scale: Float[Tensor, " B"]


def align_to_torso(
    joints_m: Float[Tensor, "B J 3"], skeleton: Skeleton, torso: TorsoSettings | None = None
) -> AlignedPoses:
    """Turn (and scale) poses so that hips and shoulders fit the torso best, and centre them. In float64.

    Raises:
        SkeletonError: if the skeleton has no hips or shoulders.
    """
    chosen = torso or TorsoSettings()
    index, template = torso_template(skeleton, chosen.hip_width_m, chosen.shoulder_width_m, chosen.height_m)
    joints = joints_m.double()
    points = joints[:, index.to(joints_m.device)]
    points = points - points.mean(1, keepdim=True)
    wanted = template.to(joints_m.device)
    left, singular, right = torch.linalg.svd(points.transpose(1, 2) @ wanted)
    flip = torch.ones_like(singular)
    flip[:, 2] = torch.where(torch.linalg.det(left @ right) < 0, -1.0, 1.0).to(flip)
    rotation = ((left * flip[:, None, :]) @ right).transpose(1, 2)
    spread = points.square().sum((1, 2)).clamp_min(_SMALLEST_TORSO_M2)
    scale = (singular * flip).sum(1) / spread if chosen.align_scale else torch.ones_like(spread)
    centred = joints - joints.mean(1, keepdim=True)
    aligned = scale[:, None, None] * (centred @ rotation.transpose(1, 2))
    return AlignedPoses(aligned.to(joints_m.dtype), rotation.to(joints_m.dtype), scale.to(joints_m.dtype))


@lru_cache(maxsize=64)
def torso_template(
    skeleton: Skeleton, hip_width_m: float, shoulder_width_m: float, height_m: float
) -> tuple[Tensor, Tensor]:
    """(4,) joint indices and their (4, 3) float64 places, centred; cached, do not write to them."""
    missing = [joint for joint in TORSO_JOINTS if joint not in skeleton.joints]
    if missing:
        raise SkeletonError(
            f"RepNet aligns 3D poses by {', '.join(TORSO_JOINTS)}; skeleton {skeleton.name!r} lacks "
            f"{', '.join(missing)}; map the poses to one that has them with poses.skeleton.joint_map"
        )
    with torch.inference_mode(False):
        hip, shoulder = hip_width_m / 2, shoulder_width_m / 2
        places = {
            "left_hip": (hip, 0.0, 0.0),
            "right_hip": (-hip, 0.0, 0.0),
            "left_shoulder": (shoulder, -height_m, 0.0),
            "right_shoulder": (-shoulder, -height_m, 0.0),
        }
        template = torch.tensor([places[joint] for joint in TORSO_JOINTS], dtype=torch.float64)
        return torch.as_tensor(skeleton.indices(TORSO_JOINTS)), template - template.mean(0)
