"""The card of a Hugging Face dataset folder: YAML front matter for the hub and `datasets`, words for people."""

from collections.abc import Mapping

import yaml

from storage.card import COLUMNS, markdown_cell, markdown_table
from storage.exporters.selection import PairsSelection

_SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
)  # fmt: skip


def dataset_card(name: str, selection: PairsSelection, splits: Mapping[str, int], folder: str) -> str:
    """The README.md of a folder with `FOLDER/SPLIT-*.parquet`.

    Args:
        name: Of the export.
        selection: What was exported.
        splits: Rows by split.
        folder: Where the Parquet files are.
    """
    rows = sum(splits.values())
    front = {
        "pretty_name": name,
        "license": "unknown",
        "task_categories": ["keypoint-detection"],
        "tags": ["human-pose", "3d-human-pose", "keypoints", "posemill"],
        "size_categories": [next((word for limit, word in _SIZES if rows < limit), "n>1B")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{folder}/{split}-*.parquet"} for split in splits],
            }
        ],
    }
    skeleton, manifest = selection.skeleton, selection.dataset.manifest
    joints = [
        (joint, skeleton.joints[parent] if parent >= 0 else "(root)")
        for joint, parent in zip(skeleton.joints, skeleton.parents, strict=True)
    ]
    extras = [(spec.name, f"{spec.dtype} {spec.shape or ''}".strip()) for spec in selection.extras]
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n",
        f"# {name}\n\n{rows:,} pairs of 2D and 3D human poses, skeleton `{markdown_cell(skeleton.name)}`, exported from"
        f" version {manifest.version} of a posemill dataset.\n",
        _HOW_TO_OPEN,
        markdown_table(
            "Splits", ("split", "pairs"), [(split, f"{count:,}") for split, count in splits.items()]
        ),
        markdown_table("Columns", ("column", "type", "meaning"), COLUMNS),
        markdown_table("Further columns", ("column", "type"), extras),
        markdown_table("Skeleton", ("joint", "parent"), joints),
        "Before you publish this folder, set `license` above to what the source of the motion allows.\n",
    ]
    return "\n".join(section for section in sections if section)


_HOW_TO_OPEN = """## Open it

```python
import datasets

pairs = datasets.load_dataset("PATH")            # this folder; one split per part
rows = next(iter(pairs.values())).with_format("numpy")
rows[0]["joints_camera_m"]                       # (J, 3) float32, metres, camera frame
rows[0]["keypoints_px"]                          # (J, 2) float32, pixels
```
"""
