"""What one step of a training run does: which rows it takes and what learns from them; the run does the rest."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from estimators.data_parallel import Replicas
from estimators.lifters.contract import Lifter
from estimators.lifters.training.trainer import LifterTrainer
from pipelines.errors import SettingsError
from pipelines.keypoints import check_keypoints_fit
from pipelines.mapped_rows import MappedRows
from pipelines.pose_table import PairsSource, Windows, load_table
from pipelines.train_settings import TrainSettings
from pipelines.training_data import MixedBatches, ReplicaShare, TrainingRows
from poses.skeleton import Skeleton

_SAMPLE_ROWS = 16_384


class Learner(Protocol):
    """What learns: a trainer of one network, or of several together."""

    lifter: Lifter
    steps: int

    @property
    def learning_rate(self) -> float:
        """Of the next update."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Epochs count from 0."""
        ...

    def predict(self, keypoints_screen: Tensor, flip: bool = False) -> Tensor:
        """Poses in evaluation mode."""
        ...

    def evaluation_state(self) -> dict[str, Tensor]:
        """The lifter's weights as `predict` uses them."""
        ...

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next step depends on."""
        ...

    def load_state_dict(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        ...


class Lesson(Protocol):
    """Data and learner of one run; the next batch is a function of the seed and of the learner's steps."""

    @property
    def trainer(self) -> Learner:
        """What learns."""
        ...

    @property
    def batches_per_pass(self) -> int:
        """Steps of one pass over the first source."""
        ...

    def learn(self) -> float:
        """One update; the loss before it."""
        ...

    def other_files(self, metadata: Mapping[str, Any]) -> dict[str, bytes]:
        """Files to keep beside the lifter's when it is the best so far, by name."""
        ...


class SupervisedLesson:
    """2D-3D pairs of several sources, one lifter."""

    def __init__(self, settings: TrainSettings, lifter: Lifter, seed: int, replicas: Replicas | None) -> None:
        self._device = settings.device
        rows = [_rows(source, settings, lifter) for source in settings.data]
        if lifter.receptive_field == 1:
            lifter.fit(*_sample(rows, settings.device))
        self._trainer = LifterTrainer(settings.trainer, lifter, seed=seed, replicas=replicas)
        self._batches = MixedBatches(
            rows,
            [source.share for source in settings.data],
            settings.batch_rows,
            settings.mirror_share,
            (lifter.keypoint_skeleton, lifter.skeleton),
            seed,
            ReplicaShare() if replicas is None else ReplicaShare(replicas.rank, replicas.count),
        )

    @property
    def trainer(self) -> LifterTrainer:
        """Of the lifter."""
        return self._trainer

    @property
    def batches_per_pass(self) -> int:
        """Steps of one pass over the first source."""
        return self._batches.batches_per_pass

    def learn(self) -> float:
        """One update on the next batch."""
        inputs, targets = self._batches.batch(self._trainer.steps)
        return self._trainer.step(inputs.to(self._device), targets.to(self._device))

    def other_files(self, metadata: Mapping[str, Any]) -> dict[str, bytes]:
        """None."""
        return {}


def _rows(source: PairsSource, settings: TrainSettings, lifter: Lifter) -> TrainingRows:
    """The rows of one source, read as the settings say."""
    window = lifter.receptive_field, lifter.causal
    how = settings.targets == "every_frame", settings.window_ends == "skip"
    if settings.reader == "mapped":
        mapped = MappedRows(source, settings.cache_folder, *window, *how)
        check_skeletons(mapped.skeleton, lifter.skeleton)
        check_keypoints_fit(lifter, mapped.keypoints_of, source.url)
        return mapped
    table = load_table([source], other_keypoints=True)
    check_skeletons(table.skeleton, lifter.skeleton)
    check_keypoints_fit(lifter, table.keypoints_of, source.url)
    return Windows(table, *window, *how)


def _sample(sources: Sequence[TrainingRows], device: str) -> tuple[Tensor, Tensor]:
    """Pairs from everywhere in every source, as many as `Lifter.fit` needs for means and spreads."""
    spread = [
        (rows, np.unique(np.linspace(0, len(rows) - 1, _SAMPLE_ROWS).astype(np.int64))) for rows in sources
    ]
    inputs = torch.cat([rows.inputs(chosen) for rows, chosen in spread])
    targets = torch.cat([rows.targets(chosen) for rows, chosen in spread])
    return inputs.to(device), targets.to(device)


def check_skeletons(train: Skeleton, validation: Skeleton) -> None:
    """Raise SettingsError unless training and validation data have the same joints."""
    if train.joints != validation.joints:
        raise SettingsError(
            f"training data have skeleton {train.name!r}, validation data {validation.name!r}; "
            "import both with one skeleton"
        )
