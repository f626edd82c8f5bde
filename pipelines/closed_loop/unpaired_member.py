"""RepNet as a member of the loop: each round it trains on unpaired 2D and on the 3D of that round.

The 2D are detections that nobody has 3D for. The 3D that its critic takes for real are the round's augmented poses
and the source's, in a fixed share; a round that has no augmented poses (an augmentor's warm-up) is learned with the
source's alone. Which rows a step sees is a function of the seed, the round and two positions, which are saved.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from estimators.checkpoints import load_module_state, unpack
from estimators.lifters.repnet.lifter import build_repnet
from estimators.lifters.repnet.trainer import RepNetTrainer
from estimators.weights import WeightBuffer, flatten_state
from pipelines.closed_loop.augmentors import torch_state
from pipelines.closed_loop.checkpoint import MemberState
from pipelines.closed_loop.chunks import PoseChunk, join_chunks
from pipelines.closed_loop.ordering import RowStream
from pipelines.closed_loop.source_poses import SourcePoses
from pipelines.closed_loop.unpaired_settings import UnpairedSettings
from pipelines.unpaired_data import Detections

MEASURED_POSES = 4096
"""Real poses that the kept critic's plausibility is scaled by."""


@dataclass(frozen=True)
class RepNetWeights:
    """RepNet's networks as they travel to the trainer."""

    lifter: WeightBuffer
    critic: WeightBuffer


class RepNetMember:
    """Owns RepNet's networks and both streams of rows.

    Args:
        settings: How it is trained.
        detections: The 2D poses, of the source's skeleton.
        source: The 3D poses that the loop trains on; their 2D is not looked at.
        seed: Of the networks and the order.
        device: Where it computes.

    Raises:
        LifterInputError: if keypoints are pixels or not finite.
    """

    def __init__(
        self,
        settings: UnpairedSettings,
        detections: Detections,
        source: SourcePoses,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self._settings, self._seed, self._device = settings, seed, device
        lifter = build_repnet(settings.chosen_network(), source.skeleton, seed).to(device)
        self._trainer = RepNetTrainer(settings.chosen_trainer(), lifter, seed)
        self._availability = torch.from_numpy(detections.availability).to(device)
        keypoints = torch.from_numpy(detections.keypoints_screen).to(device)
        self._keypoints = self._trainer.prepare_keypoints(keypoints, self._availability)
        self._poses = self._trainer.prepare_poses(source.joints_root_m.to(device))
        rows = min(settings.batch_rows, len(self._keypoints), len(self._poses))
        self._detected, self._real = (
            RowStream(len(data), rows, seed, f"unpaired.{name}", drop_short=True)
            for name, data in (("keypoints", self._keypoints), ("poses", self._poses))
        )

    @property
    def trainer(self) -> RepNetTrainer:
        """Networks and optimisers."""
        return self._trainer

    def learn(self, chunks: list[PoseChunk]) -> dict[str, float]:
        """A round's (or a chunk's) steps; means of their losses, by name, empty where there were no batches."""
        chunk = join_chunks(chunks)
        steps = self._settings.steps_per_batch * len(chunk.batch_rows)
        fakes = self._augmented(chunk, steps)
        per_epoch = self._settings.steps_per_epoch or self._detected.batches_per_pass
        sums: dict[str, float] = {}
        for step in range(steps):
            self._trainer.begin_epoch(self._trainer.steps // per_epoch)
            seen = torch.from_numpy(self._detected.next())
            real = self._real.next()
            poses = self._poses[torch.from_numpy(real[: len(seen) - len(fakes[step])])]
            losses = self._trainer.step(
                self._keypoints[seen], torch.cat([fakes[step], poses]), self._availability[seen]
            )
            for name, value in vars(losses).items():
                sums[name] = sums.get(name, 0.0) + value
        return {f"repnet_{name}": total / steps for name, total in sums.items()}

    def _augmented(self, chunk: PoseChunk, steps: int) -> list[Tensor]:
        """The augmented poses of every step, aligned; none of a chunk that has none."""
        joints = chunk.joints_root_m.reshape(-1, *chunk.joints_root_m.shape[-2:])
        rows = round(self._settings.augmented_share * self._detected.batch_rows)
        if rows == 0 or len(joints) == 0 or steps == 0:
            return [self._poses[:0]] * steps
        purpose = f"unpaired.augmented.{chunk.round_index}.{chunk.first_batch}"
        stream = RowStream(len(joints), rows, self._seed, purpose, drop_short=True)
        chosen = [stream.next() for _ in range(steps)]
        aligned = self._trainer.prepare_poses(
            torch.from_numpy(joints[np.concatenate(chosen)]).to(self._device)
        )
        return list(aligned.split([len(one) for one in chosen]))

    def weights(self) -> RepNetWeights:
        """A copy of both networks."""
        steps = self._trainer.steps
        return RepNetWeights(
            flatten_state(self._trainer.lifter, steps), flatten_state(self._trainer.critic, steps)
        )

    def measured_poses(self) -> Tensor:
        """Some of the source's 3D poses, evenly chosen, as the critic sees them."""
        rows = np.linspace(0, len(self._poses) - 1, min(len(self._poses), MEASURED_POSES)).astype(np.int64)
        return self._poses[torch.from_numpy(rows)]

    def state(self) -> MemberState:
        """Everything that the next round depends on."""
        tensors, scalars = self._trainer.state_dict()
        positions = {"detected": self._detected.position, "real": self._real.position}
        return torch_state(tensors, {"trainer": scalars, "positions": positions})

    def load_networks(self, state: MemberState) -> None:
        """Both networks of `state`, wherever it was made, and nothing that only a next step would need."""
        load_module_state(self._trainer.lifter, unpack(state.tensors, "lifter"), "RepNet of the loop")
        load_module_state(self._trainer.critic, unpack(state.tensors, "critic"), "critic of the loop")

    def load_state(self, state: MemberState) -> None:
        """Take up where `state` left off."""
        self._trainer.load_state_dict(state.tensors, state.scalars["trainer"])
        self._detected.position = state.scalars["positions"]["detected"]
        self._real.position = state.scalars["positions"]["real"]
