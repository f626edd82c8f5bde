"""The lifters against outputs of the papers' public code (golden/README.md)."""

import numpy as np
import pytest
import torch

from estimators.lifters.simple_baseline import SimpleBaselineLifter, SimpleBaselineSettings
from estimators.lifters.temporal.videopose import VideoPoseLifter, VideoPoseSettings
from poses.skeleton import load_skeleton
from tests.golden.published_numbers import difference, embedded_state
from tests.golden.weight_rules import rule_a_state
from tests.shared_data import golden_path

TOLERANCE = 1e-4
TOLERANCE_FLOAT64 = 1e-9


def poseaug_lifter(kind: str):
    skeleton = load_skeleton("h36m_16")
    if kind == "mlp":
        return SimpleBaselineLifter(SimpleBaselineSettings(), skeleton)
    return VideoPoseLifter(VideoPoseSettings(), skeleton)


@pytest.mark.parametrize(("kind", "parameters"), [("mlp", 4_288_557), ("videopose", 8_485_933)])
def test_poseaug_lifters_equal_the_released_code(kind: str, parameters: int) -> None:
    golden = np.load(golden_path(f"golden_poseaug_{kind}.npz"))
    lifter = poseaug_lifter(kind)
    assert sum(value.numel() for value in lifter.parameters()) == parameters
    shapes = {name: tuple(value.shape) for name, value in lifter.to_published_state().items()}
    lifter.from_published_state(rule_a_state(shapes))
    lifter.eval()
    assert difference(lifter(torch.from_numpy(golden["input"])), golden["output"]) < TOLERANCE
    lifter.double()
    exact = lifter(torch.from_numpy(golden["input"]).double())
    assert difference(exact, golden["output_f64"]) < TOLERANCE_FLOAT64


def test_simple_baseline_small_network() -> None:
    golden = np.load(golden_path("golden_mlp_small.npz"))
    lifter = SimpleBaselineLifter(SimpleBaselineSettings(width=64), load_skeleton("h36m_16"))
    lifter.from_published_state(embedded_state(golden))
    lifter.eval()
    assert difference(lifter.network(torch.from_numpy(golden["input"])), golden["output"]) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "widths", "causal"),
    [
        ("videopose_1f_small", (1, 1, 1, 1, 1), False),
        ("videopose_27f_small", (3, 3, 3), False),
        ("videopose_27f_small_causal", (3, 3, 3), True),
    ],
)
def test_videopose_networks(name: str, widths: tuple[int, ...], causal: bool) -> None:
    golden = np.load(golden_path(f"golden_{name}.npz"))
    settings = VideoPoseSettings(channels=64, kernel_widths=widths, causal=causal, predict_root=True)
    lifter = VideoPoseLifter(settings, load_skeleton("h36m_17"))
    lifter.from_published_state(embedded_state(golden))
    lifter.eval().double()
    got = lifter.network(torch.from_numpy(golden["input"]).double())
    assert got.shape == golden["output_f64"].shape
    assert difference(got, golden["output_f64"]) < 1e-7
    single = lifter.float().network(torch.from_numpy(golden["input"]))
    assert difference(single, golden["output"]) < TOLERANCE


@pytest.mark.parametrize(
    ("widths", "parameters"),
    [((1,) * 5, 8_494_131), ((3,) * 3, 8_555_571), ((3,) * 4, 12_753_971), ((3,) * 5, 16_952_371)],
)
def test_videopose3d_parameter_counts(widths: tuple[int, ...], parameters: int) -> None:
    with torch.device("meta"):
        lifter = VideoPoseLifter(
            VideoPoseSettings(kernel_widths=widths, predict_root=True), load_skeleton("h36m_17")
        )
    assert sum(value.numel() for value in lifter.parameters()) == parameters
