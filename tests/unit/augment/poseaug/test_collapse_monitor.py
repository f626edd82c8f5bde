"""The collapse monitor: quiet on healthy numbers, and names each way to collapse."""

import json
from dataclasses import replace

import pytest
import torch

from augment.poseaug.collapse_monitor import CollapseMonitor, CollapseMonitorSettings
from augment.poseaug.generator import Augmented3D
from augment.poseaug.settings import LossSettings
from tests.unit.augment.poseaug.samples import SKELETON

HEALTHY_ACCURACY = {"d3d": 0.7, "d2d": 0.8}


def healthy(rows: int = 20) -> Augmented3D:
    generator = torch.Generator().manual_seed(0)
    joints = torch.zeros(rows, 16, 3)
    return Augmented3D(
        bone_angle_joints_m=joints,
        bone_angle_change=0.1 + 0.1 * torch.rand(rows, 15, generator=generator),
        bone_length_joints_m=joints,
        bone_length_ratio=0.05 * torch.randn(rows, 9, generator=generator),
        joints_camera_m=joints,
        axis_angle_rad=torch.zeros(rows, 3),
        translation_m=4.0 + torch.randn(rows, 3, generator=generator),
    )


def one_bone_turned() -> Augmented3D:
    change = torch.full((20, 15), 0.1)
    change[:, SKELETON.bone_index("left_hip")] = 0.76
    return replace(healthy(), bone_angle_change=change)


def monitor_after(
    augmented: Augmented3D, accuracy: dict[str, float] | None = None, kept: float = 0.5
) -> CollapseMonitor:
    monitor = CollapseMonitor(CollapseMonitorSettings(settle=5), LossSettings(), SKELETON)
    for _ in range(5):
        monitor.observe(augmented, HEALTHY_ACCURACY if accuracy is None else accuracy, kept)
    return monitor


def test_healthy_numbers_give_no_alarm() -> None:
    verdict = monitor_after(healthy()).verdict()
    assert verdict.healthy
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    ("augmented", "accuracy", "kept", "message"),
    [
        (
            replace(healthy(), bone_angle_change=torch.zeros(20, 15)),
            HEALTHY_ACCURACY,
            0.5,
            "copies its input",
        ),
        (
            replace(healthy(), bone_angle_change=torch.ones(20, 15)),
            HEALTHY_ACCURACY,
            0.5,
            "only 0.0% of poses have",
        ),
        (one_bone_turned(), HEALTHY_ACCURACY, 0.5, "bone left_hip is turned by about 76 degrees"),
        (healthy(), {"d3d": 1.0, "d2d": 0.7}, 0.5, "discriminator d3d is right in 100.0%"),
        (healthy(), HEALTHY_ACCURACY, 0.0, "only 0.0% of augmented poses pass"),
        (replace(healthy(), translation_m=torch.ones(20, 3)), HEALTHY_ACCURACY, 0.5, "stand at one depth"),
        (replace(healthy(), translation_m=torch.full((20, 3), torch.nan)), HEALTHY_ACCURACY, 0.5, "is nan"),
    ],
)
def test_each_collapse_is_named(
    augmented: Augmented3D, accuracy: dict[str, float], kept: float, message: str
) -> None:
    verdict = monitor_after(augmented, accuracy, kept).verdict()
    assert not verdict.healthy
    assert any(message in reason for reason in verdict.reasons), verdict.reasons


def test_only_an_augmentor_past_use_counts_as_collapsed() -> None:
    assert not monitor_after(one_bone_turned()).verdict().collapsed
    assert not monitor_after(healthy(), {"d3d": 1.0, "d2d": 1.0}).verdict().collapsed
    assert monitor_after(healthy(), HEALTHY_ACCURACY, 0.0).verdict().collapsed
    assert monitor_after(replace(healthy(), bone_angle_change=torch.zeros(20, 15))).verdict().collapsed


def test_no_verdict_before_it_has_settled() -> None:
    monitor = CollapseMonitor(CollapseMonitorSettings(settle=5), LossSettings(), SKELETON)
    assert monitor.verdict().healthy
    monitor.observe(replace(healthy(), bone_angle_change=torch.zeros(20, 15)), {}, 0.0)
    assert monitor.verdict().healthy


def test_means_follow_and_the_state_is_json() -> None:
    monitor = monitor_after(healthy())
    for _ in range(500):
        monitor.observe(healthy(), HEALTHY_ACCURACY, 0.9)
    assert monitor.means["kept_fraction"] == pytest.approx(0.9, abs=1e-3)
    other = CollapseMonitor(CollapseMonitorSettings(), LossSettings(), SKELETON)
    other.load_state(json.loads(json.dumps(monitor.state())))
    assert other.means == monitor.means
    assert other.updates == monitor.updates == 505
