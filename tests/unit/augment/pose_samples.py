"""Small batches of human poses seen by the H36M-like cameras, made by the embedded source."""

from functools import lru_cache

import numpy as np

from augment.contract import UP_COLUMN
from augment.motion.generator import generate_clip
from augment.motion.settings import MotionSettings
from poses.batch import PoseBatch
from poses.cameras import project_px, world_to_camera
from poses.identity import stable_id
from poses.rigs import load_rig
from poses.skeleton import joint_map, load_skeleton


@lru_cache(maxsize=4)
def sample_batch(rows: int = 200, skeleton_name: str = "h36m_17", with_up: bool = True) -> PoseBatch:
    """`rows` pairs of different behaviours, spread over the four cameras."""
    skeleton, rig = load_skeleton(skeleton_name), load_rig("h36m_like")
    settings = MotionSettings(mixture={"gesture": 1.0, "squat": 1.0, "reach": 1.0, "kick": 1.0}, n_subjects=4)
    clips = [generate_clip(settings, 3, index) for index in range(8)]
    mapping = joint_map(clips[0].skeleton, skeleton)
    world_m = np.concatenate([mapping.apply(clip.joints_world_m) for clip in clips])
    picked = np.random.Generator(np.random.PCG64(1)).permutation(len(world_m))[:rows]
    camera = np.arange(rows) % len(rig.cameras)
    rotation = np.stack([view.camera_from_world_rotation for view in rig.cameras]).astype(np.float32)[camera]
    shift_m = np.stack([view.camera_from_world_translation_m for view in rig.cameras]).astype(np.float32)[
        camera
    ]
    camera_px = np.stack([view.camera_px for view in rig.cameras]).astype(np.float32)[camera]
    joints_m = world_to_camera(world_m[picked], rotation, shift_m).astype(np.float32)
    ids = np.array([stable_id("sample", int(row)) for row in range(rows)], dtype=np.int64)
    text = np.full(rows, "sample", dtype=object)
    return PoseBatch(
        skeleton,
        sample_id=ids,
        joints_camera_m=joints_m,
        keypoints_px=project_px(joints_m, camera_px),
        keypoint_confidence=np.ones(joints_m.shape[:2], np.float32),
        camera_px=camera_px,
        source_id=ids,
        copy=np.zeros(rows, np.int32),
        frame=np.arange(rows, dtype=np.int32),
        clip=text,
        subject=text,
        action=text,
        camera_name=text,
        extra={UP_COLUMN: np.ascontiguousarray(rotation[:, :, 1])} if with_up else {},
    )
