"""Skeletons from YAML: the built-in ones by name, anybody's own by path.

A file looks like poses/skeletons/h36m_16.yaml: `joints` maps each joint to its parent (null for the root),
and everything else is optional. Any file of that layout can be passed to `load_skeleton`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from poses.errors import SkeletonError
from poses.safe_yaml import load_plain_yaml
from poses.skeleton_checks import ROOT_PARENT, did_you_mean

SKELETON_FOLDER = Path(__file__).parent / "skeletons"
KNOWN_KEYS = (
    "name",
    "joints",
    "mirror_pairs",
    "bone_length_groups",
    "body_parts",
    "frozen_direction_bones",
    "frozen_length_bones",
    "feedback_groups",
    "feedback_weights",
    "derived",
    "oks_sigmas",
)


def skeleton_names() -> tuple[str, ...]:
    """Names of the built-in skeletons, sorted."""
    return tuple(sorted(path.stem for path in SKELETON_FOLDER.glob("*.yaml")))


def read_skeleton_file(name_or_yaml_path: str) -> tuple[Any, str]:
    """The plain values of a built-in skeleton (by name) or of a .yaml file (by path), and where they stand."""
    if name_or_yaml_path in skeleton_names():
        path = SKELETON_FOLDER / f"{name_or_yaml_path}.yaml"
    elif name_or_yaml_path.endswith((".yaml", ".yml")):
        path = Path(name_or_yaml_path)
    else:
        raise SkeletonError(
            f"no skeleton {name_or_yaml_path!r}; built in are {', '.join(skeleton_names())}; "
            "or give the path of a .yaml file with your own"
        )
    try:
        return load_plain_yaml(path.read_text(encoding="utf-8")), str(path)
    except OSError as error:
        raise SkeletonError(f"{path}: cannot read the skeleton file: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SkeletonError(f"{path}: not valid YAML: {error}") from error


def skeleton_fields(values: Any, where: str) -> dict[str, Any]:
    """Arguments of `Skeleton` from the plain values of a YAML file or of `to_dict`; errors begin with `where`."""
    if (
        not isinstance(values, Mapping)
        or "name" not in values
        or not isinstance(values.get("joints"), Mapping)
    ):
        raise SkeletonError(
            f"{where}: wanted a mapping with 'name' and 'joints' (joint: parent), got {_brief(values)}"
        )
    for key in values:
        if key not in KNOWN_KEYS:
            hint = did_you_mean(str(key), KNOWN_KEYS) or f"; known keys are {', '.join(KNOWN_KEYS)}"
            raise SkeletonError(f"{where}: unknown key {key!r}{hint}")
    try:
        return _fields(values)
    except SkeletonError as error:
        raise SkeletonError(f"{where}: {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise SkeletonError(
            f"{where}: a value has the wrong form ({error}); compare with poses/skeletons/h36m_16.yaml"
        ) from error


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    joints = tuple(str(joint) for joint in values["joints"])
    return {
        "name": str(values["name"]),
        "joints": joints,
        "parents": _parents(values["joints"], joints),
        "mirror_pairs": tuple((str(left), str(right)) for left, right in values.get("mirror_pairs") or ()),
        "bone_length_groups": _name_lists(values, "bone_length_groups"),
        "body_parts": _name_lists(values, "body_parts"),
        "frozen_direction_bones": tuple(values.get("frozen_direction_bones") or ()),
        "frozen_length_bones": tuple(values.get("frozen_length_bones") or ()),
        "feedback_groups": _name_lists(values, "feedback_groups"),
        "feedback_weights": _per_joint(values, "feedback_weights", joints, default=1.0),
        "derived": {
            str(joint): tuple({str(k): float(w) for k, w in recipe.items()} for recipe in recipes)
            for joint, recipes in (values.get("derived") or {}).items()
        },
        "oks_sigmas": _per_joint(values, "oks_sigmas", joints, None) if values.get("oks_sigmas") else (),
    }


def _parents(parent_of: Mapping[str, str | None], joints: tuple[str, ...]) -> tuple[int, ...]:
    parents = []
    for joint in joints:
        parent = parent_of[joint]
        if parent is not None and parent not in joints:
            raise SkeletonError(
                f"joint {joint!r} has the unknown parent {parent!r}; the joints are {', '.join(joints)}"
            )
        parents.append(ROOT_PARENT if parent is None else joints.index(parent))
    return tuple(parents)


def _name_lists(values: Mapping[str, Any], key: str) -> dict[str, tuple[str, ...]]:
    return {str(name): tuple(members) for name, members in (values.get(key) or {}).items()}


def _per_joint(
    values: Mapping[str, Any], key: str, joints: tuple[str, ...], default: float | None
) -> tuple[float, ...]:
    given = values.get(key) or {}
    unknown = [joint for joint in given if joint not in joints]
    missing = [joint for joint in joints if joint not in given] if default is None else []
    if unknown or missing:
        raise SkeletonError(
            f"{key} wants the skeleton's joints; unknown: {', '.join(unknown) or 'none'}; "
            f"missing: {', '.join(missing) or 'none'}"
        )
    return tuple(float(given.get(joint, default)) for joint in joints)


def _brief(values: Any) -> str:
    return (
        f"{type(values).__name__} with {', '.join(map(str, values))}"
        if isinstance(values, Mapping)
        else repr(values)[:80]
    )
