"""What one manifest tells, as a plain dict of JSON values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from storage.commit import FileEntry
from storage.statistics import Statistics, ValueRange

if TYPE_CHECKING:
    from storage.manifest import Manifest

COUNTED = ("subject", "action", "camera_name", "copy", "clip_subject", "clip_action")
"""The counts of names that describe a dataset."""


def summarise_manifest(manifest: "Manifest") -> dict[str, Any]:
    """What one manifest tells."""
    joints = list(manifest.skeleton.get("joints", {}))
    return {
        "version": manifest.version,
        "parent": manifest.parent,
        "schema_version": manifest.schema_version,
        "pairs": manifest.rows,
        "clips": sum(manifest.statistics.counts.get("clip_subject", {}).values()),
        "frames": sum(entry.rows for entry in manifest.files_of("sequences")),
        "bytes": sum(entry.bytes for entry in manifest.files),
        "files": {
            kind: _file_summary(manifest.files_of(kind)) for kind in ("pairs", "sequences", "quarantine")
        },
        "skeleton": {"name": manifest.skeleton.get("name"), "joints": joints},
        "keypoint_skeleton": (manifest.keypoint_skeleton or manifest.skeleton).get("name"),
        "counts": {name: dict(counts) for name, counts in _counts(manifest.statistics).items()},
        "statistics": {name: summarise_range(values) for name, values in manifest.statistics.ranges.items()},
        "quarantined": manifest.quarantined,
        "rejected": dict(manifest.rejected),
        "units": len(manifest.commits),
        "run_ids": list(manifest.run_ids),
        "lineage": dict(manifest.lineage),
    }


def summarise_range(values: ValueRange) -> dict[str, float | int | None]:
    """Count, mean, spread and extremes of one quantity."""
    return {
        "count": values.count,
        "mean": values.mean,
        "standard_deviation": values.standard_deviation,
        "minimum": values.minimum,
        "maximum": values.maximum,
        "non_finite": values.non_finite,
    }


def _counts(statistics: Statistics) -> Mapping[str, Mapping[str, int]]:
    """The counts that describe a dataset, most frequent first."""
    return {
        name: dict(sorted(statistics.counts[name].items(), key=lambda item: (-item[1], item[0])))
        for name in COUNTED
        if name in statistics.counts
    }


def _file_summary(entries: tuple[FileEntry, ...]) -> dict[str, int]:
    return {
        "files": len(entries),
        "rows": sum(entry.rows for entry in entries),
        "bytes": sum(entry.bytes for entry in entries),
    }
