"""The jobs that are disturbed, on small made inputs, and their undisturbed runs."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.context import RunContext
from pipelines.executor import RetryPolicy
from pipelines.import_motion import ImportSettings, run_import
from pipelines.import_pairs import ImportPairsSettings, run_import_pairs
from pipelines.in_process import InProcessExecutor
from pipelines.mass_augment import AugmentSettings, run_augment
from pipelines.parts import SplitSettings
from pipelines.retry_quarantine import retry_quarantine
from pipelines.stages.clip_views import ViewSettings
from storage.exporters.export import ExportSettings, export_dataset
from storage.reader import Dataset
from tests.faults.campaign.chain_job import run_chain_job
from tests.faults.campaign.planted import RAISE, Planted, plant
from tests.faults.campaign.strikes import Point, Watch, read_points, write_points
from tests.unit.pipelines.test_jobs import standing
from tests.unit.storage.importers.motion_files import write_amc_pair, write_walk

SEED = 3
OUT = "OUT"
"""Name of every folder that a disturbed job writes."""
BROKEN = "broken.bvh"
N_POISONED = 1
QUICK = RetryPolicy(backoff_s=0.01)


@dataclass(frozen=True)
class Job:
    """A job on its inputs.

    Attributes:
        run: (workbench, where to write, executor) does it, or what is left of it.
        begins_as: The job whose finished dataset, as it is without a fault or with planted rows, this one goes on from.
        poisoned: Whether some rows raise in every run of it, so that there is a quarantine to write.
    """

    name: str
    run: Callable[["Workbench", str, Any], object]
    begins_as: str = ""
    poisoned: bool = False


class Workbench:
    """A folder with inputs and undisturbed runs; made once, read by every case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def motion(self) -> Path:
        """Motion files: BVH, AMC, npz, and one that cannot be read."""
        return self.folder / "motion"

    @property
    def export(self) -> Path:
        """The imported pairs as a WebDataset."""
        return self.folder / "export"

    def reference(self, job: str) -> Path:
        """What a job makes when nothing disturbs it."""
        return self.folder / "reference" / job / OUT

    def poisoned_ids(self) -> list[str]:
        """Rows of the augmented source that raise in jobs that are `poisoned`."""
        ids = self.ids()
        return ids[5 :: len(ids) // N_POISONED][:N_POISONED]

    def ids(self) -> list[str]:
        """Every row of the augmented source."""
        return (self.folder / "ids.txt").read_text().split()

    def planted(self, job: Job, marks: Path) -> Planted:
        """What breaks in every run of the job."""
        rows = dict.fromkeys(self.poisoned_ids(), RAISE) if job.poisoned else {}
        marks.mkdir(exist_ok=True, parents=True)
        return Planted(rows, str(marks))

    def begin(self, job: Job, out: Path) -> None:
        """Puts what the job goes on from where it is going to write."""
        if job.begins_as:
            shutil.copytree(self.reference(job.begins_as), out)

    def run(self, job: Job, out: str, marks: Path) -> None:
        """The job in this process, with its poisoned rows; to its end, from wherever it was."""
        plant(self.planted(job, marks))
        job.run(self, out, InProcessExecutor(retry=QUICK))

    def points(self, job: str, fine: bool = False) -> list[Point]:
        """The points of an undisturbed run that every run comes by."""
        name = "fine" if fine else "coarse"
        return read_points(self.folder / "points" / f"{job}-{name}.json")


def augment_settings(source: str, first_copy: int = 1, rows_per_unit: int = 200) -> AugmentSettings:
    """Two copies of every row, in several units of each file."""
    values = {
        "source": source,
        "parts": None,
        "augmentor": {"kind": "wide"},
        "copies": 2,
        "copies_per_unit": 2,
        "first_copy": first_copy,
        "rows_per_unit": rows_per_unit,
    }
    return AugmentSettings.model_validate(values)


def import_settings(source: Path) -> ImportSettings:
    """Files of one clip in threes, files of many by themselves."""
    return ImportSettings(
        source=str(source),
        split=SplitSettings(shares={"source_train": 0.7, "source_valid": 0.3}),
        view=ViewSettings(frame_step=6),
        files_per_unit=3,
    )


def _import(bench: Workbench, out: str, executor: Any) -> object:
    return run_import(import_settings(bench.motion), RunContext(out, executor, SEED))


def _augment(bench: Workbench, out: str, executor: Any) -> object:
    settings = augment_settings(str(bench.reference("import")))
    return run_augment(settings, RunContext(out, executor, SEED))


def _chain(bench: Workbench, out: str, executor: Any) -> object:
    settings = augment_settings(str(bench.reference("import")))
    return run_chain_job(settings, RunContext(out, executor, SEED))


def _on_top(bench: Workbench, out: str, executor: Any) -> object:
    settings = augment_settings(str(bench.reference("import")), first_copy=3)
    return run_augment(settings, RunContext(out, executor, SEED, accept_other_plan=True))


def _retry(bench: Workbench, out: str, executor: Any) -> object:
    del bench
    return retry_quarantine(RunContext(out, executor, SEED))


def _import_pairs(bench: Workbench, out: str, executor: Any) -> object:
    return run_import_pairs(ImportPairsSettings(source=str(bench.export)), RunContext(out, executor, SEED))


JOBS = {
    job.name: job
    for job in (
        Job("import", _import),
        Job("augment", _augment, poisoned=True),
        Job("chain", _chain, poisoned=True),
        Job("on top", _on_top, begins_as="augment"),
        Job("retry", _retry, begins_as="augment"),
        Job("import pairs", _import_pairs),
    )
}


def make_inputs(folder: Path) -> None:
    """The motion files and the undisturbed import; in a process of its own, before `make_reference`."""
    bench = Workbench(folder)
    for number in range(7):
        write_walk(bench.motion / f"person{number % 3}" / f"walk{number}.bvh", 72 + 12 * number, seed=number)
    (bench.motion / BROKEN).write_text("HIERARCHY\nROOT Hips\n{")
    write_amc_pair(bench.motion / "mocap", 60)
    clips = {f"person{number}/stand": standing(40 + number) for number in range(3)}
    np.savez(bench.motion / "clips.npz", **clips)
    make_reference(folder, JOBS["import"])
    source = Dataset.open(bench.reference("import"))
    ids = sorted(source.read_pairs().sample_id.tolist())
    (folder / "ids.txt").write_text("\n".join(map(str, ids)))
    export_dataset(
        source, "webdataset", str(bench.export), ExportSettings(shard_rows=source.n_pairs // 3 + 1)
    )


def make_reference(folder: Path, job: Job) -> None:
    """An undisturbed run, and every point that it came by. In a process of its own."""
    bench = Workbench(folder)
    reference = bench.reference(job.name)
    reference.parent.mkdir(parents=True)
    (folder / "points").mkdir(exist_ok=True)
    bench.begin(job, reference)
    points: list[Point] = []
    Watch(points.append, fine=True).install()
    bench.run(job, str(reference), folder / "marks")
    steady = [point for point in points if point.is_steady]
    for name, chosen in (
        ("coarse", [point for point in steady if not point.call.startswith("os.")]),
        ("fine", [point for point in steady if point.call.startswith("os.")]),
    ):
        write_points(folder / "points" / f"{job.name}-{name}.json", chosen)
