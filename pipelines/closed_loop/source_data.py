"""Reading what a loop learns from: the training and validation poses of a posemill dataset."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.closed_loop.source_poses import SourcePoses
from pipelines.errors import SettingsError
from poses.batch import PoseBatch
from storage.reader import Dataset


@dataclass(frozen=True)
class LoopData:
    """Training poses, and validation poses where the dataset has any."""

    train: SourcePoses
    validation: SourcePoses | None


def load_loop_data(dataset_url: str, version: int, settings: ClosedLoopSettings) -> LoopData:
    """The poses of a dataset that the settings name; every actor calls this where it runs, and reads once.

    Raises:
        SettingsError: if no pose is left to train on.
        DatasetError: if the dataset cannot be read.
    """
    return _load(
        dataset_url,
        version,
        settings.train_parts,
        settings.valid_parts,
        settings.rigs,
        settings.valid_max_rows,
    )


@lru_cache(maxsize=2)
def _load(
    dataset_url: str,
    version: int,
    train_parts: tuple[str, ...],
    valid_parts: tuple[str, ...],
    rigs: tuple[str, ...],
    valid_max_rows: int,
) -> LoopData:
    pairs = Dataset.open(dataset_url, version).read_pairs()
    train = _rows_of(pairs, train_parts, rigs)
    if not len(train):
        raise SettingsError(
            f"{dataset_url}: no pose of the parts {', '.join(train_parts)} under the rigs"
            f" {', '.join(rigs) or '(any)'}; its parts are {_seen(pairs, 'part')}, its rigs {_seen(pairs, 'rig')};"
            " set loop.train_parts and loop.rigs to some of these"
        )
    valid = _rows_of(pairs, valid_parts, rigs)
    step = -(-len(valid) // valid_max_rows) if len(valid) else 1
    return LoopData(
        SourcePoses.from_batch(pairs.take(train)),
        SourcePoses.from_batch(pairs.take(valid[::step])) if len(valid) else None,
    )


def _rows_of(pairs: PoseBatch, parts: tuple[str, ...], rigs: tuple[str, ...]) -> np.ndarray:
    keep = np.ones(len(pairs), bool)
    if "part" in pairs.extra:
        keep &= np.isin(pairs.extra["part"].astype(str), parts)
    if rigs and "rig" in pairs.extra:
        keep &= np.isin(pairs.extra["rig"].astype(str), rigs)
    return np.flatnonzero(keep)


def _seen(pairs: PoseBatch, column: str) -> str:
    if column not in pairs.extra:
        return "(no such column)"
    return ", ".join(sorted(set(pairs.extra[column].astype(str).tolist()))) or "(none)"
