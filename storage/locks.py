"""A lock on this machine that its owner's death releases."""

import fcntl
import os
from pathlib import Path


class FolderLock:
    """An advisory lock by a small file; the system gives it up when the process ends, however it ends.

    Args:
        path: The lock file. It is removed on release.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """True if the lock is ours now; False when another process (or another lock of this one) has it."""
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            if _is_file_of(descriptor, self._path):
                self._descriptor = descriptor
                return True
            os.close(descriptor)  # its owner removed the file between our open and our lock

    def release(self) -> None:
        """Gives the lock up."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
