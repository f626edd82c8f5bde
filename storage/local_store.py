"""A dataset in a local (or mounted) folder.

Whole files: written under a temporary name in the same folder, fsynced, then renamed or linked.
`put_if_absent` uses `os.link`, which fails when the name is taken, on every POSIX file system and over NFS.
Links inside a dataset are
refused: a manifest's path must not reach out of the root by way of one.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as arrow_fs

from storage.errors import StoreError
from storage.object_store import as_context
from storage.paths import checked_path

SCRATCH_FOLDER = ".scratch"


class LocalStore:
    """An `ObjectStore` in one folder."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))

    @property
    def url(self) -> str:
        return str(self._root)

    def _locate(self, path: str) -> Path:
        """The file of a path. Raises StoreError when the path, or a link on it, could leave the root."""
        full = self._root / checked_path(path)
        if os.path.realpath(full) != str(full):
            raise StoreError(
                f"{full}: a link stands on this path, and files behind links are not read or written;"
                " replace the link by the file itself"
            )
        return full

    def read_bytes(self, path: str) -> bytes:
        full = self._locate(path)
        try:
            return full.read_bytes()
        except OSError as error:
            raise _failed("read", full, error) from error

    def write_bytes(self, path: str, data: bytes) -> None:
        full = self._locate(path)
        temporary = _write_temporary(full, data)
        try:
            os.replace(temporary, full)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _failed("write", full, error) from error
        _sync_folder(full.parent)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        full = self._locate(path)
        temporary = _write_temporary(full, data)
        try:
            os.link(temporary, full)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise StoreError(
                    f"{full}: this file system has no hard links ({error.strerror}), so two writers could"
                    " not be told apart; put the dataset on a POSIX file system or an object store"
                ) from error
            raise _failed("write", full, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(full.parent)
        return True

    def exists(self, path: str) -> bool:
        return self._locate(path).exists()

    def size_bytes(self, path: str) -> int:
        full = self._locate(path)
        try:
            return full.stat().st_size
        except OSError as error:
            raise _failed("read", full, error) from error

    def list(self, prefix: str) -> list[str]:
        top = self._locate(prefix) if prefix else self._root
        found: list[str] = []
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside = Path(folder).relative_to(self._root)
            found += [(inside / name).as_posix() for name in names if not name.startswith(".")]
        return sorted(found)

    def open_input(self, path: str) -> pa.NativeFile:
        full = self._locate(path)
        try:
            return pa.OSFile(str(full))
        except OSError as error:
            raise _failed("read", full, error) from error

    def url_of(self, path: str) -> str:
        return str(self._locate(path))

    def delete(self, path: str) -> None:
        self._locate(path).unlink(missing_ok=True)

    def arrow_filesystem(self) -> arrow_fs.FileSystem:
        return arrow_fs.LocalFileSystem()

    def arrow_path(self, path: str) -> str:
        return str(self._locate(path))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        folder = self._root / SCRATCH_FOLDER / uuid.uuid4().hex
        _make_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _remove_if_empty(folder.parent)

    def adopt_file(self, source: Path, path: str) -> None:
        full = self._locate(path)
        try:
            full.parent.mkdir(parents=True, exist_ok=True)
            _sync_file(source)
            os.replace(source, full)
        except OSError as error:
            raise _failed("write", full, error) from error
        _sync_folder(full.parent)

    def adopt_tree(self, source: Path, path: str) -> None:
        full = self._locate(path)
        try:
            full.parent.mkdir(parents=True, exist_ok=True)
            for folder, _, names in os.walk(source, topdown=False):
                for name in names:
                    _sync_file(Path(folder) / name)
                _sync_folder(Path(folder))
            _replace_tree(source, full)
        except OSError as error:
            raise _failed("write", full, error) from error
        _sync_folder(full.parent)

    def local_tree(self, path: str) -> AbstractContextManager[Path]:
        return as_context(self._locate(path))


def _failed(verb: str, full: Path, error: OSError) -> StoreError:
    """The store's error for a failed call, with the system's own words."""
    return StoreError(f"{full}: cannot {verb}: {error.strerror or error}")


def _write_temporary(full: Path, data: bytes) -> Path:
    """The data, fsynced, under a hidden name beside its destination."""
    temporary = full.with_name(f".{full.name[:100]}.{uuid.uuid4().hex}.tmp")
    try:
        full.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _failed("write", full, error) from error
    return temporary


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    """Makes a rename in the folder durable."""
    _sync_file(path)


def _replace_tree(source: Path, full: Path) -> None:
    """Renames a folder into place; one that stands there already is moved away first and removed."""
    for attempt in range(3):
        try:
            os.rename(source, full)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        away = source.with_name(f"{source.name}.replaced{attempt}")
        with suppress(FileNotFoundError):  # another writer moved it first
            os.rename(full, away)
        shutil.rmtree(away, ignore_errors=True)
    raise OSError(errno.EBUSY, "other writers keep replacing this folder", str(full))


def _make_folder(folder: Path) -> None:
    """Makes a folder and its parents, although another writer may just remove an empty parent."""
    for attempts_left in reversed(range(10)):
        try:
            folder.mkdir(parents=True)
            return
        except OSError as error:
            if not (isinstance(error, FileNotFoundError) and attempts_left):
                raise _failed("make", folder, error) from error


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # another writer works in it
