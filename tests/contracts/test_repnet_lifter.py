"""RepNet keeps the lifter contract, in the shapes of its presets; it has no dropout."""

import pytest
import torch

from estimators.errors import CheckpointError
from estimators.lifters.contract import Lifter
from estimators.lifters.repnet.settings import RepNetSettings
from poses.skeleton import Skeleton
from tests.contracts.lifter_contract import LifterContract


class TestRepNet(LifterContract):
    @pytest.fixture
    def settings(self) -> RepNetSettings:
        return RepNetSettings(width=24)

    def test_evaluation_is_deterministic_and_training_has_dropout(self, lifter: Lifter) -> None:
        keypoints = self.keypoints(lifter, 6)
        assert torch.equal(lifter(keypoints), lifter.train()(keypoints))


class TestRepNetOfThePaper(TestRepNet):
    skeleton_name = "h36m_17"

    @pytest.fixture
    def settings(self) -> RepNetSettings:
        return RepNetSettings(width=24, shared_block=False, extra_pose_layer=False)

    def test_published_state_round_trip(self, lifter: Lifter, settings, skeleton: Skeleton) -> None:
        with pytest.raises(CheckpointError, match=r"share a block.*preset 'code'"):
            lifter.to_published_state()
