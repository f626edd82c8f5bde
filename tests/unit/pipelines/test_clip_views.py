"""A clip under a rig: recentred, projected, named, and counted."""

import numpy as np
import pytest

from augment.motion.generator import generate_clip
from augment.motion.settings import MotionSettings
from augment.validity import ValiditySettings
from pipelines.stages.clip_views import ViewSettings, on_skeleton, recentred, views
from poses.batch import PoseBatch
from poses.cameras import project_px
from poses.identity import stable_id
from poses.motion import MotionClip
from poses.skeleton import load_skeleton


@pytest.fixture(scope="module")
def clip() -> MotionClip:
    settings = MotionSettings(n_clips=1, shortest_clip_s=1.0, longest_clip_s=1.2, mixture={"gesture": 1.0})
    return recentred(on_skeleton(generate_clip(settings, 1, 0), load_skeleton("h36m_16")))


def test_recentring_puts_the_mean_root_over_the_origin_and_keeps_heights(clip: MotionClip) -> None:
    moved = recentred(
        MotionClip(
            "k",
            "s",
            "a",
            30.0,
            clip.joints_world_m + np.float32([3, 0, -7]),
            clip.skeleton,
            "f",
            clip.source_frame,
        )
    )
    root_m = moved.joints_world_m[:, moved.skeleton.root_index]
    np.testing.assert_allclose(root_m[:, [0, 2]].mean(0), 0.0, atol=1e-5)
    np.testing.assert_array_equal(moved.joints_world_m[..., 1], clip.joints_world_m[..., 1])


def test_pairs_project_onto_themselves_and_carry_part_rig_and_up(clip: MotionClip) -> None:
    batch = PoseBatch.concat(
        [view.pairs for view in views(clip, "source_train", ["h36m_like"], ViewSettings())]
    )
    batch.validate()
    assert len(batch) == 4 * len(clip)
    np.testing.assert_allclose(
        project_px(batch.joints_camera_m, batch.camera_px), batch.keypoints_px, atol=1e-3
    )
    assert set(batch.extra["part"]) == {"source_train"}
    assert set(batch.extra["rig"]) == {"h36m_like"}
    head, root = clip.skeleton.index("head"), clip.skeleton.root_index
    along = (batch.joints_camera_m[:, head] - batch.joints_camera_m[:, root]) * batch.extra["up_camera"]
    world = clip.joints_world_m[:, head, 1] - clip.joints_world_m[:, root, 1]
    np.testing.assert_allclose(along.sum(1), np.tile(world, 4), atol=1e-4)


def test_ids_are_a_function_of_clip_frame_and_camera(clip: MotionClip) -> None:
    whole = [view.pairs for view in views(clip, "p", ["h36m_like"], ViewSettings())]
    sparse = [view.pairs for view in views(clip, "p", ["h36m_like"], ViewSettings(frame_step=5))]
    for dense, few in zip(whole, sparse, strict=True):
        np.testing.assert_array_equal(dense.sample_id[::5], few.sample_id)
        np.testing.assert_array_equal(few.frame, np.arange(0, len(clip), 5))
    first = whole[0]
    assert first.sample_id[3] == stable_id(clip.key, 3, f"h36m_like/{first.camera_name[3]}")


def test_what_is_behind_or_outside_is_counted_with_its_reason(clip: MotionClip) -> None:
    far = MotionClip(
        "k",
        "s",
        "a",
        30.0,
        clip.joints_world_m + np.float32([0, 0, 30]),
        clip.skeleton,
        "f",
        clip.source_frame,
    )
    rejected = {reason for view in views(far, "p", ["h36m_like"], ViewSettings()) for reason in view.rejected}
    counts = [
        len(view.pairs) + view.rejected.total() for view in views(far, "p", ["h36m_like"], ViewSettings())
    ]
    assert rejected == {"behind_camera", "outside_image"}
    assert counts == [len(clip)] * 4
    lenient = ViewSettings(validity=ValiditySettings(require_inside=False))
    kept = sum(len(view.pairs) for view in views(far, "p", ["h36m_like"], lenient))
    assert kept > sum(len(view.pairs) for view in views(far, "p", ["h36m_like"], ViewSettings()))
