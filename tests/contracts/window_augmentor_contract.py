"""What every augmentor of windows does, beside what it does with poses. Subclasses give the fixture `augmentor`."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from augment.contract import UP_COLUMN, Augmentor, WindowAugmentor
from augment.errors import AugmentError
from augment.windows import WindowShape
from poses.batch import PoseBatch
from poses.cameras import project_px
from poses.identity import stable_id
from poses.rigs import load_rig
from tests.contracts.augmentor_contract import same_rows
from tests.unit.augment.window_samples import SHAPE, SKELETON, sample_windows

WINDOWS = 40
SIZES = (1, 2, 3, 4, 7, 16, 33)


@lru_cache(maxsize=1)
def window_batch() -> PoseBatch:
    """Windows of 9 frames of smooth motion on 16 joints, before one H36M-like camera."""
    windows = sample_windows(WINDOWS)
    joints_m = windows.joints_camera_m.numpy()
    rows = len(joints_m)
    camera_px = np.tile(load_rig("h36m_like").cameras[0].camera_px.astype(np.float32), (rows, 1))
    ids = np.array([stable_id("window row", row) for row in range(rows)], np.int64)
    text = np.full(rows, "sample", object)
    return PoseBatch(
        SKELETON,
        sample_id=ids,
        joints_camera_m=joints_m,
        keypoints_px=project_px(joints_m, camera_px),
        keypoint_confidence=np.ones(joints_m.shape[:2], np.float32),
        camera_px=camera_px,
        source_id=ids,
        copy=np.zeros(rows, np.int32),
        frame=np.tile(np.arange(SHAPE.frames, dtype=np.int32), rows // SHAPE.frames),
        clip=text,
        subject=text,
        action=text,
        camera_name=text,
        extra={UP_COLUMN: windows.up_camera.numpy()},
    )


def rows_of(*windows: int) -> np.ndarray:
    """The rows of some windows."""
    return np.concatenate([np.arange(SHAPE.frames) + window * SHAPE.frames for window in windows])


def roughness_m(joints_m: np.ndarray) -> np.ndarray:
    """(W,) mean second difference of the joints in time."""
    frames = joints_m.reshape(-1, SHAPE.frames, *joints_m.shape[1:])
    return np.linalg.norm(np.diff(frames, 2, axis=1), axis=-1).mean(axis=(1, 2))


class WindowAugmentorContract:
    """Subclass it beside `AugmentorContract` and provide a fixture `augmentor`."""

    smooth = 4.0
    """How much rougher than the source's a window's motion may be, on average over the windows."""

    @pytest.fixture
    def windows(self, augmentor: Augmentor) -> WindowAugmentor:
        assert isinstance(augmentor, WindowAugmentor)
        return augmentor

    def test_windows_are_kept_or_rejected_whole(self, windows: WindowAugmentor) -> None:
        batch = window_batch()
        made = windows.augment_windows(batch, 1, SHAPE)
        accounted = np.concatenate([made.pairs.source_id, made.rejected.source_id])
        assert sorted(accounted.tolist()) == sorted(batch.sample_id.tolist())
        assert len(made.pairs) > 0.4 * len(batch)
        row_of = {int(source): row for row, source in enumerate(batch.sample_id)}
        rows = np.array([row_of[int(source)] for source in made.pairs.source_id]).reshape(-1, SHAPE.frames)
        assert (rows[:, 0] % SHAPE.frames == 0).all()
        assert (np.diff(rows, axis=1) == 1).all()
        np.testing.assert_array_equal(made.pairs.frame.reshape(-1, SHAPE.frames), batch.frame[rows])
        made.pairs.validate()
        projected_px = project_px(made.pairs.joints_camera_m, made.pairs.camera_px)
        assert np.abs(projected_px - made.pairs.keypoints_px).max() < 0.1

    def test_any_number_of_windows_at_once_gives_the_same_bytes(self, windows: WindowAugmentor) -> None:
        whole = windows.augment_windows(window_batch(), 1, SHAPE)
        for size in SIZES:
            for start in (0, 5):
                part = window_batch().take(rows_of(*range(start, min(start + size, WINDOWS))))
                assert same_rows(windows.augment_windows(part, 1, SHAPE), whole), (
                    f"{size} windows from {start}"
                )

    def test_motion_goes_on_smoothly(self, windows: WindowAugmentor) -> None:
        batch = window_batch()
        made = windows.augment_windows(batch, 1, SHAPE).pairs
        recorded = np.mean(roughness_m(batch.joints_camera_m))
        assert 0.2 * recorded < np.mean(roughness_m(made.joints_camera_m)) < self.smooth * recorded

    def test_one_broken_frame_rejects_its_window_and_harms_no_other(self, windows: WindowAugmentor) -> None:
        batch = window_batch()
        joints_m = batch.joints_camera_m.copy()
        joints_m[3 * SHAPE.frames + 1, 5] = np.nan
        made = windows.augment_windows(replace(batch, joints_camera_m=joints_m), 1, SHAPE)
        others = [window for window in range(WINDOWS) if window != 3]
        without = windows.augment_windows(batch.take(rows_of(*others)), 1, SHAPE)
        assert made.pairs.joints_camera_m.tobytes() == without.pairs.joints_camera_m.tobytes()
        refused = np.isin(made.rejected.source_id, batch.sample_id[rows_of(3)])
        assert made.rejected.reason[refused].tolist() == ["not_finite"] * SHAPE.frames

    def test_windows_of_one_frame_are_poses(self, windows: WindowAugmentor) -> None:
        poses = window_batch().take(np.arange(0, len(window_batch()), 3))
        assert same_rows(windows.augment_windows(poses, 2, WindowShape()), windows.augment(poses, 2))

    def test_rows_that_are_no_whole_windows_are_refused(self, windows: WindowAugmentor) -> None:
        with pytest.raises(AugmentError, match="whole windows of 9 frames, got 10 rows"):
            windows.augment_windows(window_batch().take(np.arange(10)), 1, SHAPE)

    def test_no_windows_are_fine(self, windows: WindowAugmentor) -> None:
        made = windows.augment_windows(window_batch().take(np.zeros(0, np.int64)), 1, SHAPE)
        assert (len(made.pairs), len(made.rejected)) == (0, 0)
