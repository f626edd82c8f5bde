"""Datasets to export, and what every exporter's tests ask for."""

from pathlib import Path

import numpy as np

from poses.batch import PoseBatch
from storage.exporters.export import export_dataset
from storage.exporters.settings import ExportSettings
from storage.importers.exported import open_export
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs

PARTS = ("source_train", "source_valid")


def named(values: list[str], rows: int) -> np.ndarray:
    """(rows,) str that takes the values in turn."""
    return np.asarray([values[row % len(values)] for row in range(rows)], object)


def mixed_pairs(rows: int = 90, seed: int = 0, **extra: np.ndarray) -> PoseBatch:
    """Pairs of several parts, rigs, clips and copies, with extra columns of every kind, in a random order."""
    random = np.random.default_rng(seed)
    pairs = make_pairs(
        rows,
        seed,
        clip_frames=20,
        part=named(list(PARTS), rows),
        rig=named(["h36m_like", "h36m_like", "mpi_inf_3dhp_like"], rows),
        up_camera=random.normal(size=(rows, 3)).astype(np.float32),
        kind=random.integers(0, 3, (rows, 17)).astype(np.int8),
        flag=random.integers(0, 2, rows).astype(bool),
        score=random.normal(size=rows),
        **extra,
    )
    pairs.keypoint_confidence[::3, 4] = 0
    return pairs.take(random.permutation(rows))


def publish(folder: Path, *batches: PoseBatch, **options: int) -> Dataset:
    """A dataset of one unit per batch."""
    store = open_store(folder)
    commits = [commit_pairs(store, batch, f"u{number}", **options) for number, batch in enumerate(batches)]
    publish_manifest(store, "run", commits, SKELETON)
    return Dataset.open(folder)


def there_and_back(
    dataset: Dataset, to: str, folder: Path, settings: ExportSettings | None = None
) -> PoseBatch:
    """What is read from an export, by sample id."""
    export_dataset(dataset, to, folder, settings)
    return by_id(open_export(folder).read_pairs())


def by_id(pairs: PoseBatch) -> PoseBatch:
    """The pairs by sample id."""
    return pairs.take(np.argsort(pairs.sample_id))
