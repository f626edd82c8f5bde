"""2D and 3D poses of datasets, each without the other: what RepNet is trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from pipelines.errors import SettingsError
from pipelines.keypoints import require_own_keypoints
from pipelines.pose_table import PairsSource
from poses.batch import PoseBatch
from poses.skeleton import Skeleton
from storage.reader import Dataset

_SELECTED_BY = ("part", "rig")


@dataclass(frozen=True, eq=False)
class Detections:
    """N 2D poses and no 3D.

    Attributes:
        skeleton: Of all rows.
        keypoints_screen: (N, J, 2) float32.
        availability: (N, J) float32: 0 where the confidence is 0, else 1.
    """

    skeleton: Skeleton
    keypoints_screen: np.ndarray
    availability: np.ndarray


@dataclass(frozen=True, eq=False)
class RealPoses:
    """N 3D poses and no 2D.

    Attributes:
        skeleton: Of all rows.
        joints_root_m: (N, J, 3) float32.
    """

    skeleton: Skeleton
    joints_root_m: np.ndarray


def load_detections(sources: Sequence[PairsSource]) -> Detections:
    """The 2D of the sources; their 3D is not even read.

    Raises:
        SettingsError: if nothing is selected, or the datasets have different skeletons.
    """
    keypoints: list[np.ndarray] = []
    availability: list[np.ndarray] = []
    for batch in _batches(sources, ("keypoints_px", "keypoint_confidence", "camera_px")):
        keypoints.append(np.ascontiguousarray(batch.keypoints_screen, np.float32))
        availability.append((batch.keypoint_confidence > 0).astype(np.float32))
    return Detections(_skeleton(sources), np.concatenate(keypoints), np.concatenate(availability))


def load_real_poses(sources: Sequence[PairsSource]) -> RealPoses:
    """The 3D of the sources; their 2D is not even read.

    Raises:
        SettingsError: as `load_detections`.
    """
    joints = [batch.joints_root_m for batch in _batches(sources, ("joints_camera_m",))]
    return RealPoses(_skeleton(sources), np.concatenate(joints).astype(np.float32, copy=False))


def _skeleton(sources: Sequence[PairsSource]) -> Skeleton:
    datasets = [Dataset.open(source.url, source.version) for source in sources]
    skeletons = [dataset.skeleton for dataset in datasets]
    for dataset, skeleton, source in zip(datasets, skeletons, sources, strict=True):
        require_own_keypoints(dataset, "RepNet")
        if skeleton.joints != skeletons[0].joints:
            raise SettingsError(
                f"{source.url}: skeleton {skeleton.name!r}, the datasets before it have {skeletons[0].name!r}; "
                "import one of them again with the other's skeleton"
            )
    return skeletons[0]


def _batches(sources: Sequence[PairsSource], columns: Sequence[str]) -> Iterator[PoseBatch]:
    for source in sources:
        dataset, found = Dataset.open(source.url, source.version), 0
        for path in (entry.path for entry in dataset.pair_files):
            there = dataset.open_pairs(path).columns
            wanted = [*columns, *(name for name in _SELECTED_BY if name in there)]
            for batch in dataset.iter_batches(columns=wanted, files=[path]):
                keep = _fits(batch, "part", source.parts) & _fits(batch, "rig", source.rigs)
                found += int(keep.sum())
                yield batch.take(keep)
        if not found:
            raise SettingsError(
                f"{source.url}: no rows in parts {', '.join(source.parts)} under rigs {', '.join(source.rigs)}; "
                "`posemill inspect` shows the parts that there are"
            )


def _fits(batch: PoseBatch, column: str, patterns: Sequence[str]) -> np.ndarray:
    if "*" in patterns or column not in batch.extra:
        return np.full(len(batch), "*" in patterns)
    names, where = np.unique(batch.extra[column].astype(str), return_inverse=True)
    hits = np.asarray([any(fnmatchcase(name, pattern) for pattern in patterns) for name in names], bool)
    return hits[where] if len(names) else np.zeros(0, bool)
