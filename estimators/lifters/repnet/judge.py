"""A trained RepNet as judge: the camera of a 2D pose, how far a 3D pose's image is from it, how plausible the pose is.

The 3D pose is turned into the body's frame and imaged by the camera that the network found for the 2D pose; its
plausibility is the critic's word on it. Neither needs the true camera, so pseudo-labels are judged as well as pairs.
Rows are worked on in blocks of one size, so a row's numbers do not depend on the rows beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor

from estimators.checkpoints import Checkpoint, load_module_state, pack, unpack
from estimators.errors import CheckpointError
from estimators.lifters.repnet.camera import centre_on_available, reproject
from estimators.lifters.repnet.critic import KinematicChainCritic
from estimators.lifters.repnet.flat_pose import flatten_joints, unflatten_joints
from estimators.lifters.repnet.lifter import RepNetLifter, build_repnet
from estimators.lifters.repnet.settings import RepNetSettings, RepNetTrainerSettings
from estimators.lifters.repnet.torso import align_to_torso
from estimators.lifters.repnet.trainer import RepNetTrainer
from poses.skeleton import Skeleton

KIND = "repnet_critic"
BLOCK_ROWS = 256
_SMALLEST_DEVIATION = 1e-6
_MEASURED_ROWS = 4096


@dataclass(frozen=True)
class Judgement:
    """What the judge says of B pairs.

    Args:
        camera: Affine: image = camera [x; 1] for x in the body's frame (metres), in the units of the keypoints.
        reprojection: Mean distance of the available joints' images from their keypoints, in the same units; 0 where
            none is available.
        plausibility: 0 for a typical real pose, lower for others, in standard deviations of real poses' scores.
    """

    camera: Float[Tensor, "B 2 4"]
    reprojection: Float[Tensor, " B"]
    plausibility: Float[Tensor, " B"]


@dataclass(frozen=True)
class RepNetJudge:
    """Networks of a trained RepNet and what its critic says of real poses.

    Args:
        lifter: Finds cameras.
        critic: Scores poses; low for real ones.
        settings: How both were trained.
        real_mean, real_deviation: Of the critic's scores on real poses.
    """

    lifter: RepNetLifter
    critic: KinematicChainCritic
    settings: RepNetTrainerSettings
    real_mean: float
    real_deviation: float

    @property
    def skeleton(self) -> Skeleton:
        """Of all poses."""
        return self.lifter.skeleton

    @torch.inference_mode()
    def judge(
        self,
        joints_m: Float[Tensor, "B J 3"],
        keypoints: Float[Tensor, "B J 2"],
        availability: Float[Tensor, "B J"] | None = None,
    ) -> Judgement:
        """Judge poses, each with its keypoints.

        Args:
            joints_m: 3D in any frame; place, view and (if so trained) size do not count.
            keypoints: 2D in any units with equal scales of x and y, pixels for instance.
            availability: 0 where a keypoint is missing.
        """
        seen = torch.ones(keypoints.shape[:2]) if availability is None else availability
        pieces: list[Judgement] = []
        for start in range(0, len(joints_m), BLOCK_ROWS):
            rows = min(BLOCK_ROWS, len(joints_m) - start)
            block = [_padded(array[start : start + rows]) for array in (joints_m, keypoints, seen)]
            found = self._judge_block(*block)
            pieces.append(
                Judgement(found.camera[:rows], found.reprojection[:rows], found.plausibility[:rows])
            )
        return Judgement(
            torch.cat([torch.zeros(0, 2, 4), *(piece.camera for piece in pieces)]),
            torch.cat([torch.zeros(0), *(piece.reprojection for piece in pieces)]),
            torch.cat([torch.zeros(0), *(piece.plausibility for piece in pieces)]),
        )

    def _judge_block(self, joints_m: Tensor, keypoints: Tensor, availability: Tensor) -> Judgement:
        device = self.critic.matrix.device
        joints_m, keypoints = joints_m.float().to(device), keypoints.float().to(device)
        availability = (availability > 0).float().to(device)
        aligned = align_to_torso(joints_m, self.skeleton, self.settings.torso).joints_m
        estimate = self.lifter.estimate(keypoints, availability)
        image = reproject(estimate.camera, centre_on_available(aligned, availability))
        offset = (image - unflatten_joints(estimate.keypoints.flat, 2)).norm(dim=-1) * availability
        spread = estimate.keypoints.spread
        reprojection = spread * offset.sum(1) / availability.sum(1).clamp_min(1.0)
        score = self.critic(flatten_joints(aligned))[:, 0]
        camera = torch.cat(
            [spread[:, None, None] * estimate.camera, estimate.keypoints.centre[..., None]], dim=2
        )
        plausibility = (self.real_mean - score) / self.real_deviation
        return Judgement(camera.cpu(), reprojection.cpu(), plausibility.cpu())


def judge_of(trainer: RepNetTrainer, real_poses_flat: Float[Tensor, "N P"]) -> RepNetJudge:
    """The judge that a trainer's networks make; `real_poses_flat` (from `prepare_poses`) sets plausibility's scale."""
    with torch.inference_mode():
        scores = torch.cat(
            [trainer.critic(rows) for rows in real_poses_flat[:_MEASURED_ROWS].split(BLOCK_ROWS)]
        )
    deviation = max(float(scores.std(correction=0)), _SMALLEST_DEVIATION)
    return RepNetJudge(trainer.lifter, trainer.critic, trainer.settings, float(scores.mean()), deviation)


def export_judge(judge: RepNetJudge) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of the judge's file."""
    tensors = pack(
        lifter={name: value.detach().clone() for name, value in judge.lifter.state_dict().items()},
        critic={name: value.detach().clone() for name, value in judge.critic.state_dict().items()},
    )
    metadata = {
        "kind": KIND,
        "network": judge.lifter.settings.model_dump(mode="json"),
        "trainer": judge.settings.model_dump(mode="json"),
        "skeleton": judge.skeleton.to_dict(),
        "real_mean": judge.real_mean,
        "real_deviation": judge.real_deviation,
    }
    return tensors, metadata


def import_judge(checkpoint: Checkpoint, where: str, device: str = "cpu") -> RepNetJudge:
    """Inverse of `export_judge`.

    Raises:
        CheckpointError: if the file holds something else, or is damaged.
    """
    document: Mapping[str, Any] = checkpoint.metadata
    if document.get("kind") != KIND:
        raise CheckpointError(
            f"{where}: holds {document.get('kind', 'something else')!r}, wanted a RepNet critic; give the "
            "critic.safetensors of a train_unpaired job"
        )
    try:
        network = RepNetSettings.model_validate(document["network"])
        settings = RepNetTrainerSettings.model_validate(document["trainer"])
        skeleton = Skeleton.from_dict(document["skeleton"])
        mean, deviation = float(document["real_mean"]), float(document["real_deviation"])
    except (KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(
            f"{where}: its metadata is not a RepNet critic's ({error}); the file is damaged, train it again"
        ) from error
    lifter = build_repnet(network, skeleton, seed=0)
    critic = KinematicChainCritic(settings.critic, skeleton)
    load_module_state(lifter, unpack(checkpoint.tensors, "lifter"), f"{where}, lifter")
    load_module_state(critic, unpack(checkpoint.tensors, "critic"), f"{where}, critic")
    return RepNetJudge(lifter.to(device).eval(), critic.to(device).eval(), settings, mean, deviation)


def _padded(rows: Tensor) -> Tensor:
    """A block of `BLOCK_ROWS` rows, the last one repeated."""
    return torch.cat([rows, rows[-1:].expand(BLOCK_ROWS - len(rows), *rows.shape[1:])])
