"""A dataset on any file system that fsspec speaks: S3, Google Storage, Azure; others for reading.

Object stores show a file whole or not at all. `put_if_absent` needs more, a write that fails when the name is
taken (`storage.conditional`); stores without one are refused, and the others are tried out once before they
are trusted, since servers that speak S3 and ignore the header exist. Every request is tried again while the
answers are passing ones (`storage.retries`); the client libraries' own repeats are switched off where they
can be, so that the limits are ours and a write that was repeated is known to be one.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pyarrow as pa
from pyarrow import fs as arrow_fs

from storage.conditional import ADVICE, ConditionalWrite, conditional_write
from storage.errors import StoreError
from storage.fsspec_options import client_options, quieten
from storage.object_store import StoredFile
from storage.paths import checked_path, is_hidden
from storage.range_file import RangeFile, ReadingHandler
from storage.retries import StoreRetries, Wanted, call_store
from storage.store_answers import is_taken
from storage.stored_times import modified_unix_s

PROBE_PATH = ".posemill/write-if-absent"
CLOCK_PATH = ".posemill/clock"
_PROBE_TEXT = b"posemill asked here whether this store refuses to write a name that is taken.\n"

_TRUSTED: set[tuple[str, str]] = set()
"""(client's token, root) of the datasets whose conditional write was tried in this process."""

Answer = TypeVar("Answer")


class FsspecStore:
    """An `ObjectStore` behind an fsspec URL."""

    def __init__(self, url: str, retries: StoreRetries | None = None) -> None:
        self._url = url.rstrip("/")
        self._retries = retries or StoreRetries.from_environment()
        self._connect()

    def _connect(self) -> None:
        """Makes the client; also after a fork, where the parent's must not be used."""
        try:
            options = client_options(self._url.partition("://")[0], self._retries)
            self._client, root = fsspec.core.url_to_fs(self._url, **options)
        except (ImportError, ValueError, OSError) as error:
            raise StoreError(
                f"{self._url}: cannot open this kind of storage: {error}; install the fsspec package of the"
                " protocol (pip install 'posemill[s3]', '[gcs]' or '[azure]') or use a local folder"
            ) from error
        quieten(self._client)
        self._root = root.rstrip("/")
        self._process = os.getpid()

    @property
    def _fs(self) -> Any:
        if self._process != os.getpid():
            self._connect()
        return self._client

    @property
    def url(self) -> str:
        return self._url

    @property
    def _protocol(self) -> str:
        return self._url.partition("://")[0]

    def _locate(self, path: str) -> str:
        return f"{self._root}/{checked_path(path)}"

    def _ask(self, verb: str, path: str, ask: Callable[[], Answer]) -> Answer:
        """One answer of the store about a path, however often it must be asked."""
        wanted = Wanted(f"{self._url}/{path}".rstrip("/"), verb)
        return call_store(lambda _: ask(), wanted, self._retries)

    def read_bytes(self, path: str) -> bytes:
        full = self._locate(path)
        once = {"max_concurrency": 1} if self._protocol in ("s3", "s3a") else {}
        return self._ask("read", path, lambda: self._fs.cat_file(full, **once))

    def write_bytes(self, path: str, data: bytes) -> None:
        full = self._locate(path)
        self._ask("write", path, lambda: self._fs.pipe_file(full, data))

    def put_if_absent(self, path: str, data: bytes) -> bool:
        full = self._locate(path)
        write = conditional_write(self._url, self._protocol)
        self._try_conditional_write(write)
        return self._create(write, full, path, data)

    def _create(self, write: ConditionalWrite, full: str, path: str, data: bytes) -> bool:
        """One conditional write; False when another made the file.

        Where an attempt's answer was lost and the next finds the name taken, the bytes tell who won.
        """
        repeated = write.repeats_unseen

        def ask(attempt: int) -> bool:
            nonlocal repeated
            repeated = repeated or attempt > 1
            try:
                write.create(self._fs, full, data)
            except StoreError:
                raise
            except Exception as error:
                if is_taken(error):
                    return False
                raise
            return True

        made = call_store(ask, Wanted(f"{self._url}/{path}", "write"), self._retries)
        return made or (repeated and self.read_bytes(path) == data)

    def _try_conditional_write(self, write: ConditionalWrite) -> None:
        """Refuses a server that writes over a name that is taken. Once a process and dataset."""
        key = (self._fs._fs_token, self._root)
        if key in _TRUSTED:
            return
        full = f"{self._root}/{PROBE_PATH}"

        def attempt(data: bytes) -> bool:
            return self._create(write, full, PROBE_PATH, data)

        if attempt(_PROBE_TEXT) and attempt(_PROBE_TEXT + b"\n"):
            raise StoreError(
                f"{self._url}: the server ignores write-if-absent ({write.condition}, tried on {PROBE_PATH}), so"
                f" {ADVICE}"
            )
        _TRUSTED.add(key)

    def exists(self, path: str) -> bool:
        full = self._locate(path)
        return self._ask("look for", path, lambda: self._info(full)) is not None

    def _info(self, full: str) -> dict[str, Any] | None:
        """What the store knows of a file or folder now; None when there is none. One request."""
        self._fs.invalidate_cache()
        try:
            return self._fs.info(full)
        except FileNotFoundError:
            return None

    def size_bytes(self, path: str) -> int:
        full = self._locate(path)

        def ask() -> int:
            info = self._info(full)
            if info is None or info.get("type") == "directory":
                raise FileNotFoundError(full)
            return int(info["size"])

        return self._ask("read", path, ask)

    def list(self, prefix: str) -> list[str]:
        return [file.path for file in self._found(prefix) if not is_hidden(file.path)]

    def files(self, prefix: str, hidden: bool = False) -> "list[StoredFile]":
        found = [file for file in self._found(prefix) if hidden or not is_hidden(file.path)]
        for file in found:
            if file.modified_unix_s is None:
                raise StoreError(
                    f"{self._url}/{file.path}: {self._protocol} does not tell when a file was written"
                )
        return found

    def _found(self, prefix: str) -> "list[StoredFile]":
        """All files below a folder, by path."""
        top = self._locate(prefix) if prefix else self._root

        def ask() -> dict[str, dict[str, Any]]:
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(top, detail=True)
            except FileNotFoundError:
                return {}
            return found if isinstance(found, dict) else {name: {} for name in found}

        cut = len(self._root)
        files = [
            StoredFile(name[cut:].lstrip("/"), int(info.get("size") or 0), modified_unix_s(info))
            for name, info in self._ask("list", prefix, ask).items()
            if info.get("type", "file") != "directory" and not name.endswith("/")
        ]
        return sorted((file for file in files if file.path), key=lambda file: file.path)

    def unfinished_uploads(self) -> "list[StoredFile]":
        found = [StoredFile(path, 0, begun_s) for path, begun_s, _ in self._uploads()]
        return sorted(found, key=lambda file: (file.path, file.modified_unix_s))

    def abandon_uploads(self, path: str, begun_unix_s: float) -> None:
        bucket, _, key = self._locate(path).partition("/")
        for found, begun_s, upload in self._uploads():
            if found == path and begun_s <= begun_unix_s:
                self._ask("write", path, lambda upload=upload: self._fs.abort_mpu(bucket, key, upload))

    def _uploads(self) -> "list[tuple[str, float, str]]":
        """Path, begin and id of unfinished uploads below the root; other stores than S3 drop theirs."""
        if self._protocol not in ("s3", "s3a"):
            return []
        bucket, _, top = f"{self._root}/".partition("/")
        uploads = self._ask("list uploads of", "", lambda: self._fs.list_multipart_uploads(bucket))
        return [
            (upload["Key"][len(top) :], upload["Initiated"].timestamp(), upload["UploadId"])
            for upload in uploads
            if upload["Key"].startswith(top)
        ]

    def now_unix_s(self) -> float:
        full = f"{self._root}/{CLOCK_PATH}"
        self._ask("write", CLOCK_PATH, lambda: self._fs.pipe_file(full, b"posemill gc looks at the clock\n"))
        now_s = modified_unix_s(self._ask("read", CLOCK_PATH, lambda: self._info(full)) or {})
        if now_s is None:
            raise StoreError(f"{self._url}: {self._protocol} does not tell when a file was written")
        return now_s

    def open_input(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(self._open_full(self._locate(path)), mode="r")

    def _open_full(self, full: str) -> RangeFile:
        """A file by its path in the file system, as Arrow names it."""
        path = full[len(self._root) :].lstrip("/")

        def read_range(start: int, stop: int) -> bytes:
            return self._ask("read", path, lambda: self._fs.cat_file(full, start=start, end=stop))

        return RangeFile(read_range, self.size_bytes(path))

    def _size_of_full(self, full: str) -> int | None:
        info = self._ask("read", full[len(self._root) :].lstrip("/"), lambda: self._info(full))
        return None if info is None or info.get("type") == "directory" else int(info["size"])

    def url_of(self, path: str) -> str:
        return f"{self._url}/{checked_path(path)}"

    def delete(self, path: str) -> None:
        full = self._locate(path)

        def ask() -> None:
            try:
                self._fs.rm_file(full)
            except FileNotFoundError:
                return

        self._ask("delete", path, ask)

    def delete_tree(self, path: str) -> None:
        for file in self._found(path):
            self.delete(file.path)

    def arrow_filesystem(self) -> arrow_fs.FileSystem:
        return arrow_fs.PyFileSystem(ReadingHandler(self._fs, self._open_full, self._size_of_full))

    def arrow_path(self, path: str) -> str:
        return self._locate(path)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="posemill-") as folder:
            yield Path(folder)

    def adopt_file(self, source: Path, path: str) -> None:
        full = self._locate(path)
        self._ask("write", path, lambda: self._fs.put_file(str(source), full))

    def adopt_tree(self, source: Path, path: str) -> None:
        for file in sorted(file for file in source.rglob("*") if file.is_file()):
            self.adopt_file(file, f"{path}/{file.relative_to(source).as_posix()}")
        shutil.rmtree(source)

    @contextmanager
    def local_tree(self, path: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="posemill-") as folder:
            for name in self.list(path):
                target = Path(folder) / name[len(path) + 1 :]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self.read_bytes(name))
            yield Path(folder)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self._url, "retries": self._retries.model_dump()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"], StoreRetries(**state["retries"]))
