"""The augmentor contract, for a PoseAug generator that stands its poses before the camera."""

import pytest
import torch

from augment.contract import Augmentor
from augment.poseaug.augmentor import PoseAugAugmentor
from augment.poseaug.learner import PoseAugLearner
from augment.poseaug.trained import TrainedAugmentor, export_augmentor, import_augmentor
from estimators.checkpoints import checkpoint_from_bytes, checkpoint_to_bytes
from poses.batch import PoseBatch
from poses.skeleton import Skeleton, load_skeleton
from tests.contracts.augmentor_contract import AugmentorContract
from tests.contracts.window_augmentor_contract import WindowAugmentorContract
from tests.unit.augment.pose_samples import sample_batch
from tests.unit.augment.poseaug.samples import small_settings


def standing_augmentor(skeleton: Skeleton) -> TrainedAugmentor:
    """Untrained networks, but for the translation: about 5 m before the camera, near its axis."""
    learner = PoseAugLearner(small_settings(), skeleton, seed=3)
    output = learner.generator.rigid_motion.translation_head.output
    with torch.no_grad():
        output.weight.mul_(0.05)
        output.bias.copy_(torch.tensor([0.0, 0.0, 5.0**0.5]))
    return import_augmentor(checkpoint_from_bytes(checkpoint_to_bytes(*export_augmentor(learner))))


class TestPoseAug(AugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return PoseAugAugmentor(standing_augmentor(load_skeleton("h36m_17")), seed=7)


class TestPoseAugWithScoresWithoutUp(AugmentorContract, WindowAugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return PoseAugAugmentor(standing_augmentor(load_skeleton("h36m_16")), seed=7, record_scores=True)

    @pytest.fixture
    def batch(self) -> PoseBatch:
        return sample_batch(skeleton_name="h36m_16", with_up=False)
