"""Where a dataset lives: one small interface over a local folder and any fsspec URL.

A dataset needs three things of its storage: whole files appear at once or not at all, `put_if_absent` lets
exactly one of several writers win, and reading what was written gives it back. `LocalStore` has them by
temporary file, fsync and `os.link`; `FsspecStore` by the store's own conditional writes (S3, Google, Azure), and
refuses stores without.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
from pyarrow import fs as arrow_fs

from storage.errors import StoreError

if TYPE_CHECKING:
    from storage.retries import StoreRetries


@dataclass(frozen=True)
class StoredFile:
    """A file as a listing shows it: its path, and by the store's own clock when it was written."""

    path: str
    size_bytes: int
    modified_unix_s: float | None


class ObjectStore(Protocol):
    """Files below one root. Paths are relative with forward slashes (`storage.paths.checked_path`)."""

    @property
    def url(self) -> str:
        """The root, as `open_store` takes it."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The whole file. Raises StoreError (a FileNotFoundError as its cause) when there is none."""
        ...

    def write_bytes(self, path: str, data: bytes) -> None:
        """Writes or replaces a file; readers see the old or the new one, never a part."""
        ...

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Writes a file unless the name is taken; True for the one writer that made it.

        When the answer to a write was lost and the name is then taken, equal bytes count as the own ones: put
        a writer's id into bytes that two writers may write alike.

        Raises:
            StoreError: if the store has no conditional write (with the reason), or fails.
        """
        ...

    def exists(self, path: str) -> bool:
        """Whether a file, or anything below a folder of that name, is there."""
        ...

    def size_bytes(self, path: str) -> int:
        """Size of a file. Raises StoreError when there is none."""
        ...

    def list(self, prefix: str) -> list[str]:
        """Every file below the folder `prefix` ("" for all), as sorted paths; hidden names are left out."""
        ...

    def files(self, prefix: str, hidden: bool = False) -> "list[StoredFile]":
        """Every file below a folder with size and time, by path; `hidden` ones (a dot first) on demand."""
        ...

    def unfinished_uploads(self) -> "list[StoredFile]":
        """Uploads in parts that were begun and not ended (S3 keeps and bills them); size 0, time of their begin."""
        ...

    def abandon_uploads(self, path: str, begun_unix_s: float) -> None:
        """Ends the unfinished uploads of a file that were begun no later than this."""
        ...

    def now_unix_s(self) -> float:
        """The time on the clock that `files` tells times by. Writes a small hidden file."""
        ...

    def open_input(self, path: str) -> pa.NativeFile:
        """A file for random access by Arrow."""
        ...

    def url_of(self, path: str) -> str:
        """What other programs (DuckDB, Polars, Ray) open the file by: a plain path locally, else a URL."""
        ...

    def delete(self, path: str) -> None:
        """Removes a file if it is there."""
        ...

    def delete_tree(self, path: str) -> None:
        """Removes every file below a folder, and the folder; nothing if it is not there."""
        ...

    def arrow_filesystem(self) -> arrow_fs.FileSystem:
        """The file system that Arrow opens `arrow_path` with."""
        ...

    def arrow_path(self, path: str) -> str:
        """The file's path inside `arrow_filesystem`."""
        ...

    def scratch(self) -> AbstractContextManager[Path]:
        """A local folder for files in the making, on the store's own disk if it has one; removed after."""
        ...

    def adopt_file(self, source: Path, path: str) -> None:
        """Moves or uploads a finished scratch file; it appears whole."""
        ...

    def adopt_tree(self, source: Path, path: str) -> None:
        """Moves or uploads a finished scratch folder."""
        ...

    def local_tree(self, path: str) -> AbstractContextManager[Path]:
        """A local folder with the files below `path`: the folder itself, or a copy that is removed after."""
        ...


def open_store(url: str | Path, retries: "StoreRetries | None" = None) -> ObjectStore:
    """The store behind a path or URL; nothing is created before the first write.

    Args:
        url: A path, a `file://` URL, or a URL of any file system that fsspec knows (`s3://`, `gs://`, `az://`;
            others for reading).
        retries: How long a remote store is given to answer; by default what the environment sets.

    Raises:
        StoreError: if the protocol is unknown or its package is not installed.
    """
    text = str(url)
    if "://" not in text:
        from storage.local_store import LocalStore

        return LocalStore(Path(text).expanduser())
    if text.startswith("file://"):
        from storage.local_store import LocalStore

        return LocalStore(Path(text.removeprefix("file://")))
    from storage.fsspec_store import FsspecStore

    return FsspecStore(text, retries)


def read_if_there(store: ObjectStore, path: str) -> bytes | None:
    """The whole file, or None when there is none; one request where `exists` and `read_bytes` are two."""
    try:
        return store.read_bytes(path)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


@contextmanager
def as_context(path: Path) -> Iterator[Path]:
    """A path that needs no clean-up, as a context."""
    yield path
