import uuid
from pathlib import Path

import numpy as np
import pytest

from storage import sequences
from storage.errors import ShardError
from storage.manifest import publish_manifest
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset
from storage.writer import UnitWriter
from tests.lent_conditional_write import lent_conditional_write
from tests.unit.storage.samples import SKELETON, make_clip

__all__ = ["lent_conditional_write"]
LENGTHS = (40, 1, 300, 25)


def publish(store: ObjectStore) -> Dataset:
    with UnitWriter(store, "run", "unit", SKELETON) as writer:
        for number, frames in enumerate(LENGTHS):
            writer.add_clips([make_clip(frames, key=f"clip{number}", seed=number)])
        publish_manifest(store, "run", [writer.commit()], SKELETON)
    return Dataset.open(store.url)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips then lie across chunks and shards."""
    monkeypatch.setattr(sequences, "CHUNK_FRAMES", 16)
    monkeypatch.setattr(sequences, "SHARD_FRAMES", 64)


@pytest.mark.usefixtures("small_shards", "lent_conditional_write")
def test_clips_come_back_as_they_went_in(tmp_path: Path) -> None:
    for store in (open_store(tmp_path), open_store(f"memory://{uuid.uuid4().hex}/d")):
        clips = list(publish(store).clips())
        assert [len(clip) for clip in clips] == list(LENGTHS)
        for number, clip in enumerate(clips):
            wanted = make_clip(LENGTHS[number], key=f"clip{number}", seed=number)
            np.testing.assert_array_equal(clip.joints_world_m, wanted.joints_world_m)
            np.testing.assert_array_equal(clip.source_frame, wanted.source_frame)
            assert (clip.key, clip.subject, clip.action) == (wanted.key, wanted.subject, wanted.action)
            assert (clip.rate_hz, clip.source_file) == (wanted.rate_hz, wanted.source_file)


@pytest.mark.usefixtures("small_shards")
def test_a_shard_is_written_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zarr.storage import LocalStore

    written: list[str] = []
    put = LocalStore.set

    async def record(self: LocalStore, key: str, value: object) -> None:
        written.append(key)
        await put(self, key, value)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalStore, "set", record)
    publish(open_store(tmp_path))
    chunks = [key for key in written if "/c/" in key]
    assert len(chunks) == len(set(chunks)) == 2 * -(-sum(LENGTHS) // 64)


def test_equal_clips_have_equal_digests(tmp_path: Path) -> None:
    first, second = publish(open_store(tmp_path / "a")), publish(open_store(tmp_path / "b"))
    assert first.sequence_files == second.sequence_files
    (file,) = first.sequence_files
    assert file.path == f"sequences/{file.sha256[:24]}.zarr"
    assert file.rows == sum(LENGTHS)


def test_a_missing_chunk_is_an_error_not_zeros(tmp_path: Path) -> None:
    dataset = publish(open_store(tmp_path))
    chunk = next(path for path in (tmp_path / dataset.sequence_files[0].path).rglob("c/0/0/0"))
    chunk.unlink()
    with pytest.raises(ShardError, match=r"in the manifest.*posemill verify"):
        list(dataset.clips())


@pytest.mark.parametrize("place", [0.2, 0.6, 0.9])
def test_one_changed_byte_in_a_chunk_is_an_error(tmp_path: Path, place: float) -> None:
    dataset = publish(open_store(tmp_path))
    chunk = next(path for path in (tmp_path / dataset.sequence_files[0].path).rglob("c/0/0/0"))
    data = bytearray(chunk.read_bytes())
    data[int(len(data) * place)] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(ShardError, match=r"\.zarr.*posemill verify"):
        list(dataset.clips())
