"""The trainer's side of unpaired data: RepNet's word on the estimator's poses of 2D that has no 3D.

Every update from pairs gets a further loss: the estimator lifts a batch of unpaired 2D, and RepNet as it stood at the
round's beginning says how far the poses' images are from it and how plausible they are.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from estimators.errors import LifterInputError
from estimators.lifters.contract import Lifter
from estimators.lifters.repnet.critic import KinematicChainCritic
from estimators.lifters.repnet.lifter import build_repnet
from estimators.lifters.repnet.weak_supervision import WeakSupervision
from estimators.weights import load_flat
from pipelines.closed_loop.ordering import RowStream
from pipelines.closed_loop.unpaired_member import RepNetWeights
from pipelines.closed_loop.unpaired_settings import UnpairedSettings
from pipelines.errors import SettingsError
from pipelines.unpaired_data import Detections
from poses.skeleton import Skeleton


class WeakLessons:
    """The further loss of the estimator, and the order of the 2D poses that it comes from.

    Args:
        settings: Its weight, and how many poses a batch.
        detections: The 2D poses; those that miss a joint are left out, for the estimator has no word for that.
        skeleton: Of the estimator.
        seed: Of the order.
        device: Where the estimator is.

    Raises:
        SettingsError: if no 2D pose has all of its joints.
    """

    def __init__(
        self, settings: UnpairedSettings, detections: Detections, skeleton: Skeleton, seed: int, device: str
    ) -> None:
        whole = np.flatnonzero((detections.availability > 0).all(axis=1))
        if len(whole) < 2:
            raise SettingsError(
                f"loop.unpaired.data: {len(whole)} of {len(detections.availability)} 2D poses have all of their "
                "joints, and the weak loss (weak_weight above 0) wants at least 2; give other detections, or set "
                "weak_weight to 0"
            )
        self._settings = settings
        self._keypoints = torch.from_numpy(detections.keypoints_screen[whole]).to(device)
        self._stream = RowStream(
            len(self._keypoints), settings.weak_rows, seed, "trainer.unpaired", drop_short=True
        )
        network, trainer = settings.chosen_network(), settings.chosen_trainer()
        repnet = build_repnet(network, skeleton, 0).to(device)
        with torch.random.fork_rng(devices=[]):  # its first weights are never used
            critic = KinematicChainCritic(trainer.critic, skeleton).to(device)
        self._judge = WeakSupervision(trainer, repnet, critic)
        self._may_speak = False
        self._sums: dict[str, float] = {}
        self._counted = 0

    def hear(self, weights: RepNetWeights, rounds_learned: int) -> None:
        """RepNet as it stands after `rounds_learned` rounds; its word counts once those are enough."""
        load_flat(self._judge.lifter, weights.lifter)
        load_flat(self._judge.critic, weights.critic)
        self._may_speak = rounds_learned >= self._settings.weak_after_rounds

    @property
    def may_speak(self) -> bool:
        """Whether the further loss counts in this round."""
        return self._may_speak

    def loss(self, estimator: Lifter) -> Tensor:
        """The weighted loss of the next batch of unpaired 2D.

        Raises:
            LifterInputError: if it is not finite.
        """
        keypoints = self._keypoints[torch.from_numpy(self._stream.next())]
        losses = self._judge.losses(estimator(keypoints).float(), keypoints)
        total = self._settings.weak_weight * losses.total
        parts = torch.stack([total, losses.reprojection, losses.critic]).tolist()
        if not all(value - value == 0.0 for value in parts):
            raise LifterInputError(
                f"weak loss of the estimator: {parts} (total, reprojection, critic), wanted finite numbers; lower "
                "loop.unpaired.weak_weight or RepNet's learning rate"
            )
        self._counted += 1
        for name, value in zip(("loss_weak", "weak_reprojection", "weak_critic"), parts, strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + value
        return total

    def means(self) -> dict[str, float]:
        """Means of the losses since the last call; empty where there were none."""
        means = {name: total / self._counted for name, total in self._sums.items()}
        self._sums, self._counted = {}, 0
        return means

    def state(self) -> dict[str, Any]:
        """What the next round depends on."""
        return {"position": self._stream.position}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up where `state` left off."""
        self._stream.position = state["position"]
