"""What a dataset holds, from its manifest alone: no data file is read."""

from dataclasses import dataclass
from typing import Any

from jobs.report.formatting import bytes_text, percent
from storage.manifest import Manifest
from storage.object_store import open_store
from storage.reader import Dataset

_SHOWN_NAMES = 8


@dataclass(frozen=True)
class Inspection:
    """A dataset's manifest in short."""

    url: str
    manifest: Manifest
    skeleton: str
    joints: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        m = self.manifest
        return {
            "url": self.url,
            "version": m.version,
            "schema_version": m.schema_version,
            "skeleton": self.skeleton,
            "joints": list(self.joints),
            "pairs": m.rows,
            "files": {kind: len(m.files_of(kind)) for kind in ("pairs", "sequences", "quarantine")},
            "bytes": sum(file.bytes for file in m.files),
            "frames": sum(file.rows for file in m.files_of("sequences")),
            "quarantined": m.quarantined,
            "rejected": m.rejected,
            "run_ids": list(m.run_ids),
            "statistics": m.statistics.model_dump(mode="json"),
        }

    def lines(self) -> list[str]:
        """For a reader."""
        m, values = self.manifest, self.to_dict()
        made = m.rows + sum(m.rejected.values())
        rejected = ", ".join(f"{reason} {n:,}" for reason, n in m.rejected.items()) or "none"
        found = [
            f"{self.url}",
            f"  version      v{m.version:06d}" + (f" (after v{m.parent:06d})" if m.parent else ""),
            f"  skeleton     {self.skeleton}, {len(self.joints)} joints",
            f"  pairs        {m.rows:,} in {values['files']['pairs']:,} files",
            f"  sequences    {values['frames']:,} frames in {values['files']['sequences']:,} groups",
            f"  size         {bytes_text(values['bytes'])}",
            f"  rejected     {rejected}"
            + (f" (kept {percent(m.rows / made)})" if m.rejected and made else ""),
            f"  quarantined  {m.quarantined:,} rows",
            f"  runs         {', '.join(m.run_ids)}",
        ]
        return found + _statistics_lines(values["statistics"])


def inspect_dataset(url: str, version: int | None = None) -> Inspection:
    """Read a dataset's manifest.

    Raises:
        DatasetError: if there is no dataset at the URL, or not this version.
    """
    dataset = Dataset(open_store(url), Dataset.open(url, version).manifest)
    return Inspection(url, dataset.manifest, dataset.skeleton.name, dataset.skeleton.joints)


def _statistics_lines(statistics: dict[str, Any]) -> list[str]:
    """Ranges and counted names, whatever the manifest counted."""
    found: list[str] = []
    for name, value in statistics.items():
        if not isinstance(value, dict) or not value:
            continue
        for key, inner in value.items():
            if isinstance(inner, dict) and inner.get("count"):
                mean = inner["total"] / inner["count"]
                found.append(f"  {key:<28} {inner['minimum']:.3f} to {inner['maximum']:.3f}, mean {mean:.3f}")
            elif isinstance(inner, dict) and inner and all(isinstance(n, int) for n in inner.values()):
                found.append(f"  {key:<28} {_names(inner)}")
        if all(isinstance(n, int) for n in value.values()):
            found.append(f"  {name:<28} {_names(value)}")
    return found


def _names(counted: dict[str, int]) -> str:
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - _SHOWN_NAMES} more" if len(ordered) > _SHOWN_NAMES else ""
    return ", ".join(f"{name or '(none)'} {n:,}" for name, n in ordered[:_SHOWN_NAMES]) + more
