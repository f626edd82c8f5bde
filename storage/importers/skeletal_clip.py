"""From a skeletal motion (BVH, ASF/AMC) to a clip of our joints in metres, y up; known defects mended."""

import numpy as np

from storage.errors import ImporterError
from storage.importers.clip_source import SourceClip, to_y_up
from storage.importers.joint_map import JointMap
from storage.importers.options import ImportOptions
from storage.importers.recognise import recognise
from storage.importers.skeletal_motion import SkeletalMotion, borrow_offsets, world_positions

INSERTED_POSE_MPS = 10.0
COMPARED_FRAMES = 10


def clip_of_skeleton(motion: SkeletalMotion, options: ImportOptions, notes: list[str]) -> SourceClip:
    """Map a skeletal motion to the joints of its joint map's skeleton.

    Args:
        motion: What a reader gave.
        options: Joint map, unit and up axis, where they are not to be found from the file.
        notes: Gets a line for each thing that was mended or looks odd.

    Raises:
        ImporterError: for unknown joint names, or if nothing says the unit.
    """
    where = motion.source_file
    joint_map = recognise(motion.joints, where, options.joint_map)
    unit_m = _unit_m(motion, joint_map, options)
    motion, mended = borrow_offsets(motion, joint_map.lost_offsets)
    if mended:
        notes.append(
            f"{where}: lost bone: {', '.join(mended)} got the rest offset of {_lenders(joint_map, mended)}"
        )
    sources = joint_map.sources(motion.joints)
    joints_m = joint_map.apply(world_positions(motion, sources) * unit_m, sources)
    inserted = joint_map.inserted_pose_frames
    if inserted and not starts_with_inserted_pose(motion, joints_m):
        notes.append(
            f"{where}: no inserted pose at the start, where {joint_map.name} files have one; nothing skipped"
        )
        inserted = 0
    return SourceClip(
        name="",
        joints_world_m=to_y_up(joints_m, options.up_axis or joint_map.up_axis),
        skeleton=joint_map.target,
        rate_hz=motion.rate_hz,
        inserted_pose_frames=inserted,
    )


def starts_with_inserted_pose(motion: SkeletalMotion, joints_m: np.ndarray) -> bool:
    """Is frame 0 a pose that somebody put there?

    It is if the whole body moves at more than 10 m/s on average to frame 1, or if its angles are whole
    degrees while those of the next frames are not.
    """
    if motion.n_frames < 2:
        return False
    relative = joints_m[:2] - joints_m[:2].mean(axis=1, keepdims=True)
    mean_mps = float(np.linalg.norm(relative[1] - relative[0], axis=-1).mean()) * motion.rate_hz
    columns = [column for channels in motion.channels for _, column in channels.rotations]
    degrees = np.degrees(motion.values[:COMPARED_FRAMES, columns])
    whole = np.asarray((np.abs(degrees - np.round(degrees)) < 1e-6).all(axis=1))
    return mean_mps > INSERTED_POSE_MPS or bool(whole[0] and not whole.all())


def _unit_m(motion: SkeletalMotion, joint_map: JointMap, options: ImportOptions) -> float:
    for unit_m in (options.unit_m, motion.unit_m, joint_map.unit_m):
        if unit_m is not None:
            return unit_m
    raise ImporterError(
        f"{motion.source_file}: neither the file nor joint map {joint_map.name!r} says the unit; set unit_m, "
        "metres per file unit, in the map or as an option"
    )


def _lenders(joint_map: JointMap, mended: tuple[str, ...]) -> str:
    return ", ".join(sorted({joint_map.lost_offsets[joint] for joint in mended}))
