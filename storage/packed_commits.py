"""Many commits in little memory: a commit with its statistics is 30 KB of objects, packed it is 1.5 KB.

A run of a million units keeps them all until they are published.
"""

import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import overload

from storage.commit import UnitCommit, commit_key


class PackedCommits(Sequence[UnitCommit]):
    """A list of commits, of different units, that are unpacked one by one as they are looked at.

    Args:
        commits: The first of them.
    """

    def __init__(self, commits: Iterable[UnitCommit] = ()) -> None:
        self._packed: dict[tuple[str, str], bytes] = {}
        if isinstance(commits, PackedCommits):
            self._packed.update(commits._packed)
            return
        for commit in commits:
            self.append(commit)

    def append(self, commit: UnitCommit) -> None:
        """Adds one; another of the same unit takes the earlier one's place."""
        self._packed[sys.intern(commit.run_id), commit.unit_id] = zlib.compress(
            commit.model_dump_json().encode(), 1
        )

    def by_key(self, without: Collection[str] = ()) -> "PackedCommits":
        """Those whose key is not among `without`, in the order of their keys."""
        keys = {unit: commit_key(*unit) for unit in self._packed}
        return self._only(sorted((unit for unit in keys if keys[unit] not in without), key=keys.__getitem__))

    def of_units(self, run_id: str, unit_ids: Iterable[str], other: "PackedCommits") -> "PackedCommits":
        """The commits of these units, in this order, of this list or of the other.

        Raises:
            KeyError: if a unit has none.
        """
        both = {**self._packed, **other._packed}
        made = PackedCommits()
        made._packed = {(run_id, unit_id): both[run_id, unit_id] for unit_id in unit_ids}
        return made

    def keys(self) -> Iterator[str]:
        """The keys of the commits, nothing unpacked."""
        return (commit_key(*unit) for unit in self._packed)

    def unit_ids(self) -> Iterator[str]:
        """The ids of the units, nothing unpacked."""
        return (unit_id for _, unit_id in self._packed)

    def _only(self, units: Iterable[tuple[str, str]]) -> "PackedCommits":
        made = PackedCommits()
        made._packed = {unit: self._packed[unit] for unit in units}
        return made

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[UnitCommit]:
        return map(_unpacked, self._packed.values())

    @overload
    def __getitem__(self, index: int) -> UnitCommit: ...
    @overload
    def __getitem__(self, index: slice) -> list[UnitCommit]: ...
    def __getitem__(self, index: int | slice) -> UnitCommit | list[UnitCommit]:
        packed = list(self._packed.values())[index]
        return _unpacked(packed) if isinstance(packed, bytes) else list(map(_unpacked, packed))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PackedCommits({len(self)})"


def _unpacked(packed: bytes) -> UnitCommit:
    return UnitCommit.model_validate_json(zlib.decompress(packed))
