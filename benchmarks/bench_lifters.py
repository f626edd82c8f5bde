"""Graph lifters: poses a second of one processor core, beside the published formulation and the bare matrix products.

All figures count processor time of one thread and the fastest of a few repeats; posemill's form, the published one
(`published_semgcn.py`) and the products take turns. A row's limit is what the published formulation reaches in the same
run, so that its ratio is the speed-up that the project asks for; the share of the matrix-product floor stands in the
note. The floor are the weight products that the network cannot do without (joints times weights; mixing between
joints, BatchNorm and ReLU are left out), in the chunks that suit them.
"""

from collections.abc import Callable

import torch

from benchmarks.published_semgcn import PublishedSemGCN
from benchmarks.row import BenchmarkRow
from benchmarks.timing import seconds_of
from estimators.lifters.graphs.semgcn import SemGCNLifter, SemGCNSettings
from estimators.lifters.graphs.semgcn_inference import CHUNK
from poses.skeleton import load_skeleton

BATCHES = (1024, 8192)
TRAINING_BATCH = 512
REPEATED = 6144
"""Poses over which a measurement is repeated at least once."""
LARGEST_DIFFERENCE = 1e-4
GOALS = {False: 2.0, True: 5.0}
"""Speed-up over the published formulation by whether there are non-local blocks."""
SKELETON = load_skeleton("h36m_16")


def measure() -> list[BenchmarkRow]:
    """All rows of this file's part of the table; on a CPU in one thread."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [measure_inference(non_local, batch, device) for non_local in (False, True) for batch in BATCHES]
    return [*rows, *(measure_training(non_local, device) for non_local in (False, True))]


def measure_inference(non_local: bool, batch: int, device: str) -> BenchmarkRow:
    """Poses a second of `SemGCNLifter` in evaluation mode."""
    lifter = lifter_with_statistics(non_local).to(device).eval()
    published = PublishedSemGCN(lifter.to_published_state(), SKELETON)
    keypoints = (torch.rand(batch, 16, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1).to(device)
    with torch.no_grad():
        few = keypoints[:CHUNK]
        worst = float((lifter.network(few) - published(few)).abs().max())
        floor = products(lifter, batch, device)
        runs = {
            "ours": lambda: lifter.network(keypoints),
            "published": lambda: published(keypoints),
            "floor": floor,
        }
        best = fastest(runs, device, repeats=max(1, REPEATED // batch))
    if worst > LARGEST_DIFFERENCE:
        raise ValueError(f"SemGCN and its published form differ by {worst:.2g}, wanted {LARGEST_DIFFERENCE}")
    share = best["floor"] / best["ours"]
    note = f"{batch / best['floor']:,.0f} are the bare products, {share:.0%} of it; outputs differ by {worst:.1g}"
    return _row(f"{_name(non_local)}, batch {batch:,}", batch, best, GOALS[non_local], note)


def measure_training(non_local: bool, device: str) -> BenchmarkRow:
    """Poses a second through forward and backward pass."""
    lifter = lifter_with_statistics(non_local).to(device).train()
    published = PublishedSemGCN(lifter.to_published_state(), SKELETON, training=True)
    generator = torch.Generator().manual_seed(2)
    keypoints = (torch.rand(TRAINING_BATCH, 16, 2, generator=generator) * 2 - 1).to(device)
    joints = torch.randn(TRAINING_BATCH, 16, 3, generator=generator).to(device)

    def gradients(
        network: Callable[[torch.Tensor], torch.Tensor], parameters: list[torch.Tensor]
    ) -> Callable[[], object]:
        return lambda: torch.autograd.grad((network(keypoints) - joints).square().mean(), parameters)

    runs = {
        "ours": gradients(lifter.network, list(lifter.parameters())),
        "published": gradients(published, published.parameters()),
    }
    best = fastest(runs, device, repeats=2)
    return _row(f"{_name(non_local)} gradients, batch {TRAINING_BATCH}", TRAINING_BATCH, best, None, "")


def lifter_with_statistics(non_local: bool) -> SemGCNLifter:
    """A lifter whose BatchNorms do something, as after training."""
    torch.manual_seed(0)
    lifter = SemGCNLifter(SemGCNSettings(non_local=non_local), SKELETON)
    for part in lifter.modules():
        if isinstance(part, torch.nn.BatchNorm1d) and part.running_mean is not None:
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.running_mean, std=0.1)
    return lifter


def fastest(runs: dict[str, Callable[[], object]], device: str, repeats: int) -> dict[str, float]:
    """Seconds of each run's fastest repeat; the runs take turns."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            best[name] = min(best[name], seconds_of(run, device))
    return best


def products(lifter: SemGCNLifter, batch: int, device: str) -> Callable[[], None]:
    """The network's weight products for a batch."""
    channels, joints = lifter.settings.channels, lifter.skeleton.n_joints
    convolutions = 2 * lifter.settings.blocks
    chunk = CHUNK if device == "cpu" else batch
    shapes = [(joints, 2, 2 * channels)] + convolutions * [(joints, channels, 2 * channels)]
    shapes.append((joints, channels, 6))
    if lifter.settings.non_local:
        groups = -(-joints // 2)
        blocks = lifter.settings.blocks + 1
        shapes += blocks * [(joints, channels, channels), (groups, channels // 2, channels)]
    operands = [
        (
            torch.randn(chunk * rows, inner, device=device),
            torch.randn(inner, columns, device=device),
            torch.empty(chunk * rows, columns, device=device),
        )
        for rows, inner, columns in shapes
    ]

    def run() -> None:
        for _ in range(batch // chunk):
            for left, right, out in operands:
                torch.mm(left, right, out=out)

    return run


def _row(name: str, batch: int, best: dict[str, float], goal: float | None, note: str) -> BenchmarkRow:
    rate, published = batch / best["ours"], batch / best["published"]
    return BenchmarkRow(
        name, rate, "poses/s", published, "published formulation", rate / published, goal, note
    )


def _name(non_local: bool) -> str:
    return "SemGCN non-local" if non_local else "SemGCN"
