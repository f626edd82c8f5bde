"""What every ObjectStore must do. A store's test class inherits this and gives a `store` fixture."""

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.errors import StoreError
from storage.object_store import ObjectStore, read_if_there

BAD_PATHS = [
    "",
    "/etc/passwd",
    "../out",
    "a/../../out",
    "a//b",
    "./a",
    "a/.",
    "C:/x",
    "s3://x/y",
    "a\\b",
    "a\nb",
    "a/",
]


class ObjectStoreContract:
    """The laws of a store; needs a fixture `store` with an empty root."""

    def test_reads_back_what_was_written(self, store: ObjectStore) -> None:
        data = bytes(range(256)) * 100
        store.write_bytes("a/b.bin", data)
        assert store.read_bytes("a/b.bin") == data
        assert store.size_bytes("a/b.bin") == len(data)
        assert store.exists("a/b.bin")
        assert not store.exists("a/c.bin")

    def test_write_replaces(self, store: ObjectStore) -> None:
        store.write_bytes("a.txt", b"a long first version")
        store.write_bytes("a.txt", b"second")
        assert store.read_bytes("a.txt") == b"second"

    def test_put_if_absent_keeps_the_first(self, store: ObjectStore) -> None:
        assert store.put_if_absent("commits/u.json", b"first")
        assert not store.put_if_absent("commits/u.json", b"second")
        assert store.read_bytes("commits/u.json") == b"first"

    def test_put_if_absent_has_one_winner_among_threads(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n: store.put_if_absent("m/v1.json", str(n).encode() * 999), range(16)))
        assert won.count(True) == 1
        assert store.read_bytes("m/v1.json") == str(won.index(True)).encode() * 999

    def test_lists_files_below_a_folder_sorted(self, store: ObjectStore) -> None:
        for path in ("b/2", "b/1", "b/c/3", "bb/4", "a"):
            store.write_bytes(path, b"x")
        assert store.list("b") == ["b/1", "b/2", "b/c/3"]
        assert store.list("") == ["a", "b/1", "b/2", "b/c/3", "bb/4"]
        assert store.list("nothing") == []

    def test_files_have_sizes_and_times_on_the_clock_of_the_store(self, store: ObjectStore) -> None:
        before_s = store.now_unix_s()
        store.write_bytes("b/1", b"four")
        store.write_bytes("b/.hidden", b"x")
        (file,) = store.files("b")
        assert (file.path, file.size_bytes) == ("b/1", 4)
        assert file.modified_unix_s is not None
        assert before_s - 2 <= file.modified_unix_s <= store.now_unix_s() + 2
        assert [file.path for file in store.files("b", hidden=True)] == ["b/.hidden", "b/1"]
        assert store.files("nothing") == []

    def test_deletes_a_folder_and_nothing_beside_it(self, store: ObjectStore) -> None:
        for path in ("t.zarr/a", "t.zarr/c/0", "t.zarr2/a"):
            store.write_bytes(path, b"x")
        store.delete_tree("t.zarr")
        store.delete_tree("t.zarr")
        assert store.list("") == ["t.zarr2/a"]
        assert not store.exists("t.zarr")

    def test_a_file_is_read_if_it_is_there(self, store: ObjectStore) -> None:
        store.write_bytes("a/b", b"x")
        assert read_if_there(store, "a/b") == b"x"
        assert read_if_there(store, "a/c") is None

    def test_hidden_names_are_not_listed(self, store: ObjectStore) -> None:
        store.write_bytes("b/1", b"x")
        with store.scratch() as folder:
            (folder / "half").write_bytes(b"unfinished")
            assert store.list("") == ["b/1"]

    def test_sees_files_that_another_store_object_wrote(self, store: ObjectStore) -> None:
        assert store.list("n") == []
        pickle.loads(pickle.dumps(store)).write_bytes("n/1", b"x")  # noqa: S301 - our own object
        assert store.list("n") == ["n/1"]

    def test_a_missing_file_is_a_store_error_that_names_it(self, store: ObjectStore) -> None:
        for call in (store.read_bytes, store.size_bytes, store.open_input):
            with pytest.raises(StoreError, match=r"gone\.bin"):
                call("pairs/gone.bin")

    @pytest.mark.parametrize("path", BAD_PATHS)
    def test_refuses_paths_out_of_the_root(self, store: ObjectStore, path: str) -> None:
        for call in (store.read_bytes, store.exists, store.open_input, store.url_of, store.delete):
            with pytest.raises(StoreError, match="path"):
                call(path)
        with pytest.raises(StoreError, match="path"):
            store.write_bytes(path, b"x")
        with pytest.raises(StoreError, match="path"):
            store.put_if_absent(path, b"x")

    def test_delete_is_idempotent(self, store: ObjectStore) -> None:
        store.write_bytes("a", b"x")
        store.delete("a")
        store.delete("a")
        assert not store.exists("a")

    def test_adopts_a_scratch_file(self, store: ObjectStore) -> None:
        with store.scratch() as folder:
            (folder / "f").write_bytes(b"finished")
            store.adopt_file(folder / "f", "pairs/f.parquet")
        assert store.read_bytes("pairs/f.parquet") == b"finished"
        assert not folder.exists()

    def test_adopts_a_scratch_folder_twice(self, store: ObjectStore) -> None:
        for _ in range(2):
            with store.scratch() as folder:
                (folder / "t" / "c").mkdir(parents=True)
                (folder / "t" / "c" / "0").write_bytes(b"chunk")
                (folder / "t" / "zarr.json").write_bytes(b"{}")
                store.adopt_tree(folder / "t", "sequences/t.zarr")
        assert store.list("sequences/t.zarr") == ["sequences/t.zarr/c/0", "sequences/t.zarr/zarr.json"]
        assert store.exists("sequences/t.zarr")
        with store.local_tree("sequences/t.zarr") as folder:
            assert (folder / "c" / "0").read_bytes() == b"chunk"

    def test_arrow_opens_files(self, store: ObjectStore, tmp_path: Path) -> None:
        import pyarrow as pa

        pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "t.parquet")
        store.write_bytes("pairs/t.parquet", (tmp_path / "t.parquet").read_bytes())
        with store.open_input("pairs/t.parquet") as file:
            assert hashlib.sha256(file.read()).digest()
            file.seek(0)
            assert pq.read_table(file)["x"].to_pylist() == [1, 2, 3]
        table = pq.read_table(store.arrow_path("pairs/t.parquet"), filesystem=store.arrow_filesystem())
        assert table.num_rows == 3
        sent = pickle.loads(pickle.dumps(store.arrow_filesystem()))  # noqa: S301 - as Ray sends it
        with sent.open_input_file(store.arrow_path("pairs/t.parquet")) as file:
            assert file.size() == store.size_bytes("pairs/t.parquet")

    def test_scratch_folders_of_many_writers_do_not_collide(self, store: ObjectStore) -> None:
        def write(number: int) -> None:
            with store.scratch() as folder:
                (folder / "f").write_bytes(b"x" * number)
                store.adopt_file(folder / "f", f"pairs/{number}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(1, 60)))
        assert [store.size_bytes(f"pairs/{number}") for number in range(1, 60)] == list(range(1, 60))
