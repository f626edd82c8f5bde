"""The augmentor contract, for mass generation from a default loop: the wide base with a learned residual."""

import numpy as np
import pytest
import torch

from augment.contract import Augmentor, up_camera_of
from augment.feedback_loop.augmentor import FeedbackAugmentor
from augment.feedback_loop.settings import FeedbackLoopSettings
from augment.feedback_loop.trained import TrainedFeedback
from augment.wide_base.factors import FactorOdds
from augment.wide_base.library import build_library, upright
from poses.batch import PoseBatch
from tests.contracts.augmentor_contract import AugmentorContract
from tests.contracts.test_poseaug_augmentor import standing_augmentor
from tests.contracts.window_augmentor_contract import WindowAugmentorContract
from tests.unit.augment.pose_samples import sample_batch


def trained_feedback(settings: FeedbackLoopSettings, residual: bool) -> TrainedFeedback:
    """A loop that stopped before it learned anything: even odds, an untrained residual."""
    batch = sample_batch(skeleton_name="h36m_16")
    joints_m = torch.from_numpy(np.ascontiguousarray(batch.joints_root_m))
    world_m = upright(joints_m, torch.from_numpy(up_camera_of(batch)))
    return TrainedFeedback(
        settings=settings,
        skeleton=batch.skeleton,
        library=build_library(world_m, batch.subject, batch.skeleton),
        odds=FactorOdds.even(settings.base),
        residual=standing_augmentor(batch.skeleton) if residual else None,
    )


class FeedbackContract(AugmentorContract):
    """On 16 joints."""

    @pytest.fixture
    def batch(self) -> PoseBatch:
        return sample_batch(skeleton_name="h36m_16")


class TestFeedback(FeedbackContract, WindowAugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return FeedbackAugmentor(trained_feedback(FeedbackLoopSettings(), residual=True), seed=7)


class TestFeedbackWithoutResidual(FeedbackContract, WindowAugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return FeedbackAugmentor(trained_feedback(FeedbackLoopSettings(), residual=False), seed=7)


class TestFeedbackWithoutWideBase(FeedbackContract, WindowAugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        settings = FeedbackLoopSettings(wide=False)
        return FeedbackAugmentor(trained_feedback(settings, residual=True), seed=7)
