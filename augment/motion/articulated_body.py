"""From joint angles to joints: the articulated body behind the motion generator.

The body is a tree of nodes: the joints of h36m_17, the joints in between that carry a rotation of their own
(lumbar spine, neck base, shoulder girdles) and the points that may touch the floor (heels, toes, knees,
hands, seat, back, head). Local frames at rest: x to the body's left, y up, z forward.

Conventions of the angles: ISB (Wu et al. 2002, 2005): hip and knee as flexion about the parent's mediolateral
axis, then abduction, then rotation about the bone; the shoulder as plane of elevation, elevation, axial
rotation. The plane is turned back after the elevation, so that a hanging arm has no singular twist.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from augment.motion.anthropometry import Body
from augment.motion.channels import SIDES, channel_table
from poses.kinematics import forward_kinematics
from poses.rotations import rotation_about

# node -> parent, in an order in which parents come first; left and right are added from the sided table
_TRUNK_PARENTS = {
    "pelvis": None,
    "lumbar": "pelvis",
    "spine": "lumbar",
    "thorax": "spine",
    "cervical": "thorax",
    "neck_nose": "cervical",
    "head": "neck_nose",
    "upper_back": "thorax",
    "head_back": "neck_nose",
}
_SIDED_PARENTS = {
    "girdle": "thorax",
    "shoulder": "{}_girdle",
    "elbow": "{}_shoulder",
    "wrist": "{}_elbow",
    "fingers": "{}_wrist",
    "hip": "pelvis",
    "knee": "{}_hip",
    "ankle": "{}_knee",
    "heel": "{}_ankle",
    "toe": "{}_ankle",
    "kneecap": "{}_knee",
    "seat": "pelvis",
}
_CONTACT_KINDS = ("heel", "toe", "kneecap", "seat", "fingers")


def _node_parents() -> dict[str, str | None]:
    parents: dict[str, str | None] = dict(_TRUNK_PARENTS)
    for side in SIDES:
        parents |= {f"{side}_{name}": parent.format(side) for name, parent in _SIDED_PARENTS.items()}
    return parents


NODE_PARENTS = _node_parents()
NODES = tuple(NODE_PARENTS)
CONTACTS = (*(f"{side}_{kind}" for side in SIDES for kind in _CONTACT_KINDS), "upper_back", "head_back")
CONTACT_INDEX = np.array([NODES.index(name) for name in CONTACTS], dtype=np.int64)
_PARENT_INDEX = tuple(-1 if parent is None else NODES.index(parent) for parent in NODE_PARENTS.values())


def rest_offsets_m(body: Body) -> Float[np.ndarray, "N 3"]:
    """Offset of every node from its parent at rest (standing, arms hanging), metres, body frame."""
    size, stature = body.lengths_m, body.stature_m
    offsets: dict[str, tuple[float, float, float]] = {
        "spine": (0.0, size["spine"], -0.012 * stature),
        "thorax": (0.0, size["chest"], 0.004 * stature),
        "neck_nose": (0.0, size["neck"], 0.010 * stature),
        "head": (0.0, size["head"], 0.004 * stature),
        "upper_back": (0.0, 0.0, -0.060 * stature),
        "head_back": (0.0, 0.0, -0.050 * stature),
    }
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        offsets |= {
            f"{side}_shoulder": (sign * size["shoulder_half"], size["shoulder_rise"], -0.004 * stature),
            f"{side}_elbow": (0.0, -size["upper_arm"], 0.0),
            f"{side}_wrist": (0.0, -size["forearm"], 0.0),
            f"{side}_fingers": (0.0, -size["hand"], 0.0),
            f"{side}_hip": (sign * size["hip_half"], 0.0, 0.0),
            f"{side}_knee": (0.0, -size["thigh"], 0.0),
            f"{side}_ankle": (0.0, -size["shank"], 0.0),
            f"{side}_heel": (0.0, -size["ankle_height"], -size["heel"]),
            f"{side}_toe": (0.0, -size["ankle_height"], size["toe"]),
            f"{side}_kneecap": (0.0, -0.02 * stature, 0.028 * stature),
            f"{side}_seat": (sign * 0.035 * stature, -0.050 * stature, -0.045 * stature),
        }
    return np.array([offsets.get(name, (0.0, 0.0, 0.0)) for name in NODES], dtype=np.float64)


def nodes_around_pelvis_m(
    angles_deg: Float[np.ndarray, "T C"], body: Body
) -> tuple[Float[np.ndarray, "T N 3"], Float[np.ndarray, "T 3 3"]]:
    """All nodes of the body, pelvis at the origin, axes of the world (y up).

    Args:
        angles_deg: Joint angles, in the order of `channel_table().names`.
        body: Whose body.

    Returns:
        Node positions in metres in the order of `NODES`, and the pelvis' rotation.
    """
    rotations = _local_rotations(np.deg2rad(angles_deg))
    joints, _ = forward_kinematics(
        torch.from_numpy(rotations), torch.from_numpy(rest_offsets_m(body))[None], _PARENT_INDEX
    )
    return joints.numpy(), rotations[:, 0]


def _local_rotations(angles_rad: np.ndarray) -> np.ndarray:
    """Local rotation of every node, (T, N, 3, 3); nodes without a joint of their own keep the identity."""
    column = {name: angles_rad[:, index] for index, name in enumerate(channel_table().names)}
    rotations = np.zeros((len(angles_rad), len(NODES), 3, 3))
    rotations[:] = np.eye(3)
    turned = _trunk_rotations(column)
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        own = {
            name.removeprefix(f"{side}_"): values for name, values in column.items() if name.startswith(side)
        }
        turned |= {f"{side}_{name}": rotation for name, rotation in _limb_rotations(own, sign).items()}
    for node, rotation in turned.items():
        rotations[:, NODES.index(node)] = rotation
    return rotations


def _trunk_rotations(column: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pelvis, spine and neck: flexion, then side bending, then rotation."""
    turned = {
        "pelvis": _about("y", column["pelvis_yaw"])
        @ _about("x", column["pelvis_pitch"])
        @ _about("z", -column["pelvis_list"])
    }
    for node, name in (
        ("lumbar", "lumbar"),
        ("spine", "thoracic"),
        ("cervical", "cervical"),
        ("neck_nose", "head"),
    ):
        turned[node] = (
            _about("x", column[f"{name}_flexion"])
            @ _about("z", -column[f"{name}_side"])
            @ _about("y", column[f"{name}_rotation"])
        )
    return turned


def _limb_rotations(own: dict[str, np.ndarray], sign: float) -> dict[str, np.ndarray]:
    """Arm and leg of one side; `sign` is 1 on the left, -1 on the right."""
    plane = -sign * own["shoulder_plane"]
    return {
        "girdle": _about("z", sign * own["girdle_elevation"])
        @ _about("y", -sign * own["girdle_protraction"]),
        "shoulder": _about("x", -own["shoulder_swing"])
        @ _about("y", plane)
        @ _about("z", sign * own["shoulder_elevation"])
        @ _about("y", -plane - sign * own["shoulder_rotation"]),
        "elbow": _about("x", -own["elbow_flexion"]),
        "hip": _about("x", -own["hip_flexion"])
        @ _about("z", sign * own["hip_abduction"])
        @ _about("y", -sign * own["hip_rotation"]),
        "knee": _about("x", own["knee_flexion"]),
        "ankle": _about("x", -own["ankle_dorsiflexion"]),
    }


def _about(axis: Literal["x", "y", "z"], angle_rad: np.ndarray) -> np.ndarray:
    """Rotation matrices (T, 3, 3) about one axis, right-handed."""
    return rotation_about(axis, torch.from_numpy(np.ascontiguousarray(angle_rad))).numpy()
