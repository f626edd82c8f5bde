"""The law of the feedback: ordinary poses keep their share of the batch, and no feedback ever steers them.

The base draw is replaced by planned candidates (which pose is natural, how wrong the estimator is on it), so that only
what the learner does with them is seen.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from augment.feedback_loop.drawer import Candidates, SourceRows
from augment.feedback_loop.learner import FeedbackLearner, MadeBatch, RealPoses
from augment.feedback_loop.settings import (
    FeedbackLoopSettings,
    ResidualSettings,
    SamplerSettings,
)
from augment.poseaug.learner import Fakes, GanBatch, GanStepResult, PoseAugLearner
from augment.poseaug.settings import PoseAugSettings
from augment.wide_base.draw import DrawnPoses
from augment.wide_base.factors import FactorOdds
from augment.wide_base.library import PoseLibrary
from augment.wide_base.local_pose import LocalPoses
from estimators.lifters.contract import Lifter
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")
ROWS, WANTED = 4_000, 2_000


class PlannedLifter(Lifter):
    """Is off by so many metres on the candidate whose number stands in its keypoints."""

    def __init__(self, joints_root_m: Tensor, error_m: Tensor) -> None:
        super().__init__(SKELETON, 1)
        self._joints_root_m, self._error_m = joints_root_m, error_m

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        rows = keypoints_screen[:, 0, 0].long()
        shift = torch.zeros(len(rows), 1, 3)
        shift[:, 0, 2] = self._error_m[rows]
        return self._joints_root_m[rows] + shift


def planned(natural: Tensor) -> Candidates:
    """Valid candidates whose first keypoint holds their number."""
    rows = len(natural)
    random = torch.Generator().manual_seed(3)
    keypoints = torch.zeros(rows, SKELETON.n_joints, 2)
    keypoints[:, 0, 0] = torch.arange(rows)
    bins = {
        name: torch.randint(len(odds), (rows,), generator=random)
        for name, odds in FactorOdds.even(FeedbackLoopSettings().base).odds.items()
    }
    drawn = DrawnPoses(
        joints_root_m=torch.randn(rows, SKELETON.n_joints, 3, generator=random),
        root_camera_m=torch.zeros(rows, 3),
        intrinsics_screen=torch.ones(rows, 9),
        up_camera=torch.tensor([[0.0, -1.0, 0.0]]).repeat(rows, 1),
        source_view=torch.zeros(rows, dtype=torch.bool),
        natural=natural,
        bins=bins,
    )
    return Candidates(drawn, keypoints, torch.ones(rows, dtype=torch.bool), {})


def learner_of(candidates: Candidates, residual: PoseAugLearner | None = None) -> FeedbackLearner:
    """A learner that is given these candidates instead of drawing some."""
    bones = SKELETON.n_joints - 1
    nobody = LocalPoses(torch.eye(3)[None], torch.eye(3)[None], torch.zeros(1, bones, 3))
    settings = FeedbackLoopSettings(
        sampler=SamplerSettings(memory=0.5),
        residual=ResidualSettings(enabled=False, share=1.0, train_every=1, batch_rows=ROWS),
    )
    learner = FeedbackLearner(settings, SKELETON, PoseLibrary(nobody, torch.ones(1, bones)), seed=1)
    learner.drawer = SimpleNamespace(draw=lambda *_: candidates)  # type: ignore[assignment]
    learner.residual = residual
    return learner


def make(
    candidates: Candidates, error_m: Tensor, learner: FeedbackLearner | None = None
) -> tuple[Tensor, MadeBatch, FeedbackLearner]:
    """Numbers of the emitted candidates, the batch, and the learner afterwards."""
    drawn, rows = candidates.drawn, len(error_m)
    learner = learner or learner_of(candidates)
    made = learner.make_batch(
        SourceRows(np.arange(rows), drawn.joints_camera_m, drawn.up_camera, drawn.intrinsics_screen),
        copy=0,
        wanted=WANTED,
        lifter=PlannedLifter(drawn.joints_root_m, error_m),
        epoch=9,
        real=RealPoses(drawn.joints_root_m[:8], candidates.keypoints_screen[:8]),
    )
    return made.keypoints_screen[:, 0, 0].long(), made, learner


def plan_of(share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Which of the candidates are natural, and errors of 20 to 60 mm."""
    random = torch.Generator().manual_seed(seed)
    return torch.rand(ROWS, generator=random) < share, 0.02 + 0.04 * torch.rand(ROWS, generator=random)


@pytest.mark.parametrize("share", [0.25, 0.76])
@pytest.mark.parametrize("hardness", [0.1, 1.0, 10.0])
def test_natural_poses_keep_their_share_however_hard_the_bent_ones_are(share: float, hardness: float) -> None:
    natural, error_m = plan_of(share)
    chosen, _, _ = make(planned(natural), torch.where(natural, error_m, error_m * hardness))
    assert float(natural[chosen].float().mean()) == pytest.approx(float(natural.float().mean()), abs=0.03)


def test_how_wrong_the_estimator_is_on_natural_poses_chooses_nothing() -> None:
    natural, error_m = plan_of(0.5)
    candidates = planned(natural)
    chosen, _, _ = make(candidates, error_m)
    other = torch.where(natural, error_m.flip(0) * 50.0, error_m)
    assert torch.equal(make(candidates, other)[0], chosen)


def test_hard_bent_poses_are_preferred_among_the_bent() -> None:
    """What the feedback is for; without it the tests above would pass with a blind choice."""
    natural, error_m = plan_of(0.5)
    chosen, _, _ = make(planned(natural), error_m)
    for poses, lifted in ((natural, False), (~natural, True)):
        mean_m, chosen_m = error_m[poses].mean(), error_m[chosen[poses[chosen]]].mean()
        assert (float(chosen_m / mean_m) > 1.02) == lifted


def test_the_odds_never_hear_of_natural_poses() -> None:
    natural, error_m = plan_of(0.5)
    candidates = planned(natural)
    odds = make(candidates, error_m)[2].odds.odds.odds
    same = make(candidates, torch.where(natural, 5.0, error_m))[2].odds.odds.odds
    moved = make(candidates, torch.where(natural, error_m, error_m * candidates.drawn.bins["tilt"]))[2]
    assert all(torch.equal(odds[name], same[name]) for name in odds)
    assert not torch.allclose(odds["tilt"], moved.odds.odds.odds["tilt"])


class MovingResidual(PoseAugLearner):
    """A learned augmentor, without networks, that moves the joints of every pose by metres."""

    def __init__(self) -> None:
        self.settings = PoseAugSettings()

    def gan_step(self, batch: GanBatch, lifter: Lifter, epoch: int) -> GanStepResult:
        made = batch.joints_camera_m + torch.arange(SKELETON.n_joints)[None, :, None]
        keep = torch.ones(len(made), dtype=torch.bool)
        reason = torch.zeros(len(made), dtype=torch.int8)
        return GanStepResult({}, Fakes(made, batch.keypoints_screen, keep, reason))


def test_the_learned_augmentor_never_bends_natural_poses() -> None:
    natural, error_m = plan_of(0.5)
    candidates = planned(natural)
    chosen, made, _ = make(candidates, error_m, learner_of(candidates, MovingResidual()))
    moved = (made.joints_root_m - candidates.drawn.joints_root_m[chosen]).abs().flatten(1).amax(1) > 0.5
    assert torch.equal(moved, ~natural[chosen])
