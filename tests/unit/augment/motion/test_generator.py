"""The embedded source: deterministic, of human size, inside human ranges, on the floor, without jumps."""

import numpy as np
import pytest

from augment.errors import AugmentError
from augment.motion.generator import BEHAVIOURS, generate_clip, generate_clips
from augment.motion.settings import DEFAULT_MIXTURE, MotionSettings

SHORT = MotionSettings(n_clips=6, shortest_clip_s=3.0, longest_clip_s=4.0, n_subjects=3)


def only(action: str) -> MotionSettings:
    return SHORT.model_copy(update={"mixture": {action: 1.0}})


def bone_lengths(clip):
    joints, parents = clip.joints_world_m, np.array(clip.skeleton.parents)
    return np.linalg.norm(joints[:, 1:] - joints[:, parents[1:]], axis=-1)


@pytest.mark.parametrize("action", list(BEHAVIOURS))
def test_every_behaviour_is_humanly_possible(action: str) -> None:
    for index in range(3):
        clip = generate_clip(only(action), 11, index)
        joints = clip.joints_world_m
        assert clip.action == action
        assert np.isfinite(joints).all()
        lengths = bone_lengths(clip)
        assert np.ptp(lengths, axis=0).max() < 1e-4, "bones keep their length"
        assert lengths.min() > 0.05
        assert lengths.max() < 0.65
        speed_mps = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * clip.rate_hz
        assert speed_mps.max() < 14.0, "no jumps"
        floor_m = np.array([clip.skeleton.index(name) for name in ("left_ankle", "right_ankle")])
        assert joints[..., 1].min() > -0.03, "nothing below the floor"
        if action not in ("jump", "run", "lie_down"):
            assert joints[:, floor_m, 1].min(axis=1).max() < 0.25, "a foot stays near the floor"


def test_a_clip_is_a_function_of_seed_and_index() -> None:
    alone = generate_clip(SHORT, 5, 3)
    among_others = generate_clips(SHORT, 5)[3]
    more = generate_clip(SHORT.model_copy(update={"n_clips": 500}), 5, 3)
    for other in (among_others, more):
        assert other.key == alone.key
        assert other.joints_world_m.tobytes() == alone.joints_world_m.tobytes()
    assert generate_clip(SHORT, 6, 3).joints_world_m.tobytes() != alone.joints_world_m.tobytes()
    keys = [clip.key for clip in generate_clips(SHORT, 5)]
    assert len(set(keys)) == len(keys)


def test_a_person_keeps_their_size_and_people_differ() -> None:
    lengths_m = [np.median(bone_lengths(generate_clip(SHORT, 5, index)), axis=0) for index in range(6)]
    np.testing.assert_allclose(lengths_m[0], lengths_m[3], atol=1e-4)
    assert np.abs(lengths_m[0] - lengths_m[1]).max() > 0.01


def test_left_and_right_bones_are_equal_and_thighs_match_the_tables() -> None:
    clip = generate_clip(SHORT, 5, 0)
    length = dict(zip(clip.skeleton.bones, np.median(bone_lengths(clip), axis=0), strict=True))
    for name in ("knee", "ankle", "hip", "elbow", "wrist", "shoulder"):
        assert length[f"left_{name}"] == pytest.approx(length[f"right_{name}"], abs=1e-4)
    assert 0.32 < length["left_knee"] < 0.55


def test_walkers_walk_and_sitters_sit() -> None:
    walk = generate_clip(only("walk"), 2, 0)
    root = walk.joints_world_m[:, walk.skeleton.root_index]
    speed_mps = np.linalg.norm(np.diff(root[:, [0, 2]], axis=0), axis=-1) * walk.rate_hz
    assert 0.4 < speed_mps.mean() < 2.4
    hip_to_floor_m = root[:, 1]
    assert np.ptp(hip_to_floor_m) < 0.15
    sit = generate_clip(only("sit").model_copy(update={"shortest_clip_s": 8.0, "longest_clip_s": 8.0}), 2, 0)
    pelvis, knee = (sit.joints_world_m[:, sit.skeleton.index(name), 1] for name in ("pelvis", "left_knee"))
    assert np.abs(pelvis - knee).min() < 0.12, "seated: hips about as high as knees"
    assert (pelvis - knee).max() > 0.3, "and standing at the end"


def test_bodies_face_where_left_says() -> None:
    clip = generate_clip(only("walk"), 4, 1)
    at = {name: clip.joints_world_m[:, clip.skeleton.index(name)] for name in clip.skeleton.joints}
    left = at["left_hip"] - at["right_hip"]
    forward = np.cross(left, [0.0, 1.0, 0.0])
    travel = np.gradient(at["pelvis"], axis=0)
    assert (forward * travel).sum(axis=-1).mean() > 0, "people walk forwards"


def test_frame_rate_changes_the_number_of_frames_only() -> None:
    slow, fast = (
        generate_clip(only("squat").model_copy(update={"rate_hz": rate}), 3, 0) for rate in (30.0, 60.0)
    )
    assert len(fast) == pytest.approx(2 * len(slow), abs=2)
    shared = min(len(slow), len(fast.joints_world_m[::2]))
    apart_m = np.abs(fast.joints_world_m[::2][:shared] - slow.joints_world_m[:shared])
    assert apart_m.max() < 0.05


def test_settings_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="no behaviour moonwalk"):
        MotionSettings(mixture={"moonwalk": 1.0})
    with pytest.raises(ValueError, match="below shortest_clip_s"):
        MotionSettings(shortest_clip_s=6.0, longest_clip_s=5.0)
    with pytest.raises(ValueError, match="shares"):
        MotionSettings(mixture={"walk": 0.0})
    assert set(DEFAULT_MIXTURE) == set(BEHAVIOURS)


def test_a_skeleton_with_joints_the_body_lacks_is_refused() -> None:
    with pytest.raises(AugmentError, match="coco_17"):
        generate_clip(SHORT.model_copy(update={"skeleton": "coco_17"}), 1, 0)
