"""A dataset in a local (or mounted) folder.

Whole files: written under a temporary name in the same folder, fsynced, then renamed or linked.
`put_if_absent` uses `os.link`, which fails when the name is taken, on every POSIX file system and over NFS
(where a lost answer makes an own link look taken: whether both names are one file tells). Links inside a
dataset are refused: a manifest's path must not reach out of the root by way of one. A disk that is full ends
in a `StoreFullError`, at once, with nothing half-written in sight.
"""

import errno
import filecmp
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as arrow_fs

from storage.errors import StoreError
from storage.object_store import StoredFile, as_context
from storage.paths import checked_path, is_hidden
from storage.retries import Wanted, refused

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
            _sync_folder(full.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _failed("write", full, error) from error

    def put_if_absent(self, path: str, data: bytes) -> bool:
        full = self._locate(path)
        temporary = _write_temporary(full, data)
        try:
            os.link(temporary, full)
            _sync_folder(full.parent)
        except FileExistsError:
            return _same_file(temporary, full)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise StoreError(
                    f"{full}: this file system has no hard links ({error.strerror}), so two writers could"
                    " not be told apart; put the dataset on a POSIX file system or an object store"
                ) from error
            raise _failed("write", full, error) from error
        finally:
            temporary.unlink(missing_ok=True)
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
        return sorted(path for path, _ in self._walk(prefix, hidden=False))

    def files(self, prefix: str, hidden: bool = False) -> "list[StoredFile]":
        found: list[StoredFile] = []
        for path, full in self._walk(prefix, hidden):
            try:
                facts = full.lstat()
            except FileNotFoundError:  # removed since it was listed
                continue
            if stat.S_ISREG(facts.st_mode):
                found.append(StoredFile(path, facts.st_size, facts.st_mtime))
        return sorted(found, key=lambda file: file.path)

    def _walk(self, prefix: str, hidden: bool) -> Iterator[tuple[str, Path]]:
        """Path and place of every file below a folder."""

        def complain(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise _failed("list", Path(error.filename or top), error) from error

        top = self._locate(prefix) if prefix else self._root
        if top.is_file():
            return
        for folder, folders, names in os.walk(top, onerror=complain):
            inside = Path(folder).relative_to(self._root)
            if not hidden:
                folders[:] = [name for name in folders if not is_hidden(name)]
            for name in names:
                if hidden or not is_hidden(name):
                    yield (inside / name).as_posix(), Path(folder) / name

    def unfinished_uploads(self) -> "list[StoredFile]":
        return []

    def abandon_uploads(self, path: str, begun_unix_s: float) -> None:
        """There are none."""

    def now_unix_s(self) -> float:
        mark = _write_temporary(self._root / "clock", b"")
        try:
            return mark.stat().st_mtime
        finally:
            mark.unlink(missing_ok=True)

    def open_input(self, path: str) -> pa.NativeFile:
        full = self._locate(path)
        try:
            return pa.OSFile(str(full))
        except OSError as error:
            raise _failed("read", full, error) from error

    def url_of(self, path: str) -> str:
        return str(self._locate(path))

    def delete(self, path: str) -> None:
        full = self._locate(path)
        try:
            full.unlink(missing_ok=True)
        except OSError as error:
            raise _failed("delete", full, error) from error

    def delete_tree(self, path: str) -> None:
        full = self._locate(path)
        try:
            with self.scratch() as folder, suppress(FileNotFoundError):
                os.rename(full, folder / "deleted")  # at once for readers, and files of a late writer stay
        except OSError as error:
            raise _failed("delete", full, error) from error

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
            os.utime(full)  # from now on it is young, however long the unit took to write it
            _sync_folder(full.parent)
        except OSError as error:
            raise _failed("write", full, error) from error

    def adopt_tree(self, source: Path, path: str) -> None:
        full = self._locate(path)
        try:
            full.parent.mkdir(parents=True, exist_ok=True)
            for folder, _, names in os.walk(source, topdown=False):
                for name in names:
                    _sync_file(Path(folder) / name)
                    os.utime(Path(folder) / name)
                _sync_folder(Path(folder))
            _replace_tree(source, full)
            _sync_folder(full.parent)
        except OSError as error:
            raise _failed("write", full, error) from error

    def local_tree(self, path: str) -> AbstractContextManager[Path]:
        return as_context(self._locate(path))


def _failed(verb: str, full: Path, error: OSError) -> StoreError:
    """The store's error for a failed call, with the system's own words and what to do."""
    return refused(Wanted(str(full), verb), error)


def _same_file(temporary: Path, full: Path) -> bool:
    """Whether the link was made although the answer said otherwise (NFS repeats a lost call)."""
    try:
        return os.path.samefile(temporary, full)
    except OSError:
        return False


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
    """Renames a folder into place.

    One with the same files that stands there already stays, made young: a reader may have it open. Another is
    moved away first and removed.
    """
    for attempt in range(3):
        if full.is_dir() and _same_tree(full, source):
            _make_young(full)
            shutil.rmtree(source)
            return
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


def _same_tree(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    names = _names(first)
    if names != _names(second):
        return False
    return all(filecmp.cmp(first / name, second / name, shallow=False) for name in names)


def _names(folder: Path) -> list[str]:
    """Paths below a folder of every file, sorted."""
    files = (Path(top) / name for top, _, names in os.walk(folder) for name in names)
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _make_young(folder: Path) -> None:
    for top, _, names in os.walk(folder):
        for name in names:
            os.utime(Path(top) / name)


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
