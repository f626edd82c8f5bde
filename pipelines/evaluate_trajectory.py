"""Where a person stands before the camera: a trajectory model evaluated beside a lifter (VideoPose3D).

The lifter gives poses relative to the root, the trajectory model the root. Their sum is compared in camera coordinates,
under a protocol of its own, because such errors are of another size than those of root-relative poses:

- `root_error_m`: mean distance of the root, metres;
- `root_error_relative`: mean of that distance over the true root's depth, which says more where people stand at
  different depths (VideoPose3D weights its loss so);
- `absolute_mpjpe_mm`: mean distance of the joints in camera coordinates, root counted, mean over frames.
"""

import numpy as np
import torch
from torch import Tensor

from estimators.lifters.contract import Lifter
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.lifters.training.mirroring import mirror_root
from pipelines.errors import SettingsError
from pipelines.keypoints import check_keypoints_fit
from pipelines.pose_table import PoseTable, Windows
from poses.kinematics import mirror_joints
from poses.protocols import ProtocolResult

CAMERA_PROTOCOL = "camera_frame_mean"
"""Errors in camera coordinates, mean over frames. No name among `poses.protocols.PROTOCOLS`: it takes two networks."""
_CHUNK_FRAMES = 65_536
"""Input frames in memory at once."""


def check_trajectory(trajectory: RootTrajectory, lifter: Lifter, where: str) -> None:
    """Raise SettingsError unless a trajectory model can stand beside a lifter; they may see different windows."""
    if trajectory.skeleton.joints != lifter.skeleton.joints:
        raise SettingsError(
            f"{where}: a trajectory model beside poses of skeleton {trajectory.skeleton.name!r}, the lifter gives "
            f"{lifter.skeleton.name!r}; their roots may be different joints; give the model that was trained with it"
        )
    check_keypoints_fit(trajectory, lifter.keypoint_skeleton, where)


def evaluate_in_camera(
    trajectory: RootTrajectory, table: PoseTable, predicted_root_m: Tensor, flip: bool = False
) -> ProtocolResult:
    """Errors of the root and of the joints in camera coordinates.

    Args:
        trajectory: In evaluation mode.
        table: N pairs in time order, loaded with cameras.
        predicted_root_m: (N, J, 3) the lifter's poses of the same rows, relative to the root.
        flip: Average with the mirrored root of the mirrored input.

    Raises:
        SettingsError: if the table has no cameras, or a root is not in front of its camera.
    """
    if table.root_camera_m is None:
        raise SettingsError("evaluation in camera coordinates: the table has no roots; load it with cameras")
    true_m = table.root_camera_m.astype(np.float64)
    if len(true_m) and true_m[:, 2].min() <= 0:
        raise SettingsError(
            f"evaluation in camera coordinates: a root is at depth {true_m[:, 2].min():.3f} m, wanted all in front of "
            "the camera; run `posemill verify` on the data"
        )
    root_m = predict_roots(trajectory, table, flip).numpy().astype(np.float64)
    target_m = table.joints_root_m + true_m[:, None]
    joint_errors_m = np.linalg.norm(predicted_root_m.numpy() + root_m[:, None] - target_m, axis=-1).mean(1)
    root_errors_m = np.linalg.norm(root_m - true_m, axis=-1)
    errors = {
        "absolute_mpjpe_mm": 1000.0 * joint_errors_m,
        "root_error_m": root_errors_m,
        "root_error_relative": root_errors_m / true_m[:, 2],
    }
    by_action = {
        str(action): {name: float(values[table.action == action].mean()) for name, values in errors.items()}
        for action in sorted(set(table.action.tolist()))
    }
    metrics = {name: float(values.mean()) for name, values in errors.items()}
    return ProtocolResult(CAMERA_PROTOCOL, metrics, len(table), by_action)


def predict_roots(
    trajectory: RootTrajectory, table: PoseTable, flip: bool = False, rows: np.ndarray | None = None
) -> Tensor:
    """(N, 3) metres in camera axes for some rows of a table, or all, on the CPU; windows repeat the ends of clips."""
    windows = Windows(table, trajectory.receptive_field, trajectory.settings.causal)
    device = next(trajectory.parameters()).device
    at_once = max(1, _CHUNK_FRAMES // trajectory.receptive_field)
    wanted = np.arange(len(table)) if rows is None else rows
    pieces: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(wanted), at_once):
            chosen = wanted[start : start + at_once]
            inputs = windows.inputs(chosen).to(device)
            roots = trajectory(inputs)
            if flip:
                mirrored = mirror_joints(inputs, trajectory.keypoint_skeleton)
                roots = 0.5 * (roots + mirror_root(trajectory(mirrored)))
            pieces.append(roots.reshape(len(chosen), 3).cpu())
    return torch.cat(pieces) if pieces else torch.zeros(0, 3)
