"""Every lifter keeps the lifter contract."""

import pytest
import torch

from estimators.lifters.contract import Lifter
from estimators.lifters.graphs.semgcn import SemGCNSettings
from estimators.lifters.graphs.stgcn import STGCNSettings
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.temporal.dual_stream import DualStreamSettings
from estimators.lifters.temporal.videopose import VideoPoseSettings
from tests.contracts.lifter_contract import LifterContract


class TestSimpleBaseline(LifterContract):
    @pytest.fixture
    def settings(self) -> SimpleBaselineSettings:
        return SimpleBaselineSettings(width=32)


class TestSimpleBaselineOfThePaper(LifterContract):
    @pytest.fixture
    def settings(self) -> SimpleBaselineSettings:
        return SimpleBaselineSettings(width=32, standardise=True, max_norm=1.0)


class TestVideoPoseSingleFrame(LifterContract):
    @pytest.fixture
    def settings(self) -> VideoPoseSettings:
        return VideoPoseSettings(channels=32)


class TestVideoPoseTemporal(LifterContract):
    skeleton_name = "h36m_17"

    @pytest.fixture
    def settings(self) -> VideoPoseSettings:
        return VideoPoseSettings(channels=32, kernel_widths=(3, 3), predict_root=True)


class TestVideoPoseCausal(LifterContract):
    @pytest.fixture
    def settings(self) -> VideoPoseSettings:
        return VideoPoseSettings(channels=32, kernel_widths=(3, 5), causal=True)


class _DualStreamContract(LifterContract):
    def test_confidence_as_third_coordinate_is_refused(self, lifter: Lifter) -> None:
        """Not refused: this network takes it, and no confidence means full confidence."""
        keypoints = self.keypoints(lifter, 2)
        sure = torch.cat([keypoints, torch.ones_like(keypoints[..., :1])], dim=-1)
        assert torch.equal(lifter(sure), lifter(keypoints))
        sure[..., 2] = 0.2
        assert not torch.equal(lifter(sure), lifter(keypoints))


class TestDualStreamTemporal(_DualStreamContract):
    skeleton_name = "h36m_17"

    @pytest.fixture
    def settings(self) -> DualStreamSettings:
        return DualStreamSettings(window=5, features=16, heads=2, layers=2, dropout=0.1)


class TestDualStreamCausal(_DualStreamContract):
    @pytest.fixture
    def settings(self) -> DualStreamSettings:
        return DualStreamSettings(window=3, features=16, heads=2, layers=2, dropout=0.1, causal=True)


class TestDualStreamSingleFrame(_DualStreamContract):
    @pytest.fixture
    def settings(self) -> DualStreamSettings:
        return DualStreamSettings(window=1, features=16, heads=2, layers=2, dropout=0.1)


class TestSemGCN(LifterContract):
    @pytest.fixture
    def settings(self) -> SemGCNSettings:
        return SemGCNSettings(channels=16, blocks=1, dropout=0.1)


class TestSemGCNNonLocalOddJoints(LifterContract):
    skeleton_name = "h36m_17"

    @pytest.fixture
    def settings(self) -> SemGCNSettings:
        return SemGCNSettings(channels=16, blocks=1, graph="channel_wise", non_local=True, dropout=0.1)


class TestResGCN(LifterContract):
    skeleton_name = "smpl_24"

    @pytest.fixture
    def settings(self) -> SemGCNSettings:
        return SemGCNSettings(channels=16, blocks=1, graph="plain", dropout=0.1)


class TestSTGCN(LifterContract):
    @pytest.fixture
    def settings(self) -> STGCNSettings:
        return STGCNSettings(channels=(8, 8, 16), part_channels=16)


class TestSTGCNOtherSkeleton(LifterContract):
    skeleton_name = "smpl_24"

    @pytest.fixture
    def settings(self) -> STGCNSettings:
        return STGCNSettings(channels=(8, 8, 16), part_channels=16, dropout=0.2)
