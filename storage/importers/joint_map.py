"""How the joints of a source skeleton become the joints of ours, as data: joint_maps/*.yaml, or a file of
yours.

A map names one source per target joint:
    left_knee: LeftLeg                                            the joint of that name
    left_knee: [LeftKnee, LeftLowLeg]                             the first of these that the file has
    pelvis: {mean: [LeftUpLeg, RightUpLeg]}                       the middle of several
    head: {extend: {start: neck, through: head, by_m: 0.16}}      beyond `through`, on the line from `start`
A BVH End Site is called <parent>_end; an ASF bone's name stands for its far end.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from poses.safe_yaml import load_plain_yaml
from poses.skeleton import Skeleton, load_skeleton
from storage.errors import ImporterError

MAP_FOLDER = Path(__file__).parent / "joint_maps"
Name = str | tuple[str, ...]
PositiveM = Annotated[float, Field(gt=0)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mean(_Settings):
    """The middle of several source joints."""

    mean: tuple[Name, ...] = Field(min_length=1)


class Line(_Settings):
    """A point `by_m` metres beyond `through`, seen from `start`."""

    start: Name
    through: Name
    by_m: float


class Extend(_Settings):
    """See `Line`."""

    extend: Line


JointSource = str | tuple[str, ...] | Mean | Extend


class JointMap(_Settings):
    """One naming of source joints, and what is known about the files that use it.

    Args:
        name: For settings and messages.
        skeleton: Target skeleton, a name or a path that `load_skeleton` takes.
        unit_m: Metres per file unit, if all files of this naming share it.
        up_axis: Which axis of the file points up.
        inserted_pose_frames: Frames at the start that are no motion (T-pose, blend), if a pose was inserted.
        lost_offsets: Joint -> joint whose rest offset it gets where its own is zero.
        joints: Target joint -> source.
        requires: Source joints that must exist beside the used ones, to tell namings apart.
        array_joints: Names of the second axis, for formats that hold bare arrays.
    """

    name: str
    skeleton: str = "h36m_17"
    unit_m: PositiveM | None = None
    up_axis: Literal["y", "z"] = "y"
    inserted_pose_frames: int = Field(default=0, ge=0)
    lost_offsets: dict[str, str] = {}
    joints: dict[str, JointSource]
    requires: tuple[str, ...] = ()
    array_joints: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _covers_the_skeleton(self) -> "JointMap":
        wanted = self.target.joints
        missing = [joint for joint in wanted if joint not in self.joints]
        unknown = [joint for joint in self.joints if joint not in wanted]
        if missing or unknown:
            raise ValueError(
                f"joints must name every joint of {self.skeleton} and no other; missing: "
                f"{', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
            )
        return self

    @property
    def target(self) -> Skeleton:
        """The target skeleton."""
        return load_skeleton(self.skeleton)

    def missing_in(self, joints: tuple[str, ...]) -> tuple[str, ...]:
        """What this map wants and a file with these joints lacks; alternatives are written a|b."""
        there = set(joints)
        wanted = [name for source in self.joints.values() for name in _names(source)]
        wanted += [*self.requires, *self.lost_offsets.keys(), *self.lost_offsets.values()]
        lacking = [name for name in wanted if _resolve(name, there) is None]
        return tuple(dict.fromkeys(name if isinstance(name, str) else "|".join(name) for name in lacking))

    def sources(self, joints: tuple[str, ...]) -> tuple[str, ...]:
        """The source joints to be read from a file with these joints, each once."""
        there = set(joints)
        names = [_resolve(name, there) for source in self.joints.values() for name in _names(source)]
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def apply(
        self, positions_m: Float[np.ndarray, "T S 3"], sources: tuple[str, ...]
    ) -> Float[np.ndarray, "T J 3"]:
        """Target joints from source joints.

        Args:
            positions_m: (T, len(sources), 3) metres, any frame.
            sources: Names of the second axis, as `sources()` gives them.

        Returns:
            (T, J, 3), same frame, joints in the order of the target skeleton.
        """
        there = set(sources)

        def at(name: Name) -> np.ndarray:
            found = _resolve(name, there)
            if found is None:
                raise ImporterError(f"joint map {self.name}: no joint {name!r} among {', '.join(sources)}")
            return positions_m[:, sources.index(found)]

        mapped = np.empty((len(positions_m), self.target.n_joints, 3), dtype=positions_m.dtype)
        for slot, joint in enumerate(self.target.joints):
            source = self.joints[joint]
            if isinstance(source, Mean):
                mapped[:, slot] = np.mean([at(name) for name in source.mean], axis=0)
            elif isinstance(source, Extend):
                line = source.extend
                mapped[:, slot] = _beyond(at(line.start), at(line.through), line.by_m)
            else:
                mapped[:, slot] = at(source)
        return mapped


def joint_map_names() -> tuple[str, ...]:
    """Names of the built-in maps, sorted."""
    return tuple(sorted(path.stem for path in MAP_FOLDER.glob("*.yaml")))


@lru_cache(maxsize=64)
def load_joint_map(name_or_path: str) -> JointMap:
    """A built-in joint map by name, or your own by the path of its YAML file.

    Raises:
        ImporterError: if there is no such map, or what is wrong in it.
    """
    if name_or_path in joint_map_names():
        path = MAP_FOLDER / f"{name_or_path}.yaml"
    elif name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
    else:
        raise ImporterError(
            f"no joint map {name_or_path!r}; built in are {', '.join(joint_map_names())}; or give the path "
            "of a .yaml file with your own"
        )
    try:
        values: Any = load_plain_yaml(path.read_text(encoding="utf-8"))
        return JointMap.model_validate(values)
    except OSError as error:
        raise ImporterError(f"{path}: cannot read the joint map: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ImporterError(f"{path}: the joint map is no valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ImporterError(
            f"{path}: joint map: {place}: {first['msg']}; compare with "
            f"{MAP_FOLDER / 'cmu_motionbuilder.yaml'}"
        ) from error


def _names(source: JointSource) -> tuple[Name, ...]:
    if isinstance(source, Mean):
        return source.mean
    if isinstance(source, Extend):
        return (source.extend.start, source.extend.through)
    return (source,)


def _resolve(name: Name, there: set[str]) -> str | None:
    if isinstance(name, str):
        return name if name in there else None
    return next((one for one in name if one in there), None)


def _beyond(start: np.ndarray, through: np.ndarray, by_m: float) -> np.ndarray:
    direction = through - start
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    return through + by_m * direction / np.maximum(length, 1e-12)
