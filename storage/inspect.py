"""What a dataset is, as a plain dict (JSON values): for `posemill inspect`, the dataset card and reports.

Everything comes from manifests, except the reasons of quarantined rows, which are read when asked for.
"""

from typing import Any

from storage.manifest import manifest_versions
from storage.quarantine import reasons
from storage.reader import Dataset
from storage.schema import CORE_COLUMNS
from storage.summary import summarise_manifest


def inspect_dataset(dataset: Dataset, quarantine_reasons: bool = True) -> dict[str, Any]:
    """Rows, files, bytes, versions, skeleton, statistics, counts, quarantine, rejections and lineage.

    Args:
        dataset: The version to summarise.
        quarantine_reasons: Read the quarantine files to count their reasons.
    """
    summary = summarise_manifest(dataset.manifest)
    summary["url"] = dataset.store.url
    summary["versions"] = manifest_versions(dataset.store)
    summary["extra_columns"] = _extra_columns(dataset)
    if quarantine_reasons:
        summary["quarantine_reasons"] = reasons(dataset.quarantined_rows())
    return summary


def _extra_columns(dataset: Dataset) -> list[str]:
    """Columns beside the core ones, as the first pairs file has them."""
    if not dataset.pair_files:
        return []
    return [
        name for name in dataset.open_pairs(dataset.pair_files[0].path).columns if name not in CORE_COLUMNS
    ]
