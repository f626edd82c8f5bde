"""Find frames that no body can have made, and say which stretches of a clip remain.

Nothing is repaired and nothing disappears: every frame is either in a kept stretch or in a quarantined range
with a reason. A clip is cut where frames were taken out of its middle, as what lies on both sides is not one
movement.

Jumps are judged per step between two frames, on positions relative to the hips:
- speed: a joint faster than `max_speed_mps` (kicks and throws stay below 20 m/s);
- break, for clips slower than 60 Hz: a step that differs by more than 8 m/s from the mean of the steps before
  and after it, and is half as fast itself. At 30 Hz a limb that flips over 30 cm is slower than a kick, but a
  kick takes several frames to speed up and slow down. On data/mocap at 30 Hz this finds all 19 glitches,
  where speed alone finds 4. For a smooth motion the difference is jerk * dt^2 / 2, so that below 30 Hz the
  limit grows with dt^2.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from poses.skeleton import Skeleton
from storage.importers.options import ImportOptions

MAX_BREAK_MPS = 8.0
BREAK_REFERENCE_HZ = 30.0
BREAK_BELOW_HZ = 59.0
MAX_COORDINATE_M = 10_000.0  # float32 resolves 1 mm there


@dataclass(frozen=True)
class QuarantinedFrames:
    """A range of source frames that was not passed on.

    Args:
        source_file: The file it stands in.
        key: The clip's key before cutting.
        first_frame, last_frame: Source frames, both included; -1 and -1 where the file could not be read.
        reason: One of not_finite, zero_length_bone, jump, too_short, clip_with_jump, unreadable.
        detail: What was found, for people.
    """

    source_file: str
    key: str
    first_frame: int
    last_frame: int
    reason: str
    detail: str

    @property
    def n_frames(self) -> int:
        """Number of source frames in the range; 0 where the file could not be read."""
        return 0 if self.first_frame < 0 else self.last_frame - self.first_frame + 1


@dataclass(frozen=True)
class Stretch:
    """Frames first..last (both included), counted from the start of the array that was judged."""

    first: int
    last: int
    reason: str = ""
    detail: str = ""

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class CleaningResult:
    """Kept stretches and quarantined ones; together they are every frame once, each list in frame order."""

    kept: tuple[Stretch, ...]
    quarantined: tuple[Stretch, ...]


def find_bad_frames(
    joints_m: Float[np.ndarray, "T J 3"], skeleton: Skeleton, rate_hz: float, options: ImportOptions
) -> CleaningResult:
    """Judge every frame of a clip.

    Args:
        joints_m: (T, J, 3) metres.
        skeleton: What the joints are.
        rate_hz: True rate of the frames.
        options: Limits, and whether a jump costs its frames or the clip.

    Returns:
        The frames to keep and those to quarantine.
    """
    n_frames = len(joints_m)
    finite = np.asarray((np.abs(joints_m) <= MAX_COORDINATE_M).all(axis=(1, 2)))  # False for NaN
    joints = _hold_last(joints_m, finite)
    zero_bone = _zero_bones(joints, skeleton, options.min_bone_m) & finite[:, None]
    jumps = find_jumps(joints, skeleton, rate_hz, options.max_speed_mps)
    jumps &= finite[1:] & finite[:-1]
    if options.on_jump == "clip" and jumps.any():
        first = int(np.flatnonzero(jumps)[0])
        detail = f"{_jump_text(joints, skeleton, rate_hz, first)}; {int(jumps.sum())} jumps in the clip"
        return CleaningResult((), (Stretch(0, n_frames - 1, "clip_with_jump", detail),))
    reason = np.full(n_frames, "", dtype=object)
    at_jump = np.zeros(n_frames, dtype=bool)
    at_jump[1:] |= jumps
    at_jump[:-1] |= jumps
    reason[at_jump] = "jump"
    reason[zero_bone.any(axis=1)] = "zero_length_bone"
    reason[~finite] = "not_finite"
    _add_short_stretches(reason, round(options.min_clip_s * rate_hz))
    kept, quarantined = [], []
    for first, last in _runs(reason):
        name = str(reason[first])
        if not name:
            kept.append(Stretch(first, last))
            continue
        detail = _detail(name, first, last, joints, skeleton, rate_hz, jumps, zero_bone)
        quarantined.append(Stretch(first, last, name, detail))
    return CleaningResult(tuple(kept), tuple(quarantined))


def find_jumps(
    joints_m: Float[np.ndarray, "T J 3"], skeleton: Skeleton, rate_hz: float, max_speed_mps: float
) -> Bool[np.ndarray, " S"]:
    """(T-1,) bool: is the step from frame t to t+1 a jump; see the module's text.

    Args:
        joints_m: (T, J, 3) metres, finite.
        skeleton: Says which joint the hips are.
        rate_hz: Rate of the frames.
        max_speed_mps: Limit for joints relative to the hips, and for the hips in the world.
    """
    if len(joints_m) < 2:
        return np.zeros(max(len(joints_m) - 1, 0), dtype=bool)
    speed = step_speeds_mps(joints_m, skeleton, rate_hz)
    too_fast = np.asarray((speed > max_speed_mps).any(axis=1))
    if len(joints_m) < 4 or rate_hz >= BREAK_BELOW_HZ:
        return too_fast
    relative = joints_m - joints_m[:, [skeleton.root_index]]
    step = np.diff(relative, axis=0)
    before = np.concatenate([step[1:2], step[:-1]])  # the ends have one neighbour, which counts twice
    after = np.concatenate([step[1:], step[-2:-1]])
    broken = np.linalg.norm(step - (before + after) / 2.0, axis=-1) * rate_hz
    limit_mps = MAX_BREAK_MPS * max(1.0, (BREAK_REFERENCE_HZ / rate_hz) ** 2)
    fast = np.linalg.norm(step, axis=-1) * rate_hz
    return too_fast | ((broken > limit_mps) & (fast > limit_mps / 2.0)).any(axis=1)


def step_speeds_mps(
    joints_m: Float[np.ndarray, "T J 3"], skeleton: Skeleton, rate_hz: float
) -> Float[np.ndarray, "S J"]:
    """(T-1, J) speed of each step: joints relative to the hips, the hips (root) in the world."""
    root = skeleton.root_index
    relative = joints_m - joints_m[:, [root]]
    relative[:, root] = joints_m[:, root]
    return np.linalg.norm(np.diff(relative, axis=0), axis=-1) * rate_hz


def _hold_last(joints_m: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """The clip, each non-finite frame replaced by the finite one before it; zeros where there is none."""
    if finite.all():
        return joints_m
    source = np.maximum.accumulate(np.where(finite, np.arange(len(finite)), -1))
    return np.where((source >= 0)[:, None, None], joints_m[source], 0.0)


def _zero_bones(joints_m: np.ndarray, skeleton: Skeleton, min_bone_m: float) -> np.ndarray:
    """(T, K) bool."""
    bones = joints_m[:, skeleton.bone_child_index] - joints_m[:, skeleton.bone_parent_index]
    return np.linalg.norm(bones, axis=-1) < min_bone_m


def _add_short_stretches(reason: np.ndarray, min_frames: int) -> None:
    """Mark stretches that are too short to keep, but leave a clip alone that is short from the start."""
    runs = _runs(reason)
    if len(runs) == 1:
        return
    for first, last in runs:
        if not reason[first] and last - first + 1 < min_frames:
            reason[first : last + 1] = "too_short"


def _runs(reason: np.ndarray) -> list[tuple[int, int]]:
    """(first, last) of each run of equal reasons."""
    if not len(reason):
        return []
    edges = np.flatnonzero(reason[1:] != reason[:-1]) + 1
    firsts = [0, *edges.tolist()]
    return [(first, end - 1) for first, end in zip(firsts, [*firsts[1:], len(reason)], strict=True)]


def _detail(
    name: str,
    first: int,
    last: int,
    joints: np.ndarray,
    skeleton: Skeleton,
    rate_hz: float,
    jumps: np.ndarray,
    zero_bone: np.ndarray,
) -> str:
    if name == "not_finite":
        return f"coordinates that are NaN, infinite, or beyond {MAX_COORDINATE_M:,.0f} m"
    if name == "zero_length_bone":
        bones = np.flatnonzero(zero_bone[first : last + 1].any(axis=0))
        return f"bones of zero length: {', '.join(skeleton.bones[bone] for bone in bones)}"
    if name == "too_short":
        return f"{last - first + 1} frames between quarantined ones, too short to be a clip"
    steps = [step for step in range(max(first - 1, 0), min(last + 1, len(jumps))) if jumps[step]]
    return _jump_text(joints, skeleton, rate_hz, steps[0])


def _jump_text(joints: np.ndarray, skeleton: Skeleton, rate_hz: float, step: int) -> str:
    speed = step_speeds_mps(joints[step : step + 2], skeleton, rate_hz)[0]
    fastest = int(np.argmax(speed))
    return f"{skeleton.joints[fastest]} moves at {speed[fastest]:.1f} m/s between two frames"
