"""Which joint map fits a file: every joint that the map wants is there."""

import difflib

from storage.errors import ImporterError
from storage.importers.joint_map import MAP_FOLDER, JointMap, joint_map_names, load_joint_map

SHOWN_NAMES = 60


def recognise(joints: tuple[str, ...], where: str, joint_map: str | None = None) -> JointMap:
    """The joint map for a file with these joint names.

    Args:
        joints: Names in the file.
        where: Names the file in errors.
        joint_map: A map's name or path; found by itself among the built-in ones if not given.

    Raises:
        ImporterError: if the given map does not fit, or none does: lists the names and how to write a map.
    """
    if joint_map is not None:
        chosen = load_joint_map(joint_map)
        missing = chosen.missing_in(joints)
        if missing:
            raise ImporterError(
                f"{where}: joint map {chosen.name!r} wants {', '.join(missing)}, which the file has not; "
                f"its joints are {_shown(joints)}"
            )
        return chosen
    maps = [load_joint_map(name) for name in joint_map_names()]
    fitting = [candidate for candidate in maps if not candidate.missing_in(joints)]
    if fitting:
        return max(fitting, key=lambda candidate: len(candidate.requires))
    nearest = min(maps, key=lambda candidate: len(candidate.missing_in(joints)))
    raise ImporterError(
        f"{where}: unknown joint names: {_shown(joints)}. The nearest built-in joint map is "
        f"{nearest.name!r}, which also wants "
        f"{', '.join(nearest.missing_in(joints)[:8])}{_similar(nearest, joints)}. Copy "
        f"{MAP_FOLDER / (nearest.name + '.yaml')}, put your names to the right of each joint, set unit_m "
        "(metres per file unit), and give its path as the option `joint_map`"
    )


def _shown(joints: tuple[str, ...]) -> str:
    names = [repr(name)[1:-1] for name in joints if not name.endswith("_end")]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def _similar(nearest: JointMap, joints: tuple[str, ...]) -> str:
    unused = [joint for joint in joints if joint not in nearest.sources(joints)]
    for name in nearest.missing_in(joints):
        match = difflib.get_close_matches(name, unused, n=1, cutoff=0.75)
        if match:
            return f" (is its {name!r} the file's {match[0]!r}?)"
    return ""
