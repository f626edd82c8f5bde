"""`posemill retry-quarantine`: the quarantined rows of a dataset once more, with the executor of its recipe."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.executors import executor_settings, make_executor
from jobs.locate import dataset_urls, joined
from jobs.progress import progress_for
from jobs.recipe import apply_change, read_yaml
from jobs.running import RECIPE_FILE
from pipelines.context import RunContext
from pipelines.retry_quarantine import RetryResult, retry_quarantine
from storage.object_store import open_store
from storage.reader import Dataset

_MAX_REASONS = 5


@dataclass(frozen=True)
class RetriedDataset:
    """What became of the quarantine of one dataset."""

    url: str
    before: int
    """Rows that were in quarantine."""
    left: int
    """Rows that are in it still."""
    runs: list[RetryResult]
    frames: dict[str, int] = field(default_factory=dict)
    """Stretches of frames that cleaning cut out of clips, by reason: no retry can give them back."""

    def lines(self) -> list[str]:
        """For a reader."""
        found = [f"{self.url}: {self.before:,} in quarantine before, {self.left:,} now"]
        for run in self.runs:
            version = f"published as version {run.version}" if run.version else "nothing to publish"
            found.append(
                f"  {run.of_run}: {run.passed:,} of {run.retried:,} rows pass now, {run.pairs:,} pairs, {version}"
            )
            reasons = list(run.reasons.items())
            found += [f"    {count:,} x {reason}" for reason, count in reasons[:_MAX_REASONS]]
            found += (
                [f"    and {len(reasons) - _MAX_REASONS} more reasons"] if len(reasons) > _MAX_REASONS else []
            )
        if self.frames:
            reasons = ", ".join(f"{count:,} x {reason}" for reason, count in self.frames.items())
            total = sum(self.frames.values())
            found.append(
                f"  {total:,} stretches of frames cannot be run again ({reasons}): cleaning cut them out of clips "
                "whose other frames are in the dataset, and would cut the same file at the same places. Mend the file, "
                "or change what `options` allows (max_speed_mps, min_clip_s, min_bone_m), and import into a new "
                "dataset; a run on top would repeat the other frames"
            )
        return found


def retry_datasets(url: str, changes: Sequence[str] = (), quiet: bool = False) -> list[RetriedDataset]:
    """Retry the quarantine of a dataset, or of every dataset of a run.

    Args:
        url: A dataset, or the folder of a run.
        changes: `a.b=c` for run-time knobs of the job, or of `executor`.
        quiet: No progress.

    Raises:
        DatasetError: if there is no dataset.
        RecipeError: if a change cannot be used.
        PosemillError: whatever `retry_quarantine` finds wrong.
    """
    return [_retry(one, changes, quiet) for one in dataset_urls(url)]


def _retry(url: str, changes: Sequence[str], quiet: bool) -> RetriedDataset:
    values: dict[str, Any] = {"executor": _executor_of(url)}
    for change in changes:
        apply_change(values, change)
    executor = make_executor(executor_settings(values.pop("executor"), "retry-quarantine"))
    progress = progress_for(sys.stderr, quiet)
    before = Dataset.open(url).manifest.quarantined
    try:
        runs = retry_quarantine(RunContext(url, executor, progress=progress), values)
    finally:
        executor.close()
        progress.close()
    now = Dataset.open(url)
    return RetriedDataset(url, before, now.manifest.quarantined, runs, _frames(now))


def _frames(dataset: Dataset) -> dict[str, int]:
    """Rows of the quarantine that are parts of a unit's row, by what cleaning calls the fault."""
    parts = (row for row in dataset.quarantined_rows() if row.unit_row is None and row.run_id)
    counts = Counter(row.reason.partition(":")[0] for row in parts)
    return dict(sorted(counts.items()))


def _executor_of(url: str) -> dict[str, Any]:
    """The executor of the recipe that stands in the dataset, or (a build's) two folders above it."""
    for folder in (url, url.rstrip("/").rpartition("/datasets/")[0]):
        if folder and open_store(folder).exists(RECIPE_FILE):
            text = open_store(folder).read_bytes(RECIPE_FILE).decode("utf-8")
            return read_yaml(text, joined(folder, RECIPE_FILE)).get("executor") or {}
    return {}


def to_json(found: Sequence[RetriedDataset]) -> list[dict[str, Any]]:
    """Plain JSON values."""
    return [asdict(one) for one in found]
