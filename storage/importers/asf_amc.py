"""ASF/AMC pairs: find the skeleton that belongs to a motion file and put both together."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from storage.errors import ImporterError
from storage.importers.amc import AmcMotion, asf_named_in, read_amc
from storage.importers.asf import AsfSkeleton, read_asf
from storage.importers.files import decode_text, read_file
from storage.importers.skeletal_motion import NO_PARENT, JointChannels, SkeletalMotion

DEFAULT_RATE_HZ = 120.0  # the format has no frame rate; CMU's and HDM05's files are at 120 Hz


def read_asf_amc(path: Path, asf: Path | None = None, rate_hz: float | None = None) -> SkeletalMotion:
    """An AMC file's motion on its ASF skeleton.

    Args:
        path: The .amc file.
        asf: Its skeleton; looked for beside the AMC if not given (see `find_asf`).
        rate_hz: Frames per second, which the format does not hold; 120 if not given.

    Returns:
        Joints are bone ends. Angles in radians, positions in the ASF's unit, `unit_m` as the ASF says.

    Raises:
        ImporterError: for an AMC without its ASF, and with file and line for damaged ones.
    """
    content = read_file(path)
    asf_path = asf if asf is not None else find_asf(path, asf_named_in(content))
    skeleton = _load_asf(asf_path, _stamp(asf_path))
    motion = read_amc(content, {bone.name: len(bone.dof) for bone in skeleton.bones}, str(path))
    return join_skeleton_and_motion(
        skeleton, motion, str(path), DEFAULT_RATE_HZ if rate_hz is None else rate_hz
    )


@lru_cache(maxsize=16)
def _load_asf(path: Path, stamp: tuple[int, int] | None) -> AsfSkeleton:
    """One actor's skeleton serves dozens of takes; the stamp tells a file that has changed."""
    return read_asf(decode_text(read_file(path)), str(path))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None  # reading it will say why
    return status.st_mtime_ns, status.st_size


def find_asf(amc: Path, named: str | None = None) -> Path:
    """The ASF of an AMC: in its folder or the one above, the file that its comment names, else the longest
    name that begins the AMC's name (02.asf for 02_01.amc), else the folder's only ASF.

    Raises:
        ImporterError: if there is none, or several and none fits.
    """
    looked: list[Path] = []
    for folder in (amc.parent, amc.parent.parent):
        found = (
            sorted(path for path in folder.glob("*") if path.suffix.lower() == ".asf")
            if folder.is_dir()
            else []
        )
        looked += found
        if named is not None:
            for path in found:
                if path.name.lower() == named.lower():
                    return path
        fitting = [path for path in found if amc.stem.lower().startswith(path.stem.lower())]
        if fitting:
            return max(fitting, key=lambda path: len(path.stem))
        if len(found) == 1 and folder == amc.parent:
            return found[0]
    names = ", ".join(path.name for path in looked) or "no .asf file at all"
    raise ImporterError(
        f"{amc}: AMC without its ASF: wanted an .asf named like it in {amc.parent} or the folder above, "
        f"found {names}; put {amc.stem.split('_')[0]}.asf beside it or "
        "give the option `asf`"
    )


def join_skeleton_and_motion(
    skeleton: AsfSkeleton, motion: AmcMotion, where: str, rate_hz: float
) -> SkeletalMotion:
    """One `SkeletalMotion`; translations of bones other than the root are refused."""
    values = motion.values.copy()
    channels = []
    for bone, rest in zip(skeleton.bones, skeleton.rest_rotations, strict=True):
        rotations, translations = [], []
        columns = motion.columns.get(bone.name, range(0))
        for name, column in zip(bone.dof, columns, strict=len(columns) > 0):
            if name.startswith("r"):
                rotations.append((name[1], column))
                values[:, column] *= motion.angle_scale
            elif bone.name == "root" and name.startswith("t"):
                translations.append((name[1], column))
                values[:, column] += skeleton.root_position["xyz".index(name[1])]
            else:
                raise ImporterError(
                    f"{where}: bone {bone.name!r} has the degree of freedom {name!r}; only rotations, and "
                    "the root's translation, can be read"
                )
        # the last axis of the order stands leftmost in the product
        channels.append(JointChannels(tuple(reversed(rotations)), tuple(translations), rest))
    offsets = [np.array(bone.direction) * bone.length for bone in skeleton.bones]
    offsets[0] = skeleton.root_position
    return SkeletalMotion(
        joints=tuple(bone.name for bone in skeleton.bones),
        parents=skeleton.parents,
        offsets=np.array(offsets),
        offset_moves_with=tuple(
            NO_PARENT if parent == NO_PARENT else index for index, parent in enumerate(skeleton.parents)
        ),
        channels=tuple(channels),
        values=values,
        rate_hz=rate_hz,
        source_file=where,
        unit_m=skeleton.unit_m,
    )
