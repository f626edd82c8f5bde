"""VideoPose beside its published form, which is Conv1d over (B, C, T), at the same weights and the same outputs.

Single frame: forward pass and training step. 27 frames: the strided training form, which computes only what reaches
the one output frame, beside the dilated one. Every figure stands beside the bare matrix products of the same run: same
shapes and number, nothing between them. On a CPU all count processor time of one thread, in turns, the fastest repeat;
on a GPU the wall clock between synchronisations.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.row import BenchmarkRow, rate_row
from benchmarks.timing import seconds_of
from estimators.errors import LifterInputError
from estimators.lifters.settings import build_lifter
from estimators.lifters.temporal.videopose import VideoPoseLifter, VideoPoseSettings
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from poses.skeleton import load_skeleton

BATCHES = (1024, 8192)
WINDOWS = 128
"""Windows of 27 frames per training step."""
CHUNK = 1024
"""Rows of the bare products of a forward pass."""
SAME = 1e-4
"""Largest difference between the two forms, metres."""
SKELETON = "h36m_17"
REPEATS = {1024: 4, 8192: 2}
Product = tuple[int, int, int]
"""Rows, inner size and columns of a matrix product."""


def measure() -> list[BenchmarkRow]:
    """All rows of this file's part of the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows: list[BenchmarkRow] = []
    for batch in BATCHES:
        rows += [*measure_forward(batch, device), *measure_step(batch, device)]
    return [*rows, *measure_strided(device)]


class PublishedVideoPose(nn.Module):
    """The published network, by its description: Conv1d, BatchNorm1d, ReLU and dropout on (B, C, T)."""

    def __init__(
        self, inputs: int, outputs: int, channels: int, widths: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.widths = widths
        self.drop = nn.Dropout(dropout)
        self.expand_conv = nn.Conv1d(inputs, channels, widths[0], bias=False)
        self.expand_bn = nn.BatchNorm1d(channels)
        kernels, dilations = _inner(widths)
        self.layers_conv = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=dilation, bias=False)
            for kernel, dilation in zip(kernels, dilations, strict=True)
        )
        self.layers_bn = nn.ModuleList(nn.BatchNorm1d(channels) for _ in kernels)
        self.shrink = nn.Conv1d(channels, outputs, 1)

    def forward(self, keypoints: Tensor) -> Tensor:
        """(B, T, J, 2) -> (B, T', J, 3)."""
        hidden = keypoints.flatten(2).permute(0, 2, 1)
        hidden = self.drop(torch.relu(self.expand_bn(self.expand_conv(hidden))))
        reach = self.widths[0]
        for block, width in enumerate(self.widths[1:]):
            skipped = reach * (width // 2)
            residual = hidden[:, :, skipped : hidden.shape[2] - skipped]
            for layer in (2 * block, 2 * block + 1):
                hidden = self.drop(torch.relu(self.layers_bn[layer](self.layers_conv[layer](hidden))))
            hidden = hidden + residual
            reach *= width
        joints = self.shrink(hidden).permute(0, 2, 1)
        return joints.reshape(*joints.shape[:2], -1, 3)


def _inner(widths: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Kernel widths and dilations of the layers between first and last."""
    kernels, dilations, reach = [], [], widths[0]
    for width in widths[1:]:
        kernels += [width, 1]
        dilations += [reach, 1]
        reach *= width
    return kernels, dilations


def pair(widths: tuple[int, ...], device: str) -> tuple[VideoPoseLifter, PublishedVideoPose]:
    """Ours and the published form with the same weights."""
    skeleton = load_skeleton(SKELETON)
    settings = VideoPoseSettings(kernel_widths=widths, predict_root=True)
    ours = build_lifter(settings, skeleton, seed=0)
    if not isinstance(ours, VideoPoseLifter):
        raise LifterInputError(f"benchmark wants a VideoPose lifter, got {type(ours).__name__}")
    inputs, outputs = 2 * skeleton.n_joints, 3 * skeleton.n_joints
    theirs = PublishedVideoPose(inputs, outputs, settings.channels, widths, settings.dropout)
    theirs.load_state_dict(ours.to_published_state())
    return ours.to(device), theirs.to(device)


def measure_forward(batch: int, device: str) -> list[BenchmarkRow]:
    """Single frame, evaluation mode."""
    ours, theirs = pair((1, 1, 1, 1, 1), device)
    keypoints = _keypoints(batch, 1, device)
    ours.eval()
    theirs.eval()
    with torch.inference_mode():
        check_same(ours(keypoints[:512]), theirs(keypoints[:512]))
        best = in_turns(
            {
                "ours": lambda: ours.lift(keypoints),
                "published": lambda: theirs(keypoints),
                "products": _products(_layer_products(ours, CHUNK, 1), batch // CHUNK, device),
            },
            device,
            REPEATS[batch],
        )
    return _rows(f"VideoPose 1 frame, forward, batch {batch:,}", batch, best)


def measure_step(batch: int, device: str) -> list[BenchmarkRow]:
    """Single frame, one training step with Adam."""
    ours, theirs = pair((1, 1, 1, 1, 1), device)
    keypoints = _keypoints(batch, 1, device)
    targets = torch.zeros(batch, 1, load_skeleton(SKELETON).n_joints, 3, device=device)
    trainer = LifterTrainer(LifterTrainerSettings(loss="l2", amsgrad=True, grad_clip_norm=None), ours)
    best = in_turns(
        {
            "ours": lambda: trainer.step(keypoints, targets),
            "published": training_step(theirs, theirs, keypoints, targets),
            "products": _products(_step_products(ours, batch, 1), 1, device),
        },
        device,
        max(1, REPEATS[batch] // 2),
    )
    return _rows(f"VideoPose 1 frame, training step, batch {batch:,}", batch, best)


def measure_strided(device: str) -> list[BenchmarkRow]:
    """27 frames: one training step in the strided form, beside the dilated one and the published dilated one."""
    ours, theirs = pair((3, 3, 3), device)
    keypoints = _keypoints(WINDOWS, 27, device)
    targets = torch.zeros(WINDOWS, 1, load_skeleton(SKELETON).n_joints, 3, device=device)
    best = in_turns(
        {
            "ours": training_step(ours.network, ours, keypoints, targets),
            "ours dilated": training_step(partial(ours.network, strided=False), ours, keypoints, targets),
            "published": training_step(theirs, theirs, keypoints, targets),
        },
        device,
        2,
    )
    rate = WINDOWS / best["ours"]
    name = f"VideoPose 27 frames, strided training step, {WINDOWS} windows"
    return [
        rate_row(name, rate, "windows/s", WINDOWS / best["ours dilated"], "dilated form"),
        rate_row(name, rate, "windows/s", WINDOWS / best["published"], "dilated, Conv1d"),
    ]


def training_step(
    forward: Callable[[Tensor], Tensor], network: nn.Module, keypoints: Tensor, targets: Tensor
) -> Callable[[], None]:
    """One training step as the published code does it: mean joint distance, Adam with amsgrad, no clipping."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, amsgrad=True)

    def step() -> None:
        optimizer.zero_grad()
        torch.linalg.vector_norm(forward(keypoints) - targets, dim=-1).mean().backward()
        optimizer.step()

    return step


def _rows(name: str, batch: int, best: Mapping[str, float]) -> list[BenchmarkRow]:
    rate = batch / best["ours"]
    return [
        rate_row(name, rate, "poses/s", batch / best["published"], "Conv1d form", goal=2.0),
        rate_row(name, rate, "poses/s", batch / best["products"], "bare products"),
    ]


def _layer_products(lifter: VideoPoseLifter, rows: int, frames: int) -> list[Product]:
    """The products of a forward pass over `rows` windows; `frames` enter the first layer of each."""
    layers = [part for part in lifter.modules() if isinstance(part, nn.Linear)]
    return [(rows * frames, layer.in_features, layer.out_features) for layer in layers]


def _step_products(lifter: VideoPoseLifter, rows: int, frames: int) -> list[Product]:
    """Forward, gradient of the weights, and gradient of the inputs of all layers but the first."""
    forward = _layer_products(lifter, rows, frames)
    weights = [(columns, count, inner) for count, inner, columns in forward]
    inputs = [
        (count, columns, inner) for count, inner, columns in forward if inner == columns or columns < inner
    ]
    return [*forward, *weights, *inputs]


def _products(products: list[Product], times: int, device: str) -> Callable[[], None]:
    """The bare products, `times` over, into buffers that stay."""
    made = {
        shape: (
            torch.randn(shape[0], shape[1], device=device),
            torch.randn(shape[2], shape[1], device=device).t(),
            torch.empty(shape[0], shape[2], device=device),
        )
        for shape in set(products)
    }

    def run() -> None:
        for _ in range(times):
            for shape in products:
                left, right, out = made[shape]
                torch.mm(left, right, out=out)

    return run


def _keypoints(rows: int, frames: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    count = load_skeleton(SKELETON).n_joints
    return (torch.rand(rows, frames, count, 2, generator=generator) * 2 - 1).to(device)


def check_same(ours: Tensor, published: Tensor) -> None:
    root = load_skeleton(SKELETON).root_index
    difference = float((ours - (published - published[..., root : root + 1, :])).abs().max())
    if difference > SAME:
        raise LifterInputError(
            f"benchmark: the two forms of VideoPose differ by {difference:.2g} m, wanted at most {SAME:g}; "
            "a speed without equal outputs says nothing"
        )


def in_turns(runs: Mapping[str, Callable[[], object]], device: str, repeats: int) -> dict[str, float]:
    """Fastest repeat of each run, in seconds; the runs take turns. The first turn only warms up."""
    best = {name: float("inf") for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            seconds = seconds_of(run, device)
            best[name] = min(best[name], seconds) if turn else best[name]
    return best
