"""The ObjectStore contract on a local folder and on fsspec's memory file system."""

import os
import uuid
from pathlib import Path

import pytest

from storage.conditional import CONDITIONAL_WRITES, ConditionalWrite
from storage.errors import StoreError
from storage.fsspec_store import FsspecStore
from storage.local_store import LocalStore
from storage.object_store import ObjectStore, open_store
from tests.contracts.object_store_contract import ObjectStoreContract
from tests.lent_conditional_write import lent_conditional_write

__all__ = ["lent_conditional_write"]


class TestLocalStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return LocalStore(tmp_path / "dataset")

    def test_refuses_links_in_the_dataset(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        store = LocalStore(tmp_path / "dataset")
        store.write_bytes("pairs/real", b"x")
        os.symlink(tmp_path / "secret", tmp_path / "dataset" / "pairs" / "link")
        os.symlink(tmp_path, tmp_path / "dataset" / "up")
        for path in ("pairs/link", "up/secret"):
            with pytest.raises(StoreError, match="link"):
                store.read_bytes(path)
            with pytest.raises(StoreError, match="link"):
                store.write_bytes(path, b"overwritten")
        assert (tmp_path / "secret").read_bytes() == b"secret"

    def test_a_root_behind_a_link_works(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        os.symlink(tmp_path / "real", tmp_path / "alias")
        store = LocalStore(tmp_path / "alias")
        store.write_bytes("a", b"x")
        assert (tmp_path / "real" / "a").read_bytes() == b"x"

    def test_leaves_no_temporary_files(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path)
        store.write_bytes("a", b"x")
        store.put_if_absent("a", b"y")
        with store.scratch() as folder:
            (folder / "f").write_bytes(b"z")
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["a"]

    def test_no_hard_links_is_a_refusal_with_a_reason(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", refuse)
        with pytest.raises(StoreError, match="hard links"):
            LocalStore(tmp_path).put_if_absent("a", b"x")
        assert not list(tmp_path.rglob("*"))

    def test_a_full_disk_is_a_store_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            LocalStore(tmp_path).write_bytes("a", b"x")
        assert not list(tmp_path.rglob("*"))


@pytest.mark.usefixtures("lent_conditional_write")
class TestMemoryStore(ObjectStoreContract):
    """fsspec's own memory, with a conditional write that tests lend it."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        return open_store(f"memory://{uuid.uuid4().hex}/dataset")

    def test_a_server_that_ignores_the_condition_is_found_out(
        self, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        careless = ConditionalWrite("none", lambda fs, path, data: fs.pipe_file(path, data))
        monkeypatch.setitem(CONDITIONAL_WRITES, "memory", careless)
        with pytest.raises(StoreError, match="ignores write-if-absent"):
            store.put_if_absent("commits/u.json", b"x")
        assert not store.exists("commits/u.json")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("memory://x/dataset", "memory has no write-if-absent .it lives in one process"),
        ("http://127.0.0.1:9/dataset", "http has no write-if-absent .it is for reading only"),
        ("https://127.0.0.1:9/dataset", "https has no write-if-absent .it is for reading only"),
        ("local:///tmp/dataset", "local has no write-if-absent .fsspec looks first"),
    ],
)
def test_a_store_without_conditional_writes_refuses_with_the_reason(url: str, reason: str) -> None:
    store = open_store(url)
    with pytest.raises(StoreError, match=reason):
        store.put_if_absent("commits/u.json", b"x")


def test_open_store_chooses_by_url(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path), LocalStore)
    assert isinstance(open_store(f"file://{tmp_path}"), LocalStore)
    assert isinstance(open_store("memory://x"), FsspecStore)


def test_an_unknown_protocol_names_what_to_install() -> None:
    with pytest.raises(StoreError, match="install the fsspec package"):
        open_store("nosuchprotocol://bucket/x")
