"""Crops: pixels there and back, the camera that a crop is an image of, augmentation by row, pixels of a crop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimators.images.crop_augmentation import CropAugmentationSettings, augmented_crops, colour_gains
from estimators.images.crop_pixels import OUTSIDE, coloured, cut_crop
from estimators.images.crops import Crops, crop_cameras, crops_around
from poses.cameras import make_camera_px, project_px, to_screen
from poses.errors import CameraError
from poses.randomness import RowRandom
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")
SIZE = 64


def crop(x: float, y: float, half: float, angle: float = 0.0, mirrored: bool = False) -> Crops:
    return Crops(np.asarray([[x, y]]), np.asarray([half]), np.asarray([angle]), np.asarray([mirrored]))


CROPS = st.builds(
    crop,
    st.floats(-500, 1500),
    st.floats(-500, 1500),
    st.floats(5, 800),
    st.floats(-math.pi, math.pi),
    st.booleans(),
)


def some_joints(seed: int) -> np.ndarray:
    """(1, 16, 3) a cloud of joints some metres before the camera."""
    random = np.random.default_rng(seed)
    return random.uniform(-0.8, 0.8, (1, 16, 3)) + np.asarray([0.3, -0.2, 4.0])


@settings(max_examples=60, deadline=None)
@given(CROPS, st.integers(0, 2**31))
def test_keypoints_go_into_the_crop_and_back(crops: Crops, seed: int) -> None:
    keypoints = np.random.default_rng(seed).uniform(-200, 1200, (1, 16, 2))
    there = crops.keypoints_in_crop(keypoints, SKELETON)
    np.testing.assert_allclose(crops.keypoints_in_image(there, SKELETON), keypoints, atol=1e-8)
    joints = some_joints(seed)
    np.testing.assert_allclose(
        crops.joints_in_image(crops.joints_in_crop(joints, SKELETON), SKELETON), joints, atol=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(CROPS, st.integers(0, 2**31))
def test_a_crop_is_the_image_of_its_camera(crops: Crops, seed: int) -> None:
    """Turned and mirrored 3D through the crop's camera falls on the crop's keypoints: exact, distortion and all."""
    camera = make_camera_px(
        (1100.0, 1100.0), (512.0, 503.0), (1000, 1002), k1=-0.2, k2=0.1, p1=-0.003, p2=0.002, k3=0.01
    )[None].astype(np.float64)
    joints = some_joints(seed)
    wanted = crops.keypoints_in_crop(project_px(joints, camera), SKELETON)
    cameras = crop_cameras(crops, camera, SIZE)
    found = project_px(crops.joints_in_crop(joints, SKELETON), cameras)
    np.testing.assert_allclose(to_screen(found, cameras), wanted, atol=1e-9)


def test_mirrored_crops_exchange_sides() -> None:
    keypoints = np.zeros((1, 16, 2))
    left, right = SKELETON.index("left_wrist"), SKELETON.index("right_wrist")
    keypoints[0, left] = (30, 10)
    keypoints[0, right] = (-20, 10)
    shown = crop(0, 0, 100, mirrored=True).keypoints_in_crop(keypoints, SKELETON)[0]
    np.testing.assert_allclose(shown[left], [0.2, 0.1])
    np.testing.assert_allclose(shown[right], [-0.3, 0.1])


def test_turned_crops_of_uneven_pixels_have_no_camera() -> None:
    camera = make_camera_px((1100.0, 1000.0), (500.0, 500.0), (1000, 1000))[None].astype(np.float64)
    assert crop_cameras(crop(400, 300, 200), camera, SIZE)[0, 0] == pytest.approx(1100 * 64 / 400)
    with pytest.raises(CameraError, match="turned crop 0: its camera has fx = 1100 and fy = 1000"):
        crop_cameras(crop(400, 300, 200, angle=0.1), camera, SIZE)


def test_the_box_is_square_with_a_margin() -> None:
    keypoints = np.full((3, 16, 2), np.nan)
    keypoints[0, 3], keypoints[0, 5] = (100, 50), (140, 250)
    keypoints[1, 3] = (100, 50)
    boxes = np.full((3, 4), np.nan)
    boxes[2] = (10, 20, 300, 100)
    found = crops_around(keypoints, margin=0.1, box_px=boxes)
    np.testing.assert_allclose(found.centre_px[0], [120, 150])
    np.testing.assert_allclose(found.half_side_px, [200 * 0.6, 0.0, 300 * 0.6])
    np.testing.assert_allclose(found.centre_px[2], [160, 70])


def test_a_rows_crop_does_not_depend_on_its_batch() -> None:
    ids = np.arange(40, dtype=np.int64)
    crops = Crops(np.full((40, 2), 200.0), np.full(40, 90.0), np.zeros(40), np.zeros(40, bool))
    wanted, passes = CropAugmentationSettings(), np.arange(40) % 3
    whole = augmented_crops(crops, wanted, RowRandom(1, "x", ids, passes))
    part = np.asarray([7, 31])
    alone = augmented_crops(crops.take(part), wanted, RowRandom(1, "x", ids[part], passes[part]))
    for name in vars(whole):
        np.testing.assert_array_equal(getattr(whole, name)[part], getattr(alone, name))
    other = augmented_crops(crops, wanted, RowRandom(1, "x", ids, passes + 1))
    assert (other.half_side_px != whole.half_side_px).mean() > 0.9
    assert 0.2 < whole.mirrored.mean() < 0.8
    assert 0.3 < (whole.angle_rad != 0).mean() < 0.9
    assert np.abs(whole.half_side_px / 90 - 1).max() <= 0.25
    gains = colour_gains(wanted, RowRandom(1, "x", ids, passes))
    assert gains.shape == (40, 3)
    assert 0.8 <= gains.min() < gains.max() <= 1.2


def test_zeros_leave_crops_alone() -> None:
    nothing = CropAugmentationSettings(
        scale=0, shift=0, turn_deg=0, turned_share=0, mirrored_share=0, colour=0
    )
    crops = crop(100, 120, 40)
    random = RowRandom(1, "x", np.arange(1))
    same = augmented_crops(crops, nothing, random)
    for name in vars(crops):
        np.testing.assert_array_equal(getattr(same, name), getattr(crops, name))
    assert (colour_gains(nothing, random) == 1).all()


def gradient(width: int, height: int) -> np.ndarray:
    """An image whose red is its column and whose green is its row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width)[None], np.arange(height)[:, None]
    return image


@pytest.mark.parametrize(
    "one",
    [
        crop(100, 90, 32),
        crop(100, 90, 16, angle=0.4),
        crop(100, 90, 64, mirrored=True),
        crop(110, 96, 80, angle=-1.0),
    ],
)
def test_pixels_come_from_where_the_geometry_says(one: Crops) -> None:
    """On a ramp every pixel tells its own place: that of the crop's cell, at any size, angle and side."""
    found = cut_crop(gradient(220, 200), one, SIZE)
    steps = (2 * np.arange(SIZE) + 1) / SIZE - 1
    cells = np.stack(np.meshgrid(steps, steps), -1).reshape(1, -1, 2)
    places = one.points_in_image(cells)[0]
    inside = ((places > 6) & (places < (214, 194))).all(-1)
    assert inside.sum() > 3000
    np.testing.assert_allclose(
        found.reshape(-1, 3)[inside, :2] * 255.0, places[inside] - 0.5, atol=0.02
    )  # a pixel's value belongs to its centre


def test_beyond_the_image_is_the_mean_colour() -> None:
    found = cut_crop(np.zeros((50, 50, 3), np.uint8), crop(0, 25, 25), SIZE)
    np.testing.assert_array_equal(found[:, : SIZE // 2], np.broadcast_to(OUTSIDE, (SIZE, SIZE // 2, 3)))
    assert (found[:, SIZE // 2 :] == 0).all()
    away = cut_crop(np.zeros((50, 50, 3), np.uint8), crop(-500, 25, 25), SIZE)
    np.testing.assert_array_equal(away, np.broadcast_to(OUTSIDE, (SIZE, SIZE, 3)))


def test_colours_are_clipped() -> None:
    np.testing.assert_allclose(
        coloured(np.full((1, 3), 0.8, np.float32), np.float32([0.5, 1.0, 2.0])), [[0.4, 0.8, 1.0]]
    )
