"""Placement: the projected box is the wanted box, wherever the camera's centre and whatever its focal length."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.placement import (
    NO_PLACE,
    BoxSettings,
    PlacementAugmentor,
    align_to_boxes,
    draw_boxes,
    observed_boxes,
)
from augment.validity import ValiditySettings
from poses.cameras import project_screen
from poses.randomness import RowRandom
from tests.unit.augment.pose_samples import sample_batch

ROWS = 60
JOINTS = torch.from_numpy(np.ascontiguousarray(sample_batch(ROWS).joints_root_m))


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> torch.Tensor:
    return torch.tensor([[fx, fy, cx, cy, 0.0, 0.0, 0.0, 0.0, 0.0]]).repeat(ROWS, 1)


@settings(max_examples=15, deadline=None)
@given(
    st.floats(1.0, 3.0), st.floats(0.9, 1.1), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(0.2, 1.4)
)
def test_the_projected_box_matches(focal: float, aspect: float, cx: float, cy: float, size: float) -> None:
    camera = intrinsics(focal, aspect * focal, cx, cy)
    center = torch.rand(ROWS, 2, generator=torch.Generator().manual_seed(3)) - 0.5
    wanted = torch.full((ROWS,), size)
    placed = align_to_boxes(JOINTS, center, wanted, camera)
    assert placed.reached.float().mean() > 0.85
    seen = project_screen(JOINTS + placed.root_camera_m.unsqueeze(1), camera)
    found_center, found_size = observed_boxes(seen)
    assert (found_center - center)[placed.reached].abs().max() < 2e-5
    assert (found_size - wanted)[placed.reached].abs().max() < 2e-5


def test_smaller_boxes_stand_further_away() -> None:
    camera, center = intrinsics(2.3, 2.3, 0.0, 0.0), torch.zeros(ROWS, 2)
    depths = [
        align_to_boxes(JOINTS, center, torch.full((ROWS,), size), camera).root_camera_m[:, 2]
        for size in (0.4, 0.8)
    ]
    assert (depths[0] > 1.6 * depths[1]).all()


def test_a_box_that_needs_the_camera_inside_the_body_is_not_reached() -> None:
    placed = align_to_boxes(
        JOINTS, torch.zeros(ROWS, 2), torch.full((ROWS,), 40.0), intrinsics(1.0, 1.0, 0.0, 0.0)
    )
    assert not placed.reached.any()
    assert torch.isfinite(placed.root_camera_m).all()


def test_drawn_boxes_lie_inside_the_image() -> None:
    ids = np.arange(2000, dtype=np.int64)
    aspect = torch.full((2000,), 0.6)
    center, size = draw_boxes(RowRandom(0, "boxes", ids, 1), aspect, BoxSettings())
    assert (center[:, 0].abs() + size / 2 <= 1.0 + 1e-6).all()
    assert (center[:, 1].abs() + size / 2 <= 0.6 + 1e-6).all()
    assert size.min() < 0.4
    assert size.max() == pytest.approx(1.2)


def test_unreachable_boxes_are_rejected_by_name() -> None:
    batch = sample_batch(ROWS)
    far = PlacementAugmentor(
        BoxSettings(smallest=1.7, largest=1.8), 1, ValiditySettings(z_min_m=4.0, require_inside=False)
    )
    made = far.augment(batch, 1)
    assert made.rejected.counts() == {NO_PLACE: ROWS}


def test_only_the_place_changes() -> None:
    batch = sample_batch(ROWS)
    made = PlacementAugmentor(BoxSettings(), 1).augment(batch, 1).pairs
    np.testing.assert_array_equal(made.camera_px, batch.camera_px)
    np.testing.assert_allclose(made.joints_root_m, batch.joints_root_m, atol=2e-6)
    assert np.abs(made.joints_camera_m[:, 0] - batch.joints_camera_m[:, 0]).max() > 0.5
