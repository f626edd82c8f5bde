"""`posemill inspect` in words: the summary of a dataset as lines."""

from collections.abc import Mapping
from typing import Any

from jobs.report.formatting import bytes_text, percent

_SHOWN_NAMES = 8


def inspection_lines(summary: Mapping[str, Any]) -> list[str]:
    """What `storage.inspect.inspect_dataset` found, for a reader."""
    files, rejected = summary["files"], summary["rejected"]
    made = summary["pairs"] + sum(rejected.values())
    parent = f" (after v{summary['parent']:06d})" if summary["parent"] else ""
    kept = f" (kept {percent(summary['pairs'] / made)})" if rejected and made else ""
    found = [
        str(summary["url"]),
        f"  version      v{summary['version']:06d}{parent}",
        f"  skeleton     {summary['skeleton']['name']}, {len(summary['skeleton']['joints'])} joints",
        f"  pairs        {summary['pairs']:,} in {files['pairs']['files']:,} files",
        f"  sequences    {summary['clips']:,} clips, {summary['frames']:,} frames",
        f"  size         {bytes_text(summary['bytes'])}",
        f"  rejected     {_names(rejected)}{kept}",
        f"  quarantined  {summary['quarantined']:,} rows",
        *(f"    {count:,} x {reason}" for reason, count in summary.get("quarantine_reasons", {}).items()),
        f"  runs         {', '.join(summary['run_ids'])}",
    ]
    if summary.get("extra_columns"):
        found.append(f"  also has     {', '.join(summary['extra_columns'])}")
    width = max((len(name) for name in (*summary["counts"], *summary["statistics"])), default=0)
    found += [f"  {name:<{width}}  {_names(counts)}" for name, counts in summary["counts"].items()]
    return found + [f"  {name:<{width}}  {_range(values)}" for name, values in summary["statistics"].items()]


def _names(counted: Mapping[str, int]) -> str:
    ordered = list(counted.items())
    more = f" and {len(ordered) - _SHOWN_NAMES} more" if len(ordered) > _SHOWN_NAMES else ""
    return (", ".join(f"{name or '(none)'} {n:,}" for name, n in ordered[:_SHOWN_NAMES]) or "none") + more


def _range(values: Mapping[str, Any]) -> str:
    if not values["count"]:
        return "no finite value"
    odd = f", {values['non_finite']:,} not finite" if values["non_finite"] else ""
    return f"{values['minimum']:.3f} to {values['maximum']:.3f}, mean {values['mean']:.3f}{odd}"
