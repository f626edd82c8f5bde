"""What can go wrong in a job; every message says where, what was wanted, what was found and what to do."""

from poses.errors import PosemillError


class PlanError(PosemillError, ValueError):
    """A plan cannot be made or read."""


class PlanMismatchError(PlanError):
    """The output already holds another plan; the message carries the difference."""


class PoolError(PosemillError, RuntimeError):
    """A pool of workers cannot be placed, cannot start, or ended with units undone."""


class StageSetupError(PoolError):
    """A stage failed in `setup` again and again; no unit was to blame."""


class BadRowError(PosemillError, ValueError):
    """A row failed while the job was told to fail on the first bad row."""


class TooManyBadRowsError(PosemillError, ValueError):
    """More rows failed than `max_bad_rows` allows."""


class UnitError(PosemillError, ValueError):
    """A unit cannot be done as a whole (say, its input file is damaged); it is not searched for bad rows."""


class JobStoppedError(PosemillError, RuntimeError):
    """The job was asked to stop (a signal, a spot notice) and did; what is committed stays, running again goes on."""


class SettingsError(PosemillError, ValueError):
    """Settings of a job that do not fit each other or the data that they name."""
