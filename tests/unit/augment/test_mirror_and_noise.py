"""Mirror images and detector noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from augment.contract import UP_COLUMN
from augment.detector_noise import (
    HIDDEN,
    KIND_COLUMN,
    MISSED,
    NOISE_COLUMN,
    SEEN,
    SWAPPED,
    DetectorNoiseAugmentor,
    DetectorNoiseSettings,
    hidden_joints,
)
from augment.mirror import MirrorAugmentor
from poses.kinematics import mirror_joints
from tests.unit.augment.pose_samples import sample_batch

QUIET = DetectorNoiseSettings(
    jitter=0.0, miss_share=0.0, hidden_miss_share=0.0, limb_swap_share=0.0, body_swap_share=0.0
)


def test_mirroring_twice_gives_the_pose_back() -> None:
    batch = sample_batch(50)
    once = MirrorAugmentor(1).augment(batch, 1).pairs
    twice = MirrorAugmentor(1).augment(once, 1).pairs
    np.testing.assert_array_equal(twice.joints_camera_m, batch.joints_camera_m)
    np.testing.assert_allclose(twice.keypoints_px, batch.keypoints_px, atol=1e-3)
    np.testing.assert_array_equal(twice.extra[UP_COLUMN], batch.extra[UP_COLUMN])
    np.testing.assert_array_equal(twice.camera_px, batch.camera_px)


def test_a_mirror_image_is_that_of_the_skeleton() -> None:
    batch = sample_batch(50)
    made = MirrorAugmentor(1).augment(batch, 1).pairs
    expected = mirror_joints(torch.from_numpy(batch.joints_camera_m), batch.skeleton).numpy()
    np.testing.assert_array_equal(made.joints_camera_m, expected)


def test_no_noise_changes_nothing() -> None:
    batch = sample_batch(50)
    made = DetectorNoiseAugmentor(QUIET, 1).augment(batch, 1).pairs
    np.testing.assert_array_equal(made.keypoints_px, batch.keypoints_px)
    assert (made.extra[NOISE_COLUMN] == 0).all()
    assert set(np.unique(made.extra[KIND_COLUMN])) <= {SEEN, HIDDEN}
    np.testing.assert_array_equal(made.joints_camera_m, batch.joints_camera_m)


def test_noise_is_recorded_and_proportional_to_the_box() -> None:
    batch = sample_batch(200)
    twice_as_big = replace(batch, keypoints_px=2 * batch.keypoints_px)
    settings = QUIET.model_copy(update={"jitter": 0.01, "pose_sigma": 0.0})
    small, big = (DetectorNoiseAugmentor(settings, 1).augment(b, 1).pairs for b in (batch, twice_as_big))
    moved = np.linalg.norm(small.keypoints_px - batch.keypoints_px, axis=-1)
    np.testing.assert_allclose(small.extra[NOISE_COLUMN], moved, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(big.extra[NOISE_COLUMN], 2 * moved, rtol=1e-2, atol=1e-2)
    box_px = np.ptp(batch.keypoints_px, axis=1).max(axis=1)
    seen = small.extra[KIND_COLUMN] == SEEN
    share = (moved / box_px[:, None])[seen]
    assert np.sqrt((share**2).mean() / 2) == pytest.approx(0.01, rel=0.15)


def test_missed_joints_have_no_confidence_and_lie_far_off() -> None:
    settings = QUIET.model_copy(update={"jitter": 0.01, "miss_share": 0.2, "hidden_miss_share": 0.2})
    made = DetectorNoiseAugmentor(settings, 1).augment(sample_batch(200), 1).pairs
    kind, moved = made.extra[KIND_COLUMN], made.extra[NOISE_COLUMN]
    missed = kind == MISSED
    assert missed.mean() == pytest.approx(0.2, abs=0.03)
    assert (made.keypoint_confidence[missed] == 0).all()
    assert (made.keypoint_confidence[~missed] > 0).all()
    assert moved[missed].mean() > 3 * moved[kind == SEEN].mean()


def test_confidence_falls_with_the_error() -> None:
    settings = QUIET.model_copy(update={"jitter": 0.03})
    made = DetectorNoiseAugmentor(settings, 1).augment(sample_batch(200), 1).pairs
    moved, confidence = made.extra[NOISE_COLUMN].ravel(), made.keypoint_confidence.ravel()
    order = np.argsort(moved)
    assert confidence[order[:200]].mean() > confidence[order[-200:]].mean() + 0.2


def test_a_body_swap_exchanges_left_and_right() -> None:
    batch = sample_batch(50)
    made = (
        DetectorNoiseAugmentor(QUIET.model_copy(update={"body_swap_share": 1.0}), 1).augment(batch, 1).pairs
    )
    np.testing.assert_array_equal(made.keypoints_px, batch.keypoints_px[:, batch.skeleton.mirror_index])
    one_sided = batch.skeleton.mirror_index == np.arange(batch.skeleton.n_joints)
    assert (made.extra[KIND_COLUMN][:, ~one_sided] == SWAPPED).all()


def test_limbs_swap_whole_and_one_by_one() -> None:
    batch = sample_batch(200)
    made = (
        DetectorNoiseAugmentor(QUIET.model_copy(update={"limb_swap_share": 0.5}), 1).augment(batch, 1).pairs
    )
    swapped = made.extra[KIND_COLUMN] == SWAPPED
    at = batch.skeleton.index
    legs, arms = swapped[:, at("left_hip")], swapped[:, at("left_elbow")]
    for name in ("right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"):
        np.testing.assert_array_equal(swapped[:, at(name)], legs)
    for name in ("left_shoulder", "right_wrist"):
        np.testing.assert_array_equal(swapped[:, at(name)], arms)
    assert 0.1 < (legs & ~arms).mean() < 0.4


def test_a_joint_behind_another_is_hidden() -> None:
    batch = sample_batch(1)
    at = batch.skeleton.index
    joints, keypoints = batch.joints_camera_m.copy(), batch.keypoints_px.copy()
    keypoints[0, at("left_wrist")] = keypoints[0, at("thorax")] + 2.0
    for depth_m, expected in ((0.5, True), (-0.5, False)):
        joints[0, at("left_wrist"), 2] = joints[0, at("thorax"), 2] + depth_m
        posed = replace(batch, joints_camera_m=joints, keypoints_px=keypoints)
        assert hidden_joints(posed, DetectorNoiseSettings())[0, at("left_wrist")] == expected
