"""What a unit counts while it writes, and how the counts of many units add up.

Everything here is a sum, a minimum or a maximum, so units can be merged in any grouping. The numbers are
taken per row group of a fixed size, so they do not depend on the sizes of the batches that a stage handed
over.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from poses.batch import PoseBatch

MAX_COUNTED_NAMES = 2_000
"""Names counted per column of one unit or manifest; the rest is summed under OTHER_NAMES."""

OTHER_NAMES = "(others)"


class ValueRange(BaseModel):
    """Count, sums and extremes of one quantity; the quantity's name carries its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0
    total_of_squares: float = 0.0
    non_finite: int = 0

    @classmethod
    def of(cls, values: np.ndarray) -> "ValueRange":
        """The range of an array; NaN and infinite values are only counted."""
        flat = np.asarray(values).reshape(-1)
        finite = np.isfinite(flat)
        kept = flat if finite.all() else flat[finite]
        if not len(kept):
            return cls(non_finite=len(flat))
        exact = kept.astype(np.float64)
        return cls(
            count=len(kept),
            minimum=float(kept.min()),
            maximum=float(kept.max()),
            total=float(exact.sum()),
            total_of_squares=float(np.square(exact).sum()),
            non_finite=len(flat) - len(kept),
        )

    def merged(self, other: "ValueRange") -> "ValueRange":
        """The range of both together."""
        minima = [value for value in (self.minimum, other.minimum) if value is not None]
        maxima = [value for value in (self.maximum, other.maximum) if value is not None]
        return ValueRange(
            count=self.count + other.count,
            minimum=min(minima, default=None),
            maximum=max(maxima, default=None),
            total=self.total + other.total,
            total_of_squares=self.total_of_squares + other.total_of_squares,
            non_finite=self.non_finite + other.non_finite,
        )

    @property
    def mean(self) -> float | None:
        """Mean of the finite values; None without any."""
        return self.total / self.count if self.count else None

    @property
    def standard_deviation(self) -> float | None:
        """Population standard deviation of the finite values; None without any."""
        if not self.count:
            return None
        mean = self.total / self.count
        return float(np.sqrt(max(self.total_of_squares / self.count - mean * mean, 0.0)))


class Statistics(BaseModel):
    """Counts by name (`subject`, `action`, `copy`, ...) and ranges (`root_depth_m`, `bone_<name>_m`, ...)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: dict[str, dict[str, int]] = {}
    ranges: dict[str, ValueRange] = {}

    def merged(self, other: "Statistics") -> "Statistics":
        """The statistics of both together."""
        counts = {
            column: _limited(Counter(self.counts.get(column, {})) + Counter(other.counts.get(column, {})))
            for column in sorted({*self.counts, *other.counts})
        }
        empty = ValueRange()
        ranges = {
            name: self.ranges.get(name, empty).merged(other.ranges.get(name, empty))
            for name in sorted({*self.ranges, *other.ranges})
        }
        return Statistics(counts=counts, ranges=ranges)

    @classmethod
    def merge_all(cls, parts: Iterable["Statistics"]) -> "Statistics":
        """The statistics of all parts, added up in the order given; nothing of them is kept."""
        counts: dict[str, Counter[str]] = {}
        ranges: dict[str, _RangeSum] = {}
        for part in parts:
            for column, names in part.counts.items():
                total = counts.setdefault(column, Counter())
                total.update(names)
                if len(total) > MAX_COUNTED_NAMES:
                    counts[column] = Counter(_limited(total))
            for name, values in part.ranges.items():
                ranges.setdefault(name, _RangeSum()).add(values)
        return cls(
            counts={column: _limited(counts[column]) for column in sorted(counts)},
            ranges={name: ranges[name].whole() for name in sorted(ranges)},
        )


class _RangeSum:
    """Adds up ranges: the same numbers as `ValueRange.merged` one by one, ten times as fast."""

    __slots__ = ("count", "maximum", "minimum", "non_finite", "total", "total_of_squares")

    def __init__(self) -> None:
        self.count = self.non_finite = 0
        self.minimum, self.maximum = math.inf, -math.inf
        self.total = self.total_of_squares = 0.0

    def add(self, values: ValueRange) -> None:
        self.count += values.count
        self.non_finite += values.non_finite
        self.total += values.total
        self.total_of_squares += values.total_of_squares
        if values.minimum is not None and values.minimum < self.minimum:
            self.minimum = values.minimum
        if values.maximum is not None and values.maximum > self.maximum:
            self.maximum = values.maximum

    def whole(self) -> ValueRange:
        return ValueRange(
            count=self.count,
            minimum=None if self.minimum == math.inf else self.minimum,
            maximum=None if self.maximum == -math.inf else self.maximum,
            total=self.total,
            total_of_squares=self.total_of_squares,
            non_finite=self.non_finite,
        )


def pair_statistics(batch: PoseBatch) -> Statistics:
    """What is counted of a block of pairs: rows by name, root depth, bone lengths, 2D extent.

    Joints are taken one by one, as contiguous rows of numbers: reductions over short axes are many times
    slower.
    """
    skeleton = batch.skeleton
    counts = {
        name: _count_names(getattr(batch, name)) for name in ("subject", "action", "camera_name", "copy")
    }
    joints = np.ascontiguousarray(np.moveaxis(batch.joints_camera_m, 0, -1))
    ranges = {"root_depth_m": ValueRange.of(joints[skeleton.root_index, 2])}
    for bone, child, parent in zip(
        skeleton.bones, skeleton.bone_child_index, skeleton.bone_parent_index, strict=True
    ):
        x, y, z = joints[child] - joints[parent]
        ranges[f"bone_{bone}_m"] = ValueRange.of(np.sqrt(x * x + y * y + z * z))
    keypoints = np.ascontiguousarray(np.moveaxis(batch.keypoints_px, 0, -1))
    width_px, height_px = keypoints.max(axis=0) - keypoints.min(axis=0)
    ranges["pose_height_px"] = ValueRange.of(height_px)
    ranges["pose_width_px"] = ValueRange.of(width_px)
    return Statistics(counts=counts, ranges=ranges)


def clip_statistics(rows: Iterable[Mapping[str, object]]) -> Statistics:
    """Clips, frames and seconds of the clip table of a sequence group."""
    table = list(rows)
    frames = Counter[str]()
    for row in table:
        frames[str(row["subject"])] += int(str(row["n_frames"]))
    seconds = np.asarray([int(str(row["n_frames"])) / float(str(row["rate_hz"])) for row in table])
    return Statistics(
        counts={
            "clip_subject": _limited(Counter(str(row["subject"]) for row in table)),
            "clip_action": _limited(Counter(str(row["action"]) for row in table)),
            "clip_frames_of_subject": _limited(frames),
        },
        ranges={"clip_duration_s": ValueRange.of(seconds)},
    )


def _count_names(values: np.ndarray) -> dict[str, int]:
    """How often each value occurs."""
    counted = pa.array(values).value_counts()
    names, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return _limited(dict(zip(map(str, names), counts, strict=True)))


def _limited(counter: Mapping[str, int]) -> dict[str, int]:
    """The most frequent names, sorted by name; the rest in one sum."""
    if len(counter) <= MAX_COUNTED_NAMES:
        return dict(sorted(counter.items()))
    ranked = sorted(counter.items(), key=lambda item: (item[0] == OTHER_NAMES, -item[1], item[0]))
    kept = dict(sorted(ranked[: MAX_COUNTED_NAMES - 1]))
    kept[OTHER_NAMES] = sum(count for _, count in ranked[MAX_COUNTED_NAMES - 1 :])
    return kept
