"""Acclaim skeleton files (ASF): the bones that an AMC file moves.

A bone has a rest direction and length in the world frame and its own axes C; a motion matrix M about these
axes turns the bone by C M C^T. The last axis of an order stands leftmost: "XYZ" is Rz Ry Rx. Joint limits,
skin and the bones' masses are not read. In `SkeletalMotion` a joint is the far end of the bone of that name.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from storage.errors import ImporterError
from storage.importers.skeletal_motion import AXES, NO_PARENT

INCH_M = 0.0254
ROOT = "root"
MAX_BONES = 2_000
DOF_NAMES = ("rx", "ry", "rz", "tx", "ty", "tz", "l")


@dataclass
class AsfBone:
    """One bone, or the root: rest vector in file units, its axes, degrees of freedom in AMC order."""

    name: str
    direction: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    length: float = 0.0
    axis: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    axis_order: str = "xyz"
    dof: tuple[str, ...] = ()


@dataclass(frozen=True)
class AsfSkeleton:
    """Bones in parent-before-child order, the root first.

    Args:
        bones: The root and every bone that hangs on it.
        parents: Index of each bone's parent, -1 for the root.
        unit_m: Metres per file unit: an inch over the file's `length` (0.45 at CMU and HDM05).
        angle_scale: Radians per unit of the file's angles.
        root_position: (3,) added to the root's translation, file units.
    """

    bones: tuple[AsfBone, ...]
    parents: tuple[int, ...]
    unit_m: float
    angle_scale: float
    root_position: np.ndarray

    @cached_property
    def rest_rotations(self) -> list[np.ndarray | None]:
        """Each bone's axes C, (3,3); None where they are the world's."""
        rotations: list[np.ndarray | None] = []
        for bone in self.bones:
            if not any(bone.axis):
                rotations.append(None)
                continue
            matrix = np.eye(3)
            for axis in bone.axis_order:
                matrix = _rotation(axis, bone.axis[AXES.index(axis)] * self.angle_scale) @ matrix
            rotations.append(matrix)
        return rotations


def read_asf(text: str, where: str) -> AsfSkeleton:
    """The skeleton of an ASF file's text.

    Raises:
        ImporterError: with line, wanted and got.
    """
    sections = _sections(text, where)
    units = {words[0].lower(): words[1:] for _, words in sections.get("units", [])}
    root, root_position = _read_root(sections.get("root", []), where)
    bones = {ROOT: root} | _read_bones(sections.get("bonedata", []), where)
    parent_of = _read_hierarchy(sections.get("hierarchy", []), bones, where)
    ordered = [ROOT]
    for name in ordered:  # breadth first; grows while it runs
        ordered += [child for child, parent in parent_of.items() if parent == name]
    stray = [name for name in bones if name not in ordered]
    if stray:
        raise ImporterError(f"{where}: bones {', '.join(stray)} do not hang on the root in :hierarchy")
    length = _one_number(units.get("length", ["1"]), f"{where}: :units length")
    if not length > 0:
        raise ImporterError(f"{where}: :units length wants a number above 0, got {length}")
    return AsfSkeleton(
        bones=tuple(bones[name] for name in ordered),
        parents=tuple(NO_PARENT if name == ROOT else ordered.index(parent_of[name]) for name in ordered),
        unit_m=INCH_M / length,
        angle_scale=1.0
        if " ".join(units.get("angle", ["deg"])).lower().startswith("rad")
        else math.pi / 180.0,
        root_position=root_position,
    )


def _sections(text: str, where: str) -> dict[str, list[tuple[int, list[str]]]]:
    """Section name -> (line number, words) of its lines, what stands on the ':name' line among them."""
    sections: dict[str, list[tuple[int, list[str]]]] = {}
    current: list[tuple[int, list[str]]] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
            words = words[1:]
        elif current is None:
            raise ImporterError(
                f"{where}: line {number}: wanted a ':section', got {line.strip()[:40]!r}; no ASF file"
            )
        if words and current is not None:
            current.append((number, words))
    for wanted in (ROOT, "bonedata", "hierarchy"):
        if wanted not in sections:
            raise ImporterError(f"{where}: no :{wanted} section; it is no ASF file, or truncated")
    return sections


def _read_root(lines: list[tuple[int, list[str]]], where: str) -> tuple[AsfBone, np.ndarray]:
    root = AsfBone(ROOT, dof=("tx", "ty", "tz", "rx", "ry", "rz"))
    position = np.zeros(3)
    for number, words in lines:
        key = words[0].lower()
        if key == "order":
            root.dof = _dof(words[1:], f"{where}: line {number}: root order")
        elif key == "axis":
            root.axis_order = _axis_order(words[-1], f"{where}: line {number}: root axis")
        elif key == "position":
            position = np.array(_numbers(words[1:4], 3, f"{where}: line {number}: root position"))
        elif key == "orientation":
            root.axis = _numbers(words[1:4], 3, f"{where}: line {number}: root orientation")
    return root, position


def _read_bones(lines: list[tuple[int, list[str]]], where: str) -> dict[str, AsfBone]:
    bones: dict[str, AsfBone] = {}
    bone: AsfBone | None = None
    for number, words in lines:
        at = f"{where}: line {number}"
        key = words[0].lower()
        if key == "begin":
            if bone is not None or len(bones) >= MAX_BONES:
                raise ImporterError(
                    f"{at}: 'begin' inside a bone, or more than {MAX_BONES} bones; the file is damaged"
                )
            bone = AsfBone("")
        elif bone is None:
            raise ImporterError(f"{at}: wanted 'begin' of a bone, got {words[0]!r}")
        elif key == "end":
            if not bone.name or bone.name in bones or bone.name == ROOT:
                raise ImporterError(
                    f"{at}: the bone that ends here wants a name of its own, got {bone.name!r}"
                )
            bones[bone.name] = bone
            bone = None
        else:
            _read_bone_line(bone, key, words[1:], at)
    if bone is not None:
        raise ImporterError(f"{where}: bone {bone.name!r} has no 'end'; the file is truncated")
    return bones


def _read_bone_line(bone: AsfBone, key: str, words: list[str], at: str) -> None:
    if key == "name":
        bone.name = words[0] if words else ""
    elif key == "direction":
        bone.direction = _numbers(words, 3, f"{at}: direction")
    elif key == "length":
        bone.length = _one_number(words, f"{at}: length")
    elif key == "axis":
        bone.axis = _numbers(words[:3], 3, f"{at}: axis")
        bone.axis_order = _axis_order(words[3] if len(words) > 3 else "XYZ", f"{at}: axis order")
    elif key == "dof":
        bone.dof = _dof(words, f"{at}: dof")
    # id, limits (also their continuation lines), bodymass, cofmass: not needed for kinematics


def _read_hierarchy(
    lines: list[tuple[int, list[str]]], bones: dict[str, AsfBone], where: str
) -> dict[str, str]:
    parent_of: dict[str, str] = {}
    for number, words in lines:
        if words[0].lower() in ("begin", "end"):
            continue
        for name in words:
            if name not in bones:
                raise ImporterError(f"{where}: line {number}: :hierarchy names the unknown bone {name!r}")
        for child in words[1:]:
            if child in parent_of or child == ROOT:
                raise ImporterError(f"{where}: line {number}: bone {child!r} has two parents in :hierarchy")
            parent_of[child] = words[0]
    return parent_of


def _dof(words: list[str], at: str) -> tuple[str, ...]:
    names = tuple(word.lower() for word in words)
    unknown = [name for name in names if name not in DOF_NAMES]
    if unknown or len(set(names)) != len(names):
        raise ImporterError(
            f"{at}: wants different names out of {', '.join(DOF_NAMES)}, got {' '.join(words)!r}"
        )
    return names


def _axis_order(word: str, at: str) -> str:
    if sorted(word.lower()) != list(AXES):
        raise ImporterError(f"{at}: wants an order of X, Y and Z, got {word!r}")
    return word.lower()


def _numbers(words: list[str], count: int, at: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise ImporterError(f"{at} wants {count} number{'s' * (count > 1)}, got {' '.join(words)[:60]!r}")
    return values


def _one_number(words: list[str], at: str) -> float:
    return _numbers(words[:1], 1, at)[0]


def _rotation(axis: str, angle_rad: float) -> np.ndarray:
    matrix = np.eye(3)
    i = AXES.index(axis)
    j, k = (i + 1) % 3, (i + 2) % 3
    matrix[j, j] = matrix[k, k] = math.cos(angle_rad)
    matrix[k, j] = math.sin(angle_rad)
    matrix[j, k] = -matrix[k, j]
    return matrix
