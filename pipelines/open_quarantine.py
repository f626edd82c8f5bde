"""What a dataset has in quarantine: file by file, each of one unit, with the rows that can be run again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from storage.object_store import ObjectStore
from storage.quarantine import QuarantinedRow, read_quarantine
from storage.reader import Dataset


@dataclass(frozen=True)
class OpenFile:
    """A quarantine file of the latest version: the rows that one unit left out.

    Attributes:
        path, sha256: Of the file.
        run_id, unit_id: Of the unit.
        rows: In the file's order.
    """

    path: str
    sha256: str
    run_id: str
    unit_id: str
    rows: tuple[QuarantinedRow, ...]

    @property
    def whole(self) -> list[int]:
        """Numbers, in the file, of rows that are whole rows of the unit: they can be run again."""
        return [number for number, row in enumerate(self.rows) if row.unit_row is not None]

    @property
    def parts(self) -> list[int]:
        """Numbers of the others, such as single frames of a file whose rest was used."""
        return [number for number, row in enumerate(self.rows) if row.unit_row is None]

    def places(self, numbers: list[int]) -> list[list[str | int]]:
        """[path, number] of rows, as a unit's payload names them."""
        return [[self.path, number] for number in numbers]


def open_files(dataset: Dataset, say: Callable[[str], None] = lambda _: None) -> list[OpenFile]:
    """Quarantine files of this version that have rows to run again, in the order of run and unit."""
    found = sorted(_files(dataset, say), key=lambda file: (file.run_id, file.unit_id, file.path))
    return [file for file in found if file.whole]


def _files(dataset: Dataset, say: Callable[[str], None]) -> Iterator[OpenFile]:
    for entry in dataset.manifest.files_of("quarantine"):
        rows = read_quarantine(dataset.store, entry.path)
        units = {row.unit_key for row in rows}
        if len(units) != 1 or ("", "") in units:
            say(
                f"{entry.path}: {len(rows)} rows stay in quarantine: an older posemill wrote them, and did not keep "
                "which unit they are of; only a new run on top can try them again"
            )
            continue
        run_id, unit_id = units.pop()
        yield OpenFile(entry.path, entry.sha256, run_id, unit_id, tuple(rows))


def rows_of(store: ObjectStore, paths: list[str]) -> list[QuarantinedRow]:
    """All rows of some quarantine files."""
    return [row for path in paths for row in read_quarantine(store, path)]
