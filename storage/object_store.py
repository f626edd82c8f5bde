"""Where a dataset lives: one small interface over a local folder and any fsspec URL.

A dataset needs three things of its storage: whole files appear at once or not at all, `put_if_absent` lets
exactly one of several writers win, and reading what was written gives it back. `LocalStore` has them by
temporary file, fsync and `os.link`; `FsspecStore` by the store's own conditional writes (S3's
`If-None-Match`), and refuses stores without.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pyarrow import fs as arrow_fs


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
        """Writes a file unless the name is taken; True for the one writer that made it."""
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

    def open_input(self, path: str) -> pa.NativeFile:
        """A file for random access by Arrow."""
        ...

    def url_of(self, path: str) -> str:
        """What other programs (DuckDB, Polars, Ray) open the file by: a plain path locally, else a URL."""
        ...

    def delete(self, path: str) -> None:
        """Removes a file if it is there."""
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


def open_store(url: str | Path) -> ObjectStore:
    """The store behind a path or URL; nothing is created before the first write.

    Args:
        url: A path, a `file://` URL, or a URL of any file system that fsspec knows (`s3://`, `gs://`,
            `memory://`).

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

    return FsspecStore(text)


@contextmanager
def as_context(path: Path) -> Iterator[Path]:
    """A path that needs no clean-up, as a context."""
    yield path
