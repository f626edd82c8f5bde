"""`posemill export` and `posemill register` on a terminal: progress while they work, then what was written."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from jobs.errors import RecipeError
from jobs.executors import executor_settings, make_executor
from jobs.locate import datasets_of_run
from jobs.progress import BarProgress, LineProgress
from jobs.report.formatting import bytes_text
from pipelines.export import run_export
from storage.delta import register_delta
from storage.errors import DatasetError
from storage.exporters.registry import FORMATS
from storage.exporters.settings import ExportSettings
from storage.exporters.sharded import SHARDED
from storage.object_store import open_store
from storage.reader import Dataset

PICKLE_WARNING = (
    "warning: the files below pickled/ hold pickled dictionaries, because VideoPose3D's loader reads nothing"
    " else. Whoever opens such files runs whatever is in them: do not pass them on, and open none that you did"
    " not write. All other files of the export are free of pickle."
)


def export_settings(
    parts: Sequence[str], rigs: Sequence[str], shard_rows: int | None, name: str, pickled: bool
) -> ExportSettings:
    """Settings from the command line; several parts or rigs by commas or by repeating the option.

    Raises:
        RecipeError: if a value is out of its range.
    """
    values = {
        "parts": _listed(parts),
        "rigs": _listed(rigs),
        "shard_rows": shard_rows,
        "name": name,
        "pickled": pickled,
    }
    try:
        return ExportSettings.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        option = {"shard_rows": "--shard-rows", "name": "--name"}.get(
            str(fault["loc"][0]), str(fault["loc"][0])
        )
        raise RecipeError(f"{option}: {fault['msg']}, got {fault['input']!r}") from error


def export_with_progress(
    url: str,
    version: int | None,
    to: str,
    out: str,
    settings: ExportSettings,
    progress: BarProgress | LineProgress,
    workers: int = 0,
) -> dict[str, Any]:
    """Export the one dataset at a URL and tell how far it is.

    Args:
        workers: Actors of a private Ray that make the files, where the format allows it; 0 takes this process.

    Raises:
        DatasetError: if there is no dataset, or more than one.
        ExportError: if it cannot be exported as asked.
    """
    dataset = Dataset.open(one_dataset(url), version)
    if settings.pickled:
        progress.log(PICKLE_WARNING)
    if workers and to in FORMATS and to not in SHARDED:
        progress.log(f"{to} is one stream through one process; --workers are for {', '.join(SHARDED)}")
    pool = {"kind": "ray", "pool": {"workers": workers}} if workers else {}
    executor = make_executor(executor_settings(pool, "export"))
    try:
        return run_export(dataset, to, out, settings, executor, progress).to_dict()
    finally:
        executor.close()


def export_lines(done: dict[str, Any]) -> list[str]:
    """What was exported, for a reader."""
    return [
        f"{done['url']}: {done['rows']:,} pairs of version {done['dataset_version']} in {done['files']:,} files,"
        f" {bytes_text(done['bytes'])}",
        f"open it with {done['opens_with']}",
    ]


def register(url: str) -> dict[str, Any]:
    """Register the one dataset at a URL as a Delta table; checked by `deltalake` where it is installed.

    Raises:
        DatasetError: if there is no dataset, or more than one, or the table cannot be continued.
    """
    dataset_url = one_dataset(url)
    done = register_delta(open_store(dataset_url))
    checked = checked_by_deltalake(dataset_url, done.table_url, done.dataset_version)
    return {
        "table": done.table_url,
        "table_version": done.table_version,
        "dataset_version": done.dataset_version,
        "added_versions": done.added_versions,
        "added_files": done.added_files,
        "checked_by_deltalake": checked,
    }


def register_lines(done: dict[str, Any]) -> list[str]:
    """What was registered, for a reader."""
    new = f"{done['added_versions']:,} versions, {done['added_files']:,} files added"
    state = new if done["added_versions"] else "it was up to date"
    seen = "seen by deltalake" if done["checked_by_deltalake"] else "not looked at by deltalake"
    return [
        f"{done['table']}: Delta version {done['table_version']} shows dataset version {done['dataset_version']};"
        f" {state} ({seen})",
        f"open it with deltalake.DeltaTable({done['table']!r})",
    ]


def checked_by_deltalake(dataset_url: str, table_url: str, version: int) -> bool:
    """Whether `deltalake` opened the table; only local ones are tried, others need its own credentials.

    Raises:
        DatasetError: if it sees other files than the manifest names.
    """
    if "://" in table_url:
        return False
    try:
        from deltalake import DeltaTable
    except ImportError:
        return False
    seen = {path.rpartition("/")[2] for path in DeltaTable(table_url).file_uris()}
    named = {entry.path.rpartition("/")[2] for entry in Dataset.open(dataset_url, version).pair_files}
    if seen != named:
        raise DatasetError(
            f"{table_url}: the Delta table shows {len(seen):,} files, version {version} of the dataset has"
            f" {len(named):,}; did another program write to the table? delete _delta_log (the data stays) and"
            " register again"
        )
    return True


def one_dataset(url: str) -> str:
    """The dataset at a URL, or the only one of the run there.

    Raises:
        DatasetError: if there is none, or a choice.
    """
    found = datasets_of_run(url)
    if "dataset" in found:
        return found["dataset"]
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise DatasetError(
            f"{url}: there is no dataset (no manifests/v000001.json here or below datasets/); give the folder"
            " of a dataset"
        )
    raise DatasetError(
        f"{url}: this run has {len(found)} datasets; give one of them: {', '.join(found.values())}"
    )


def _listed(values: Sequence[str]) -> tuple[str, ...]:
    listed = tuple(part.strip() for value in values for part in value.split(",") if part.strip())
    return listed or ("*",)
