"""What a report is made of: plain data, so that it can be drawn and tested without a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from jobs.errors import ReportError
from poses.skeleton import Skeleton


@dataclass(frozen=True)
class PoseSample:
    """A few thousand poses of one dataset, for its distributions.

    `joints_camera_m` is (N, J, 3) in metres in the camera's frame (x right, y down, z forward), `keypoints_px`
    (N, J, 2) in pixels, `image_size_px` (N, 2) is width and height.
    """

    joints_camera_m: Float[np.ndarray, "N J 3"]
    keypoints_px: Float[np.ndarray, "N J 2"]
    image_size_px: Float[np.ndarray, "N 2"]

    def __len__(self) -> int:
        return len(self.joints_camera_m)


@dataclass(frozen=True)
class PosePair:
    """One recorded pose and the pose that augmentation made of it, each in its own camera's frame.

    `*_up_camera` is the world's up in the camera's axes, where it is known: the 3D pictures stand on the floor then.
    """

    label: str
    source_joints_camera_m: Float[np.ndarray, "J 3"]
    source_keypoints_px: Float[np.ndarray, "J 2"]
    source_image_size_px: Float[np.ndarray, " 2"]
    augmented_joints_camera_m: Float[np.ndarray, "J 3"]
    augmented_keypoints_px: Float[np.ndarray, "J 2"]
    augmented_image_size_px: Float[np.ndarray, " 2"]
    source_up_camera: Float[np.ndarray, " 3"] | None = None
    augmented_up_camera: Float[np.ndarray, " 3"] | None = None


@dataclass(frozen=True)
class EvaluationTable:
    """Rows are parts of the data; NaN where nothing was measured.

    Kind "variants": columns are estimators, values their errors; `baseline` names the column that the others are
    compared with (the first, if None), `spread` is the standard deviation over seeds. Kind "metrics": columns are
    different numbers of one estimator, which are not compared.
    """

    protocol: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    mean: Float[np.ndarray, "R C"]
    spread: Float[np.ndarray, "R C"] | None = None
    seeds: int = 1
    baseline: str | None = None
    unit: str = "mm"
    kind: Literal["variants", "metrics"] = "variants"

    def __post_init__(self) -> None:
        wanted = (len(self.rows), len(self.columns))
        for name, values in (("mean", self.mean), ("spread", self.spread)):
            if values is not None and values.shape != wanted:
                raise ReportError(
                    f"evaluation table '{self.protocol}': '{name}' must be {wanted} (rows, columns), got {values.shape}"
                )


@dataclass(frozen=True)
class DatasetFact:
    """One line about a dataset of the run."""

    role: str
    url: str
    version: str = ""
    rows: int | None = None
    files: int | None = None
    size_bytes: int | None = None


@dataclass(frozen=True)
class QuarantinedFact:
    """One row that was put aside."""

    source: str
    row: str
    stage: str
    reason: str


@dataclass(frozen=True)
class RowCount:
    """What became of the poses of one dataset: kept, or rejected for a reason."""

    title: str
    kept: int
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report shows; every part may be missing, and the page says so where a reader would look for it."""

    title: str
    skeleton: Skeleton
    subtitle: str = ""
    source: PoseSample | None = None
    augmented: PoseSample | None = None
    pairs: Sequence[PosePair] = ()
    metrics: Sequence[Mapping[str, float]] = ()
    counts: Sequence[RowCount] = ()
    evaluations: Sequence[EvaluationTable] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    datasets: Sequence[DatasetFact] = ()
    recipe_yaml: str = ""
    quarantined: Sequence[QuarantinedFact] = ()
    quarantined_total: int = 0
    notes: Sequence[str] = ()
