"""The members of the loop that make poses: one interface, from no augmentation to posemill's own."""

from collections import Counter
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from augment.poseaug.collapse_monitor import CollapseMonitor
from augment.windows import POSE, WindowShape
from estimators.lifters.contract import Lifter
from estimators.weights import WeightBuffer, load_flat
from pipelines.closed_loop.checkpoint import MemberState
from pipelines.closed_loop.chunks import PoseChunk
from pipelines.closed_loop.source_poses import SourcePoses


class LoopAugmentor(Protocol):
    """Makes the batches of a round against a snapshot of the estimator."""

    def produce(self, round_index: int, first_batch: int, n_batches: int, weights: WeightBuffer) -> PoseChunk:
        """The batches `first_batch` .. `first_batch + n_batches - 1` of a round."""
        ...

    def state(self) -> MemberState:
        """Everything that the next chunk depends on."""
        ...

    def load_state(self, state: MemberState) -> None:
        """Take up where `state` left off."""
        ...

    def complaints(self) -> tuple[str, ...]:
        """Why this augmentor counts as collapsed, in words; empty while it is healthy."""
        ...


class NoAugmentor:
    """Makes empty batches, so that the trainer trains on real poses alone and the steps are counted alike."""

    def __init__(self, source: SourcePoses, shape: WindowShape = POSE) -> None:
        joints = source.skeleton.n_joints
        windows = shape.windows(torch.zeros(0, joints, 2)), shape.targets(torch.zeros(0, joints, 3))
        self._keypoints_screen, self._joints_root_m = (values.numpy() for values in windows)

    def produce(self, round_index: int, first_batch: int, n_batches: int, weights: WeightBuffer) -> PoseChunk:
        return PoseChunk(
            round_index,
            first_batch,
            weights.version,
            self._joints_root_m,
            self._keypoints_screen,
            [0] * n_batches,
        )

    def state(self) -> MemberState:
        return MemberState()

    def load_state(self, state: MemberState) -> None:
        """Nothing to take up."""

    def complaints(self) -> tuple[str, ...]:
        return ()


class ChunkBuilder:
    """Collects the batches of one chunk."""

    def __init__(self, round_index: int, first_batch: int, lifter_version: int) -> None:
        self._where = (round_index, first_batch, lifter_version)
        self._joints: list[np.ndarray] = []
        self._keypoints: list[np.ndarray] = []
        self._rejected: Counter[str] = Counter()
        self._metrics: list[dict[str, float]] = []

    def add(
        self,
        joints_root_m: Tensor,
        keypoints_screen: Tensor,
        rejected: dict[str, int],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """One batch: the kept poses, what was refused and why, and the augmentor's numbers."""
        self._joints.append(joints_root_m.numpy(force=True))
        self._keypoints.append(keypoints_screen.numpy(force=True))
        self._rejected.update(rejected)
        if metrics:
            self._metrics.append(metrics)

    def build(self) -> PoseChunk:
        """The chunk of everything added."""
        return PoseChunk(
            *self._where,
            np.concatenate(self._joints),
            np.concatenate(self._keypoints),
            [len(joints) for joints in self._joints],
            dict(self._rejected),
            self._metrics,
        )


class EstimatorSnapshot:
    """The augmentor's copy of the estimator: loaded when a newer version arrives, never trained."""

    def __init__(self, lifter: Lifter) -> None:
        self.lifter = lifter.eval().requires_grad_(False)
        self._version = -1

    def load(self, weights: WeightBuffer) -> Lifter:
        """The estimator at the version of `weights`."""
        if weights.version != self._version:
            load_flat(self.lifter, weights)
            self._version = weights.version
        return self.lifter

    def forget(self) -> None:
        """Load the weights at the next call even if they are no newer: a look in train mode may have changed them."""
        self._version = -1


def reasons_of_collapse(monitor: CollapseMonitor) -> tuple[str, ...]:
    """The monitor's reasons if its verdict is a collapse; what it only complains of does not count."""
    verdict = monitor.verdict()
    return verdict.reasons if verdict.collapsed else ()


def rejected_counts(keep: Tensor, reasons: dict[str, Tensor]) -> dict[str, int]:
    """How many rows were refused for each reason; a row that fails several tests counts for the first of them."""
    counts: dict[str, int] = {}
    left = ~keep
    for reason, failed in reasons.items():
        here = left & failed
        if bool(here.any()):
            counts[reason] = int(here.sum())
        left = left & ~failed
    return counts


def torch_state(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> MemberState:
    """A member's state with its tensors on the CPU."""
    return MemberState({name: value.detach().to("cpu").clone() for name, value in tensors.items()}, scalars)


def detached(value: Tensor | float) -> float:
    """A metric as a plain number."""
    return float(value.detach()) if isinstance(value, torch.Tensor) else float(value)
