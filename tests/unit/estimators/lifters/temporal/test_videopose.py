"""VideoPose: dilated and strided forms agree, causality, receptive fields, published kernels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from estimators.errors import CheckpointError
from estimators.lifters.temporal.videopose import VideoPoseLifter, VideoPoseSettings, kernel_widths_for
from poses.skeleton import load_skeleton


def lifter_of(widths: tuple[int, ...], causal: bool = False) -> VideoPoseLifter:
    torch.manual_seed(0)
    settings_ = VideoPoseSettings(channels=16, kernel_widths=widths, causal=causal, dropout=0.0)
    return VideoPoseLifter(settings_, load_skeleton("h36m_16")).eval()


@given(half=st.integers(0, 60))
def test_any_odd_receptive_field_has_widths(half: int) -> None:
    widths = kernel_widths_for(2 * half + 1)
    assert math.prod(widths) == 2 * half + 1
    assert all(width % 2 for width in widths)


@pytest.mark.parametrize("field", [0, 2, -3])
def test_even_receptive_fields_are_refused(field: int) -> None:
    with pytest.raises(ValueError, match="odd number of frames"):
        kernel_widths_for(field)
    with pytest.raises(ValueError, match="odd and positive"):
        VideoPoseSettings(kernel_widths=(3, field))


@settings(max_examples=12, deadline=None)
@given(
    widths=st.sampled_from([(3,), (3, 3), (5, 3), (3, 1, 3), (7,), (1, 3)]),
    causal=st.booleans(),
    seed=st.integers(0, 99),
)
def test_strided_equals_dilated(widths: tuple[int, ...], causal: bool, seed: int) -> None:
    lifter = lifter_of(widths, causal)
    frames = lifter.receptive_field + 4
    keypoints = torch.rand(2, frames, 16, 2, generator=torch.Generator().manual_seed(seed)) - 0.5
    dilated = lifter(keypoints)
    windows = [lifter(keypoints[:, start : start + lifter.receptive_field]) for start in range(5)]
    torch.testing.assert_close(dilated, torch.cat(windows, dim=1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False])
def test_the_residual_follows_the_newest_frame_only_in_causal_models(causal: bool) -> None:
    lifter = lifter_of((3, 3), causal)
    for layer in lifter.layers[
        0::2
    ]:  # without the mixing of frames in the blocks only the residual path is left
        torch.nn.init.zeros_(layer.mixing.linear.weight)
    base = torch.zeros(1, 9, 16, 2)
    changed_late = base.clone()
    changed_late[:, 8] = 1.0
    moved = not torch.equal(lifter(base), lifter(changed_late))
    assert moved == causal


def test_kernels_are_those_of_a_convolution() -> None:
    lifter = lifter_of((3, 5))
    frames = torch.rand(2, 15, 32)
    kernel = lifter.to_published_state()["expand_conv.weight"]
    assert kernel.shape == (16, 32, 3)
    wanted = torch.nn.functional.conv1d(frames.transpose(1, 2), kernel).transpose(1, 2)
    torch.testing.assert_close(lifter.expand.mixing(frames, 1, False), wanted, atol=1e-5, rtol=1e-4)


def test_a_published_state_of_another_shape_is_refused() -> None:
    state = lifter_of((3, 3)).to_published_state()
    with pytest.raises(
        CheckpointError, match=r"'layers_conv.0.weight' wants shape \(16, 16, 5\), got \(16, 16, 3\)"
    ):
        lifter_of((3, 5)).from_published_state(state)
