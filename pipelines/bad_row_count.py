"""How many rows a run left out as bad, whoever found them: the supervisor's search, or a stage that refused them."""

from pipelines.errors import TooManyBadRowsError
from pipelines.executor import BadRowPolicy
from storage.commit import UnitCommit
from storage.object_store import ObjectStore
from storage.quarantine import count_whole_rows, read_quarantine

_SKIPPED = "bad "
"""Stages count rows that they skip under `bad row: <class>`, `bad file: <class>`, `bad clip: <class>`."""


class BadRowCount:
    """Adds up the bad rows of a run's commits, those of earlier attempts among them.

    A row is a whole row of a unit (a pair, a file, a clip); single frames that an importer's cleaning leaves out are
    no bad rows.
    """

    def __init__(self, store: ObjectStore, policy: BadRowPolicy) -> None:
        self._store, self._policy = store, policy
        self.n_rows = 0

    def add(self, commit: UnitCommit) -> None:
        """Count one more unit.

        Raises:
            TooManyBadRowsError: if that is more than `max_bad_rows`; the units that are committed stay.
        """
        bad = sum(count for reason, count in commit.rejected.items() if reason.startswith(_SKIPPED))
        for file in commit.files:
            if file.kind == "quarantine":
                bad += count_whole_rows(read_quarantine(self._store, file.path))
        self.n_rows += bad
        if bad and self.n_rows > self._policy.max_bad_rows:
            raise TooManyBadRowsError(
                f"{commit.run_id}: {self.n_rows} bad rows with those of unit {commit.unit_id}, wanted no more than "
                f"max_bad_rows = {self._policy.max_bad_rows}; look at the quarantine (posemill inspect), mend the "
                "input or raise bad_rows.max_bad_rows"
            )
