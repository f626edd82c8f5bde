"""2D-3D pairs of any posemill datasets as flat arrays, with the windows that temporal lifters see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pipelines.errors import SettingsError
from pipelines.frame_runs import FrameRuns
from pipelines.keypoints import require_own_keypoints
from poses.batch import PoseBatch
from poses.batch import other_keypoints as other_skeleton
from poses.cameras import screen_intrinsics
from poses.skeleton import Skeleton
from storage.reader import Dataset

_COLUMNS = ("joints_camera_m", "keypoints_px", "camera_px", "frame", "copy", "clip", "action", "camera_name")


class PairsSource(BaseModel):
    """Pairs of one dataset, or of some of its parts and rigs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    version: int | None = None
    """Of the manifest; None takes the latest, whose number goes into the run's inputs."""
    parts: tuple[str, ...] = ("*",)
    """Names or patterns of the column `part`."""
    rigs: tuple[str, ...] = ("*",)
    """Names or patterns of the column `rig`."""
    share: float = Field(default=1.0, gt=0)
    """Weight of this source in every training batch."""


@dataclass(frozen=True, eq=False)
class PoseTable:
    """N pairs in memory.

    Attributes:
        skeleton: Of all rows.
        keypoints_screen: (N, J, 2) float32.
        joints_root_m: (N, J, 3) float32.
        action, part, rig: (N,) object arrays of str.
        sequence: (N,) int64; rows of one clip, camera and copy share a number.
        frame: (N,) int32.
        root_camera_m: (N, 3) float32, the root in camera axes; None where nobody asked for it.
        intrinsics_screen: (N, 9) float32, the published order (`poses.cameras.SCREEN_FIELDS`); None likewise.
        keypoint_skeleton: Of the keypoints, where they have other joints than the poses.
    """

    skeleton: Skeleton
    keypoints_screen: np.ndarray
    joints_root_m: np.ndarray
    action: np.ndarray
    part: np.ndarray
    rig: np.ndarray
    sequence: np.ndarray
    frame: np.ndarray
    root_camera_m: np.ndarray | None = None
    intrinsics_screen: np.ndarray | None = None
    keypoint_skeleton: Skeleton | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def keypoints_of(self) -> Skeleton:
        """What the keypoints are: `keypoint_skeleton`, or the skeleton."""
        return self.keypoint_skeleton or self.skeleton

    def take(self, rows: np.ndarray) -> "PoseTable":
        """The rows of an index or a mask."""
        return PoseTable(
            self.skeleton,
            self.keypoints_screen[rows],
            self.joints_root_m[rows],
            self.action[rows],
            self.part[rows],
            self.rig[rows],
            self.sequence[rows],
            self.frame[rows],
            None if self.root_camera_m is None else self.root_camera_m[rows],
            None if self.intrinsics_screen is None else self.intrinsics_screen[rows],
            self.keypoint_skeleton,
        )

    def in_time_order(self) -> "PoseTable":
        """The rows by sequence and frame."""
        return self.take(np.lexsort((self.frame, self.sequence)))


class Windows:
    """Cuts what a lifter sees out of a table; the windows are found when they are asked for.

    Args:
        table: The pairs.
        receptive_field: Frames that one output frame sees. For 1 the rows are given without a time axis.
        causal: The output frame is the last of its window instead of the middle one.
        every_frame: Targets are given for every frame of a window, not for the estimated one alone.
        whole_only: Only rows whose window lies inside its clip are rows here, numbered in the table's order; otherwise
            the ends of clips repeat.

    Raises:
        SettingsError: if only whole windows are wanted and there is none.
    """

    def __init__(
        self,
        table: PoseTable,
        receptive_field: int = 1,
        causal: bool = False,
        every_frame: bool = False,
        whole_only: bool = False,
    ) -> None:
        self._table, self._every_frame = table, every_frame
        self._runs: FrameRuns | None = None
        self._offsets = window_offsets(receptive_field, causal)
        if receptive_field > 1:
            self._runs = FrameRuns.of(table.sequence, table.frame)
        self._rows: np.ndarray | None = None
        if self._runs is not None and whole_only:
            self._rows = self._runs.whole(self._offsets)
            check_whole_windows(len(self._rows), receptive_field)

    def __len__(self) -> int:
        return len(self._table) if self._rows is None else len(self._rows)

    def inputs(self, rows: np.ndarray) -> Tensor:
        """(B, J, 2), or (B, T, J, 2) for a receptive field of T; frames beyond a clip's ends repeat the end."""
        rows = self._in_table(rows)
        index = rows if self._runs is None else self._runs.windows(rows, self._offsets)
        return torch.from_numpy(self._table.keypoints_screen[index])

    def targets(self, rows: np.ndarray) -> Tensor:
        """(B, J, 3); where the inputs have a time axis (B, 1, J, 3), or (B, T, J, 3) for every frame."""
        rows = self._in_table(rows)
        if self._runs is not None and self._every_frame:
            return torch.from_numpy(self._table.joints_root_m[self._runs.windows(rows, self._offsets)])
        joints = torch.from_numpy(self._table.joints_root_m[rows])
        return joints if self._runs is None else joints[:, None]

    def _in_table(self, rows: np.ndarray) -> np.ndarray:
        return rows if self._rows is None else self._rows[rows]


def check_whole_windows(found: int, receptive_field: int) -> None:
    """Raise SettingsError if there is no window that repeats no frame."""
    if not found:
        raise SettingsError(
            f"train.window_ends: skip: no clip has {receptive_field} frames without a gap, so that nothing is left to "
            "train on; take longer clips (augment's window_frames), or set window_ends to repeat"
        )


def window_offsets(receptive_field: int, causal: bool) -> np.ndarray:
    """(T,) frames of a window relative to the frame that is estimated: the middle one, or the last one if causal."""
    first = -(receptive_field - 1) if causal else -(receptive_field // 2)
    return np.arange(first, first + receptive_field)


def load_table(
    sources: Sequence[PairsSource], with_cameras: bool = False, other_keypoints: bool = False
) -> PoseTable:
    """All pairs of the sources, in file order.

    Args:
        sources: Datasets, parts and rigs.
        with_cameras: Read where the root is, and the intrinsics.
        other_keypoints: The caller looks at `PoseTable.keypoints_of`; otherwise keypoints of other joints than the
            poses' are refused.

    Raises:
        SettingsError: if nothing is selected, the datasets have different skeletons, or keypoints of other joints.
    """
    skeleton: Skeleton | None = None
    keypoints: Skeleton | None = None
    pieces: list[dict[str, np.ndarray]] = []
    for number, source in enumerate(sources):
        dataset = Dataset.open(source.url, source.version)
        if skeleton is not None and dataset.skeleton.joints != skeleton.joints:
            raise SettingsError(
                f"{source.url}: skeleton {dataset.skeleton.name!r}, the datasets before it have {skeleton.name!r}; "
                "import one of them again with the other's skeleton"
            )
        if not other_keypoints:
            require_own_keypoints(dataset, "this job")
        if keypoints is not None and dataset.keypoints_of.joints != keypoints.joints:
            raise SettingsError(
                f"{source.url}: 2D keypoints of {dataset.keypoints_of.name!r}, the datasets before it have "
                f"{keypoints.name!r}; map one of them to the other's joints"
            )
        skeleton, keypoints = skeleton or dataset.skeleton, keypoints or dataset.keypoints_of
        found = [_arrays(batch, number, with_cameras) for batch in _selected(dataset, source)]
        if not sum(len(piece["frame"]) for piece in found):
            raise nothing_chosen(dataset, source)
        pieces += found
    if skeleton is None:
        raise SettingsError("no dataset was given; name at least one with its url")
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    _, columns["sequence"] = np.unique(columns["sequence"].astype(str), return_inverse=True)
    return PoseTable(skeleton, **columns, keypoint_skeleton=other_skeleton(skeleton, keypoints))


def _selected(dataset: Dataset, source: PairsSource) -> Iterator[PoseBatch]:
    for path in (entry.path for entry in dataset.pair_files):
        there = dataset.open_pairs(path).columns
        wanted = [*_COLUMNS, *(name for name in ("part", "rig") if name in there)]
        for batch in dataset.iter_batches(columns=wanted, files=[path]):
            keep = _is_chosen(batch, source)
            yield batch if keep.all() else batch.take(keep)


def chosen_rows(dataset: Dataset, source: PairsSource, path: str) -> np.ndarray:
    """(N,) bool: which rows of one pairs file are of the source's parts and rigs."""
    there = dataset.open_pairs(path).columns
    wanted = ["sample_id", *(name for name in ("part", "rig") if name in there)]
    batches = dataset.iter_batches(columns=wanted, files=[path])
    return np.concatenate([_is_chosen(batch, source) for batch in batches])


def nothing_chosen(dataset: Dataset, source: PairsSource) -> SettingsError:
    """The error for a source without rows, which says what the dataset has."""
    return SettingsError(
        f"{source.url}: no pairs in parts {', '.join(source.parts)} under rigs {', '.join(source.rigs)}; "
        f"{_what_there_is(dataset)}"
    )


def _is_chosen(batch: PoseBatch, source: PairsSource) -> np.ndarray:
    return _matching(_extra(batch, "part"), source.parts) & _matching(_extra(batch, "rig"), source.rigs)


def _matching(values: np.ndarray, patterns: Sequence[str]) -> np.ndarray:
    if "*" in patterns:
        return np.ones(len(values), bool)
    names, where = np.unique(values.astype(str), return_inverse=True)
    hits = np.asarray([any(fnmatchcase(name, pattern) for pattern in patterns) for name in names], bool)
    return hits[where] if len(names) else np.zeros(0, bool)


def _extra(batch: PoseBatch, name: str) -> np.ndarray:
    return batch.extra[name] if name in batch.extra else np.full(len(batch), "", object)


def _arrays(batch: PoseBatch, source_number: int, with_cameras: bool) -> dict[str, np.ndarray]:
    rig = _extra(batch, "rig")
    sequence = [
        f"{source_number}|{clip}|{rig_name}|{camera}|{copy}"
        for clip, rig_name, camera, copy in zip(
            batch.clip, rig, batch.camera_name, batch.copy.tolist(), strict=True
        )
    ]
    return {
        "keypoints_screen": np.ascontiguousarray(batch.keypoints_screen, np.float32),
        "joints_root_m": np.ascontiguousarray(batch.joints_root_m, np.float32),
        "action": batch.action,
        "part": _extra(batch, "part"),
        "rig": rig,
        "sequence": np.asarray(sequence, object),
        "frame": batch.frame,
        **(_camera_arrays(batch) if with_cameras else {}),
    }


def _camera_arrays(batch: PoseBatch) -> dict[str, np.ndarray]:
    root_camera_m = batch.joints_camera_m[:, batch.skeleton.root_index]
    return {
        "root_camera_m": np.ascontiguousarray(root_camera_m, np.float32),
        "intrinsics_screen": np.ascontiguousarray(screen_intrinsics(batch.camera_px), np.float32),
    }


def _what_there_is(dataset: Dataset) -> str:
    """The parts and rigs of a dataset, for error messages."""
    seen: set[str] = set()
    for path in (entry.path for entry in dataset.pair_files):
        names = [name for name in ("part", "rig") if name in dataset.open_pairs(path).columns]
        for batch in dataset.iter_batches(columns=names, files=[path]):
            seen |= {
                f"{part} under {rig}"
                for part, rig in zip(_extra(batch, "part"), _extra(batch, "rig"), strict=True)
            }
    return f"it has {', '.join(sorted(seen)) or 'no pairs'}"
