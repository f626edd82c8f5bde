"""What an importer reads from an export is what the dataset holds, for every format."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from poses.batch import PoseBatch
from storage.errors import ExportError
from storage.exporters.export import export_dataset
from storage.exporters.registry import FORMATS
from storage.exporters.settings import ExportSettings
from storage.importers.exported import open_export
from tests.unit.storage.exporters.datasets import by_id, mixed_pairs, publish, there_and_back
from tests.unit.storage.samples import SKELETON, assert_same_pairs, make_pairs

ALL = pytest.mark.parametrize("to", sorted(FORMATS))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["a\0", "\0", '"', "../"]
)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
IDS = st.integers(0, 2**63 - 1)


@st.composite
def hostile_but_sound_pairs(draw: st.DrawFn) -> PoseBatch:
    """Up to a dozen pairs with any finite floats, any names, any ids; extra columns may be not finite."""
    ids = np.asarray(draw(st.lists(IDS, min_size=1, max_size=12, unique=True)), np.int64)
    rows, joints = len(ids), SKELETON.n_joints
    random = np.random.default_rng(draw(st.integers(0, 99)))
    special = np.asarray([*draw(st.lists(FLOATS, min_size=1, max_size=8)), -0.0], np.float32)

    def floats(*shape: int) -> np.ndarray:
        values = random.normal(size=(rows, *shape)).astype(np.float32)
        where = random.random(values.shape) < 0.2
        values[where] = random.choice(special, int(where.sum()))
        return values

    def names() -> np.ndarray:
        return np.asarray([draw(NAMES) for _ in range(rows)], object)

    return PoseBatch(
        skeleton=SKELETON,
        sample_id=ids,
        joints_camera_m=floats(joints, 3),
        keypoints_px=floats(joints, 2),
        keypoint_confidence=random.choice(np.float32([0, 0.5, 1]), (rows, joints)),
        camera_px=floats(11),
        source_id=random.permutation(ids),
        copy=random.integers(0, 3, rows).astype(np.int32),
        frame=random.integers(0, 4, rows).astype(np.int32),
        clip=names(),
        subject=names(),
        action=names(),
        camera_name=names(),
        extra={
            "part": np.asarray([draw(st.sampled_from(["a", "b b", "", "all"])) for _ in range(rows)], object),
            "note/../x": names(),
            "odd": random.choice([np.nan, np.inf, -np.inf, 0.1, -0.0], (rows, 2)),
            "half": random.normal(size=(rows, 2, 2)).astype(np.float16),
            "large": random.integers(0, 2**64, rows, dtype=np.uint64),
            "flag": random.integers(0, 2, rows).astype(bool),
        },
    )


@ALL
@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(pairs=hostile_but_sound_pairs(), shard_rows=st.integers(1, 14))
def test_any_pairs_come_back_to_the_bit(to: str, pairs: PoseBatch, shard_rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with np.errstate(over="ignore"):  # the dataset's own statistics of numbers that no pose has
            dataset = publish(Path(folder) / "dataset", pairs)
        got = there_and_back(dataset, to, Path(folder) / "export", ExportSettings(shard_rows=shard_rows))
        wanted = by_id(pairs)
        assert_same_pairs(got, wanted)
        for name in ("joints_camera_m", "keypoints_px", "camera_px"):
            np.testing.assert_array_equal(np.signbit(getattr(got, name)), np.signbit(getattr(wanted, name)))


@ALL
def test_files_with_other_extra_columns_come_back_as_the_reader_gives_them(to: str, tmp_path: Path) -> None:
    first, second = mixed_pairs(40), make_pairs(30, 5, hardness=np.arange(30, dtype=np.float32))
    dataset = publish(tmp_path / "dataset", first, second, row_group_rows=16)
    got = there_and_back(dataset, to, tmp_path / "export", ExportSettings(shard_rows=32))
    assert_same_pairs(got, by_id(dataset.read_pairs()))


@ALL
def test_only_the_parts_and_rigs_that_were_asked_for_are_exported(to: str, tmp_path: Path) -> None:
    pairs = mixed_pairs()
    dataset = publish(tmp_path / "dataset", pairs)
    asked = ExportSettings(parts=("*_train",), rigs=("h36m_like", "no_such"))
    got = there_and_back(dataset, to, tmp_path / "export", asked)
    wanted = (pairs.extra["part"] == "source_train") & (pairs.extra["rig"] == "h36m_like")
    assert 0 < wanted.sum() < len(pairs)
    assert_same_pairs(got, by_id(pairs.take(wanted)))
    index = open_export(tmp_path / "export").index
    assert (index.parts, index.rigs, index.dataset_version) == (asked.parts, asked.rigs, 1)


@ALL
def test_nothing_selected_is_told_with_what_there_is_and_leaves_nothing(to: str, tmp_path: Path) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs())
    with pytest.raises(
        ExportError, match=r"no pairs in parts target_.*it has parts source_train, source_valid"
    ):
        export_dataset(dataset, to, tmp_path / "export", ExportSettings(parts=("target_*",)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]
    bare = publish(tmp_path / "bare", make_pairs(5))
    with pytest.raises(ExportError, match="no column 'rig'; leave --rig out"):
        export_dataset(bare, to, tmp_path / "export", ExportSettings(rigs=("h36m_like",)))


@ALL
def test_an_older_version_is_exported_as_it_was(to: str, tmp_path: Path) -> None:
    from storage.reader import Dataset

    publish(tmp_path / "dataset", mixed_pairs(20))
    publish(tmp_path / "dataset", mixed_pairs(20), mixed_pairs(10, 7))
    newest, oldest = Dataset.open(tmp_path / "dataset"), Dataset.open(tmp_path / "dataset", 1)
    assert len(there_and_back(oldest, to, tmp_path / "old")) == 20
    assert len(there_and_back(newest, to, tmp_path / "new")) == 30


@pytest.mark.parametrize("to", sorted(set(FORMATS) - {"delta"}))
def test_the_same_pairs_give_the_same_bytes(to: str, tmp_path: Path) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs())
    digests = []
    for name in ("one", "two"):
        export_dataset(
            dataset, to, tmp_path / name, ExportSettings(shard_rows=25, pickled=to == "videopose3d")
        )
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        digests.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert digests[0] == digests[1]
    assert len(digests[0]) > 3
