"""Settings of the closed loop: who augments, what is trained, in which order and on what."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from augment.feedback_loop.settings import FeedbackLoopSettings
from augment.poseaug.settings import PoseAugSettings, poseaug_preset
from estimators.lifters.settings import LifterSettings
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.training.trainer import LifterTrainerSettings
from pipelines.closed_loop.order import LoopOrder
from pipelines.closed_loop.ordering import batch_bounds
from pipelines.closed_loop.unpaired_settings import UnpairedSettings
from pipelines.knobs import knob
from pipelines.node_labels import LabelSelector


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoAugmentation(_Settings):
    """The trainer gets the source poses only."""

    kind: Literal["none"] = "none"


class RandomAugmentation(_Settings):
    """Random augmentation without feedback, `narrow` or `wide`: the baselines."""

    kind: Literal["random"] = "random"
    preset: Literal["narrow", "wide"] = "wide"


class PoseAugAugmentation(_Settings):
    """PoseAug's learned augmentor; `settings` overrides the preset."""

    kind: Literal["poseaug"] = "poseaug"
    preset: Literal["released", "paper", "default"] = "default"
    settings: PoseAugSettings | None = None
    swap_bone_lengths: bool = True
    """Give every source pose the bone lengths of a random person at each round, as the released loop does."""

    @property
    def resolved(self) -> PoseAugSettings:
        """The settings that count."""
        return poseaug_preset(self.preset) if self.settings is None else self.settings


class FeedbackAugmentation(_Settings):
    """posemill's own loop: the wide base, steered by the estimator's errors, refined by a learned augmentor."""

    kind: Literal["feedback"] = "feedback"
    settings: FeedbackLoopSettings = FeedbackLoopSettings()


AugmentationSettings = Annotated[
    NoAugmentation | RandomAugmentation | PoseAugAugmentation | FeedbackAugmentation,
    Field(discriminator="kind"),
]


class ClosedLoopSettings(_Settings):
    """One closed loop. Counts are in batches and rounds; a round is an epoch of the published loop."""

    augmentor: AugmentationSettings = FeedbackAugmentation()
    lifter: LifterSettings = SimpleBaselineSettings()
    trainer: LifterTrainerSettings = LifterTrainerSettings()
    unpaired: UnpairedSettings | None = None
    """2D poses without 3D that RepNet learns from beside the estimator."""
    diet: Literal["alternate", "mixed", "real"] = "mixed"
    """alternate: all fakes, then all real poses (published); mixed: half of every batch is real; real: no fakes."""
    real_share: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Share of real poses in a mixed batch."""
    flip_real: bool = False
    """Mirror a random half of the real poses of every batch."""
    batch_rows: int = Field(default=256, ge=2)
    start_from: str | None = None
    """A trained lifter (`lifter.safetensors`) to begin with instead of fresh weights, as the published loop does."""
    pretrain_rounds: int = Field(default=0, ge=0)
    """Passes over the real poses before the loop."""
    rounds: int = Field(default=16, ge=1)
    batches_per_round: int | None = Field(default=None, ge=1)
    """Batches that the augmentors make in a round; None makes one pass over the source poses."""
    lifter_steps: int | None = Field(default=None, ge=1)
    """The trainer stops after this many updates, whatever the rounds; makes different loops comparable."""
    train_parts: tuple[str, ...] = ("source_train",)
    """Parts of the dataset that are trained on."""
    valid_parts: tuple[str, ...] = ("source_valid",)
    """Parts that the best estimator is chosen on; parts that the dataset lacks are left out. A test part is refused
    unless `choose_on_test` is set."""
    choose_on_test: bool = False
    """Choose on a test part all the same; the estimator's file and every table of it say so."""
    rigs: tuple[str, ...] = ("h36m_like",)
    """Camera rigs that train and validation poses are seen by; empty means all."""
    valid_max_rows: int = Field(default=8192, ge=1)
    validate_every_rounds: int = Field(default=1, ge=1)
    mode: Literal["sync", "async"] = "sync"
    max_staleness: int = Field(default=2, ge=0)
    """async: the estimator is at most this many updates past the one that a chunk was made against."""
    collapse_restarts: int = Field(default=3, ge=0)
    """Restarts from the last good checkpoint, with another seed, after a collapse of the learned augmentor; one more
    collapse ends the loop. 0 only tells of a collapse, and so does the preset `released`, as published."""
    augmentors: int = Field(default=1, ge=1)
    chunk_batches: int = Field(default=32, ge=1)
    source_version: int | None = knob(None, ge=1)
    """Of the source's manifest; None takes the latest. The files of that version identify the run."""
    checkpoint_every_rounds: int = knob(1, ge=1)
    cpus_per_actor: float = knob(1.0, ge=0.0)
    gpus_per_actor: float = knob(0.0, ge=0.0)
    trainer_labels: LabelSelector = knob({})
    """Labels of the node for the trainer, such as {ray.io/market-type: on-demand}; empty takes any. On Ray only."""

    def order(self, source_rows: int) -> LoopOrder:
        """The order of work for a source of so many poses."""
        one_pass = len(batch_bounds(source_rows, self.batch_rows))
        return LoopOrder(
            mode=self.mode,
            pretrain_rounds=self.pretrain_rounds,
            rounds=self.rounds,
            batches_per_round=self.batches_per_round or one_pass,
            chunk_batches=self.chunk_batches,
            max_staleness=self.max_staleness,
            checkpoint_every_rounds=self.checkpoint_every_rounds,
            lifter_steps=self.lifter_steps,
            collapse_restarts=0 if self._is_released else self.collapse_restarts,
        )

    @property
    def _is_released(self) -> bool:
        chosen = self.augmentor
        return isinstance(chosen, PoseAugAugmentation) and chosen.resolved.preset == "released"
