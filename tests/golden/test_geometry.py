"""golden_geometry: rotations, projections and weak-perspective cameras of the papers' public code."""

import numpy as np
import pytest
import torch

from poses.cameras import make_camera_px, project_px
from poses.kinematics import rotate_joints
from poses.rotations import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_six_d, six_d_to_matrix
from poses.weak_perspective import (
    fit_translation,
    project_weak_perspective,
    translation_from_weak_perspective,
    translation_in_full_image,
)
from tests.shared_data import golden_path


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(golden_path("golden_geometry.npz")) as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


@pytest.mark.parametrize("form", ["spin", "hmr_tf_formula"])
def test_rodrigues(golden: dict[str, torch.Tensor], form: str) -> None:
    matrices = axis_angle_to_matrix(golden["rodrigues/theta"])
    torch.testing.assert_close(matrices, golden[f"rodrigues/{form}"], atol=1e-4, rtol=0)
    again = axis_angle_to_matrix(matrix_to_axis_angle(matrices))
    torch.testing.assert_close(again, matrices, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("layout", "key"), [("rows", "rot6d/R"), ("columns", "rot6d_4dhumans/R")])
def test_six_d(golden: dict[str, torch.Tensor], layout: str, key: str) -> None:
    matrices = six_d_to_matrix(golden["rot6d/x"], layout)
    torch.testing.assert_close(matrices, golden[key], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        six_d_to_matrix(matrix_to_six_d(matrices, layout), layout), matrices, atol=1e-5, rtol=0
    )


def test_a_batch_of_three_does_not_fall_into_the_cross_product_trap(golden: dict[str, torch.Tensor]) -> None:
    three = six_d_to_matrix(golden["rot6d/x"][:3], "columns")
    torch.testing.assert_close(three, golden["rot6d_4dhumans/R"][:3], atol=1e-4, rtol=0)
    assert not torch.allclose(three, golden["rot6d/trap_batch3"], atol=1e-2)


def test_perspective(golden: dict[str, torch.Tensor]) -> None:
    moved = rotate_joints(golden["persp/points"], golden["persp/R"]) + golden["persp/t"][:, None]
    focal = float(golden["persp/f"])
    cameras = np.stack(
        [make_camera_px((focal, focal), (float(x), float(y)), (224, 224)) for x, y in golden["persp/c"]]
    )
    pixels = project_px(moved, torch.from_numpy(cameras))
    torch.testing.assert_close(pixels, golden["persp/out"], atol=2e-3, rtol=1e-5)


def test_weak_perspective_to_translation(golden: dict[str, torch.Tensor]) -> None:
    translation = translation_from_weak_perspective(golden["weakcam/cam"], 5000, 224)
    torch.testing.assert_close(translation, golden["weakcam/t"], atol=1e-4, rtol=1e-6)
    moved = golden["persp/points"] + translation[:, None]
    camera = torch.from_numpy(make_camera_px((5000, 5000), (0, 0), (224, 224)))
    normalised = project_px(moved, camera) / (224 / 2)
    torch.testing.assert_close(normalised, golden["weakcam/kp2d_norm"], atol=1e-4, rtol=0)


def test_translation_fit(golden: dict[str, torch.Tensor]) -> None:
    ground_truth = slice(25, 49)  # of SPIN's 49 joints its fit looks at the last 24 only
    keypoints = golden["esttrans/j2d"][:, ground_truth]
    center = torch.full((len(keypoints), 2), 112.0)
    joints = golden["esttrans/S"][:, ground_truth]
    fitted = fit_translation(joints, keypoints[..., :2], keypoints[..., 2], 5000, center)
    torch.testing.assert_close(fitted, golden["esttrans/t"], atol=1e-4, rtol=0)


def test_orthographic(golden: dict[str, torch.Tensor]) -> None:
    seen = project_weak_perspective(golden["orth/X"], golden["orth/cam"])
    torch.testing.assert_close(seen, golden["orth/out"], atol=1e-5, rtol=0)


def test_crop_camera_to_full_image(golden: dict[str, torch.Tensor]) -> None:
    translation = translation_in_full_image(
        golden["cam_full/in_cam"],
        golden["cam_full/center"],
        golden["cam_full/size"],
        golden["cam_full/img_wh"],
        float(golden["cam_full/f"]),
    )
    torch.testing.assert_close(translation, golden["cam_full/out"], atol=1e-6, rtol=1e-8)
