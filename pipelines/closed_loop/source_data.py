"""Reading what a loop learns from: the training and validation poses of a posemill dataset."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from estimators.lifters.settings import LifterSettings, build_lifter
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.closed_loop.source_poses import SourcePoses
from pipelines.closed_loop.source_windows import window_shape
from pipelines.errors import SettingsError
from pipelines.keypoints import require_own_keypoints
from poses.batch import PoseBatch
from storage.reader import Dataset


@dataclass(frozen=True)
class LoopData:
    """Training poses, and validation poses where the dataset has any.

    `validation_rows` are the poses that the estimator is validated on; None means all. Where there are some, the others
    are there for the windows around them.
    """

    train: SourcePoses
    validation: SourcePoses | None
    validation_rows: np.ndarray | None = None


def load_loop_data(dataset_url: str, version: int, settings: ClosedLoopSettings) -> LoopData:
    """The poses of a dataset that the settings name; every actor calls this where it runs, and reads once.

    For a temporal lifter they come with their order in time, and the validation poses with all of their neighbours.

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
        _sees_windows(settings.lifter, dataset_url, version),
    )


def _sees_windows(settings: LifterSettings, dataset_url: str, version: int) -> bool:
    lifter = build_lifter(settings, Dataset.open(dataset_url, version).skeleton, seed=0)
    return window_shape(lifter).temporal


@lru_cache(maxsize=2)
def _load(
    dataset_url: str,
    version: int,
    train_parts: tuple[str, ...],
    valid_parts: tuple[str, ...],
    rigs: tuple[str, ...],
    valid_max_rows: int,
    in_time: bool,
) -> LoopData:
    dataset = Dataset.open(dataset_url, version)
    require_own_keypoints(dataset, "a closed loop")
    pairs = dataset.read_pairs()
    train = _rows_of(pairs, train_parts, rigs)
    if not len(train):
        raise SettingsError(
            f"{dataset_url}: no pose of the parts {', '.join(train_parts)} under the rigs"
            f" {', '.join(rigs) or '(any)'}; its parts are {_seen(pairs, 'part')}, its rigs {_seen(pairs, 'rig')};"
            " set loop.train_parts and loop.rigs to some of these"
        )
    valid = _rows_of(pairs, valid_parts, rigs)
    step = -(-len(valid) // valid_max_rows) if len(valid) else 1
    if in_time:
        neighbours = SourcePoses.from_batch(pairs.take(valid), in_time) if len(valid) else None
        chosen = np.arange(0, len(valid), step)
        return LoopData(SourcePoses.from_batch(pairs.take(train), in_time), neighbours, chosen)
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
