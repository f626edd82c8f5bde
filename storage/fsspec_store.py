"""A dataset on any file system that fsspec speaks: S3, Google Storage, Azure, memory.

Object stores show a file whole or not at all. `put_if_absent` needs more, a write that fails when the name is
taken: S3 and its kin have `If-None-Match`, which fsspec offers as `pipe_file(mode="create")`. fsspec's own
fallback is to look first and write then, which two writers can both pass, so only file systems known to do it
in one step are let in, and a remote one is tried out once before it is trusted (servers that speak S3 but
ignore the header exist).
"""

import inspect
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from pyarrow import fs as arrow_fs

from storage.errors import StoreError
from storage.paths import checked_path

CONDITIONAL_PROTOCOLS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
"""File systems whose `mode="create"` is one write on the server (memory: one process, under our lock)."""

_MEMORY_LOCK = threading.Lock()


class FsspecStore:
    """An `ObjectStore` behind an fsspec URL."""

    def __init__(self, url: str) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"{url}: cannot open this kind of storage: {error}; install the fsspec package of the"
                " protocol (s3fs, gcsfs, adlfs) or use a local folder"
            ) from error
        self._root = self._root.rstrip("/")
        self._url = url.rstrip("/")
        self._trusted = self._protocol == "memory"

    @property
    def url(self) -> str:
        return self._url

    @property
    def _protocol(self) -> str:
        protocol = self._fs.protocol
        return protocol if isinstance(protocol, str) else protocol[0]

    def _locate(self, path: str) -> str:
        return f"{self._root}/{checked_path(path)}"

    def _failed(self, verb: str, path: str, error: OSError) -> StoreError:
        return StoreError(f"{self.url}/{path}: cannot {verb}: {error or type(error).__name__}")

    def read_bytes(self, path: str) -> bytes:
        try:
            return self._fs.cat_file(self._locate(path))
        except OSError as error:
            raise self._failed("read", path, error) from error

    def write_bytes(self, path: str, data: bytes) -> None:
        try:
            self._fs.pipe_file(self._locate(path), data)
        except OSError as error:
            raise self._failed("write", path, error) from error

    def put_if_absent(self, path: str, data: bytes) -> bool:
        if not self._trusted:
            self._try_conditional_write()
        return self._create(path, data)

    def _create(self, path: str, data: bytes) -> bool:
        """One conditional write; False when the name is taken."""
        full = self._locate(path)
        try:
            if self._protocol == "memory":
                with _MEMORY_LOCK:
                    self._fs.pipe_file(full, data, mode="create")
            else:
                self._fs.pipe_file(full, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if "PreconditionFailed" in str(error) or "412" in str(error):
                return False
            raise self._failed("write", path, error) from error
        return True

    def _try_conditional_write(self) -> None:
        """Refuses file systems without a conditional write, by name and by trying one."""
        advice = "two writers could both believe they won; use a local folder, S3, Google Storage or Azure"
        method = getattr(self._fs, "_pipe_file", self._fs.pipe_file)
        if self._protocol not in CONDITIONAL_PROTOCOLS or "mode" not in inspect.signature(method).parameters:
            raise StoreError(f"{self.url}: {self._protocol} has no write-if-absent in fsspec, so {advice}")
        probe = f".probe/{uuid.uuid4().hex}"
        first, second = self._create(probe, b"1"), self._create(probe, b"2")
        self.delete(probe)
        if not first or second:
            raise StoreError(
                f"{self.url}: the server ignores write-if-absent (tried it on {probe}), so {advice}"
            )
        self._trusted = True

    def exists(self, path: str) -> bool:
        self._fs.invalidate_cache()
        return self._fs.exists(self._locate(path))

    def size_bytes(self, path: str) -> int:
        try:
            return int(self._fs.size(self._locate(path)))
        except OSError as error:
            raise self._failed("read", path, error) from error

    def list(self, prefix: str) -> list[str]:
        self._fs.invalidate_cache()
        top = self._locate(prefix) if prefix else self._root
        try:
            found = self._fs.find(top)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed("list", prefix, error) from error
        paths = (name[len(self._root) :].lstrip("/") for name in found)
        return sorted(
            path for path in paths if path and not any(part.startswith(".") for part in path.split("/"))
        )

    def open_input(self, path: str) -> pa.NativeFile:
        try:
            return self.arrow_filesystem().open_input_file(self._locate(path))
        except OSError as error:
            raise self._failed("read", path, error) from error

    def url_of(self, path: str) -> str:
        return f"{self.url}/{checked_path(path)}"

    def delete(self, path: str) -> None:
        try:
            self._fs.rm_file(self._locate(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed("delete", path, error) from error

    def arrow_filesystem(self) -> arrow_fs.FileSystem:
        return arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(self._fs))

    def arrow_path(self, path: str) -> str:
        return self._locate(path)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="posemill-") as folder:
            yield Path(folder)

    def adopt_file(self, source: Path, path: str) -> None:
        try:
            self._fs.put_file(str(source), self._locate(path))
        except OSError as error:
            raise self._failed("write", path, error) from error

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
        return {"url": self._url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"])
