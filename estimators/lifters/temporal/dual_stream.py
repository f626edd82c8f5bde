"""Dual-stream spatio-temporal transformer: the DSTformer of MotionBERT (Zhu et al. 2023, arXiv 2210.06551).

Every layer runs two blocks on the same tokens (a token is one joint in one frame): one attends over the joints of a
frame first and over the frames of a joint second, the other the other way round. A learned, per-token weight mixes the
two. One pass gives a pose for every frame of a sequence. Names and shapes of the state are those of the published
checkpoints (without the `module.` that DataParallel put before them); `motionbert` and `motionbert_lite` build those.

How it keeps the lifter contract:
- `forward` gives the poses of the frames that have a whole window around them (before them, if causal), each out of a
  pass of its own over its window; `lift_sequence` gives all frames of up to `max_frames` in one pass, and is what
  training uses. With `window = 1` it is a single-frame lifter.
- Poses are metres relative to the root, as of all our lifters. The published checkpoints are in "2.5D image" units: x
  and y in widths of the image, and their evaluation multiplies every frame by a factor that it takes from the ground
  truth, and leaves three sequences of S9 out. Those numbers stand beside no protocol of ours; no code here uses the
  factor. A published checkpoint gives our contract's shape but not metres, until it is trained further.
- Keypoints may carry their confidence as a third channel; without it, every confidence is 1.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from estimators.dropout import SeededDropout
from estimators.errors import LifterInputError
from estimators.lifters.contract import Lifter
from poses.skeleton import Skeleton

_NORM_EPS = 1e-6
_INITIAL_SPREAD = 0.02
_INPUTS = 3
"""x, y, confidence."""
Axis = Literal["joints", "frames"]


class DualStreamSettings(BaseModel):
    """Shape of a dual-stream transformer; the defaults are small enough for a CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dual_stream"] = "dual_stream"
    window: int = Field(default=27, ge=1, description="frames that one pose of `forward` sees; odd")
    max_frames: int | None = Field(
        default=None, ge=1, description="longest sequence of one pass, `window` if None; 243 as published"
    )
    features: int = Field(default=64, ge=1, description="width of a token")
    representation: int = Field(default=128, ge=1, description="width before the output layer")
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=8, ge=1)
    hidden_ratio: int = Field(
        default=2, ge=1, description="width of the feed-forward layers, in token widths"
    )
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="after attention and in feed-forward layers"
    )
    causal: bool = Field(default=False, description="the pose of a window is its last frame's")

    @model_validator(mode="after")
    def _fits(self) -> "DualStreamSettings":
        if self.window % 2 == 0:
            raise ValueError(
                f"window must be odd, so that it has a middle frame, got {self.window}; take {self.window + 1}"
            )
        if self.features % self.heads:
            raise ValueError(
                f"features = {self.features} does not divide into {self.heads} heads; take a multiple"
            )
        if self.longest < self.window:
            raise ValueError(
                f"max_frames = {self.max_frames} is shorter than the window of {self.window}; raise it"
            )
        return self

    @property
    def longest(self) -> int:
        """Frames of the longest sequence."""
        return self.window if self.max_frames is None else self.max_frames


def motionbert(window: int = 243) -> DualStreamSettings:
    """MotionBERT's network (42.47 M parameters)."""
    return _published(window, features=512, hidden_ratio=2)


def motionbert_lite(window: int = 243) -> DualStreamSettings:
    """MotionBERT-Lite's network (16.00 M parameters)."""
    return _published(window, features=256, hidden_ratio=4)


def _published(window: int, features: int, hidden_ratio: int) -> DualStreamSettings:
    return DualStreamSettings(
        window=window,
        max_frames=243,
        features=features,
        representation=512,
        layers=5,
        heads=8,
        hidden_ratio=hidden_ratio,
    )


class Attention(nn.Module):
    """Multi-head self-attention over the last axis but one."""

    def __init__(self, features: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)
        self.dropout = SeededDropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., N, C) -> (..., N, C); nothing is shared along the leading axes."""
        *leading, count, features = tokens.shape
        split = self.qkv(tokens).view(-1, count, 3, self.heads, features // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = scaled_dot_product_attention(query, key, value)
        return self.dropout(self.proj(mixed.transpose(1, 2).reshape(*leading, count, features)))


class FeedForward(nn.Module):
    """Linear, GELU, Linear on every token."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, features)
        self.dropout = SeededDropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.dropout(self.fc2(self.dropout(gelu(self.fc1(tokens)))))


class StreamBlock(nn.Module):
    """Attention and feed-forward along one axis, then along the other, each added to its normalised input."""

    def __init__(self, settings: DualStreamSettings, order: tuple[Axis, Axis]) -> None:
        super().__init__()
        self.order = order
        features, hidden = settings.features, settings.features * settings.hidden_ratio
        self.norm1_s = nn.LayerNorm(features, eps=_NORM_EPS)
        self.norm1_t = nn.LayerNorm(features, eps=_NORM_EPS)
        self.attn_s = Attention(features, settings.heads, settings.dropout)
        self.attn_t = Attention(features, settings.heads, settings.dropout)
        self.norm2_s = nn.LayerNorm(features, eps=_NORM_EPS)
        self.norm2_t = nn.LayerNorm(features, eps=_NORM_EPS)
        self.mlp_s = FeedForward(features, hidden, settings.dropout)
        self.mlp_t = FeedForward(features, hidden, settings.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, J, C) -> (B, T, J, C)."""
        for axis in self.order:
            tokens = self._along_joints(tokens) if axis == "joints" else self._along_frames(tokens)
        return tokens

    def _along_joints(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn_s(self.norm1_s(tokens))
        return tokens + self.mlp_s(self.norm2_s(tokens))

    def _along_frames(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn_t(self.norm1_t(tokens).transpose(1, 2)).transpose(1, 2)
        return tokens + self.mlp_t(self.norm2_t(tokens))


class DualStreamLifter(Lifter):
    """Dual-stream transformer; see the module's text."""

    lifts_sequences = True
    takes_confidence = True

    def __init__(self, settings: DualStreamSettings, skeleton: Skeleton) -> None:
        super().__init__(skeleton, receptive_field=settings.window)
        self.settings = settings
        self.causal = settings.causal
        features, layers = settings.features, range(settings.layers)
        self.joints_embed = nn.Linear(_INPUTS, features)
        self.temp_embed = nn.Parameter(torch.zeros(1, settings.longest, 1, features))
        self.pos_embed = nn.Parameter(torch.zeros(1, skeleton.n_joints, features))
        self.blocks_st = nn.ModuleList(StreamBlock(settings, ("joints", "frames")) for _ in layers)
        self.blocks_ts = nn.ModuleList(StreamBlock(settings, ("frames", "joints")) for _ in layers)
        self.ts_attn = nn.ModuleList(nn.Linear(2 * features, 2) for _ in layers)
        self.norm = nn.LayerNorm(features, eps=_NORM_EPS)
        self.pre_logits = nn.ModuleDict({"fc": nn.Linear(features, settings.representation)})
        self.head = nn.Linear(settings.representation, 3)
        self._initialise()

    def _initialise(self) -> None:
        """As published: small normal weights, no biases, both streams at equal weight."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=_INITIAL_SPREAD)
                nn.init.zeros_(part.bias)
        nn.init.trunc_normal_(self.temp_embed, std=_INITIAL_SPREAD)
        nn.init.trunc_normal_(self.pos_embed, std=_INITIAL_SPREAD)
        for mixing in self.ts_attn:
            if isinstance(mixing, nn.Linear):
                nn.init.zeros_(mixing.weight)
                nn.init.constant_(mixing.bias, 0.5)

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """(B, T, J, 2 or 3) or (B, J, 2 or 3) -> (B, T - window + 1, J, 3) or (B, J, 3) metres, root-relative.

        The cost is a pass over `window` frames for every output frame; for a pose of every frame at the cost of one
        pass take `lift_sequence`.
        """
        if keypoints_screen.ndim == 3:
            return self.lift(keypoints_screen.unsqueeze(1)).squeeze(1)
        window = self.settings.window
        windows = keypoints_screen.unfold(1, window, 1).movedim(-1, 2)
        batch, kept = windows.shape[:2]
        joints_m = self.lift_sequence(windows.flatten(0, 1))
        chosen = window - 1 if self.causal else window // 2
        return joints_m[:, chosen].view(batch, kept, *joints_m.shape[2:])

    def lift_sequence(self, keypoints_screen: Tensor) -> Tensor:
        """(B, T, J, 2 or 3) -> (B, T, J, 3) metres, root-relative: all frames in one pass.

        Raises:
            LifterInputError: if T is more than `max_frames`.
        """
        frames, root = keypoints_screen.shape[1], self.skeleton.root_index
        if frames > self.settings.longest:
            raise LifterInputError(
                f"dual-stream lifter wants sequences of at most max_frames = {self.settings.longest} frames, got "
                f"{frames}; cut them into pieces, or build the lifter with more max_frames"
            )
        joints = self.network(_with_confidence(keypoints_screen))
        return joints - joints[..., root : root + 1, :]

    def network(self, keypoints: Tensor) -> Tensor:
        """(B, T, J, 3) of x, y and confidence -> (B, T, J, 3): the published network's own output."""
        tokens = self.joints_embed(keypoints) + self.pos_embed
        tokens = tokens + self.temp_embed[:, : keypoints.shape[1]]
        for joints_first, frames_first, mixing in zip(
            self.blocks_st, self.blocks_ts, self.ts_attn, strict=True
        ):
            one, other = joints_first(tokens), frames_first(tokens)
            share = mixing(torch.cat([one, other], dim=-1)).softmax(dim=-1)
            tokens = one * share[..., :1] + other * share[..., 1:]
        return self.head(torch.tanh(self.pre_logits["fc"](self.norm(tokens))))


def _with_confidence(keypoints_screen: Tensor) -> Tensor:
    """(..., 2) gets a third channel of ones; (..., 3) has its confidence already."""
    return (
        keypoints_screen
        if keypoints_screen.shape[-1] == _INPUTS
        else pad(keypoints_screen, (0, 1), value=1.0)
    )
