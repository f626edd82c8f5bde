"""Semi-supervised training as a lesson of the job `train`: `semi_supervised` in its settings asks for it.

Every step takes labelled rows of the sources, as supervised training does, and unlabelled ones of theirs, of which only
2D and cameras are read. A mirrored row has its root and its camera mirrored with it; `mirror_share: 0.5` is, on
average, the published doubling of the data. Beside `lifter.safetensors` the run keeps `trajectory.safetensors`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from estimators.checkpoints import checkpoint_to_bytes, load_module_state
from estimators.errors import CheckpointError
from estimators.lifters.contract import Lifter
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.lifters.temporal.videopose import VideoPoseSettings
from estimators.lifters.training.mirroring import mirror_intrinsics, mirror_root
from estimators.lifters.training.semi_losses import Labelled, Unlabelled
from estimators.lifters.training.semi_supervised import SemiSupervisedTrainer
from pipelines.errors import SettingsError
from pipelines.keypoints import check_keypoints_fit
from pipelines.lessons import check_skeletons
from pipelines.pose_table import PairsSource, Windows, load_table
from pipelines.semi_settings import SemiSupervisedTraining
from pipelines.train_settings import TrainSettings
from pipelines.trained_lifter import read_checkpoint
from pipelines.training_data import EndlessRows, rows_of_each
from poses.identity import stable_id
from poses.kinematics import mirror_joints
from poses.skeleton import Skeleton

TRAJECTORY_FILE = "trajectory.safetensors"
_KIND = "trajectory"


class SemiSupervisedLesson:
    """Labelled and unlabelled windows, a lifter and its trajectory model.

    Raises:
        SettingsError: if a selection is empty, skeletons differ, or nobody says what the trajectory model looks like.
    """

    def __init__(self, settings: TrainSettings, lifter: Lifter, seed: int) -> None:
        semi = _asked_for(settings)
        self._device, self._skeleton, self._seed = settings.device, lifter.skeleton, seed
        self._keypoints = lifter.keypoint_skeleton
        self._mirror_share = settings.mirror_share
        self._shape = _trajectory_shape(semi, settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stable_id("train.trajectory", seed) % 2**31)
            trajectory = RootTrajectory(self._shape, lifter.skeleton).to(settings.device)
        self._trainer = SemiSupervisedTrainer(semi.method, lifter, trajectory, seed=seed)
        self._labelled = _SourceRows(settings.data, settings.batch_rows, lifter, seed, "labelled")
        wanted = semi.unlabelled_rows or settings.batch_rows
        self._unlabelled = _SourceRows(semi.unlabelled, wanted, lifter, seed, "unlabelled")

    @property
    def trainer(self) -> SemiSupervisedTrainer:
        """Of both networks."""
        return self._trainer

    @property
    def batches_per_pass(self) -> int:
        """Steps of one pass over the first labelled source."""
        return self._labelled.batches_per_pass

    def learn(self) -> float:
        """One update on the next batches; the sum of all terms before it."""
        known = self._batch(self._labelled)
        labelled = Labelled(known["keypoints"], known["joints"], known["root"])
        if self._trainer.warming_up:
            return self._trainer.step(labelled).total
        other = self._batch(self._unlabelled)
        unlabelled = Unlabelled(other["keypoints"], other["target"], other["intrinsics"])
        return self._trainer.step(labelled, unlabelled).total

    def other_files(self, metadata: Mapping[str, Any]) -> dict[str, bytes]:
        """The trajectory model."""
        document = {
            **metadata,
            "kind": _KIND,
            "lifter": self._shape.model_dump(mode="json"),
            "skeleton": self._skeleton.to_dict(),
        }
        weights = self._trainer.trajectory.state_dict()
        return {TRAJECTORY_FILE: checkpoint_to_bytes(weights, document)}

    def _batch(self, source: "_SourceRows") -> dict[str, Tensor]:
        """The rows of the next step, some of them mirrored, on the device."""
        step = self._trainer.steps
        batch = source.batch(step)
        key = stable_id("train.mirror", source.name, self._seed, step)
        draw = np.random.Generator(np.random.PCG64(key)).random(source.rows)
        turned = torch.from_numpy(draw < self._mirror_share)
        for name, values in batch.items():
            if bool(turned.any()):
                values[turned] = _mirrored(name, values[turned], self._skeleton, self._keypoints)
        return {name: values.to(self._device) for name, values in batch.items()}


class _SourceRows:
    """Batches of several sources, by seed and step alone."""

    def __init__(
        self, sources: Sequence[PairsSource], rows: int, lifter: Lifter, seed: int, name: str
    ) -> None:
        self.name, self.rows = name, rows
        self._tables = [load_table([source], with_cameras=True, other_keypoints=True) for source in sources]
        for table, source in zip(self._tables, sources, strict=True):
            check_skeletons(table.skeleton, lifter.skeleton)
            check_keypoints_fit(lifter, table.keypoints_of, source.url)
        self._windows = [Windows(table, lifter.receptive_field, lifter.causal) for table in self._tables]
        self._rows_of_each = rows_of_each([source.share for source in sources], rows)
        self._orders = [
            EndlessRows(len(table), seed, f"train.{name}.{number}")
            for number, table in enumerate(self._tables)
        ]
        self.batches_per_pass = max(1, round(len(self._tables[0]) / self._rows_of_each[0]))

    def batch(self, step: int) -> dict[str, Tensor]:
        """keypoints, target (of the output frame), joints, root and intrinsics of a step's rows."""
        pieces: list[dict[str, Tensor]] = []
        for number, count in enumerate(self._rows_of_each):
            rows = self._orders[number].take(step * count, count)
            table, windows = self._tables[number], self._windows[number]
            if table.root_camera_m is None or table.intrinsics_screen is None:
                raise SettingsError("semi-supervised training: the table has no cameras; load it with them")
            pieces.append(
                {
                    "keypoints": windows.inputs(rows),
                    "target": torch.from_numpy(table.keypoints_screen[rows]),
                    "joints": torch.from_numpy(table.joints_root_m[rows]),
                    "root": torch.from_numpy(table.root_camera_m[rows]),
                    "intrinsics": torch.from_numpy(table.intrinsics_screen[rows]),
                }
            )
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


def _mirrored(name: str, values: Tensor, skeleton: Skeleton, keypoints: Skeleton) -> Tensor:
    if name == "root":
        return mirror_root(values)
    if name == "intrinsics":
        return mirror_intrinsics(values)
    return mirror_joints(values, skeleton if name == "joints" else keypoints)


def _asked_for(settings: TrainSettings) -> SemiSupervisedTraining:
    if settings.semi_supervised is None:
        raise SettingsError("semi-supervised training was not asked for; set train.semi_supervised")
    return settings.semi_supervised


def _trajectory_shape(semi: SemiSupervisedTraining, settings: TrainSettings) -> VideoPoseSettings:
    if semi.trajectory is not None:
        return semi.trajectory
    if isinstance(settings.lifter, VideoPoseSettings):
        return settings.lifter
    raise SettingsError(
        f"semi-supervised training of a {settings.lifter.kind} lifter wants the shape of the trajectory model beside "
        "it; set semi_supervised.trajectory, with a receptive field like the lifter's"
    )


def load_trained_trajectory(url: str, device: str = "cpu") -> RootTrajectory:
    """Read a trajectory model that `train` kept or `posemill import-weights` made, in evaluation mode.

    Raises:
        CheckpointError: if there is no such file, or it holds none.
    """
    checkpoint = read_checkpoint(url)
    document = checkpoint.metadata
    if document.get("kind") != _KIND:
        raise CheckpointError(
            f"{url}: holds {document.get('kind', 'something else')!r}, wanted a trajectory model; give the "
            f"`{TRAJECTORY_FILE}` of a semi-supervised train job"
        )
    shape = VideoPoseSettings.model_validate(document["lifter"])
    network = RootTrajectory(shape, Skeleton.from_dict(document["skeleton"]))
    load_module_state(network, checkpoint.tensors, url)
    return network.to(device).eval()
