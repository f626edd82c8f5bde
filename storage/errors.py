"""What can go wrong with datasets on disk. Messages say where, wanted, got, and what to do."""

from poses.errors import PosemillError

DAMAGED = "the file is damaged, run `posemill verify`"
"""How messages about data that its manifest does not know end."""


class DatasetError(PosemillError, ValueError):
    """A dataset, or a request to it, that does not fit: no manifest, another skeleton, unknown columns."""


class ShardError(PosemillError, ValueError):
    """A data file that is not what its manifest says: truncated, changed, of another schema."""


class ManifestError(PosemillError, ValueError):
    """A manifest or commit that cannot be read, is from a newer posemill, or points out of its dataset."""


class CommitConflictError(PosemillError, RuntimeError):
    """A commit or manifest that another writer holds in a way that cannot be reconciled."""


class StoreError(PosemillError, OSError):
    """The storage below a dataset failed, or cannot do what a safe commit needs."""


class StoreUnavailableError(StoreError):
    """A store gave passing faults (500, 503, no answer) for as long as it was given; later it may work."""


class StoreFullError(StoreError):
    """No room on the disk or in the quota. Trying again does not help before somebody makes room."""


class ImporterError(PosemillError, ValueError):
    """A motion file that cannot be read as what its name or its header says."""


class ExportError(PosemillError, ValueError):
    """An export that cannot be made as it was asked for."""


class ImageError(PosemillError, ValueError):
    """An image that cannot be read, is larger than it may be, or does not show what its row says."""
