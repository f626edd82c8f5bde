"""Random augmentation: what it changes, by how much, and what it leaves alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.contract import UP_COLUMN, up_camera_of
from augment.limb_turns import component_major, row_major, turn_limbs
from augment.random_augmentation import RandomAugmentationSettings, RandomAugmentor, draw
from poses.cameras import screen_intrinsics
from poses.kinematics import bone_lengths_m, bone_vectors, forward_kinematics, rotate_joints
from poses.randomness import RowRandom
from poses.rotations import axis_angle_to_matrix
from poses.skeleton import load_skeleton
from tests.unit.augment.pose_samples import sample_batch

STILL = RandomAugmentationSettings(bone_scale_sigma=0.0, rotation_sigma_deg=(0.0, 0.0))


def drawn(chosen: RandomAugmentationSettings, rows: int = 200, seed: int = 1):
    batch = sample_batch(rows)
    joints = torch.from_numpy(np.ascontiguousarray(batch.joints_root_m))
    up = torch.from_numpy(up_camera_of(batch))
    made = draw(joints, up, batch.skeleton, RowRandom(seed, "test", batch.sample_id, 1), chosen)
    return joints, made, batch.skeleton


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["h36m_16", "h36m_17"]), st.integers(0, 1000), st.floats(0.0, 2.0))
def test_turned_limbs_equal_forward_kinematics(name: str, seed: int, spread: float) -> None:
    skeleton = load_skeleton(name)
    generator = torch.Generator().manual_seed(seed)
    joints = torch.randn(6, skeleton.n_joints, 3, generator=generator, dtype=torch.float64)
    joints = joints - joints[:, skeleton.root_index : skeleton.root_index + 1]
    turns = spread * torch.randn(6, skeleton.n_bones, 3, generator=generator, dtype=torch.float64)
    ratio = 0.8 + 0.4 * torch.rand(6, skeleton.n_bones, generator=generator, dtype=torch.float64)
    made = row_major(
        turn_limbs(
            component_major(joints), ratio.T.contiguous(), turns.permute(2, 1, 0).contiguous(), skeleton
        )
    )
    local = axis_angle_to_matrix(turns)
    bones = bone_vectors(joints, skeleton) * ratio.unsqueeze(-1)
    child = torch.from_numpy(skeleton.bone_child_index.astype(np.int64))
    rotations = torch.eye(3, dtype=torch.float64).repeat(6, skeleton.n_joints, 1, 1)
    rotations[:, child] = local
    offsets = torch.zeros_like(joints)
    offsets[:, child] = rotate_joints(bones.unsqueeze(-2), local).squeeze(-2)
    expected, _ = forward_kinematics(rotations, offsets, skeleton.parents)
    torch.testing.assert_close(made, expected, atol=1e-10, rtol=0)


def test_without_spread_a_draw_is_a_rigid_motion() -> None:
    joints, made, skeleton = drawn(STILL)
    torch.testing.assert_close(
        bone_lengths_m(made.joints_camera_m, skeleton), bone_lengths_m(joints, skeleton), atol=2e-6, rtol=0
    )
    new = made.joints_camera_m - made.joints_camera_m[:, skeleton.root_index, None]
    apart_old, apart_new = (torch.cdist(pose, pose) for pose in (joints, new))
    torch.testing.assert_close(apart_new, apart_old, atol=1e-5, rtol=0)
    handed = [torch.linalg.det(pose[:, [1, 4, 8]]) for pose in (joints, new)]
    torch.testing.assert_close(handed[0], handed[1], atol=1e-5, rtol=0)


def test_up_goes_with_the_pose_and_pitch_is_what_was_asked() -> None:
    """Height above the floor does not change with the view: up . joint is kept."""
    batch = sample_batch(200)
    joints, made, skeleton = drawn(STILL)
    new = made.joints_camera_m - made.joints_camera_m[:, skeleton.root_index, None]
    height_old = (joints * torch.from_numpy(batch.extra[UP_COLUMN]).unsqueeze(1)).sum(-1)
    height_new = (new * made.up_camera.unsqueeze(1)).sum(-1)
    torch.testing.assert_close(height_new, height_old, atol=1e-5, rtol=0)
    pitch_deg = np.rad2deg(np.arctan2(-made.up_camera[:, 2].numpy(), -made.up_camera[:, 1].numpy()))
    assert pitch_deg.mean() == pytest.approx(10.0, abs=2.5)
    assert pitch_deg.std() == pytest.approx(10.0, abs=2.0)
    assert made.up_camera[:, 2].mean() < 0, "a camera that looks down has up pointing back at it"


def test_yaw_is_uniform() -> None:
    _, made, skeleton = drawn(STILL)
    left, right = skeleton.index("left_hip"), skeleton.index("right_hip")
    across = (made.joints_camera_m[:, left] - made.joints_camera_m[:, right]).numpy()
    heading = np.arctan2(across[:, 2], across[:, 0])
    assert abs(np.exp(1j * heading).mean()) < 0.2


def test_bones_scale_by_group_and_alike_on_both_sides() -> None:
    chosen = RandomAugmentationSettings(rotation_sigma_deg=(0.0, 0.0), bone_scale_sigma=0.1)
    joints, made, skeleton = drawn(chosen)
    ratio = bone_lengths_m(made.joints_camera_m, skeleton) / bone_lengths_m(joints, skeleton)
    for left, right in skeleton.mirror_pairs:
        apart = ratio[:, skeleton.bone_index(left)] - ratio[:, skeleton.bone_index(right)]
        assert apart.abs().max() < 1e-4
    assert ratio.std() == pytest.approx(0.1, abs=0.015)
    assert ratio.min() >= 0.64
    assert ratio.max() <= 1.36
    knee, elbow = skeleton.bone_index("left_knee"), skeleton.bone_index("left_elbow")
    assert np.corrcoef(ratio[:, knee], ratio[:, elbow])[0, 1] < 0.5, "groups are independent"


def turn_angles_deg(chosen: RandomAugmentationSettings) -> np.ndarray:
    """Angle by which every knee was bent or unbent against before: a function of the shin's own rotation."""
    joints, made, skeleton = drawn(chosen, rows=200)
    angles = []
    for pose in (joints, made.joints_camera_m):
        bones = bone_vectors(pose, skeleton)
        thigh, shin = (bones[:, skeleton.bone_index(f"left_{end}")] for end in ("knee", "ankle"))
        angles.append(torch.rad2deg(torch.arccos(torch.cosine_similarity(thigh, shin).clamp(-1, 1))))
    return (angles[1] - angles[0]).abs().numpy()


def test_narrow_turns_a_fixed_amount_and_wide_more_and_less() -> None:
    narrow, wide = (turn_angles_deg(RandomAugmentationSettings.preset(name)) for name in ("narrow", "wide"))
    assert 5 < narrow.mean() < 16
    assert wide.max() > narrow.max()
    assert wide.std() > narrow.std()


def test_half_of_the_poses_are_mirrored() -> None:
    """A mirror image keeps distances only if left and right change places, and turns a handed volume over."""
    joints, made, skeleton = drawn(STILL.model_copy(update={"mirror_share": 0.5}))
    new = made.joints_camera_m - made.joints_camera_m[:, skeleton.root_index, None]
    swap = torch.from_numpy(skeleton.mirror_index.astype(np.int64))
    before, swapped, after = (torch.cdist(pose, pose) for pose in (joints, joints[:, swap], new))
    same, mirrored = ((after - other).abs().amax((1, 2)) < 1e-5 for other in (before, swapped))
    assert (same ^ mirrored).all()
    assert 0.35 < mirrored.float().mean() < 0.65
    handed = [skeleton.index(name) for name in ("left_hip", "spine", "left_ankle")]
    volume_old, volume_new = torch.linalg.det(joints[:, swap][:, handed]), torch.linalg.det(new[:, handed])
    torch.testing.assert_close(volume_new[mirrored], -volume_old[mirrored], atol=1e-5, rtol=0)


def test_presets_are_those_of_the_specification() -> None:
    wide = RandomAugmentationSettings.wide()
    assert wide.rotation_sigma_deg == (0.0, 29.0)
    assert wide.pitch_sigma_deg == 29.0
    assert wide.depth_m == (2.0, 7.0)
    assert wide.focal_screen == (1.1, 2.7)
    assert wide.mirror_share == 0.5
    assert RandomAugmentationSettings.narrow().rotation_sigma_deg == (12.0, 12.0)


def test_depth_and_focal_length_lie_in_their_ranges() -> None:
    _, made, skeleton = drawn(RandomAugmentationSettings.wide())
    depth_m = made.joints_camera_m[:, skeleton.root_index, 2]
    focal = screen_intrinsics(made.camera_px)[:, 0]
    for values, (low, high) in ((depth_m, (2.0, 7.0)), (focal, (1.1, 2.7))):
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high >= values.max() > high - 0.1 * (high - low)


def test_copies_differ_and_attempts_save_rows() -> None:
    batch = sample_batch(200)
    first, second = (
        RandomAugmentor(RandomAugmentationSettings.wide(), 1).augment(batch, copy) for copy in (1, 2)
    )
    assert (
        np.abs(first.pairs.joints_camera_m[:50] - second.pairs.joints_camera_m[:50]).min(axis=(1, 2)).max()
        > 0
    )
    tight = RandomAugmentationSettings.wide().model_copy(update={"position_sigma": 0.8})
    kept = [
        len(RandomAugmentor(tight.model_copy(update={"attempts": n}), 1).augment(batch, 1).pairs)
        for n in (1, 6)
    ]
    assert kept[0] < kept[1]
    single = RandomAugmentor(tight.model_copy(update={"attempts": 1}), 1).augment(batch, 1)
    assert single.rejected.counts() == {"outside_image": 200 - kept[0]}


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="extra"):
        RandomAugmentationSettings(depth=(1.0, 2.0))  # pyright: ignore[reportCallIssue]
