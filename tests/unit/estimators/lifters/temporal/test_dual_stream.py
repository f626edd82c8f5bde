"""The dual-stream transformer against a plain writing of it, its settings, and the loss that it is trained with."""

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm

from estimators.errors import LifterInputError
from estimators.lifters.settings import build_lifter
from estimators.lifters.temporal.dual_stream import (
    Attention,
    DualStreamLifter,
    DualStreamSettings,
    StreamBlock,
)
from estimators.lifters.training.losses import loss_per_sample
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from poses.skeleton import load_skeleton

SMALL = DualStreamSettings(window=5, max_frames=9, features=16, representation=12, layers=2, heads=4)
SKELETON = load_skeleton("h36m_17")


def built(settings: DualStreamSettings = SMALL, seed: int = 0) -> DualStreamLifter:
    lifter = build_lifter(settings, SKELETON, seed=seed)
    assert isinstance(lifter, DualStreamLifter)
    return lifter.eval()


def keypoints(rows: int, frames: int) -> torch.Tensor:
    return torch.rand(rows, frames, 17, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def plain_attention(attention: Attention, tokens: torch.Tensor) -> torch.Tensor:
    """PyTorch's own multi-head attention with the same weights, on (N, tokens, C)."""
    other = nn.MultiheadAttention(tokens.shape[-1], attention.heads, batch_first=True)
    other.load_state_dict(
        {
            "in_proj_weight": attention.qkv.weight,
            "in_proj_bias": attention.qkv.bias,
            "out_proj.weight": attention.proj.weight,
            "out_proj.bias": attention.proj.bias,
        }
    )
    return other.eval()(tokens, tokens, tokens, need_weights=False)[0]


def plain_block(block: StreamBlock, tokens: torch.Tensor, joints_first: bool) -> torch.Tensor:
    """Frame by frame and joint by joint, as the paper words it."""

    def norm(part: nn.LayerNorm, values: torch.Tensor) -> torch.Tensor:
        return layer_norm(values, (values.shape[-1],), part.weight, part.bias, 1e-6)

    def spatial(values: torch.Tensor) -> torch.Tensor:
        frames = [plain_attention(block.attn_s, norm(block.norm1_s, frame)) for frame in values.unbind(1)]
        values = values + torch.stack(frames, dim=1)
        return values + block.mlp_s.fc2(gelu(block.mlp_s.fc1(norm(block.norm2_s, values))))

    def temporal(values: torch.Tensor) -> torch.Tensor:
        joints = [plain_attention(block.attn_t, norm(block.norm1_t, joint)) for joint in values.unbind(2)]
        values = values + torch.stack(joints, dim=2)
        return values + block.mlp_t.fc2(gelu(block.mlp_t.fc1(norm(block.norm2_t, values))))

    return temporal(spatial(tokens)) if joints_first else spatial(temporal(tokens))


def test_equals_a_plain_writing_of_the_paper() -> None:
    lifter = built()
    with torch.no_grad():
        for parameter in lifter.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
            parameter.mul_(0.3)
        inputs = torch.cat([keypoints(2, 6), torch.rand(2, 6, 17, 1)], dim=-1)
        tokens = inputs @ lifter.joints_embed.weight.T + lifter.joints_embed.bias
        tokens = tokens + lifter.pos_embed + lifter.temp_embed[:, :6]
        for one, other, mixing in zip(lifter.blocks_st, lifter.blocks_ts, lifter.ts_attn, strict=True):
            assert isinstance(one, StreamBlock)
            assert isinstance(other, StreamBlock)
            first, second = plain_block(one, tokens, True), plain_block(other, tokens, False)
            share = torch.softmax(mixing(torch.cat([first, second], dim=-1)), dim=-1)
            tokens = share[..., 0:1] * first + share[..., 1:2] * second
        tokens = layer_norm(tokens, (16,), lifter.norm.weight, lifter.norm.bias, 1e-6)
        wanted = lifter.head(torch.tanh(lifter.pre_logits["fc"](tokens)))
        torch.testing.assert_close(lifter.network(inputs), wanted, atol=1e-5, rtol=1e-4)


def test_both_streams_weigh_the_same_at_first() -> None:
    lifter = built()
    for mixing in lifter.ts_attn:
        share = mixing(torch.randn(3, 32)).softmax(-1)
        torch.testing.assert_close(share, torch.full((3, 2), 0.5))


def test_a_sequence_longer_than_the_network_knows_is_refused() -> None:
    lifter = built()
    assert lifter(keypoints(1, 9), "sequence").shape == (1, 9, 17, 3)
    with pytest.raises(LifterInputError, match="at most max_frames = 9 frames, got 10; cut them into pieces"):
        lifter(keypoints(1, 10), "sequence")


def test_windows_are_lifted_each_by_itself() -> None:
    lifter, clip = built(), keypoints(2, 8)
    poses = lifter(clip)
    assert poses.shape == (2, 4, 17, 3)
    torch.testing.assert_close(poses[:, 2], lifter(clip[:, 2:7], "sequence")[:, 2], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 4}, "window must be odd.*take 5"),
        ({"features": 30}, "does not divide into 8 heads"),
        ({"window": 9, "max_frames": 5}, "shorter than the window of 9"),
    ],
)
def test_settings_that_do_not_fit_are_named(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DualStreamSettings.model_validate(change)


def test_learns_every_frame_of_a_window_and_one_sample_is_enough() -> None:
    lifter = built()
    targets = 0.3 * torch.randn(1, 5, 17, 3, generator=torch.Generator().manual_seed(2))
    targets = targets - targets[:, :, :1]
    trainer = LifterTrainer(
        LifterTrainerSettings(loss="l2_motion", learning_rate=3e-3, weight_decay=0.01), lifter
    )
    losses = [trainer.step(keypoints(1, 5), targets) for _ in range(60)]
    assert losses[-1] < 0.6 * losses[0]


def test_the_motion_loss_has_the_published_terms() -> None:
    generator = torch.Generator().manual_seed(3)
    predicted, target = (torch.randn(2, 4, 17, 3, generator=generator) for _ in range(2))
    got = loss_per_sample("l2_motion", predicted, target, SKELETON)
    for row in range(2):
        plain = (predicted[row] - target[row]).norm(dim=-1).mean()
        scaled = []
        for frame in range(4):
            one, other = predicted[row, frame], target[row, frame]
            scaled.append((one * (one * other).sum() / (one * one).sum() - other).norm(dim=-1).mean())
        steps = (predicted[row, 1:] - predicted[row, :-1]) - (target[row, 1:] - target[row, :-1])
        wanted = plain + 0.5 * torch.stack(scaled).mean() + 20.0 * steps.norm(dim=-1).mean()
        torch.testing.assert_close(got[row], wanted)
    still = loss_per_sample("l2_motion", predicted[:, 0], target[:, 0], SKELETON)
    assert still.shape == (2,)
    assert bool((loss_per_sample("l2_motion", target, target, SKELETON) < 1e-5).all())
