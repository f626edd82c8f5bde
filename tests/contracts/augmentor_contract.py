"""What every augmentor does. Subclasses give the fixture `augmentor`."""

from dataclasses import replace

import numpy as np
import pytest

from augment.contract import Augmented, Augmentor
from poses.batch import ARRAY_COLUMNS, TEXT_COLUMNS, PoseBatch
from poses.cameras import project_px
from tests.unit.augment.pose_samples import sample_batch

SIZES = (1, 2, 3, 4, 5, 7, 8, 17, 63, 64, 65)


class AugmentorContract:
    """Subclass it and provide a fixture `augmentor`; set `moves_2d` where 3D must not project onto 2D."""

    moves_2d = False

    @pytest.fixture
    def batch(self) -> PoseBatch:
        return sample_batch()

    def test_nothing_disappears(self, augmentor: Augmentor, batch: PoseBatch) -> None:
        made = augmentor.augment(batch, 1)
        accounted = np.concatenate([made.pairs.source_id, made.rejected.source_id])
        assert sorted(accounted.tolist()) == sorted(batch.sample_id.tolist())
        assert len(made.pairs) > 0.5 * len(batch)
        assert all(made.rejected.reason.tolist())

    def test_pairs_are_valid_and_keep_the_order_of_their_sources(
        self, augmentor: Augmentor, batch: PoseBatch
    ) -> None:
        pairs = augmentor.augment(batch, 2).pairs
        pairs.validate()
        assert (pairs.copy == 2).all()
        row_of = {int(source): row for row, source in enumerate(batch.sample_id)}
        rows = np.array([row_of[int(source)] for source in pairs.source_id])
        assert (np.diff(rows) > 0).all()
        np.testing.assert_array_equal(pairs.frame, batch.frame[rows])
        assert not set(pairs.sample_id.tolist()) & set(batch.sample_id.tolist())

    def test_any_batch_size_gives_the_same_bytes(self, augmentor: Augmentor, batch: PoseBatch) -> None:
        whole = augmentor.augment(batch, 1)
        for size in SIZES:
            for start in (0, 5, 100):
                part = augmentor.augment(batch.take(slice(start, start + size)), 1)
                assert same_rows(part, whole), f"rows {start} to {start + size} differ"

    def test_order_does_not_matter(self, augmentor: Augmentor, batch: PoseBatch) -> None:
        order = np.random.Generator(np.random.PCG64(2)).permutation(len(batch))
        assert same_rows(augmentor.augment(batch.take(order), 1), augmentor.augment(batch, 1))

    def test_an_empty_batch_is_fine(self, augmentor: Augmentor, batch: PoseBatch) -> None:
        made = augmentor.augment(batch.take(np.zeros(0, np.int64)), 1)
        assert (len(made.pairs), len(made.rejected)) == (0, 0)

    def test_3d_projects_onto_2d(self, augmentor: Augmentor, batch: PoseBatch) -> None:
        pairs = augmentor.augment(batch, 1).pairs
        apart_px = np.abs(project_px(pairs.joints_camera_m, pairs.camera_px) - pairs.keypoints_px)
        if self.moves_2d:
            assert apart_px.max() > 0.5
        else:
            assert apart_px.max() < 0.05

    def test_a_broken_pose_is_rejected_and_harms_no_other(
        self, augmentor: Augmentor, batch: PoseBatch
    ) -> None:
        joints = batch.joints_camera_m.copy()
        joints[3, 5] = np.nan
        made = augmentor.augment(replace(batch, joints_camera_m=joints), 1)
        good = np.arange(len(batch)) != 3
        without = augmentor.augment(batch.take(good), 1)
        others = made.pairs.take(made.pairs.source_id != batch.sample_id[3])
        assert others.joints_camera_m.tobytes() == without.pairs.joints_camera_m.tobytes()
        assert "not_finite" in made.rejected.reason[made.rejected.source_id == batch.sample_id[3]]


def same_rows(part: Augmented, whole: Augmented) -> bool:
    """Whether the rows of `part` are, bit for bit, those of `whole` with the same source."""
    row_of = {int(source): row for row, source in enumerate(whole.pairs.source_id)}
    if any(int(source) not in row_of for source in part.pairs.source_id):
        return False
    if not set(part.rejected.source_id.tolist()) <= set(whole.rejected.source_id.tolist()):
        return False
    theirs = whole.pairs.take(np.array([row_of[int(source)] for source in part.pairs.source_id], np.int64))
    same = [getattr(part.pairs, name).tobytes() == getattr(theirs, name).tobytes() for name in ARRAY_COLUMNS]
    same += [getattr(part.pairs, name).tolist() == getattr(theirs, name).tolist() for name in TEXT_COLUMNS]
    same += [part.pairs.extra[name].tobytes() == theirs.extra[name].tobytes() for name in theirs.extra]
    return all(same)
