"""The augmentor contract, for every augmentor that needs no training."""

import pytest

from augment.contract import Augmentor
from augment.detector_noise import DetectorNoiseAugmentor, DetectorNoiseSettings
from augment.mirror import MirrorAugmentor
from augment.placement import BoxSettings, PlacementAugmentor
from augment.random_augmentation import RandomAugmentationSettings, RandomAugmentor
from poses.batch import PoseBatch
from tests.contracts.augmentor_contract import AugmentorContract
from tests.contracts.window_augmentor_contract import WindowAugmentorContract
from tests.unit.augment.pose_samples import sample_batch


class TestNarrow(AugmentorContract, WindowAugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return RandomAugmentor(RandomAugmentationSettings.narrow(), 7, "narrow")


class TestWide(AugmentorContract, WindowAugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return RandomAugmentor(RandomAugmentationSettings.wide(), 7, "wide")


class TestWideOnSixteenJointsWithoutUp(AugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return RandomAugmentor(RandomAugmentationSettings.wide(), 7, "wide")

    @pytest.fixture
    def batch(self) -> PoseBatch:
        return sample_batch(skeleton_name="h36m_16", with_up=False)


class TestMirror(AugmentorContract, WindowAugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return MirrorAugmentor(7)


class TestPlacement(AugmentorContract, WindowAugmentorContract):
    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return PlacementAugmentor(BoxSettings(), 7)


class TestDetectorNoise(AugmentorContract):
    moves_2d = True

    @pytest.fixture
    def augmentor(self) -> Augmentor:
        return DetectorNoiseAugmentor(DetectorNoiseSettings(), 7)
