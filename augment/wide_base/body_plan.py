"""Which bones are limbs, chest and pelvis: the roles that the wide base needs, found by joint name."""

from dataclasses import dataclass

import numpy as np

from augment.errors import AugmentError
from poses.skeleton import Skeleton


@dataclass(frozen=True)
class Limb:
    """Two bones with a hinge between them; `side` is +1 on the subject's left, -1 on the right."""

    name: str
    upper: int
    lower: int
    side: int
    on_chest: bool


@dataclass(frozen=True)
class BodyPlan:
    """Bone indices by role. Bones of the chest move with it; the others move with the pelvis."""

    skeleton: Skeleton
    limbs: tuple[Limb, ...]
    chest_bones: np.ndarray
    pelvis_bones: np.ndarray
    torso_pelvis_bones: np.ndarray
    hips: tuple[int, int]
    clavicles: tuple[int, int]
    axial: np.ndarray
    head: int
    left_hip: int
    right_hip: int
    left_shoulder: int
    right_shoulder: int
    spine: int
    thorax: int


_LIMB_JOINTS = (
    ("right_leg", "right_knee", "right_ankle", -1, False),
    ("left_leg", "left_knee", "left_ankle", 1, False),
    ("left_arm", "left_elbow", "left_wrist", 1, True),
    ("right_arm", "right_elbow", "right_wrist", -1, True),
)


def body_plan(skeleton: Skeleton) -> BodyPlan:
    """The roles of a skeleton's bones.

    Raises:
        AugmentError: if the skeleton lacks a joint that the wide base needs.
    """
    needed = ["left_hip", "right_hip", "left_shoulder", "right_shoulder", "spine", "thorax", "head"]
    needed += [joint for _, upper, lower, _, _ in _LIMB_JOINTS for joint in (upper, lower)]
    missing = [joint for joint in needed if joint not in skeleton.joints]
    if missing:
        raise AugmentError(
            f"skeleton {skeleton.name!r} has no {', '.join(missing)}; the wide base needs {', '.join(needed)};"
            " map the poses to h36m_16 first, or use another augmentor"
        )
    thorax = skeleton.index("thorax")
    chest = [bone for bone in skeleton.bones if _hangs_on(skeleton, bone, thorax)]
    pelvis = [bone for bone in skeleton.bones if bone not in chest]
    bone = skeleton.bone_index
    return BodyPlan(
        skeleton=skeleton,
        limbs=tuple(Limb(n, bone(u), bone(lo), side, top) for n, u, lo, side, top in _LIMB_JOINTS),
        chest_bones=skeleton.bone_indices([*chest]),
        pelvis_bones=skeleton.bone_indices([*pelvis]),
        torso_pelvis_bones=skeleton.bone_indices([b for b in ("spine", "thorax") if b in pelvis]),
        hips=(bone("right_hip"), bone("left_hip")),
        clavicles=(bone("right_shoulder"), bone("left_shoulder")),
        axial=skeleton.bone_indices(["spine", "thorax", "head"]),
        head=bone("head"),
        left_hip=skeleton.index("left_hip"),
        right_hip=skeleton.index("right_hip"),
        left_shoulder=skeleton.index("left_shoulder"),
        right_shoulder=skeleton.index("right_shoulder"),
        spine=skeleton.index("spine"),
        thorax=thorax,
    )


def _hangs_on(skeleton: Skeleton, bone: str, joint: int) -> bool:
    """True for the bone that ends in `joint` and for all bones past it."""
    at = skeleton.index(bone)
    while at >= 0:
        if at == joint:
            return True
        at = skeleton.parents[at]
    return False
