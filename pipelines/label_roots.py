"""Where the root of a pseudo-label is: fitted to its keypoints, or seen by a trajectory model (VideoPose3D)."""

import numpy as np

from estimators.lifters.temporal.trajectory import RootTrajectory
from pipelines.evaluate_trajectory import predict_roots
from pipelines.pose_table import PoseTable
from poses.batch import PoseBatch
from poses.camera_placement import LEAST_KEYPOINTS, place_in_camera, rays_of_px


class RootFinder:
    """Places root-relative poses in camera axes.

    Args:
        trajectory: File of a trajectory model; None fits each pose to its keypoints by itself.
        device: Where it computes.
        flip: Average with the mirrored root of the mirrored input.

    Raises:
        CheckpointError: if the file cannot be read.
    """

    def __init__(self, trajectory: str | None, device: str = "cpu", flip: bool = False) -> None:
        self._network: RootTrajectory | None = None
        self._device, self._flip = device, flip
        if trajectory is not None:
            from pipelines.train_semi import load_trained_trajectory

            self._network = load_trained_trajectory(trajectory, device)

    @property
    def receptive_field(self) -> int:
        """Frames that one place depends on."""
        return 1 if self._network is None else self._network.receptive_field

    def places(
        self, joints_root_m: np.ndarray, batch: PoseBatch, table: PoseTable, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, 3) places in metres, and (B,) whether a row has one: at least three keypoints that both skeletons have.

        Args:
            joints_root_m: (B, J, 3) of the lifter.
            batch: The same rows, with keypoints and cameras.
            table: What a trajectory model looks at.
            rows: (B,) of the table.
        """
        skeleton, keypoints = table.skeleton, batch.keypoints_of
        names = [name for name in keypoints.joints if name in skeleton.joints]
        at_keypoint, at_joint = keypoints.indices(names), skeleton.indices(names)
        weight = batch.keypoint_confidence[:, at_keypoint].astype(np.float64)
        if self._network is not None:
            roots_m = predict_roots(self._network, table, self._flip, rows).numpy()
            return roots_m.astype(np.float64), (weight > 0).sum(1) >= LEAST_KEYPOINTS
        rays = rays_of_px(batch.keypoints_px, batch.camera_px)
        return place_in_camera(joints_root_m[:, at_joint], rays[:, at_keypoint], weight)
