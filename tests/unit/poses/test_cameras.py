"""Projection, screen normalisation, frames, rigs, weak perspective."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poses.cameras import (
    camera_field,
    camera_to_world,
    in_front,
    inside_image,
    make_camera_px,
    mirror_camera_px,
    project_px,
    project_screen,
    screen_intrinsics,
    to_px,
    to_screen,
    world_to_camera,
)
from poses.errors import CameraError
from poses.rigs import load_rig, look_at, rig_names
from poses.weak_perspective import (
    fit_translation,
    project_weak_perspective,
    translation_from_weak_perspective,
)
from tests.shared_data import shared_path

few = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31 - 1)
LENS = {"k1": -0.2, "k2": 0.24, "p1": -0.0009, "p2": 0.0016, "k3": -0.002}


def scene(seed: int, batch: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(batch, 16, 3)) * 0.5 + np.asarray([0.0, 0.0, 5.0])
    camera = make_camera_px((1145, 1144), (512, 515), (1000, 1002), **LENS)
    return joints, np.tile(camera.astype(np.float64), (batch, 1))


@few
@given(seed=seeds)
def test_screen_and_pixels_are_inverse(seed: int) -> None:
    joints, camera = scene(seed)
    pixels = project_px(joints, camera)
    np.testing.assert_allclose(to_px(to_screen(pixels, camera), camera), pixels, atol=1e-8)


def test_the_screen_spans_minus_one_to_one_in_width() -> None:
    camera = make_camera_px((1000, 1000), (500, 300), (1000, 600))
    corners = np.asarray([[0, 0], [1000, 600], [500, 300]], np.float32)
    np.testing.assert_allclose(to_screen(corners, camera), [[-1, -0.6], [1, 0.6], [0, 0]], atol=1e-6)


@pytest.mark.parametrize("distortion", ["brown_conrady", "published"])
@few
@given(seed=seeds)
def test_screen_and_pixel_projection_agree(distortion: str, seed: int) -> None:
    joints, camera = scene(seed)
    by_pixels = to_screen(project_px(joints, camera, distortion), camera)
    by_screen = project_screen(joints, screen_intrinsics(camera), distortion=distortion)
    np.testing.assert_allclose(by_screen, by_pixels, atol=1e-10)


@few
@given(seed=seeds, scale=st.floats(0.1, 10))
def test_projection_ignores_the_size_of_the_world(seed: int, scale: float) -> None:
    joints, camera = scene(seed)
    np.testing.assert_allclose(project_px(joints * scale, camera), project_px(joints, camera), atol=1e-6)


def test_numpy_and_torch_agree() -> None:
    joints, camera = scene(0)
    joints, camera = joints.astype(np.float32), camera.astype(np.float32)
    pixels = project_px(joints, camera)
    assert pixels.dtype == np.float32
    by_torch = project_px(torch.from_numpy(joints), torch.from_numpy(camera))
    np.testing.assert_allclose(by_torch.numpy(), pixels, rtol=1e-6)
    one_camera = project_px(joints, camera[0])
    np.testing.assert_array_equal(one_camera, pixels)


def test_distortion_by_hand() -> None:
    camera = make_camera_px((1, 1), (0, 0), (2, 2), k1=0.1, k2=0.01, k3=0.001, p1=0.02, p2=0.03)
    joints = np.asarray([[0.5, -0.25, 1.0]], np.float64)
    u, v = 0.5, -0.25
    r2 = u * u + v * v
    radial = 1 + 0.1 * r2 + 0.01 * r2**2 + 0.001 * r2**3
    brown = [
        u * radial + 2 * 0.02 * u * v + 0.03 * (r2 + 2 * u * u),
        v * radial + 0.02 * (r2 + 2 * v * v) + 2 * 0.03 * u * v,
    ]
    np.testing.assert_allclose(project_px(joints, camera.astype(np.float64))[0], brown, atol=1e-7)
    tangential = u * 0.02 + v * 0.03
    published = [u * (radial + tangential) + 0.02 * r2, v * (radial + tangential) + 0.03 * r2]
    seen = project_px(joints, camera.astype(np.float64), "published")[0]
    np.testing.assert_allclose(seen, published, atol=1e-7)


def test_the_published_clamp() -> None:
    intrinsics = screen_intrinsics(make_camera_px((1000, 1000), (500, 500), (1000, 1000)))
    joints = np.asarray([[3.0, 0.5, 1.0]], np.float32)
    np.testing.assert_allclose(project_screen(joints, intrinsics, clamp=True), [[2.0, 1.0]])
    np.testing.assert_allclose(project_screen(joints, intrinsics), [[6.0, 1.0]])


def test_a_mirrored_scene_is_a_mirrored_image() -> None:
    joints, camera = scene(3)
    pixels = project_px(joints, camera)
    mirrored = project_px(joints * np.asarray([-1.0, 1.0, 1.0]), mirror_camera_px(camera))
    np.testing.assert_allclose(mirrored[..., 0], camera_field(camera, "width")[:, None] - pixels[..., 0])
    np.testing.assert_allclose(mirrored[..., 1], pixels[..., 1])


def test_points_behind_or_on_the_camera_are_seen_as_such() -> None:
    joints = np.ones((4, 16, 3), np.float32)
    joints[1, 3, 2] = -1
    joints[2, 3, 2] = 0
    joints[3, 3, 2] = np.nan
    assert in_front(joints).tolist() == [True, False, False, False]
    assert in_front(torch.from_numpy(joints)).tolist() == [True, False, False, False]
    camera = make_camera_px((10, 10), (5, 5), (20, 20))
    assert inside_image(project_px(joints, camera), camera).tolist()[1:] == [False, False, False]


def test_both_sides_of_the_image_count() -> None:
    camera = make_camera_px((1000, 1000), (500, 300), (1000, 600))
    keypoints = np.asarray([[[500, 300]], [[-1, 300]], [[1001, 300]], [[500, -1]], [[500, 601]]], np.float32)
    assert inside_image(keypoints, camera).tolist() == [True, False, False, False, False]
    assert inside_image(keypoints, camera, margin_px=2).all()


def test_bad_cameras_are_refused() -> None:
    with pytest.raises(CameraError, match="positive focal"):
        make_camera_px((0, 1), (0, 0), (10, 10))
    with pytest.raises(CameraError, match="k9"):
        make_camera_px((1, 1), (0, 0), (10, 10), k9=1)
    with pytest.raises(CameraError, match=r"'no_such_rig'.*h36m_like"):
        load_rig("no_such_rig")
    with pytest.raises(CameraError, match="upright"):
        look_at((0.0, 3.0, 0.0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("name", ["h36m_like", "mpi_inf_3dhp_like"])
def test_rig_cameras_look_at_the_subject(name: str) -> None:
    for camera in load_rig(name).cameras:
        rotation = camera.camera_from_world_rotation
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)
        axis = np.asarray([[[0.0, 0.0, 0.0], [0.0, 1.8, 0.0]]], np.float32)
        seen = world_to_camera(axis, rotation, camera.camera_from_world_translation_m)
        assert np.abs(seen[..., 0]).max() < 1e-5
        assert seen[0, 1, 1] < seen[0, 0, 1]  # y down: the head is above the feet
        assert in_front(seen).all()
        assert inside_image(project_px(seen, camera.camera_px), camera.camera_px).all()
        back = camera_to_world(seen, rotation, camera.camera_from_world_translation_m)
        np.testing.assert_allclose(back, axis, atol=1e-5)


def test_the_rigs_are_those_of_the_split() -> None:
    import json

    cameras = json.loads(shared_path("data", "mocap", "split.json").read_text())["cameras"]
    assert rig_names() == ("h36m_like", "mpi_inf_3dhp_like")
    for name, key in (("h36m_like", "source_h36m_like"), ("mpi_inf_3dhp_like", "target_3dhp_like")):
        rig = load_rig(name)
        assert len(rig.cameras) == len(cameras[key])
        for camera, facts in zip(rig.cameras, cameras[key], strict=True):
            azimuth, distance = np.radians(facts["azimuth_deg"]), facts["dist_m"]
            position = [distance * np.sin(azimuth), facts["height_m"], distance * np.cos(azimuth)]
            np.testing.assert_allclose(camera.position_world_m, position, atol=1e-5)
            target = np.asarray([[0, facts["look_at_y"], 0]], np.float32)
            seen = world_to_camera(
                target, camera.camera_from_world_rotation, camera.camera_from_world_translation_m
            )
            np.testing.assert_allclose(project_px(seen, camera.camera_px)[0], facts["c_px"], atol=1e-2)
            assert camera_field(camera.camera_px, "fx") == facts["f_px"]
            assert camera_field(camera.camera_px, "width") == facts["res"][0]


@few
@given(seed=seeds)
def test_fit_translation_finds_the_translation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    joints = torch.from_numpy(rng.normal(size=(3, 17, 3)) * 0.5)
    translation = torch.from_numpy(rng.uniform([-1, -1, 4], [1, 1, 8], (3, 3)))
    camera = torch.from_numpy(make_camera_px((1100, 1100), (500, 480), (1000, 1000))).double()
    pixels = project_px(joints + translation[:, None], camera)
    weight = torch.from_numpy(rng.uniform(0.1, 1, (3, 17)))
    center = torch.tensor([[500.0, 480.0]], dtype=torch.float64).expand(3, 2)
    torch.testing.assert_close(fit_translation(joints, pixels, weight, 1100, center), translation)


def test_weak_perspective_is_the_far_limit_of_perspective() -> None:
    joints = torch.randn(2, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.3
    weak = torch.tensor([[0.9, 0.1, -0.05], [0.7, 0.0, 0.2]], dtype=torch.float64)
    focal = 1e7
    moved = joints + translation_from_weak_perspective(weak, focal, 224)[:, None]
    seen = moved[..., :2] / moved[..., 2:] * focal / 112
    torch.testing.assert_close(seen, project_weak_perspective(joints, weak), atol=1e-4, rtol=0)
