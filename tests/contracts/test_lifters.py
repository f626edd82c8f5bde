"""Every lifter keeps the lifter contract."""

import pytest

from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.lifters.videopose import VideoPoseSettings
from tests.contracts.lifter_contract import LifterContract


class TestSimpleBaseline(LifterContract):
    @pytest.fixture
    def settings(self) -> SimpleBaselineSettings:
        return SimpleBaselineSettings(width=32)


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
