"""Small, sound pairs and clips for the storage tests: human bones, 3D that projects onto the 2D."""

import numpy as np

from poses.batch import PoseBatch
from poses.cameras import project_px
from poses.motion import MotionClip
from poses.skeleton import Skeleton, load_skeleton
from storage.bone_ranges import bone_limits_m
from storage.commit import UnitCommit
from storage.object_store import ObjectStore
from storage.writer import UnitWriter

SKELETON = load_skeleton("h36m_17")
CAMERA_PX = np.asarray([1145, 1143, 512, 515, -0.2, 0.2, -0.001, 0.002, -0.003, 1000, 1002], np.float32)


def make_joints_m(rows: int, seed: int = 0, skeleton: Skeleton = SKELETON) -> np.ndarray:
    """(B, J, 3) poses with bones of human length in random directions around the origin."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(rows, skeleton.n_bones, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    bones = (
        directions * bone_limits_m(skeleton).mean(axis=1)[:, None] * random.uniform(0.7, 1.3, (rows, 1, 1))
    )
    joints = np.zeros((rows, skeleton.n_joints, 3))
    for bone, (child, parent) in enumerate(
        zip(skeleton.bone_child_index, skeleton.bone_parent_index, strict=True)
    ):
        joints[:, child] = joints[:, parent] + bones[:, bone]
    return joints.astype(np.float32)


def make_pairs(
    rows: int, seed: int = 0, first_id: int | None = None, clip_frames: int = 50, **extra
) -> PoseBatch:
    """Pairs of clips of `clip_frames` frames, ids from `first_id` on."""
    random = np.random.default_rng(seed + 1_000)
    joints = make_joints_m(rows, seed) + np.float32([0, 0, 6])
    camera = np.tile(CAMERA_PX, (rows, 1))
    ids = np.arange(rows, dtype=np.int64) + (seed * 1_000_000 if first_id is None else first_id)
    clip = np.arange(rows) // clip_frames
    return PoseBatch(
        skeleton=SKELETON,
        sample_id=ids,
        joints_camera_m=joints,
        keypoints_px=np.asarray(project_px(joints, camera)),
        keypoint_confidence=random.uniform(0.1, 1, (rows, SKELETON.n_joints)).astype(np.float32),
        camera_px=camera,
        source_id=ids,
        copy=np.zeros(rows, np.int32),
        frame=(np.arange(rows) % clip_frames).astype(np.int32),
        clip=_names("clip", clip),
        subject=_names("subject", clip % 2),
        action=_names("action", clip % 3),
        camera_name=_names("camera", np.zeros(rows, int)),
        extra=extra,
    )


def _names(prefix: str, numbers: np.ndarray) -> np.ndarray:
    return np.asarray([f"{prefix}{number}" for number in numbers.tolist()], dtype=object)


def make_clip(frames: int, key: str = "clip", seed: int = 0) -> MotionClip:
    """A clip of independent random poses."""
    return MotionClip(
        key=key,
        subject="subject1",
        action="walk",
        rate_hz=30.0,
        joints_world_m=make_joints_m(frames, seed),
        skeleton=SKELETON,
        source_file=f"{key}.bvh",
        source_frame=np.arange(frames, dtype=np.int32) * 4,
    )


def commit_pairs(
    store: ObjectStore, batch: PoseBatch, unit: str = "unit", run: str = "run", **options
) -> UnitCommit:
    """One unit of pairs, committed."""
    with UnitWriter(store, run, unit, SKELETON, **options) as writer:
        writer.add_pairs(batch)
        return writer.commit()


def assert_same_pairs(got: PoseBatch, wanted: PoseBatch) -> None:
    """Every column equal, to the bit, and of the same type."""
    names = [
        name for name in wanted.__dataclass_fields__ if name not in ("skeleton", "extra", "keypoint_skeleton")
    ]
    columns = [(name, getattr(got, name), getattr(wanted, name)) for name in names]
    assert set(got.extra) == set(wanted.extra)
    columns += [(name, got.extra[name], wanted.extra[name]) for name in wanted.extra]
    for name, left, right in columns:
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)
