"""The dataset card: a README.md beside the data that tells a stranger what it is and how to open it.

The card is for people; it is rewritten with every version, and nothing reads it back.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from storage.object_store import ObjectStore
from storage.paths import manifest_path
from storage.summary import summarise_manifest

if TYPE_CHECKING:
    from storage.manifest import Manifest

CARD_PATH = "README.md"

MAX_LINES_PER_TABLE = 30

COLUMNS = (
    ("sample_id", "int64", "unique in the dataset"),
    ("source_id", "int64", "the row that this one was made from; its own id for originals"),
    ("copy", "int32", "which copy of its source; 0 for originals"),
    ("clip, subject, action, camera_name", "string", "where it comes from"),
    ("frame", "int32", "frame in the clip"),
    ("joints_camera_m", "float32 (J, 3)", "camera frame, metres: x right, y down, z forward"),
    ("keypoints_px", "float32 (J, 2)", "pixels"),
    ("keypoint_confidence", "float32 (J)", "0 where a keypoint is missing"),
    ("camera_px", "float32 (11)", "fx, fy, cx, cy, k1, k2, p1, p2, k3, width, height"),
)


def write_card(store: ObjectStore, manifest: "Manifest") -> None:
    """Writes the card of a version over the one before."""
    store.write_bytes(CARD_PATH, dataset_card(manifest).encode())


def dataset_card(manifest: "Manifest") -> str:
    """The card as Markdown."""
    summary = summarise_manifest(manifest)
    sections = [
        _head(summary),
        _opening(manifest),
        markdown_table("Columns of pairs/", ("column", "type", "meaning"), COLUMNS),
        markdown_table("Skeleton", ("joint", "parent"), _joints(manifest)),
        *(_count_table(name, counts) for name, counts in summary["counts"].items()),
        _statistics_table(summary["statistics"]),
        _count_table("rejected, by reason", summary["rejected"]),
    ]
    return "\n".join(section for section in sections if section)


def _head(summary: Mapping[str, Any]) -> str:
    mebibytes = summary["bytes"] / 2**20
    return (
        "# A posemill dataset\n\n"
        f"Version {summary['version']} (layout {summary['schema_version']}): {summary['pairs']:,} pairs of"
        " 2D and 3D"
        f" poses and {summary['frames']:,} frames of whole motions, {mebibytes:,.1f} MiB."
        f" Skeleton `{markdown_cell(summary['skeleton']['name'])}`, {len(summary['skeleton']['joints'])} joints."
        f"{_keypoints(summary)}"
        f" {summary['quarantined']:,} rows in quarantine.\n"
    )


def _keypoints(summary: Mapping[str, Any]) -> str:
    named = summary["keypoint_skeleton"]
    if named == summary["skeleton"]["name"]:
        return ""
    return f" The 2D keypoints are of skeleton `{markdown_cell(named)}`."


def _opening(manifest: "Manifest") -> str:
    """How to read it, in three dialects; the manifest is the truth about which files count."""
    lines = [
        "## Open it",
        "",
        "```python",
        "from storage.reader import Dataset",
        'dataset = Dataset.open("PATH")',
        "pairs = dataset.read_pairs()  # or .iter_batches(), .clips(), .to_torch(), .to_arrow(), .to_ray()",
        "```",
        "",
        f"`{manifest_path(manifest.version)}` lists the files of this version; a file that no manifest",
        "lists does not count. Any Parquet reader opens them:",
        "",
        "```python",
        "duckdb.read_parquet(dataset.file_urls()).aggregate('action, count(*)')",
        'polars.scan_parquet(dataset.file_urls()).select("sample_id", "keypoints_px")',
        "```",
        "",
    ]
    return "\n".join(lines)


def _joints(manifest: "Manifest") -> list[tuple[str, str]]:
    return [(joint, parent or "(root)") for joint, parent in dict(manifest.skeleton["joints"]).items()]


def _count_table(name: str, counts: Mapping[str, int]) -> str:
    rows = [(key, f"{count:,}") for key, count in counts.items()]
    return markdown_table(
        f"Rows by {name}" if "reason" not in name else name.capitalize(), ("value", "rows"), rows
    )


def _statistics_table(statistics: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (name, *(_number(values[key]) for key in ("mean", "standard_deviation", "minimum", "maximum")))
        for name, values in statistics.items()
    ]
    return markdown_table("Statistics", ("quantity", "mean", "standard deviation", "least", "greatest"), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}"


def markdown_table(title: str, header: tuple[str, ...], rows: Any) -> str:
    """A Markdown table; empty without rows; long ones are cut with a word about it."""
    lines = [tuple(row) for row in rows]
    if not lines:
        return ""
    shown = [f"| {' | '.join(markdown_cell(cell) for cell in row)} |" for row in lines[:MAX_LINES_PER_TABLE]]
    rest = len(lines) - len(shown)
    tail = [f"\nand {rest:,} more."] if rest else []
    head = [f"## {title}", "", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return "\n".join([*head, *shown, *tail, ""])


def markdown_cell(value: object) -> str:
    """A value from a file as table text: no line breaks, columns or markup of its own."""
    text = " ".join(str(value).split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
