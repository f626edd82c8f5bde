"""Measures an image network: 3D under named protocols, 2D in pixels and in shares of the crop, the mean pose beside.

Crops are those around the true keypoints (or the dataset's boxes), as published evaluations take them: finding the
person is not part of the numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from estimators.images.graph_pose import GraphPoseNetwork
from estimators.images.trainer import predict_poses
from pipelines.errors import SettingsError
from pipelines.images.bad_pictures import BadPictures
from pipelines.images.crop_rows import CropRows
from pipelines.images.image_table import ImageTable, concatenated
from pipelines.images.settings import ImagePairsSource
from pipelines.images.trained_graph_pose import TrainedGraphPose
from pipelines.progress import Progress
from poses.protocols import ProtocolResult, find_protocol
from poses.protocols import evaluate as evaluate_poses

KEYPOINT_ERROR, KEYPOINT_PCK, MEAN_POSE = "keypoint_error_px", "keypoint_pck_05", "mean_pose_mpjpe_mm"
PCK_SHARE = 0.05
"""A keypoint is found if it is off by less than this share of the crop's side."""
_CHUNK_ROWS = 256
TASK = "crops"


@dataclass(frozen=True, eq=False)
class Estimates:
    """What a network says of N rows.

    Attributes:
        table: The rows, those without a usable image left out.
        joints_root_m: (N, J, 3) relative to the root, camera axes.
        keypoints_px: (N, J, 2) in the whole image.
        error_crop: (N, J) distance to the true keypoint as a share of the crop's side; NaN where it is not known.
    """

    table: ImageTable
    joints_root_m: torch.Tensor
    keypoints_px: np.ndarray
    error_crop: np.ndarray


def estimate(
    network: GraphPoseNetwork,
    rows: CropRows,
    bad: BadPictures,
    flip: bool = False,
    progress: Progress | None = None,
) -> Estimates:
    """Poses and keypoints of all rows of a source.

    Args:
        network: In any mode.
        rows: Of the source.
        bad: Is told of rows without a usable image.
        flip: Average with the mirrored estimate of the mirrored crop.
        progress: Is told how far it is.

    Raises:
        SettingsError: if no row has a usable image.
        BadRowError, TooManyBadRowsError: as the bad-row policy says.
    """
    device, skeleton = next(network.parameters()).device, rows.table.skeleton
    kept, joints, keypoints, errors = [], [], [], []
    if progress:
        progress.start(TASK, len(rows), "crops")
    for start in range(0, len(rows), _CHUNK_ROWS):
        batch = rows.as_they_are(np.arange(start, min(start + _CHUNK_ROWS, len(rows))))
        bad.add(rows.table, batch.faults)
        if len(batch.rows):
            places, poses = _predicted(network, batch.images.to(device), flip)
            found = places.cpu().numpy()
            joints.append(poses.cpu())
            keypoints.append(batch.crops.keypoints_in_image(found, skeleton))
            errors.append(np.linalg.norm(found - batch.keypoints_crop.numpy(), axis=-1) / 2.0)
            kept.append(batch.rows)
        if progress:
            progress.advance(TASK, min(_CHUNK_ROWS, len(rows) - start))
    if progress:
        progress.finish(TASK)
    if not kept:
        raise SettingsError(
            f"{rows.table.where}: none of {len(rows)} rows has a usable image; the first: {bad.listed()[0]['reason']}"
        )
    table = rows.table.take(np.concatenate(kept))
    return Estimates(table, torch.cat(joints), np.concatenate(keypoints), np.concatenate(errors))


def rows_of(trained: TrainedGraphPose, source: ImagePairsSource, bad: BadPictures) -> CropRows:
    """The crops of a source as a network wants them.

    Raises:
        CheckpointError: if the data have another skeleton than the network.
        SettingsError: if the source has no usable row.
    """
    table = bad.usable_rows(source, trained.crop.margin)
    trained.check_skeleton(table.skeleton)
    return CropRows(table, source, trained.crop)


def evaluate_network(
    trained: TrainedGraphPose,
    sources: Sequence[CropRows],
    protocols: Sequence[str],
    flip: bool,
    with_velocity: bool,
    bad: BadPictures,
    progress: Progress,
) -> list[tuple[str, str, ProtocolResult]]:
    """(part, rig, numbers) of every part under every rig and protocol, in name order.

    Args:
        trained: The network.
        sources: Its crops, of `rows_of`.
        protocols: Their names.
        flip: As for `estimate`.
        with_velocity: No row of the sources was left out on purpose.
        bad: Is told of rows without a usable image.
        progress: Is told how far it is.

    Raises:
        SettingsError: if a source has no usable row.
    """
    together = joined([estimate(trained.network, rows, bad, flip, progress) for rows in sources])
    rows: list[tuple[str, str, ProtocolResult]] = []
    for part, rig in sorted(set(zip(together.table.part.tolist(), together.table.rig.tolist(), strict=True))):
        chosen = take(together, (together.table.part == part) & (together.table.rig == rig))
        rows += [
            (part, rig, measured(chosen, protocol, trained.mean_pose_root_m, with_velocity))
            for protocol in protocols
        ]
    return rows


def joined(found: Sequence[Estimates]) -> Estimates:
    """Estimates of several sources as one; sequences of different sources stay apart."""
    tables = [
        replace(one.table, sequence=np.asarray([f"{k}|{name}" for name in one.table.sequence], object))
        for k, one in enumerate(found)
    ]
    return Estimates(
        concatenated(tables),
        torch.cat([one.joints_root_m for one in found]),
        np.concatenate([one.keypoints_px for one in found]),
        np.concatenate([one.error_crop for one in found]),
    )


def measured(
    found: Estimates, protocol: str, mean_pose_root_m: np.ndarray | None = None, with_velocity: bool = False
) -> ProtocolResult:
    """All numbers of some estimates under one protocol: its own, the 2D ones, and the mean pose's error.

    Args:
        found: Of at least one row.
        protocol: Its name.
        mean_pose_root_m: (J, 3) the estimate that sees no image; None leaves its error out.
        with_velocity: The rows are in time order and none is left out on purpose.
    """
    table = found.table
    target = torch.from_numpy(table.joints_root_m)
    options = {"action": table.action, "sequence": _sequences(table) if with_velocity else None}
    result = evaluate_poses(protocol, found.joints_root_m, target, table.skeleton, **options)
    extra = {name: _averaged(values, table.action, protocol) for name, values in _per_row(found).items()}
    by_action = {
        action: {**metrics, **_of_action(found, action)} for action, metrics in result.by_action.items()
    }
    if mean_pose_root_m is not None and "mpjpe_mm" in result.metrics:
        still = torch.from_numpy(mean_pose_root_m).expand_as(target)
        extra[MEAN_POSE] = evaluate_poses(protocol, still, target, table.skeleton, **options).metrics[
            "mpjpe_mm"
        ]
    return replace(result, metrics={**result.metrics, **extra}, by_action=by_action)


def take(found: Estimates, rows: np.ndarray) -> Estimates:
    """Some of the estimates, by a mask or an index, in time order."""
    chosen = np.flatnonzero(rows) if rows.dtype == bool else rows
    chosen = chosen[np.lexsort((found.table.frame[chosen], found.table.sequence[chosen].astype(str)))]
    return Estimates(
        found.table.take(chosen),
        found.joints_root_m[torch.from_numpy(chosen)],
        found.keypoints_px[chosen],
        found.error_crop[chosen],
    )


def mean_pose(tables: Sequence[ImageTable]) -> np.ndarray:
    """(J, 3) float32 mean of all root-relative poses, camera axes."""
    total = np.sum([table.joints_root_m.sum(axis=0, dtype=np.float64) for table in tables], axis=0)
    return (total / sum(len(table) for table in tables)).astype(np.float32)


def _sequences(table: ImageTable) -> np.ndarray | None:
    """Whose neighbours give velocities; None where an action has no two rows of one sequence."""
    follows = np.append(False, table.sequence[1:] == table.sequence[:-1])
    with_neighbours = set(table.action[follows].tolist())
    return table.sequence if with_neighbours == set(table.action.tolist()) else None


def _predicted(
    network: GraphPoseNetwork, images: torch.Tensor, flip: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, J, 2) crop coordinates and (B, J, 3) root-relative metres."""
    plain = predict_poses(network, images)
    if not flip:
        return plain.keypoints_crop, plain.joints_root_m
    other = predict_poses(network, images.flip(-1))
    swap = torch.from_numpy(network.skeleton.mirror_index.astype(np.int64)).to(images.device)
    across = images.new_tensor([-1.0, 1.0, 1.0])
    return (
        (plain.keypoints_crop + other.keypoints_crop[:, swap] * across[:2]) / 2.0,
        (plain.joints_root_m + other.joints_root_m[:, swap] * across) / 2.0,
    )


def _per_row(found: Estimates) -> dict[str, np.ndarray]:
    """Means over each row's known keypoints; NaN where none is known."""
    distance_px = np.linalg.norm(found.keypoints_px - found.table.keypoints_px, axis=-1)
    known = np.isfinite(found.error_crop)
    counted = np.where(known.any(1), known.sum(1), np.nan)
    is_found = known & (np.where(known, found.error_crop, np.inf) < PCK_SHARE)
    return {
        KEYPOINT_ERROR: np.where(known, distance_px, 0.0).sum(1) / counted,
        KEYPOINT_PCK: is_found.sum(1) / counted,
    }


def _averaged(values: np.ndarray, action: np.ndarray, protocol: str) -> float:
    if find_protocol(protocol).mean == "frame":
        return _mean(values)
    return _mean(np.asarray([_mean(values[action == name]) for name in sorted(set(action.tolist()))]))


def _of_action(found: Estimates, action: str) -> Mapping[str, float]:
    of_it = found.table.action == action
    return {name: _mean(values[of_it]) for name, values in _per_row(found).items()}


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
