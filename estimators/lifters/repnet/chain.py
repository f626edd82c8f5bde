"""The kinematic chain space: bone vectors as differences of joints, and their Gram matrix psi.

B = X C holds one difference of two joints per column of C (J, K), and psi = B^T B their scalar products
(Wandt and Rosenhahn, CVPR 2019, section 3.2). Source of the published matrix: specs/lifters.md 1.4. It hangs
the shoulders on the spine and has no bone from the pelvis to the left hip; until 2020-10-23 the bone between
the hips was the sum of the two joints instead of their difference, and weights from before that day expect
it.
"""

from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from poses.errors import SkeletonError
from poses.skeleton import Skeleton

ChainKind = Literal["skeleton", "published", "published_pre_2020"]

PUBLISHED_JOINTS = (
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("pelvis", "spine", "thorax", "head"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
)
"""Joint order of the published weights."""

PUBLISHED_CHAIN = (
    *(("right_hip", "right_knee"), ("right_knee", "right_ankle")),
    *(("left_hip", "left_knee"), ("left_knee", "left_ankle")),
    *(("pelvis", "spine"), ("spine", "thorax"), ("thorax", "head")),
    *(("spine", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")),
    *(("spine", "right_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist")),
    *(("right_hip", "left_hip"), ("right_hip", "pelvis")),
)
"""(from, to) of every column of the published matrix."""

_SUMMED_BEFORE_2020 = ("right_hip", "left_hip")
"""The bone that was a sum, and so depended on where the person stood."""


def chain_bones(skeleton: Skeleton, kind: ChainKind) -> tuple[tuple[str, str], ...]:
    """(from, to) joint names of every column of the chain matrix.

    Raises:
        SkeletonError: if a published chain is asked for and the skeleton lacks one of its joints.
    """
    if kind == "skeleton":
        parents = [skeleton.joints[parent] for parent in skeleton.bone_parent_index]
        return tuple(zip(parents, skeleton.bones, strict=True))
    missing = [joint for joint in PUBLISHED_JOINTS if joint not in skeleton.joints]
    if missing:
        raise SkeletonError(
            f"RepNet's {kind} chain wants the joints {', '.join(PUBLISHED_JOINTS)}; skeleton {skeleton.name!r} lacks "
            f"{', '.join(missing)}; use chain 'skeleton', or map the poses with poses.skeleton.joint_map"
        )
    return PUBLISHED_CHAIN


@lru_cache(maxsize=64)
def chain_matrix(skeleton: Skeleton, kind: ChainKind = "skeleton") -> Float[Tensor, "J K"]:
    """C: +1 where a bone begins, -1 where it ends; cached, do not write to it."""
    with torch.inference_mode(False):
        bones = chain_bones(skeleton, kind)
        matrix = torch.zeros(skeleton.n_joints, len(bones))
        for column, (start, stop) in enumerate(bones):
            is_sum = kind == "published_pre_2020" and (start, stop) == _SUMMED_BEFORE_2020
            matrix[skeleton.index(start), column] = 1.0
            matrix[skeleton.index(stop), column] = 1.0 if is_sum else -1.0
        return matrix


def chain_gram(bones: Float[Tensor, "B 3 K"]) -> Float[Tensor, "B K K"]:
    """psi = B^T B."""
    return bones.transpose(1, 2) @ bones
