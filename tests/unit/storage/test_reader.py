import shutil
import uuid
from pathlib import Path

import duckdb
import numpy as np
import polars
import pytest

from poses.batch import PoseBatch
from storage.errors import DatasetError, ShardError
from storage.manifest import publish_manifest
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset
from tests.lent_conditional_write import lent_conditional_write
from tests.unit.storage.samples import SKELETON, assert_same_pairs, commit_pairs, make_pairs

__all__ = ["lent_conditional_write"]
ROWS = 230


@pytest.fixture
def batch() -> PoseBatch:
    return make_pairs(ROWS, hardness=np.arange(ROWS, dtype=np.float32))


def publish(store: ObjectStore, *batches: PoseBatch, **options: int) -> Dataset:
    commits = [commit_pairs(store, batch, f"u{n}", **options) for n, batch in enumerate(batches)]
    publish_manifest(store, "run", commits, SKELETON)
    return Dataset.open(store.url)


@pytest.mark.parametrize("batch_rows", [1, 37, 100, 1000])
def test_batches_cover_all_rows_in_order(tmp_path: Path, batch: PoseBatch, batch_rows: int) -> None:
    dataset = publish(open_store(tmp_path), batch, row_group_rows=100)
    batches = list(dataset.iter_batches(batch_rows))
    assert max(map(len, batches)) == min(batch_rows, 100)
    assert_same_pairs(PoseBatch.concat(batches), batch)


def test_arrays_are_views_on_the_decoded_memory(tmp_path: Path, batch: PoseBatch) -> None:
    (read,) = publish(open_store(tmp_path), batch).iter_batches()
    for name in ("joints_camera_m", "keypoints_px", "camera_px", "sample_id"):
        array = getattr(read, name)
        assert not array.flags.owndata, name
        assert not array.flags.writeable, name
        assert array.flags.c_contiguous, name


def test_chosen_columns_only(tmp_path: Path, batch: PoseBatch) -> None:
    dataset = publish(open_store(tmp_path), batch)
    (read,) = dataset.iter_batches(columns=["keypoints_px", "hardness"])
    np.testing.assert_array_equal(read.keypoints_px, batch.keypoints_px)
    np.testing.assert_array_equal(read.extra["hardness"], batch.extra["hardness"])
    np.testing.assert_array_equal(read.sample_id, batch.sample_id)
    assert np.isnan(read.joints_camera_m).all()
    assert read.joints_camera_m.strides == (0, 0, 0)
    assert set(read.clip) == {""}
    with pytest.raises(DatasetError, match="no column 'hardnes'"):
        list(dataset.iter_batches(columns=["hardnes"]))


def test_a_range_of_rows(tmp_path: Path, batch: PoseBatch) -> None:
    dataset = publish(open_store(tmp_path), batch, row_group_rows=50)
    path = dataset.pair_files[0].path
    for start, stop in ((0, 230), (49, 51), (100, 150), (229, 230), (10, 10), (230, 230)):
        assert_same_pairs(dataset.read_rows(path, start, stop), batch.take(slice(start, stop)))
    with pytest.raises(DatasetError, match="wanted rows 200 to 231 of 230"):
        dataset.read_rows(path, 200, 231)
    with pytest.raises(DatasetError, match="no pairs file 'pairs/other"):
        dataset.read_rows("pairs/other.parquet", 0, 1)


def test_chosen_files(tmp_path: Path) -> None:
    dataset = publish(open_store(tmp_path), make_pairs(10, seed=1), make_pairs(20, seed=2))
    sizes = {file.path: file.rows for file in dataset.pair_files}
    for path, rows in sizes.items():
        assert sum(map(len, dataset.iter_batches(files=[path]))) == rows


def test_extra_columns_that_some_files_lack_are_filled(tmp_path: Path) -> None:
    plain, rich = (
        make_pairs(3, seed=1),
        make_pairs(2, seed=2, hardness=np.ones(2, np.float32), n=np.ones(2, np.int32)),
    )
    read = publish(open_store(tmp_path), plain, rich).read_pairs()
    order = np.argsort(read.sample_id)
    np.testing.assert_array_equal(read.extra["hardness"][order], np.float32([np.nan] * 3 + [1, 1]))
    np.testing.assert_array_equal(read.extra["n"][order], [-1, -1, -1, 1, 1])


def test_readers_see_the_files_of_their_manifest_only(tmp_path: Path, batch: PoseBatch) -> None:
    dataset = publish(open_store(tmp_path), batch)
    stray = tmp_path / "pairs" / "0000.parquet"
    shutil.copy(tmp_path / dataset.pair_files[0].path, stray)
    commit_pairs(open_store(tmp_path), make_pairs(5, seed=9), "unpublished")
    again = Dataset.open(tmp_path)
    assert again.n_pairs == len(again.read_pairs()) == again.to_arrow().count_rows() == ROWS
    assert len(again.file_urls()) == 1


@pytest.mark.usefixtures("lent_conditional_write")
def test_works_on_an_object_store(batch: PoseBatch) -> None:
    dataset = publish(open_store(f"memory://{uuid.uuid4().hex}/d"), batch, row_group_rows=64)
    assert_same_pairs(dataset.read_pairs(), batch)
    assert dataset.to_arrow().to_table().num_rows == ROWS


def test_arrow_gives_tensors_with_named_dimensions(tmp_path: Path, batch: PoseBatch) -> None:
    table = publish(open_store(tmp_path), batch).to_arrow().to_table()
    field = table.schema.field("joints_camera_m").type
    assert (field.shape, field.dim_names) == ([17, 3], ["joint", "xyz"])
    np.testing.assert_array_equal(
        table["joints_camera_m"].combine_chunks().to_numpy_ndarray(), batch.joints_camera_m
    )


def test_arrow_has_nulls_where_a_file_lacks_a_column(tmp_path: Path) -> None:
    for seed in range(4):  # files are ordered by their digests, so either kind comes first in one of these
        plain, rich = make_pairs(4, seed=seed), make_pairs(3, seed=seed + 9, hardness=np.ones(3, np.float32))
        table = publish(open_store(tmp_path / str(seed)), plain, rich).to_arrow().to_table()
        assert (table.num_rows, table["hardness"].null_count) == (7, 4)


def test_duckdb_opens_the_pairs(tmp_path: Path, batch: PoseBatch) -> None:
    dataset = publish(open_store(tmp_path), batch)
    query = duckdb.read_parquet(dataset.file_urls()).query(
        "pairs",
        "select action, count(*) as n, min(keypoints_px[2]) as y, max(len(joints_camera_m)) as k from pairs"
        " group by 1 order by 1",
    )
    rows = query.fetchall()
    assert [(row[0], row[1]) for row in rows] == [("action0", 100), ("action1", 80), ("action2", 50)]
    assert {row[3] for row in rows} == {51}
    assert min(row[2] for row in rows) == batch.keypoints_px[:, 0, 1].min()


def test_polars_opens_the_pairs(tmp_path: Path, batch: PoseBatch) -> None:
    dataset = publish(open_store(tmp_path), batch)
    frame = polars.scan_parquet(dataset.file_urls()).select("sample_id", "subject", "camera_px").collect()
    assert frame["sample_id"].to_list() == batch.sample_id.tolist()
    assert frame["subject"].to_list() == batch.subject.tolist()
    np.testing.assert_array_equal(np.asarray(frame["camera_px"].to_list(), np.float32), batch.camera_px)


class TestDamage:
    @pytest.fixture
    def dataset(self, tmp_path: Path, batch: PoseBatch) -> Dataset:
        return publish(open_store(tmp_path), batch)

    def file(self, dataset: Dataset) -> Path:
        return Path(dataset.store.url) / dataset.pair_files[0].path

    def test_a_truncated_file(self, dataset: Dataset) -> None:
        data = self.file(dataset).read_bytes()
        self.file(dataset).write_bytes(data[: len(data) // 2])
        with pytest.raises(
            ShardError, match=rf"{self.file(dataset).name}: {len(data):,} bytes in the manifest.*verify"
        ):
            dataset.read_pairs()

    def test_a_missing_file(self, dataset: Dataset) -> None:
        self.file(dataset).unlink()
        with pytest.raises(ShardError, match=rf"{self.file(dataset).name}.*verify"):
            dataset.read_pairs()

    @pytest.mark.parametrize("place", [0.1, 0.3, 0.5])
    def test_one_changed_byte_in_a_page(self, dataset: Dataset, place: float) -> None:
        data = bytearray(self.file(dataset).read_bytes())
        data[int(len(data) * place)] ^= 1
        self.file(dataset).write_bytes(data)
        with pytest.raises(ShardError, match=rf"{self.file(dataset).name}.*posemill verify"):
            dataset.read_pairs()

    def test_a_damaged_footer(self, dataset: Dataset) -> None:
        data = bytearray(self.file(dataset).read_bytes())
        data[-8:] = b"\xff\xff\xff\x7fPAR1"
        self.file(dataset).write_bytes(data)
        with pytest.raises(ShardError, match=rf"{self.file(dataset).name}.*posemill verify"):
            dataset.read_pairs()

    def test_another_file_of_the_same_size(self, dataset: Dataset) -> None:
        self.file(dataset).write_bytes(bytes(self.file(dataset).stat().st_size))
        with pytest.raises(ShardError, match="posemill verify"):
            dataset.read_pairs()
