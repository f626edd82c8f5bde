"""RepNet as a stage: every pair or pseudo-label gets a camera, a reprojection error and a plausibility as columns.

A plain class: `judged` works on a batch, wherever it is called; `setup` and `transform` make it a link of a
chain, on Ray an actor with resources of its own. A row's numbers depend on the row alone.

Columns: `critic_camera_px` (B, 2, 4), pixels = camera [x; 1] for x in the body's frame in metres;
`critic_reprojection_px` (B,), mean distance of the pose's image under that camera from the keypoints;
`critic_plausibility` (B,), 0 for a typical real pose and lower for others, in standard deviations. Keypoints
of confidence 0 are missing and count in none.
"""

from dataclasses import replace

import torch

from estimators.lifters.repnet.judge import RepNetJudge, import_judge
from pipelines.plan import Unit
from pipelines.stage_chain import RowRange
from pipelines.trained_lifter import read_checkpoint
from poses.batch import PoseBatch
from poses.errors import SkeletonError
from poses.skeleton import Skeleton

CAMERA, REPROJECTION, PLAUSIBILITY = "critic_camera_px", "critic_reprojection_px", "critic_plausibility"


class PoseCritic:
    """Judges poses with a trained RepNet.

    Args:
        checkpoint: `critic.safetensors` of a `train_unpaired` job, by path or URL.
        device: Where the networks compute.
    """

    def __init__(self, checkpoint: str, device: str = "cpu") -> None:
        self._checkpoint, self._device = checkpoint, device
        self._judge: RepNetJudge | None = None

    def setup(self) -> None:
        """Read the networks.

        Raises:
            CheckpointError: if the file is missing or holds something else.
        """
        self._judge = import_judge(read_checkpoint(self._checkpoint), self._checkpoint, self._device)

    def transform(self, unit: Unit, rows: RowRange, value: PoseBatch) -> PoseBatch:
        """As a link of a chain: the same rows with the three columns."""
        del unit, rows
        return self.judged(value)

    def check_skeleton(self, skeleton: Skeleton) -> None:
        """Raise SkeletonError unless poses of this skeleton fit."""
        own = self._networks().skeleton
        if own.joints != skeleton.joints:
            raise SkeletonError(
                f"{self._checkpoint}: its critic was trained on skeleton {own.name!r} ({', '.join(own.joints)}), the "
                f"poses have {skeleton.name!r} ({', '.join(skeleton.joints)}); map them with poses.skeleton.joint_map"
            )

    def judged(self, batch: PoseBatch) -> PoseBatch:
        """The batch with the three columns.

        Raises:
            SkeletonError: if it has another skeleton.
        """
        self.check_skeleton(batch.skeleton)
        found = self._networks().judge(
            torch.from_numpy(batch.joints_camera_m),
            torch.from_numpy(batch.keypoints_px),
            torch.from_numpy(batch.keypoint_confidence),
        )
        columns = {
            CAMERA: found.camera.numpy(),
            REPROJECTION: found.reprojection.numpy(),
            PLAUSIBILITY: found.plausibility.numpy(),
        }
        return replace(batch, extra={**batch.extra, **columns})

    def _networks(self) -> RepNetJudge:
        if self._judge is None:
            self.setup()
        if self._judge is None:
            raise RuntimeError("PoseCritic.setup left no networks")
        return self._judge
