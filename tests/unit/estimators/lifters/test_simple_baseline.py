"""SimpleBaseline's published configurations, and what the original paper has beside them."""

import pytest
import torch

from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import (
    PRESETS,
    BoundedLinear,
    SimpleBaselineLifter,
    SimpleBaselineSettings,
)
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")


def small(**changes: object) -> SimpleBaselineLifter:
    lifter = build_lifter(SimpleBaselineSettings.model_validate({"width": 16, **changes}), SKELETON, seed=0)
    assert isinstance(lifter, SimpleBaselineLifter)
    return lifter


@pytest.mark.parametrize(
    ("name", "dropout", "stages"),
    [("semgcn", 0.5, 2), ("poseaug", 0.25, 2), ("poseaug_stages4", 0.25, 4), ("martinez", 0.5, 2)],
)
def test_presets(name: str, dropout: float, stages: int) -> None:
    settings = PRESETS[name]
    assert (settings.dropout, settings.stages, settings.width) == (dropout, stages, 1024)
    assert settings.standardise == (name == "martinez")


def test_standardised_inputs_have_mean_0_and_spread_1_and_outputs_those_of_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    keypoints = 0.1 * torch.randn(200, 16, 2, generator=generator) + 0.3
    joints = 0.4 * torch.randn(200, 16, 3, generator=generator) + torch.tensor([0.0, 0.5, 0.2])
    joints = joints - joints[:, :1]
    lifter = small(standardise=True).eval()
    lifter.fit(keypoints, joints)
    seen: list[torch.Tensor] = []
    lifter.w1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        lifter.w2.weight.zero_()
        lifter.w2.bias.zero_()
        predicted = lifter(keypoints)
    assert seen[0].mean(0).abs().max() < 1e-5
    torch.testing.assert_close(seen[0].std(0), torch.ones(32))
    torch.testing.assert_close(predicted, joints.mean(0).expand_as(predicted), atol=1e-5, rtol=1e-5)


def test_the_statistics_travel_with_the_weights() -> None:
    lifter, other = small(standardise=True).eval(), small(standardise=True).eval()
    keypoints = torch.rand(50, 16, 2)
    lifter.fit(keypoints, torch.rand(50, 16, 3))
    assert not torch.equal(lifter(keypoints), other(keypoints))
    other.load_state_dict(lifter.state_dict())
    assert torch.equal(lifter(keypoints), other(keypoints))


def test_weights_are_used_within_their_norm() -> None:
    layer = BoundedLinear(4, 4, max_norm=1.0)
    with torch.no_grad():
        layer.weight.copy_(3.0 * torch.eye(4))
        layer.bias.zero_()
    torch.testing.assert_close(layer(torch.ones(1, 4)), torch.full((1, 4), 0.5))
    with torch.no_grad():
        layer.weight.copy_(0.1 * torch.eye(4))
    torch.testing.assert_close(layer(torch.ones(1, 4)), torch.full((1, 4), 0.1))


def test_fit_changes_nothing_where_nothing_is_standardised() -> None:
    lifter = small()
    before = {name: value.clone() for name, value in lifter.state_dict().items()}
    lifter.fit(torch.rand(9, 16, 2), torch.rand(9, 16, 3))
    assert all(torch.equal(before[name], value) for name, value in lifter.state_dict().items())
