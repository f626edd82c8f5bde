"""PoseBatch: the one currency between modules. 2D-3D pairs with identity, camera and provenance; numpy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from poses.cameras import CAMERA_FIELDS, to_screen
from poses.errors import PoseShapeError
from poses.skeleton import Skeleton

ARRAY_COLUMNS: Mapping[str, Any] = {
    "sample_id": np.int64,
    "joints_camera_m": np.float32,
    "keypoints_px": np.float32,
    "keypoint_confidence": np.float32,
    "camera_px": np.float32,
    "source_id": np.int64,
    "copy": np.int32,
    "frame": np.int32,
}
TEXT_COLUMNS = ("clip", "subject", "action", "camera_name")


def other_keypoints(skeleton: Skeleton, keypoint_skeleton: Skeleton | None) -> Skeleton | None:
    """The keypoints' skeleton if it has other joints, or another order, than the poses'; else None."""
    if keypoint_skeleton is None or keypoint_skeleton.joints == skeleton.joints:
        return None
    return keypoint_skeleton


@dataclass(frozen=True, eq=False)
class PoseBatch:
    """B pairs of a 3D pose and its 2D image.

    Args:
        skeleton: What the J joints are.
        sample_id: (B,) int64, unique in a dataset, never negative.
        joints_camera_m: (B, J, 3) float32, camera frame: metres, x right, y down, z forward; root not
            removed.
        keypoints_px: (B, J, 2) float32, pixels.
        keypoint_confidence: (B, J) float32 in [0, 1]; 0 where a keypoint is missing (its
            pixels are then any finite number).
        camera_px: (B, 11) float32 intrinsics, `poses.cameras.CAMERA_FIELDS`.
        source_id: (B,) int64, the row that this one was made from; equals sample_id for originals.
        copy: (B,) int32, which copy of its source; 0 for originals.
        frame: (B,) int32, frame in the clip.
        clip, subject, action, camera_name: (B,) object arrays of str.
        extra: Further columns by name, each with B rows.
        keypoint_skeleton: What the keypoints are, where they are not the skeleton's J joints but others (detections in
            COCO order beside poses in H36M order); `keypoints_px` and `keypoint_confidence` have its joints then. None:
            the skeleton's own, whatever was given.

    Raises:
        PoseShapeError: if a column has the wrong rows, shape or type.
    """

    skeleton: Skeleton
    sample_id: np.ndarray
    joints_camera_m: np.ndarray
    keypoints_px: np.ndarray
    keypoint_confidence: np.ndarray
    camera_px: np.ndarray
    source_id: np.ndarray
    copy: np.ndarray
    frame: np.ndarray
    clip: np.ndarray
    subject: np.ndarray
    action: np.ndarray
    camera_name: np.ndarray
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    keypoint_skeleton: Skeleton | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "keypoint_skeleton", other_keypoints(self.skeleton, self.keypoint_skeleton))
        rows, keypoints = len(self.sample_id), self.keypoints_of.n_joints
        shapes = {
            "joints_camera_m": (rows, self.skeleton.n_joints, 3),
            "keypoints_px": (rows, keypoints, 2),
            "keypoint_confidence": (rows, keypoints),
            "camera_px": (rows, len(CAMERA_FIELDS)),
        }
        for name, dtype in ARRAY_COLUMNS.items():
            array, shape = getattr(self, name), shapes.get(name, (rows,))
            if array.shape != shape or array.dtype != dtype:
                owner = self.keypoints_of if name.startswith("keypoint") else self.skeleton
                raise PoseShapeError(
                    f"PoseBatch.{name} wants {np.dtype(dtype).name} {shape} for {rows} rows of skeleton "
                    f"{owner.name!r}, got {array.dtype} {array.shape}"
                )
        for name in TEXT_COLUMNS:
            array = getattr(self, name)
            if array.shape != (rows,) or array.dtype != object:
                raise PoseShapeError(
                    f"PoseBatch.{name} wants an object array of {rows} str, got {array.dtype} {array.shape}"
                )
        for name, array in self.extra.items():
            if len(array) != rows:
                raise PoseShapeError(f"PoseBatch.extra[{name!r}] wants {rows} rows, got {len(array)}")

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def keypoints_of(self) -> Skeleton:
        """What the keypoints are: `keypoint_skeleton`, or the skeleton."""
        return self.keypoint_skeleton or self.skeleton

    @property
    def joints_root_m(self) -> np.ndarray:
        """(B, J, 3) float32: joints relative to the root joint, in camera axes."""
        root = self.skeleton.root_index
        return self.joints_camera_m - self.joints_camera_m[:, root : root + 1]

    @property
    def keypoints_screen(self) -> np.ndarray:
        """(B, J, 2) float32: keypoints in the screen frame."""
        return to_screen(self.keypoints_px, self.camera_px)

    def take(self, index: np.ndarray | slice | Sequence[int]) -> "PoseBatch":
        """The rows of `index` (integers, booleans or a slice), in that order."""
        where = index if isinstance(index, slice) else np.asarray(index)
        if isinstance(where, np.ndarray) and where.size == 0:
            where = where.astype(np.int64)
        columns = {name: getattr(self, name)[where] for name in (*ARRAY_COLUMNS, *TEXT_COLUMNS)}
        extra = {name: a[where] for name, a in self.extra.items()}
        return PoseBatch(self.skeleton, **columns, extra=extra, keypoint_skeleton=self.keypoint_skeleton)

    @staticmethod
    def concat(batches: Sequence["PoseBatch"]) -> "PoseBatch":
        """All rows of several batches of one skeleton and the same extra columns.

        Raises:
            PoseShapeError: if there is no batch, or skeletons or extra columns differ.
        """
        if not batches:
            raise PoseShapeError("PoseBatch.concat wants at least one batch, got none; use PoseBatch.empty")
        first = batches[0]
        for other in batches[1:]:
            if other.skeleton != first.skeleton:
                raise PoseShapeError(
                    f"PoseBatch.concat wants one skeleton, got {first.skeleton.name!r} and {other.skeleton.name!r}; "
                    "map one with poses.skeleton.joint_map first"
                )
            if other.keypoints_of != first.keypoints_of:
                raise PoseShapeError(
                    f"PoseBatch.concat wants keypoints of one skeleton, got {first.keypoints_of.name!r} and "
                    f"{other.keypoints_of.name!r}; map one with poses.skeleton.joint_map first"
                )
            if set(other.extra) != set(first.extra):
                raise PoseShapeError(
                    f"PoseBatch.concat wants the same extra columns, got {sorted(first.extra)} "
                    f"and {sorted(other.extra)}"
                )
        columns = {
            name: np.concatenate([getattr(batch, name) for batch in batches])
            for name in (*ARRAY_COLUMNS, *TEXT_COLUMNS)
        }
        extra = {name: np.concatenate([batch.extra[name] for batch in batches]) for name in first.extra}
        return PoseBatch(first.skeleton, **columns, extra=extra, keypoint_skeleton=first.keypoint_skeleton)

    @staticmethod
    def empty(skeleton: Skeleton, keypoint_skeleton: Skeleton | None = None) -> "PoseBatch":
        """A batch of no rows."""
        keypoints = (keypoint_skeleton or skeleton).n_joints
        tails = {
            "joints_camera_m": (skeleton.n_joints, 3),
            "keypoints_px": (keypoints, 2),
            "keypoint_confidence": (keypoints,),
            "camera_px": (len(CAMERA_FIELDS),),
        }
        columns = {name: np.zeros((0, *tails.get(name, ())), dtype) for name, dtype in ARRAY_COLUMNS.items()}
        columns |= {name: np.zeros(0, object) for name in TEXT_COLUMNS}
        return PoseBatch(skeleton, **columns, extra={}, keypoint_skeleton=keypoint_skeleton)

    def validate(self) -> None:
        """Look at the values: finite, ids unique and not negative, depth positive, confidence in [0, 1].

        Raises:
            PoseShapeError: names the column, the first bad row and its sample id.
        """
        for column in fields(self):
            array = getattr(self, column.name)
            if isinstance(array, np.ndarray) and array.dtype == np.float32:
                self._refuse(~np.isfinite(array), column.name, "a finite number")
        self._refuse(self.sample_id < 0, "sample_id", "no negative id")
        self._refuse(self.source_id < 0, "source_id", "no negative id")
        self._refuse(
            self.joints_camera_m[..., 2] <= 0, "joints_camera_m", "every joint before the camera (z > 0)"
        )
        outside = (self.keypoint_confidence < 0) | (self.keypoint_confidence > 1)
        self._refuse(outside, "keypoint_confidence", "numbers in [0, 1]")
        self._refuse(
            self.camera_px[:, [0, 1, 9, 10]] <= 0, "camera_px", "positive focal lengths and image size"
        )
        _, first = np.unique(self.sample_id, return_index=True)
        repeated = np.ones(len(self), bool)
        repeated[first] = False
        self._refuse(repeated, "sample_id", "ids that occur once")

    def _refuse(self, bad: np.ndarray, column: str, wanted: str) -> None:
        rows = np.flatnonzero(bad.reshape(len(self), -1).any(1)) if len(self) else np.zeros(0, np.int64)
        if len(rows):
            row = int(rows[0])
            raise PoseShapeError(
                f"PoseBatch.{column} wants {wanted}; {len(rows)} of {len(self)} rows differ, the first is row {row} "
                f"(sample_id {self.sample_id[row]}): {np.asarray(getattr(self, column)[row]).ravel()[:6]}"
            )
