"""The embedded source of motion: people of different size who walk, sit and reach, made from tables alone.

No recorded motion is used. A clip is drawn in four steps: a body (`anthropometry`), a behaviour that turns
into joint angles over time (`gait`, `standing`, `low`, `exploration`) inside normal ranges of motion
(`channels`), forward kinematics (`articulated_body`), and the floor (`ground`). Deterministic in (seed, clip
index): clip 7 is the same clip whether 8 or 8,000 are made.
"""

from collections.abc import Iterator

import numpy as np

from augment.errors import AugmentError
from augment.motion.anthropometry import Body, draw_body
from augment.motion.articulated_body import CONTACT_INDEX, NODES, nodes_around_pelvis_m
from augment.motion.athletic import jump, kick, lunge, punch
from augment.motion.channels import channel_table, clamp_to_range
from augment.motion.exploration import explore
from augment.motion.gait import run, turn, walk
from augment.motion.ground import root_path_m
from augment.motion.low import kneel, lie_down, sit
from augment.motion.performance import Behaviour, Performance
from augment.motion.settings import MotionSettings
from augment.motion.standing import bend, gesture, reach, squat, wave
from augment.motion.trajectories import smooth_noise
from poses.identity import stable_id
from poses.motion import MotionClip
from poses.skeleton import Skeleton, load_skeleton

BEHAVIOURS: dict[str, Behaviour] = {
    "walk": walk,
    "run": run,
    "turn": turn,
    "gesture": gesture,
    "wave": wave,
    "reach": reach,
    "bend": bend,
    "squat": squat,
    "lunge": lunge,
    "kneel": kneel,
    "sit": sit,
    "kick": kick,
    "punch": punch,
    "jump": jump,
    "lie_down": lie_down,
    "explore": explore,
}
SOURCE_NAME = "embedded"


def generate_clips(settings: MotionSettings, seed: int) -> list[MotionClip]:
    """All clips of the settings; see `generate_clip`."""
    return list(iter_clips(settings, seed))


def iter_clips(settings: MotionSettings, seed: int) -> Iterator[MotionClip]:
    """The clips of the settings one by one, in order."""
    for index in range(settings.n_clips):
        yield generate_clip(settings, seed, index)


def generate_clip(settings: MotionSettings, seed: int, index: int) -> MotionClip:
    """One clip: a function of (settings without n_clips, seed, index).

    Returns:
        Joints in metres, world frame, y up, floor at 0, mean hip position above the origin, float32.

    Raises:
        AugmentError: if the skeleton has a joint that the articulated body does not.
    """
    skeleton = load_skeleton(settings.skeleton)
    subject = index % settings.n_subjects
    body_generator = _generator("body", seed, subject)
    body = draw_body(f"person_{subject:03d}", settings.female_share, body_generator)
    style_deg = settings.style_deviation_deg * _style(body_generator)
    generator = _generator("clip", seed, index)
    action = _draw_action(settings, generator)
    seconds = generator.uniform(settings.shortest_clip_s, settings.longest_clip_s)
    n_frames = max(round(seconds * settings.rate_hz), 8)
    times_s = np.arange(n_frames) / settings.rate_hz
    performance = BEHAVIOURS[action](body, times_s, generator)
    angles_deg = performance.angles_deg + _life(times_s, style_deg, settings.sway_deg, generator)
    joints_world_m = _joints_world_m(angles_deg, performance, body, settings, skeleton)
    return MotionClip(
        key=f"{SOURCE_NAME}/{body.subject}/{index:06d}_{action}",
        subject=body.subject,
        action=action,
        rate_hz=settings.rate_hz,
        joints_world_m=joints_world_m,
        skeleton=skeleton,
        source_file=f"{SOURCE_NAME}:seed={seed}",
        source_frame=np.arange(len(joints_world_m), dtype=np.int32),
    )


def _frames_in_room(path_m: np.ndarray, room_m: float) -> int:
    """How many frames from the start fit into a room of that side (8 at least)."""
    ground_m = path_m[:, [0, 2]]
    extent_m = np.maximum.accumulate(ground_m, axis=0) - np.minimum.accumulate(ground_m, axis=0)
    return max(int((extent_m.max(axis=1) <= room_m).sum()), min(8, len(path_m)))


def _generator(purpose: str, seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(stable_id("augment.motion", purpose, seed, index)))


def _draw_action(settings: MotionSettings, generator: np.random.Generator) -> str:
    names = [name for name in BEHAVIOURS if settings.mixture.get(name, 0.0) > 0]
    shares = np.array([settings.mixture[name] for name in names])
    return names[int(np.searchsorted(np.cumsum(shares) / shares.sum(), generator.random(), side="right"))]


def _style(generator: np.random.Generator) -> np.ndarray:
    """(C,) a person's habitual deviation from rest, of unit variance; left and right mostly agree."""
    table = channel_table()
    own = generator.normal(size=len(table.names))
    partner = np.array([table.index(name.replace("right_", "left_")) for name in table.names])
    return np.where(partner == np.arange(len(partner)), own, 0.8 * own[partner] + 0.6 * own)


def _life(
    times_s: np.ndarray, style_deg: np.ndarray, sway_deg: float, generator: np.random.Generator
) -> np.ndarray:
    """The person's own posture and the small movements of a living body, (T, C); a third in the legs."""
    table = channel_table()
    has_range = np.isfinite(table.highest_deg)
    legs = np.array([any(part in name for part in ("hip", "knee", "ankle")) for name in table.names])
    scale = np.where(legs, 0.33, 1.0) * has_range
    sway = sway_deg * smooth_noise(times_s, len(table.names), 0.7, generator)
    return (style_deg[None, :] + sway) * scale[None, :]


def _joints_world_m(
    angles_deg: np.ndarray, performance: Performance, body: Body, settings: MotionSettings, skeleton: Skeleton
) -> np.ndarray:
    missing = sorted(set(skeleton.joints) - set(NODES))
    if missing:
        raise AugmentError(
            f"the motion generator cannot make skeleton '{skeleton.name}': its body has no "
            f"{', '.join(missing)}; "
            f"generate h36m_17 and map it with poses.skeleton.joint_map"
        )
    nodes_m, _ = nodes_around_pelvis_m(clamp_to_range(angles_deg), body)
    path_m = root_path_m(nodes_m[:, CONTACT_INDEX], settings.rate_hz, performance.lift_m, performance.glide)
    path_m = path_m[: _frames_in_room(path_m, settings.room_m)]
    wanted = np.array([NODES.index(name) for name in skeleton.joints], dtype=np.int64)
    path_m[:, [0, 2]] -= path_m[:, [0, 2]].mean(axis=0)
    return (nodes_m[: len(path_m), wanted] + path_m[:, None, :]).astype(np.float32)
