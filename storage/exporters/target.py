"""Where an export is written. It appears whole or not at all.

A local export is made in a hidden folder beside its destination and renamed when it is finished; what a
killed one leaves is the hidden folder, which the next export to the same place removes. Object stores have no
rename: there a file `EXPORT_INCOMPLETE` stands from the first byte to the last, and the index comes just
before it goes.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.commit import canonical_json
from storage.digests import DigestingFile
from storage.errors import ExportError
from storage.exporters.index import INDEX_NAME, ExportedFile, ExportIndex
from storage.locks import FolderLock
from storage.object_store import ObjectStore, open_store, read_if_there

INCOMPLETE_NAME = "EXPORT_INCOMPLETE"
WORK_FOLDER = "export-work"
"""What an export that can go on remembers while it is made."""
PLAN_NAME = f"{WORK_FOLDER}/plan"
_INCOMPLETE_WORDS = "This export is being written, or its writer was killed. Do not read it; remove it."


class ExportedFiles:
    """Files of an export, written one by one into the folder where it is made.

    Args:
        store: That folder.
        scratch: For files that are not finished.
    """

    def __init__(self, store: ObjectStore, scratch: Path) -> None:
        self.store, self._scratch = store, scratch
        self.files: list[ExportedFile] = []
        """The finished files with pairs, in the order of their making."""
        self._numbers = count()

    def begin(self, path: str) -> "OpenFile":
        """A file to be written front to back; it joins the export when it is finished.

        Args:
            path: Below the export's folder.
        """
        return OpenFile(self, path, self._scratch / f"file-{next(self._numbers)}")

    @contextmanager
    def file(self, path: str, rows: int | None = None) -> Iterator[DigestingFile]:
        """The same as a context: the file is finished when it ends well.

        Args:
            path: Below the export's folder.
            rows: Pairs in it; None keeps the file out of the index (cards, tables of contents).
        """
        file = self.begin(path)
        try:
            yield file.sink
        except BaseException:
            file.discard()
            raise
        file.finish(rows)

    def adopt(self, file: "OpenFile", rows: int | None) -> None:
        """Moves or uploads a finished file."""
        self.store.adopt_file(file.scratch, file.path)
        if rows is not None:
            sha256, size_bytes = file.sink.hexdigest(), file.sink.size_bytes
            self.files.append(ExportedFile(path=file.path, rows=rows, bytes=size_bytes, sha256=sha256))


class ExportTarget(ExportedFiles):
    """A folder or URL in the making; use it as a context and call `publish` at the end.

    Args:
        url: Where the export shall appear; must not exist, or be an empty folder.
        plan_id: Of an export that can go on after a failure: what an earlier one with the same id left is kept, and
            what this one leaves. Without, an unfinished export is removed.

    Raises:
        ExportError: if something is there, or another process writes there now.
    """

    def __init__(self, url: str | Path, plan_id: str = "") -> None:
        self.url = str(url)
        self._plan = plan_id.encode()
        self._is_local = "://" not in self.url or self.url.startswith("file://")
        self.files = []
        self._stack = ExitStack()
        self._numbers = count()
        self._published = False
        self._mark = f"{_INCOMPLETE_WORDS} Writer {uuid.uuid4().hex}.\n".encode()
        if self._is_local:
            self._final = Path(os.path.realpath(Path(self.url.removeprefix("file://")).expanduser()))
            self._staging = self._final.with_name(f".{self._final.name}.partial")

    def __enter__(self) -> Self:
        try:
            self.store = self._prepare_local() if self._is_local else self._prepare_remote()
            if self._plan:
                self.store.write_bytes(PLAN_NAME, self._plan)
            self._scratch = self._stack.enter_context(self.store.scratch())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if not self._published and not self._plan:
                self._remove_everything()
        finally:
            self._stack.close()

    @contextmanager
    def scratch_folder(self, name: str) -> Iterator[Path]:
        """A folder for intermediate files, removed after."""
        folder = self._scratch / name
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def work_url(self) -> str:
        """Where the files are put until the export appears; workers elsewhere write there."""
        return str(self._staging) if self._is_local else self.url

    def publish(self, index: ExportIndex) -> None:
        """Writes the index and makes the export visible."""
        self.store.write_bytes(INDEX_NAME, canonical_json(index))
        self.store.delete_tree(WORK_FOLDER)
        if self._is_local:
            self._check_free()
            shutil.rmtree(self._staging / ".scratch", ignore_errors=True)
            try:
                os.rename(self._staging, self._final)
            except OSError as error:
                raise ExportError(
                    f"{self._final}: the finished export cannot be put there: {error.strerror}; something"
                    " was written there meanwhile? choose another --out"
                ) from error
            _sync_folder(self._final.parent)
        else:
            if self.store.read_bytes(INCOMPLETE_NAME) != self._mark:
                raise ExportError(
                    f"{self.url}: another process began to export to this place meanwhile, so the files there"
                    " may be of both; choose another --out"
                )
            self.store.delete(INCOMPLETE_NAME)
        self._published = True

    def _prepare_local(self) -> ObjectStore:
        self._check_free()
        self._final.parent.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self._final.with_name(f".{self._final.name}.lock"))
        if not lock.acquire():
            raise ExportError(
                f"{self._final}: another process exports to this place now; wait, or choose another"
            )
        self._stack.callback(lock.release)
        plan = self._staging / PLAN_NAME
        if not (self._plan and plan.is_file() and plan.read_bytes() == self._plan):
            shutil.rmtree(self._staging, ignore_errors=True)  # of a killed export; the lock says it is dead
        self._staging.mkdir(exist_ok=True)
        return open_store(self._staging)

    def _check_free(self) -> None:
        if self._final.is_file() or (self._final.is_dir() and any(self._final.iterdir())):
            raise ExportError(
                f"{self._final}: wanted a new or empty folder for the export, there is something already;"
                " choose another --out, or remove it"
            )

    def _prepare_remote(self) -> ObjectStore:
        store = open_store(self.url)
        there = store.list("")
        if there and not (self._plan and read_if_there(store, PLAN_NAME) == self._plan):
            unfinished = "an unfinished export" if INCOMPLETE_NAME in there else f"{len(there):,} files"
            raise ExportError(
                f"{self.url}: wanted a new or empty prefix for the export, there is {unfinished} already;"
                " choose another --out, or remove it"
            )
        store.write_bytes(INCOMPLETE_NAME, self._mark)
        return store

    def _remove_everything(self) -> None:
        if self._is_local:
            shutil.rmtree(self._staging, ignore_errors=True)
            return
        for path in self.store.list(""):
            if path != INCOMPLETE_NAME:
                self.store.delete(path)
        self.store.delete(INCOMPLETE_NAME)


class OpenFile:
    """One file of an export in the making."""

    def __init__(self, target: ExportedFiles, path: str, scratch: Path) -> None:
        self.path, self.scratch = path, scratch
        self.sink = DigestingFile(scratch)
        self._target = target

    def finish(self, rows: int | None) -> None:
        """The file joins the export, with so many pairs; None keeps it out of the index."""
        self.sink.close()
        self._target.adopt(self, rows)

    def discard(self) -> None:
        """The file is given up."""
        self.sink.close()
        self.scratch.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
