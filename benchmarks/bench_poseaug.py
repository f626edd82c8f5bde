"""PoseAug's generator and one closed-loop iteration, each beside the bare matrix products that it cannot do without.

The limit of a figure is the time of the same matrix products (same shapes, types and number) with nothing between
them, measured in turns with the figure itself, both at their fastest repeat; of several chunk sizes and layouts
of the products the fastest counts. On a CPU both sides count processor time of one thread, which other processes on
the machine disturb less than the wall clock; on a GPU both sides are timed by the wall clock between synchronisations.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from augment.poseaug.fake_filter import project
from augment.poseaug.frozen_generator import FrozenGenerator, bfloat16_is_fast
from augment.poseaug.generator import PoseAugGenerator
from augment.poseaug.learner import GanBatch, PoseAugLearner
from augment.poseaug.settings import GeneratorSettings, poseaug_preset
from benchmarks.row import BenchmarkRow, rate_row, time_row
from benchmarks.timing import seconds_of
from estimators.lifters.settings import build_lifter
from estimators.lifters.temporal.videopose import VideoPoseSettings
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from poses.skeleton import load_skeleton

ROWS = 2048
"""Poses per call of the generator."""
BATCH = 1024
"""Poses per closed-loop iteration."""
CHUNKS = (256, 512, 1024, 2048)
Product = tuple[int, int, int]
"""Rows, inner size and columns of a matrix product."""


def measure() -> list[BenchmarkRow]:
    """All rows of this file's part of the table."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [*measure_generator(device), measure_iteration(device)]


def measure_generator(device: str) -> list[BenchmarkRow]:
    """Frozen generator in float32, and in bfloat16 where the hardware has it."""
    skeleton = load_skeleton("h36m_16")
    torch.manual_seed(0)
    generator = PoseAugGenerator(GeneratorSettings(), skeleton).to(device).eval()
    joints, noise = _poses(ROWS, device), torch.randn(ROWS, 4, 48, device=device)
    shapes = [
        (layer.in_features, layer.out_features)
        for layer in generator.modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    rows = []
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        label = str(dtype).removeprefix("torch.")
        if dtype == torch.bfloat16 and not bfloat16_is_fast(device):
            note = "left out: this processor has no bfloat16 products"
            rows.append(BenchmarkRow(f"generator forward, {label}", None, "poses/s", note=note))
            continue
        frozen = FrozenGenerator(generator, dtype)
        chains = [chain for chunk in CHUNKS for chain in _chains(shapes, chunk, dtype, device)]
        trial = _in_turns({str(index): chain for index, chain in enumerate(chains)}, device, repeats=3)
        chain = chains[int(min(trial, key=lambda name: trial[name]))]
        runs = {"generator": lambda frozen=frozen: frozen(joints, noise), "products": chain}
        best = _in_turns(runs, device, repeats=25)
        rates[dtype], limit = ROWS / best["generator"], ROWS / best["products"]
        rows.append(
            rate_row(f"generator forward, {label}", rates[dtype], "poses/s", limit, "bare products", goal=0.9)
        )
    if len(rates) == 2:
        gain = rates[torch.bfloat16] / rates[torch.float32]
        rows.append(BenchmarkRow("bfloat16 over float32", gain, "x", 2.0, "wanted", gain / 2.0, 1.0))
    return rows


def measure_iteration(device: str) -> BenchmarkRow:
    """GAN step and two lifter steps (augmented and real), as the closed loop does them."""
    skeleton = load_skeleton("h36m_16")
    lifter = build_lifter(VideoPoseSettings(), skeleton, seed=0).to(device)
    trainer = LifterTrainer(LifterTrainerSettings(), lifter)
    learner = PoseAugLearner(poseaug_preset("default"), skeleton, seed=0, device=device)
    batch = _gan_batch(device)
    target = batch.joints_camera_m - batch.joints_camera_m[:, :1]

    def iterate() -> None:
        learner.gan_step(batch, lifter, epoch=3)
        trainer.step(batch.keypoints_screen, target)
        trainer.step(batch.keypoints_screen, target)

    iterate()
    repeats = 2 if device == "cpu" else 10
    products = _iteration_products(learner, lifter)
    seconds: list[float] = []
    floors: list[float] = []
    for _ in range(repeats):  # discriminators learn at every second step: a pair of iterations is the unit
        floors.append(_sum_of_products(products, device))
        seconds.append((seconds_of(iterate, device) + seconds_of(iterate, device)) / 2)
    name = f"closed-loop iteration, batch {BATCH}, single-frame VideoPose"
    return time_row(name, min(seconds), min(floors), "bare products", goal=1 / 1.5)


def _iteration_products(learner: PoseAugLearner, lifter: torch.nn.Module) -> dict[Product, float]:
    """How often one iteration needs each matrix product; layers as (inputs, outputs)."""
    counts: dict[Product, float] = {}

    def add(
        module: torch.nn.Module, forward: float, to_input: float, to_weights: float, to_data: float
    ) -> None:
        layers = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
        inputs_of_data = _first_layers(module)
        for layer in layers:
            fan_in, fan_out = layer.in_features, layer.out_features
            backward = to_data if layer in inputs_of_data else to_input
            for product, times in (
                ((BATCH, fan_in, fan_out), forward),
                ((BATCH, fan_out, fan_in), backward),
                ((fan_out, BATCH, fan_in), to_weights),
            ):
                counts[product] = counts.get(product, 0.0) + times

    every = 1.0 / learner.settings.discriminators.every
    add(lifter, 3, 2, 0, 2)  # feedback: source, bone angle and rigid motion poses; the last two with gradient
    add(lifter, 2, 2, 2, 0)  # two training steps
    add(learner.generator, 1, 1, 1, 0)
    for discriminator in (learner.body_part_discriminator, learner.projection_discriminator):
        add(discriminator, 1, 1, 0, 1)  # under the generator's update
        add(discriminator, 2 * every, 2 * every, 2 * every, 0)  # its own update, real and fake
    return counts


def _first_layers(module: torch.nn.Module) -> set[torch.nn.Module]:
    """Linear layers whose input is data, not another layer's output, by their names."""
    endings = ("expand.mixing.linear", "layers.0", "layer_1", "pose_layer_1")
    named = [(name, part) for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)]
    return {part for name, part in named if name.endswith(endings)}


def _sum_of_products(products: dict[Product, float], device: str) -> float:
    total = 0.0
    for (rows, inner, columns), times in products.items():
        left, right = torch.randn(rows, inner, device=device), torch.randn(inner, columns, device=device)
        turned_left, turned_right = left.t().contiguous().t(), right.t().contiguous().t()
        out = torch.empty(rows, columns, device=device)
        layouts = ((left, right), (left, turned_right), (turned_left, right))
        runs = {
            str(index): (lambda a=a, b=b, out=out: torch.mm(a, b, out=out))
            for index, (a, b) in enumerate(layouts)
        }
        total += times * min(_in_turns(runs, device, repeats=5).values())
    return total


def _chains(
    shapes: list[tuple[int, int]], chunk: int, dtype: torch.dtype, device: str
) -> list[Callable[[], None]]:
    """The generator's products for ROWS poses in chunks: (rows, in) x (in, out), or its transpose."""
    weights = [torch.randn(inputs, outputs, device=device).to(dtype) for inputs, outputs in shapes]
    turned = [weight.t().contiguous() for weight in weights]
    features = {inputs: torch.randn(chunk, inputs, device=device).to(dtype) for inputs, _ in shapes}
    outs = {outputs: torch.empty(chunk, outputs, device=device, dtype=dtype) for _, outputs in shapes}
    turned_outs = {outputs: torch.empty(outputs, chunk, device=device, dtype=dtype) for _, outputs in shapes}

    def rows() -> None:
        for _ in range(ROWS // chunk):
            for (inputs, outputs), weight in zip(shapes, weights, strict=True):
                torch.mm(features[inputs], weight, out=outs[outputs])

    def columns() -> None:
        for _ in range(ROWS // chunk):
            for (inputs, outputs), weight, other in zip(shapes, weights, turned, strict=True):
                if outputs < 64:
                    torch.mm(other, features[inputs].t(), out=turned_outs[outputs])
                else:
                    torch.mm(features[inputs], weight, out=outs[outputs])

    return [rows, columns]


def _gan_batch(device: str) -> GanBatch:
    joints = _poses(BATCH, device)
    camera = torch.tensor([2.29, 2.29, 0.02, 0.03, -0.2, 0.24, 0.0, -0.001, -0.003], device=device)
    intrinsics = camera.expand(BATCH, 9)
    keypoints = project(joints, intrinsics, poseaug_preset("default").compat, clamp=True)
    return GanBatch(joints, keypoints, intrinsics, joints.flip(0), keypoints.flip(0))


def _poses(rows: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    joints = 0.3 * torch.randn(rows, 16, 3, generator=generator)
    joints[:, :, 2] += 5.0
    return joints.to(device)


def _in_turns(runs: Mapping[str, Callable[[], object]], device: str, repeats: int) -> dict[str, float]:
    """Fastest repeat of each run, in seconds; the runs take turns."""
    best = {name: float("inf") for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            best[name] = min(best[name], seconds_of(run, device))
    return best
