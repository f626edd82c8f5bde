"""Parts of the motion generator: channels and their ranges, trajectories, bodies, the floor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import AugmentError
from augment.motion.anthropometry import draw_body
from augment.motion.articulated_body import CONTACT_INDEX, CONTACTS, NODES, nodes_around_pelvis_m
from augment.motion.channels import channel_table, clamp_to_range
from augment.motion.ground import root_path_m
from augment.motion.performance import rest_angles_deg
from augment.motion.postures import arm, arm_posture_names, crouch
from augment.motion.trajectories import Timeline, gaussian_smooth, minimum_jerk, periodic_curve, smooth_noise

TABLE = channel_table()


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def posed(**angles_deg: float):
    angles = rest_angles_deg(1) * 0.0
    for name, value in angles_deg.items():
        angles[:, TABLE.index(name)] = value
    nodes_m, _ = nodes_around_pelvis_m(angles, BODY)
    return {name: nodes_m[0, index] for index, name in enumerate(NODES)}


BODY = draw_body("someone", 0.5, generator(1))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(1.0, 300.0))
def test_clamped_angles_lie_inside_the_normal_ranges(seed: int, spread_deg: float) -> None:
    clamped = clamp_to_range(generator(seed).normal(size=(20, len(TABLE.names))) * spread_deg)
    assert (clamped >= TABLE.lowest_deg).all()
    assert (clamped <= TABLE.highest_deg).all()
    for side in ("left", "right"):
        plane, elevation, hip, knee = (
            clamped[:, TABLE.index(f"{side}_{name}")]
            for name in ("shoulder_plane", "shoulder_elevation", "hip_flexion", "knee_flexion")
        )
        assert (elevation[plane < -80] < 70).all()
        assert (hip <= TABLE.straight_leg_raise_deg + TABLE.hip_per_knee_degree * knee + 1e-9).all()


def test_angles_well_inside_their_range_are_left_alone() -> None:
    angles = rest_angles_deg(3)
    elbow = TABLE.index("left_elbow_flexion")
    angles[:, elbow] = (TABLE.lowest_deg[elbow] + TABLE.highest_deg[elbow]) / 2
    np.testing.assert_array_equal(clamp_to_range(angles)[:, elbow], angles[:, elbow])


def test_anatomical_signs() -> None:
    rest = posed()
    assert rest["left_hip"][0] > 0 > rest["right_hip"][0]
    for side, outward in (("left", 1), ("right", -1)):
        assert posed(**{f"{side}_hip_flexion": 40})[f"{side}_knee"][2] > 0.1
        assert posed(**{f"{side}_knee_flexion": 40})[f"{side}_ankle"][2] < -0.1
        hip_x = rest[f"{side}_hip"][0]
        assert outward * (posed(**{f"{side}_hip_abduction": 30})[f"{side}_knee"][0] - hip_x) > 0.1
        toe_in = posed(**{f"{side}_hip_rotation": 30})[f"{side}_toe"][0]
        assert outward * (toe_in - rest[f"{side}_toe"][0]) < -0.05
        assert posed(**{f"{side}_ankle_dorsiflexion": 20})[f"{side}_toe"][1] > rest[f"{side}_toe"][1]
        side_arm = posed(**{f"{side}_shoulder_elevation": 90, f"{side}_shoulder_plane": 0})
        assert outward * (side_arm[f"{side}_elbow"] - side_arm[f"{side}_shoulder"])[0] > 0.2
        front_arm = posed(**{f"{side}_shoulder_elevation": 90, f"{side}_shoulder_plane": 90})
        assert (front_arm[f"{side}_elbow"] - front_arm[f"{side}_shoulder"])[2] > 0.2
        bent = posed(**{f"{side}_elbow_flexion": 90})
        assert (bent[f"{side}_wrist"] - bent[f"{side}_elbow"])[2] > 0.2
    assert posed(lumbar_flexion=30)["head"][2] > rest["head"][2] + 0.2
    assert posed(lumbar_side=20)["head"][0] > 0.1
    assert posed(pelvis_yaw=90)["left_toe"][0] > rest["left_toe"][0], "turning left: forward becomes left"


def test_unknown_channel_is_named() -> None:
    with pytest.raises(AugmentError, match="no joint-angle channel 'left_tail'"):
        TABLE.index("left_tail")


def test_minimum_jerk_starts_and_ends_at_rest() -> None:
    progress = np.linspace(-0.5, 1.5, 401)
    position = minimum_jerk(progress)
    assert (position[0], position[-1]) == (0, 1)
    assert (np.diff(position) >= 0).all()
    assert position[200] == pytest.approx(0.5)
    speed = np.gradient(position, progress)
    assert speed.max() == pytest.approx(1.875, rel=1e-3)


def test_timeline_reaches_its_postures_and_keeps_what_is_not_named() -> None:
    timeline = Timeline({"pelvis_yaw": 10.0}).move(1.0, {"left_elbow_flexion": 90.0}).hold(0.5)
    angles = timeline.sample(np.array([0.0, 0.5, 1.0, 1.5, 9.0]))
    elbow = angles[:, TABLE.index("left_elbow_flexion")]
    start = TABLE.rest_deg[TABLE.index("left_elbow_flexion")]
    np.testing.assert_allclose(elbow, [start, (start + 90) / 2, 90, 90, 90])
    np.testing.assert_allclose(angles[:, TABLE.index("pelvis_yaw")], 10.0)


def test_noise_has_unit_variance_and_curves_pass_near_their_knots() -> None:
    noise = smooth_noise(np.arange(0, 200, 0.05), 30, 1.0, generator())
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    knots = 10 + 5 * np.cos(2 * np.pi * np.arange(20) / 20) + 2 * np.sin(4 * np.pi * np.arange(20) / 20)
    np.testing.assert_allclose(periodic_curve(knots, np.arange(20) / 20), knots, atol=1e-9)


def test_smoothing_keeps_constants() -> None:
    np.testing.assert_allclose(gaussian_smooth(np.full((30, 2), 3.0), 2.0), 3.0)
    assert len(gaussian_smooth(np.arange(5.0), 10.0)) == 5


def test_standing_feet_hold_still_and_set_the_height() -> None:
    angles = clamp_to_range(Timeline({}).move(2.0, crouch(BODY, 90.0)).sample(np.arange(0, 2, 1 / 30)))
    nodes_m, _ = nodes_around_pelvis_m(angles, BODY)
    still = np.zeros(len(angles))
    path_m = root_path_m(nodes_m[:, CONTACT_INDEX], 30.0, still, still)
    world_m = nodes_m + path_m[:, None]
    heel = NODES.index("left_heel")
    assert np.ptp(world_m[:, heel, [0, 2]], axis=0).max() < 0.05, "feet do not slide"
    assert np.abs(world_m[:, CONTACT_INDEX, 1].min(axis=1)).max() < 0.03, "feet are on the floor"
    assert np.ptp(path_m[:, 1]) > 0.15, "the pelvis went down"
    assert len(CONTACTS) == len(CONTACT_INDEX)


def test_arm_postures_lie_inside_the_ranges() -> None:
    for name in arm_posture_names():
        for channel, value in arm("left", name, generator(3)).items():
            index = TABLE.index(channel)
            assert TABLE.lowest_deg[index] <= value <= TABLE.highest_deg[index], (name, channel)


def test_statures_follow_the_tables() -> None:
    bodies = [draw_body("x", 0.0, generator(seed)) for seed in range(400)]
    statures_m = np.array([body.stature_m for body in bodies])
    assert statures_m.mean() == pytest.approx(1.756, abs=0.015)
    assert statures_m.std() == pytest.approx(0.069, abs=0.012)
    assert all(body.sex == "male" for body in bodies)
    assert 0.4 < bodies[0].leg_m / bodies[0].stature_m < 0.65
