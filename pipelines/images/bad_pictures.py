"""Rows that could not be used as pictures: counted, told, listed, and held against the bad-row policy."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from pipelines.errors import BadRowError, SettingsError, TooManyBadRowsError
from pipelines.executor import BadRowPolicy
from pipelines.images.image_table import ImageTable, load_image_table, row_faults, spread_rows
from pipelines.images.settings import ImagePairsSource

_TOLD = 10
"""So many are told one by one; all of them are listed."""


class BadPictures:
    """Collects bad rows of one run; a row counts once, however often it comes up.

    Args:
        policy: `quarantine`: told and listed; `skip`: counted only; `fail`: the first one ends the run.
        log: Is told of them.
    """

    def __init__(self, policy: BadRowPolicy, log: Callable[[str], None]) -> None:
        self._policy, self._log = policy, log
        self._reasons: dict[tuple[str, int], str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, table: ImageTable, faults: Iterable[tuple[int, str]]) -> None:
        """Take note of rows of a table, with their reasons.

        Raises:
            BadRowError: under the policy `fail`.
            TooManyBadRowsError: if there are more than `max_bad_rows`.
        """
        for row, reason in faults:
            key = (table.where, int(table.sample_id[row]))
            if key in self._reasons:
                continue
            self._reasons[key] = reason
            words = f"{table.where}, sample_id {key[1]}: {reason}"
            if self._policy.on_bad_row == "fail":
                raise BadRowError(
                    f"{words} (bad_rows.on_bad_row is 'fail'; 'quarantine' leaves such rows out)"
                )
            if self._policy.on_bad_row == "quarantine" and len(self) <= _TOLD:
                self._log(f"left out: {words}")
            if len(self) > self._policy.max_bad_rows:
                raise TooManyBadRowsError(
                    f"{len(self)} rows cannot be used as pictures, wanted no more than max_bad_rows = "
                    f"{self._policy.max_bad_rows}; the last one: {words}; mend the images, or raise "
                    "bad_rows.max_bad_rows"
                )

    def usable_rows(self, source: ImagePairsSource, margin: float) -> ImageTable:
        """The rows of a source that a crop with this margin can be made of; takes note of the others.

        Raises:
            SettingsError: if nothing is selected, or no row is left.
            BadRowError, TooManyBadRowsError: as `add`.
        """
        table = load_image_table(source)
        faults = row_faults(table, margin)
        self.add(table, faults)
        if len(faults) == len(table):
            raise SettingsError(
                f"{table.where}: none of {len(table)} rows can be cropped; the first: {faults[0][1]}"
            )
        usable = table.take(np.delete(np.arange(len(table)), [row for row, _ in faults]))
        return spread_rows(usable, source.at_most)

    def listed(self) -> list[dict[str, Any]]:
        """Every row as JSON values, in the order in which they were found."""
        return [
            {"source": where, "sample_id": sample_id, "reason": reason}
            for (where, sample_id), reason in self._reasons.items()
        ]

    def restore(self, listed: Iterable[Mapping[str, Any]]) -> None:
        """Take over what an earlier attempt at the run has listed."""
        for row in listed:
            self._reasons.setdefault((str(row["source"]), int(row["sample_id"])), str(row["reason"]))
