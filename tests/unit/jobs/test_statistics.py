import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.report import statistics as s
from poses.skeleton import Skeleton, load_skeleton
from tests.unit.jobs.report_samples import bodies, make_samples, rotations

SKELETON = load_skeleton("h36m_17")


def standing(n: int = 1) -> np.ndarray:
    """Facing the camera (-z), y down, root 4 m in front of it."""
    zero = np.zeros((n, SKELETON.n_joints, 3))
    return bodies(SKELETON, zero, np.ones((n, SKELETON.n_joints))) + np.array([0, 0, 4])


def turned(yaw_deg: float, pitch_deg: float = 0.0) -> np.ndarray:
    """The standing person turned around its own root."""
    joints = standing()[0]
    turn = rotations(np.radians([[pitch_deg, 0, 0]]))[0] @ rotations(np.radians([[0, yaw_deg, 0]]))[0]
    return ((joints - joints[0]) @ turn.T + joints[0])[None]


@given(st.floats(-170, 170), st.floats(-80, 80))
@settings(max_examples=25, deadline=None)
def test_viewpoint_is_where_the_camera_stands(yaw_deg: float, pitch_deg: float) -> None:
    azimuth, elevation = s.viewpoint_deg(turned(yaw_deg, pitch_deg), SKELETON)
    assert azimuth[0] == pytest.approx(yaw_deg, abs=1e-4) or azimuth[0] == pytest.approx(-yaw_deg, abs=1e-4)
    assert abs(elevation[0]) == pytest.approx(abs(pitch_deg), abs=1e-4)


def test_front_left_and_above_have_their_signs() -> None:
    azimuth, elevation = s.viewpoint_deg(turned(0), SKELETON)
    assert (azimuth[0], elevation[0]) == pytest.approx((0, 0), abs=1e-6)
    left_towards_camera = next(
        yaw for yaw in (90, -90) if turned(yaw)[0, SKELETON.index("left_hip"), 2] < turned(yaw)[0, 0, 2]
    )
    assert s.viewpoint_deg(turned(left_towards_camera), SKELETON)[0][0] == pytest.approx(90)
    head_towards_camera = next(
        pitch
        for pitch in (40, -40)
        if turned(0, pitch)[0, SKELETON.index("head"), 2] < turned(0, pitch)[0, 0, 2]
    )
    assert s.viewpoint_deg(turned(0, head_towards_camera), SKELETON)[1][0] == pytest.approx(40)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_angles_lengths_and_turns_do_not_depend_on_the_camera(axis: list[float]) -> None:
    source, _ = make_samples(SKELETON, 3)
    joints = source.joints_camera_m.astype(np.float64)
    moved = joints @ rotations(np.array([axis]))[0].T + (0.3, -0.2, 1.0)
    np.testing.assert_allclose(
        s.bone_angles_deg(moved, SKELETON), s.bone_angles_deg(joints, SKELETON), atol=1e-3
    )
    np.testing.assert_allclose(
        s.bone_lengths_m(moved, SKELETON), s.bone_lengths_m(joints, SKELETON), atol=1e-9
    )
    assert s.mean_bone_turn_deg(joints[0], moved[0], SKELETON) == pytest.approx(0, abs=1e-3)


def test_a_standing_person_has_straight_legs_and_hanging_arms() -> None:
    angles = dict(zip(SKELETON.bones, s.bone_angles_deg(standing(), SKELETON)[0], strict=True))
    assert angles["left_knee"] == pytest.approx(2.6, abs=0.1)
    assert angles["left_ankle"] == pytest.approx(2.6, abs=0.1)
    assert angles["right_elbow"] < 12
    assert angles["spine"] == pytest.approx(0, abs=1e-6)


def test_angles_are_nan_where_the_skeleton_has_no_trunk() -> None:
    toy = Skeleton("toy", ("pelvis", "knee", "foot"), (-1, 0, 1))
    joints = np.array([[[0.0, 0, 4], [0, 1, 4], [1, 1, 4]]])
    angles = s.bone_angles_deg(joints, toy)
    assert np.isnan(angles[0, 0])
    assert angles[0, 1] == pytest.approx(90)
    assert not s.has_body_frame(toy)


def test_viewpoint_shares_add_up_and_leave_out_nan() -> None:
    azimuth = np.array([-180.0, -1, 0, 179.9, np.nan])
    elevation = np.array([-90.0, 0, 0, 90, 0])
    share = s.viewpoint_histogram(azimuth, elevation)
    assert share.shape == (18, 36)
    assert share.sum() == pytest.approx(1)
    assert share[0, 0] == pytest.approx(0.25)


def test_coverage_is_the_part_of_the_sphere() -> None:
    everywhere = np.full((18, 36), 1 / (18 * 36))
    assert s.viewpoint_coverage(everywhere, 10_000) == pytest.approx(1)
    upper = everywhere.copy()
    upper[:9] = 0
    assert s.viewpoint_coverage(upper, 10_000) == pytest.approx(0.5)
    assert s.viewpoint_coverage(everywhere, 100) == 0


def test_extent_and_summary() -> None:
    keypoints = np.zeros((1, 3, 2))
    keypoints[0, 1] = (30, 120)
    assert s.extent_fraction(keypoints, np.array([[640.0, 480.0]]))[0] == pytest.approx(0.25)
    summary = s.summarise(np.array([1.0, 2, 3, np.nan, np.inf]))
    assert (summary.median, summary.width) == pytest.approx((2, 1.8))
    assert np.isnan(s.summarise(np.array([np.nan])).median)
