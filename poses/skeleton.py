"""A skeleton as data: named joints, parents, mirror pairs, bone groups, body parts, feedback weights.

Joints are looked up by name. A bone is named by its child joint; bones stand in joint order (every joint but
the root). Index arrays are made once per skeleton; do not write to them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from poses.errors import PoseShapeError, SkeletonError
from poses.skeleton_checks import (
    ROOT_PARENT,
    check_bone_groups,
    check_pairs,
    check_tree,
    did_you_mean,
)
from poses.skeleton_files import read_skeleton_file, skeleton_fields, skeleton_names

__all__ = ["JointMap", "Skeleton", "joint_map", "load_skeleton", "skeleton_names"]


@dataclass(frozen=True)
class Skeleton:
    """Named joints in a tree, and everything that the rest of posemill must know about them.

    Args:
        name: Name of the skeleton, for instance "h36m_16".
        joints: Joint names in array order; canonical names are shared by all skeletons.
        parents: Index of each joint's parent; -1 for the one root.
        mirror_pairs: (left, right) joint names that change places when a pose is mirrored.
        bone_length_groups: Group name -> bones that share one length ratio; covers every bone once. If not
            given, left and right bones share a group and every other bone has its own.
        body_parts: Part name -> bones whose Gram matrix one discriminator branch sees; may overlap.
        frozen_direction_bones: Bones whose direction the augmentor leaves alone.
        frozen_length_bones: Bones whose length the augmentor leaves alone.
        feedback_groups: Group name -> joints whose errors are averaged for the error feedback.
        feedback_weights: One weight per joint for the error feedback.
        derived: Joint -> recipes, tried in order; a recipe is source joint -> weight. Used by `joint_map`.
        oks_sigmas: Per-joint constants of object keypoint similarity; empty where none are published.

    Raises:
        SkeletonError: if the parts contradict each other.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    bone_length_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    body_parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frozen_direction_bones: tuple[str, ...] = ()
    frozen_length_bones: tuple[str, ...] = ()
    feedback_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    feedback_weights: tuple[float, ...] = ()
    derived: Mapping[str, tuple[Mapping[str, float], ...]] = field(default_factory=dict)
    oks_sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.feedback_weights:
            object.__setattr__(self, "feedback_weights", (1.0,) * len(self.joints))
        if not self.bone_length_groups:
            object.__setattr__(self, "bone_length_groups", _mirrored_groups(self.bones, self.mirror_pairs))
        self._check()

    def __hash__(self) -> int:
        return hash((self.name, self.joints, self.parents))

    @property
    def n_joints(self) -> int:
        """Number of joints, J."""
        return len(self.joints)

    @property
    def n_bones(self) -> int:
        """Number of bones, K = J - 1."""
        return len(self.joints) - 1

    @property
    def n_bone_groups(self) -> int:
        """Number of bone-length groups."""
        return len(self.bone_length_groups)

    @cached_property
    def root_index(self) -> int:
        """Index of the root joint."""
        return self.parents.index(ROOT_PARENT)

    @cached_property
    def bones(self) -> tuple[str, ...]:
        """Bone names (their child joints) in joint order."""
        return tuple(
            joint for joint, parent in zip(self.joints, self.parents, strict=True) if parent != ROOT_PARENT
        )

    @cached_property
    def bone_child_index(self) -> np.ndarray:
        """(K,) int64: joint index of each bone's far end."""
        return _index_array([self.joints.index(bone) for bone in self.bones])

    @cached_property
    def bone_parent_index(self) -> np.ndarray:
        """(K,) int64: joint index of each bone's near end."""
        return _index_array([self.parents[child] for child in self.bone_child_index])

    @cached_property
    def mirror_index(self) -> np.ndarray:
        """(J,) int64: for each joint the joint that takes its place in the mirrored pose."""
        order = list(range(self.n_joints))
        for left, right in self.mirror_pairs:
            order[self.index(left)], order[self.index(right)] = self.index(right), self.index(left)
        return _index_array(order)

    @cached_property
    def bone_mirror_index(self) -> np.ndarray:
        """(K,) int64: for each bone the bone that takes its place in the mirrored pose."""
        return _index_array(
            [self.bone_index(self.joints[self.mirror_index[child]]) for child in self.bone_child_index]
        )

    @cached_property
    def bone_group_index(self) -> np.ndarray:
        """(K,) int64: index of each bone's length group, in the order of `bone_length_groups`."""
        group_of = {
            bone: group for group, bones in enumerate(self.bone_length_groups.values()) for bone in bones
        }
        return _index_array([group_of[bone] for bone in self.bones])

    def index(self, joint: str) -> int:
        """Array index of a joint; SkeletonError lists the joints if there is none of this name."""
        if joint not in self.joints:
            raise SkeletonError(
                f"skeleton {self.name!r} has no joint {joint!r}{did_you_mean(joint, self.joints)}; "
                f"its joints are {', '.join(self.joints)}"
            )
        return self.joints.index(joint)

    def indices(self, joints: Sequence[str]) -> np.ndarray:
        """(n,) int64 array indices of several joints."""
        return np.asarray([self.index(joint) for joint in joints], dtype=np.int64)

    def bone_index(self, bone: str) -> int:
        """Index of a bone among the K bones; the root joint is no bone."""
        if bone not in self.bones:
            raise SkeletonError(
                f"skeleton {self.name!r} has no bone {bone!r}{did_you_mean(bone, self.bones)}; a bone is named "
                f"by its child joint, its bones are {', '.join(self.bones)}"
            )
        return self.bones.index(bone)

    def bone_indices(self, bones: Sequence[str]) -> np.ndarray:
        """(n,) int64 indices of several bones."""
        return np.asarray([self.bone_index(bone) for bone in bones], dtype=np.int64)

    def part_bone_index(self, part: str) -> np.ndarray:
        """(n,) int64 bone indices of a body part."""
        if part not in self.body_parts:
            raise SkeletonError(
                f"skeleton {self.name!r} has no body part {part!r}; "
                f"its parts are {', '.join(self.body_parts) or '(none)'}"
            )
        return self.bone_indices(self.body_parts[part])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, parents by name, in the layout of the YAML files."""
        return {
            "name": self.name,
            "joints": {
                joint: None if parent == ROOT_PARENT else self.joints[parent]
                for joint, parent in zip(self.joints, self.parents, strict=True)
            },
            "mirror_pairs": [list(pair) for pair in self.mirror_pairs],
            "bone_length_groups": {name: list(bones) for name, bones in self.bone_length_groups.items()},
            "body_parts": {name: list(bones) for name, bones in self.body_parts.items()},
            "frozen_direction_bones": list(self.frozen_direction_bones),
            "frozen_length_bones": list(self.frozen_length_bones),
            "feedback_groups": {name: list(joints) for name, joints in self.feedback_groups.items()},
            "feedback_weights": dict(zip(self.joints, self.feedback_weights, strict=True)),
            "derived": {
                joint: [dict(recipe) for recipe in recipes] for joint, recipes in self.derived.items()
            },
            "oks_sigmas": dict(zip(self.joints, self.oks_sigmas, strict=True)) if self.oks_sigmas else {},
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Skeleton":
        """Inverse of `to_dict`; also what a skeleton YAML file holds."""
        return Skeleton(**skeleton_fields(values, where="skeleton dictionary"))

    def _check(self) -> None:
        check_tree(self.name, self.joints, self.parents)
        check_pairs(self.name, self.indices([joint for pair in self.mirror_pairs for joint in pair]))
        for bones in (*self.bone_length_groups.values(), *self.body_parts.values()):
            self.bone_indices(bones)
        check_bone_groups(self.name, self.bones, self.bone_length_groups)
        self.bone_indices((*self.frozen_direction_bones, *self.frozen_length_bones))
        for group in self.feedback_groups.values():
            self.indices(group)
        for label, numbers in (("feedback_weights", self.feedback_weights), ("oks_sigmas", self.oks_sigmas)):
            if numbers and len(numbers) != self.n_joints:
                raise SkeletonError(
                    f"skeleton {self.name!r}: {label} wants {self.n_joints} numbers, got {len(numbers)}"
                )


@lru_cache(maxsize=64)
def load_skeleton(name_or_yaml_path: str | Path) -> Skeleton:
    """A built-in skeleton by name (see `skeleton_names`), or one of your own by the path of its YAML file.

    Raises:
        SkeletonError: if there is no such skeleton or the file does not describe one.
    """
    values, where = read_skeleton_file(str(name_or_yaml_path))
    try:
        return Skeleton(**skeleton_fields(values, where))
    except SkeletonError as error:
        raise error if str(error).startswith(where) else SkeletonError(f"{where}: {error}") from error


@dataclass(frozen=True)
class JointMap:
    """A linear map from the joints of one skeleton to those of another; `weights` is (J_target, J_source)."""

    source: Skeleton
    target: Skeleton
    weights: np.ndarray

    @cached_property
    def source_index(self) -> np.ndarray:
        """(J_target,) source joint of every copied target joint; of a derived one its first source joint."""
        return self.weights.astype(bool).argmax(1)

    @cached_property
    def derived(self) -> tuple[tuple[int, tuple[tuple[int, float], ...]], ...]:
        """(target joint, ((source joint, weight), ...)) of every joint that is not a copy."""
        return tuple(
            (joint, tuple((int(at), float(row[at])) for at in np.flatnonzero(row)))
            for joint, row in enumerate(self.weights)
            if not (row.sum() == 1.0 and row.max() == 1.0 and np.count_nonzero(row) == 1)
        )

    def apply(self, joints: Any) -> Any:
        """Joints (..., J_source, D), numpy or torch, any frame or unit -> (..., J_target, D), same type.

        A NaN joint spoils only what is copied or derived from it.
        """
        if joints.shape[-2] != self.source.n_joints:
            raise PoseShapeError(
                f"joint map {self.source.name} -> {self.target.name} wants (..., {self.source.n_joints}, D), "
                f"got {tuple(joints.shape)}"
            )
        mapped = joints[..., self.source_index, :]
        for joint, recipe in self.derived:
            mapped[..., joint, :] = sum(joints[..., at, :] * weight for at, weight in recipe)
        return mapped


@lru_cache(maxsize=256)
def joint_map(source: Skeleton, target: Skeleton) -> JointMap:
    """How to read a pose of `source` as one of `target`: same names copied, the rest as `derived` says.

    Args:
        source: Skeleton of the poses at hand.
        target: Wanted skeleton; its `derived` recipes are tried in order and may use other derived joints.

    Raises:
        SkeletonError: names every target joint that can be neither copied nor derived.
    """
    known = dict(zip(source.joints, np.eye(source.n_joints), strict=True))
    found = {joint: _derive(joint, known, target, ()) for joint in target.joints}
    missing = [joint for joint, row in found.items() if row is None]
    if missing:
        raise SkeletonError(
            f"cannot map skeleton {source.name!r} to {target.name!r}: no {', '.join(missing)} in the source and no "
            f"recipe under 'derived' that its joints satisfy; the source joints are {', '.join(source.joints)}"
        )
    weights = np.stack([row for row in found.values() if row is not None])
    return JointMap(source, target, weights)


def _derive(
    joint: str, known: Mapping[str, np.ndarray], target: Skeleton, asking: tuple[str, ...]
) -> np.ndarray | None:
    """Weights of a joint over the source joints by its first recipe that works out; None if none does."""
    if joint in known:
        return known[joint]
    for recipe in target.derived.get(joint, ()) if joint not in asking else ():
        parts = {part: _derive(part, known, target, (*asking, joint)) for part in recipe}
        rows = [weight * row for (part, weight) in recipe.items() if (row := parts[part]) is not None]
        if len(rows) == len(recipe):
            return np.sum(rows, axis=0)
    return None


def _mirrored_groups(
    bones: Sequence[str], mirror_pairs: Sequence[tuple[str, str]]
) -> dict[str, tuple[str, ...]]:
    partner = {joint: pair for pair in mirror_pairs for joint in pair}
    groups: dict[str, tuple[str, ...]] = {}
    for bone in bones:
        pair = partner.get(bone, (bone,))
        members = tuple(joint for joint in pair if joint in bones)
        groups.setdefault(members[0].removeprefix("left_"), members)
    return groups


def _index_array(values: Sequence[int]) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)
