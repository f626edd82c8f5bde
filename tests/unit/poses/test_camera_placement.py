"""Rays are the inverse of projection; a pose is put back where its keypoints were taken."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poses.camera_placement import place_in_camera, rays_of_px
from poses.cameras import make_camera_px, project_px

LENS = {"k1": -0.21, "k2": 0.24, "p1": -0.001, "p2": 0.0014, "k3": -0.09}


def poses(seed: int, rows: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """(B, 17, 3) root-relative poses and (B, 3) places before the camera."""
    random = np.random.default_rng(seed)
    joints = random.uniform(-0.8, 0.8, (rows, 17, 3))
    joints[:, 0] = 0.0
    return joints, np.stack([*random.uniform(-1, 1, (2, rows)), random.uniform(3, 8, rows)], axis=-1)


def cameras(rows: int = 6, **lens: float) -> np.ndarray:
    return np.repeat(make_camera_px((1145, 1143), (512, 515), (1000, 1002), **lens)[None], rows, 0)


@pytest.mark.parametrize("lens", [{}, LENS], ids=["pinhole", "lens"])
@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rays_are_what_projection_took(lens: dict[str, float], seed: int) -> None:
    joints, places = poses(seed)
    camera_m, camera_px = joints + places[:, None], cameras(**lens)
    rays = rays_of_px(project_px(camera_m, camera_px), camera_px)
    np.testing.assert_allclose(rays, camera_m[..., :2] / camera_m[..., 2:], atol=1e-5)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_pose_is_put_back(seed: int) -> None:
    joints, places = poses(seed)
    camera_px = cameras(**LENS)
    rays = rays_of_px(project_px(joints + places[:, None], camera_px), camera_px)
    found, there = place_in_camera(joints, rays, np.ones((6, 17)))
    assert there.all()
    np.testing.assert_allclose(found, places, rtol=1e-3, atol=1e-3)


def test_joints_without_weight_do_not_count_and_two_are_too_few() -> None:
    joints, places = poses(1)
    camera_px = cameras()
    pixels = project_px(joints + places[:, None], camera_px)
    pixels[:, 5] += 400.0
    weight = np.ones((6, 17))
    weight[:, 5] = 0.0
    weight[2, 2:] = 0.0
    found, there = place_in_camera(joints, rays_of_px(pixels, camera_px), weight)
    assert there.tolist() == [True, True, False, True, True, True]
    np.testing.assert_allclose(found[there], places[there], rtol=1e-4, atol=1e-4)
    assert np.isnan(found[2]).all()
