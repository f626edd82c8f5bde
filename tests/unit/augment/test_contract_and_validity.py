"""The augmentor's nouns, and which pairs are usable."""

from dataclasses import replace

import numpy as np
import pytest

from augment.contract import (
    UP_COLUMN,
    RejectedRows,
    derived_pairs,
    split_by_reason,
    up_camera_of,
)
from augment.errors import AugmentError
from augment.validity import (
    BEHIND_CAMERA,
    NOT_FINITE,
    OUTSIDE_IMAGE,
    ValiditySettings,
    reasons_if_not_finite,
    reasons_to_reject,
)
from tests.unit.augment.pose_samples import sample_batch


def reasons(joints_m=None, keypoints_px=None, **settings):
    batch = sample_batch(20)
    joints_m = batch.joints_camera_m if joints_m is None else joints_m
    keypoints_px = batch.keypoints_px if keypoints_px is None else keypoints_px
    return reasons_to_reject(joints_m, keypoints_px, batch.camera_px, ValiditySettings(**settings)).tolist()


def test_good_pairs_have_no_reason() -> None:
    assert reasons() == [""] * 20


@pytest.mark.parametrize(("axis", "value"), [(0, -1.0), (0, 1001.0), (1, -1.0), (1, 1001.0)])
def test_the_image_filter_has_four_sides(axis: int, value: float) -> None:
    keypoints = sample_batch(20).keypoints_px.copy()
    keypoints[4, 2, axis] = value
    assert [row for row, reason in enumerate(reasons(keypoints_px=keypoints)) if reason == OUTSIDE_IMAGE] == [
        4
    ]
    assert set(reasons(keypoints_px=keypoints, margin=0.01)) == {""}
    assert set(reasons(keypoints_px=keypoints, require_inside=False)) == {""}


def test_depth_and_broken_numbers() -> None:
    batch = sample_batch(20)
    joints, keypoints = batch.joints_camera_m.copy(), batch.keypoints_px.copy()
    joints[1, 3, 2] = 0.2
    joints[2, 3, 2] = -4.0
    joints[3, 3, 1] = np.nan
    joints[4, 3, 2], keypoints[4, 3] = 0.0, np.inf
    keypoints[5, 0, 0] = np.nan
    found = reasons(joints, keypoints)
    assert found[1:6] == [BEHIND_CAMERA, BEHIND_CAMERA, NOT_FINITE, BEHIND_CAMERA, NOT_FINITE]
    assert set(found[6:]) == {""}
    assert reasons(joints, keypoints, z_min_m=0.1)[1] == ""
    assert reasons_if_not_finite(joints, keypoints).tolist()[1:6] == [
        "",
        "",
        NOT_FINITE,
        NOT_FINITE,
        NOT_FINITE,
    ]


def test_derived_pairs_and_split() -> None:
    batch = sample_batch(20)
    made = derived_pairs(
        batch, 1, "toy", 3, {"keypoints_px": batch.keypoints_px + 1}, {"score": np.arange(20)}
    )
    assert (made.copy == 3).all()
    assert (made.source_id == batch.sample_id).all()
    assert len(set(made.sample_id.tolist()) | set(batch.sample_id.tolist())) == 40
    reason = np.full(20, "", object)
    reason[[2, 7]] = "odd"
    split = split_by_reason(made, reason)
    assert len(split.pairs) == 18
    assert split.rejected.counts() == {"odd": 2}
    assert split.rejected.source_id.tolist() == batch.sample_id[[2, 7]].tolist()
    both = RejectedRows.concat([split.rejected, RejectedRows.none(), split.rejected])
    assert both.counts() == {"odd": 4}
    assert len(RejectedRows.concat([])) == 0


def test_rejected_rows_want_a_reason_each() -> None:
    with pytest.raises(AugmentError, match="one reason per source id"):
        RejectedRows(np.zeros(2, np.int64), np.full(3, "x", object))


def test_up_defaults_to_a_level_camera() -> None:
    batch = sample_batch(20)
    np.testing.assert_array_equal(up_camera_of(batch), batch.extra[UP_COLUMN])
    level = up_camera_of(replace(batch, extra={}))
    assert level.shape == (20, 3)
    assert (level == np.float32([0, -1, 0])).all()
