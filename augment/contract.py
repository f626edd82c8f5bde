"""The contract of everything that makes new pairs from pairs.

Rules that every augmentor keeps (tests/contracts/augmentor_contract.py checks them):

- Everything random comes from `RowRandom(seed, purpose, batch.sample_id, copy)`, so that a row's new pair does not
  depend on the batch it came in, nor on its order, size, worker or retry.
- New rows have `sample_id = derive_ids(source ids, seed, purpose, copy)`, the `source_id` of their source row and
  the copy's number, and follow the order of their sources.
- Nothing disappears: every source row is either in `pairs` or in `rejected`, with a reason.
- `extra["up_camera"]`, where there is one, is turned along with the pose.

A `WindowAugmentor` also keeps them for windows of frames (`augment.windows`), with one draw per window, by the id of
its output frame's row; a window with one bad frame is rejected whole, all of its rows with the window's reason.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from augment.errors import AugmentError
from augment.validity import REASONS
from augment.windows import POSE, WindowShape
from poses.batch import PoseBatch
from poses.identity import derive_ids
from poses.randomness import RowRandom

UP_COLUMN = "up_camera"
"""Extra column (B, 3): the world's up in camera axes. Without it a level camera is assumed: (0, -1, 0)."""


@dataclass(frozen=True, eq=False)
class RejectedRows:
    """Source rows that gave no pair: `source_id` (R,) int64 and `reason` (R,) object array of str."""

    source_id: np.ndarray
    reason: np.ndarray

    def __post_init__(self) -> None:
        if self.source_id.shape != self.reason.shape or self.source_id.ndim != 1:
            raise AugmentError(
                f"RejectedRows wants one reason per source id, got {self.source_id.shape} ids and "
                f"{self.reason.shape} reasons"
            )

    def __len__(self) -> int:
        return len(self.source_id)

    def counts(self) -> dict[str, int]:
        """How many rows per reason, by name."""
        return dict(sorted(Counter(self.reason.tolist()).items()))

    @staticmethod
    def none() -> "RejectedRows":
        """No rejected row."""
        return RejectedRows(np.zeros(0, np.int64), np.zeros(0, object))

    @staticmethod
    def concat(parts: Sequence["RejectedRows"]) -> "RejectedRows":
        """The rows of all parts, in order."""
        if not parts:
            return RejectedRows.none()
        return RejectedRows(
            np.concatenate([part.source_id for part in parts]),
            np.concatenate([part.reason for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class Augmented:
    """What an augmentor made of a batch: new pairs, and the source rows that gave none."""

    pairs: PoseBatch
    rejected: RejectedRows


class Augmentor(Protocol):
    """Makes one new pair per row and copy."""

    @property
    def name(self) -> str:
        """What it is called in settings, reports and commits."""
        ...

    def augment(self, batch: PoseBatch, copy: int) -> Augmented:
        """New pairs from the rows of `batch`; `copy` numbers the passes over the same rows, from 1."""
        ...


@runtime_checkable
class WindowAugmentor(Augmentor, Protocol):
    """An augmentor that can also make windows of motion from windows of motion."""

    def augment_windows(self, batch: PoseBatch, copy: int, shape: WindowShape) -> Augmented:
        """New windows from the windows that the rows of `batch` make up, frame after frame.

        Raises:
            AugmentError: if the rows are no whole windows.
        """
        ...


def window_random(
    seed: int, purpose: str, batch: PoseBatch, copy: int | np.integer | np.ndarray, shape: WindowShape
) -> RowRandom:
    """The random numbers of W windows, by their output frames' ids; of poses on their own, by theirs.

    Raises:
        AugmentError: if the rows are no whole windows.
    """
    check_whole_windows(batch, shape)
    return RowRandom(seed, purpose, shape.output_frames(batch.sample_id), copy)


def check_whole_windows(batch: PoseBatch, shape: WindowShape) -> None:
    """Raise AugmentError unless the rows are whole windows."""
    if len(batch) % shape.frames:
        raise AugmentError(
            f"wanted rows of whole windows of {shape.frames} frames, got {len(batch)} rows; cut them out of clips"
        )


def before_one_camera(batch: PoseBatch, shape: WindowShape) -> PoseBatch:
    """Windows as the camera of their output frame would have seen them; nothing changes before a camera at rest.

    Raises:
        AugmentError: if the rows are no whole windows.
    """
    check_whole_windows(batch, shape)
    if not shape.temporal:
        return batch
    anchor = shape.anchors(len(batch)).numpy()
    extra = dict(batch.extra)
    if UP_COLUMN in extra:
        extra[UP_COLUMN] = extra[UP_COLUMN][anchor]
    return replace(batch, camera_px=batch.camera_px[anchor], extra=extra)


def up_camera_of(batch: PoseBatch) -> np.ndarray:
    """(B, 3) float32: the world's up in camera axes, as recorded, or of a level camera."""
    if UP_COLUMN in batch.extra:
        return np.ascontiguousarray(batch.extra[UP_COLUMN], dtype=np.float32)
    return np.tile(np.array([0.0, -1.0, 0.0], np.float32), (len(batch), 1))


def derived_pairs(
    batch: PoseBatch,
    seed: int,
    purpose: str,
    copy: int,
    columns: Mapping[str, np.ndarray],
    extra: Mapping[str, np.ndarray] | None = None,
) -> PoseBatch:
    """The batch with new identities and replaced columns.

    Args:
        batch: Source rows; columns that are not replaced are kept (clip, subject, action, ...).
        seed: Run seed.
        purpose: The augmentor's purpose, as in its `RowRandom`.
        copy: Number of the copy.
        columns: PoseBatch columns that changed.
        extra: Extra columns that changed or are new.
    """
    return replace(
        batch,
        **columns,
        sample_id=derive_ids(batch.sample_id, seed, purpose, copy),
        source_id=batch.sample_id,
        copy=np.full(len(batch), copy, dtype=np.int32),
        extra={**batch.extra, **(extra or {})},
    )


def split_by_reason(
    pairs: PoseBatch,
    reason: np.ndarray,
    shape: WindowShape = POSE,
    precedence: tuple[str, ...] = REASONS,
) -> Augmented:
    """Keep the pairs whose reason is empty; report the others by their source row.

    Args:
        pairs: One new pair per source row.
        reason: (B,) str, "" where the pair is good.
        shape: Of windows; all frames of one get the first reason against any of them.
        precedence: Every reason there is.
    """
    reason = shape.repeated(shape.first_reasons(reason, precedence))
    keep = reason == ""
    if keep.all():
        return Augmented(pairs, RejectedRows.none())
    return Augmented(pairs.take(keep), RejectedRows(pairs.source_id[~keep], reason[~keep].astype(object)))
