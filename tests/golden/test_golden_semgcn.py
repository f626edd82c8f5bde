"""SemGCN and its layers against the released code's numbers (golden/README.md), state dicts and parameter counts."""

import json

import numpy as np
import pytest
import torch

from estimators.lifters.graphs.convolution import ChannelGraphConvolution, SemanticGraphConvolution
from estimators.lifters.graphs.non_local import GraphNonLocal
from estimators.lifters.graphs.semgcn import SemGCNLifter, SemGCNSettings
from estimators.lifters.training.schedules import ReleasedExponentialSchedule
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from poses.skeleton import load_skeleton
from tests.golden.published_numbers import difference, embedded_state
from tests.golden.weight_rules import rule_a_state
from tests.shared_data import golden_path

TOLERANCE = 1e-4
TOLERANCE_FLOAT64 = 1e-9
SKELETON = load_skeleton("h36m_16")


def shapes_of(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def published_shapes(name: str) -> dict[str, tuple[int, ...]]:
    keys = json.loads(golden_path(f"keys/{name}.json").read_text())["keys"]
    return {key: tuple(entry["shape"]) for key, entry in keys.items()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sem_graph_conv_layer", SemanticGraphConvolution),
        ("sem_ch_graph_conv_layer", ChannelGraphConvolution),
    ],
)
def test_graph_convolutions(name: str, kind: type[SemanticGraphConvolution]) -> None:
    golden = np.load(golden_path(f"golden_{name}.npz"))
    layer = kind(2, 128, SKELETON)
    layer.load_state_dict(embedded_state(golden))
    assert difference(layer(torch.from_numpy(golden["input"])), golden["output"]) < TOLERANCE
    exact = layer.double()(torch.from_numpy(golden["input"]).double())
    assert difference(exact, golden["output_f64"]) < TOLERANCE_FLOAT64


def test_channel_wise_layer_has_the_published_state() -> None:
    layer = ChannelGraphConvolution(128, 128, SKELETON)
    assert shapes_of(layer.state_dict()) == published_shapes("sem_ch_graph_conv_layer")
    assert sum(value.numel() for value in layer.parameters()) == 38_784


def test_non_local_block() -> None:
    golden = np.load(golden_path("golden_graph_nonlocal_layer.npz"))
    neighbours = tuple(
        zip(SKELETON.joints[::2], SKELETON.joints[1::2], strict=True)
    )  # joints are sorted already
    block = GraphNonLocal(128, neighbours, SKELETON)
    assert sum(value.numel() for value in block.parameters()) == 33_472
    block.load_state_dict(embedded_state(golden))
    block.eval()
    features = torch.from_numpy(golden["input"]).transpose(1, 2)
    assert difference(block(features).transpose(1, 2), golden["output"]) < TOLERANCE
    exact = block.double()(features.double()).transpose(1, 2)
    assert difference(exact, golden["output_f64"]) < TOLERANCE_FLOAT64


@pytest.mark.parametrize("fast", [False, True])
def test_small_non_local_network(fast: bool) -> None:
    golden = np.load(golden_path("golden_semgcn_nonlocal_h16.npz"))
    lifter = SemGCNLifter(SemGCNSettings(channels=16, blocks=2, non_local=True), SKELETON)
    lifter.from_published_state(embedded_state(golden))
    check_network(lifter, golden, fast)


@pytest.mark.parametrize("fast", [False, True])
def test_network_as_poseaug_configures_it(fast: bool) -> None:
    golden = np.load(golden_path("golden_poseaug_gcn.npz"))
    lifter = SemGCNLifter(SemGCNSettings(), SKELETON)
    lifter.from_published_state(rule_a_state(shapes_of(lifter.to_published_state())))
    check_network(lifter, golden, fast)


def check_network(lifter: SemGCNLifter, golden, fast: bool) -> None:
    """Raw output and root-relative output, with gradients at hand (plain form) or without (fast form)."""
    lifter.eval()
    keypoints = torch.from_numpy(golden["input"])
    with torch.set_grad_enabled(not fast):
        single = lifter(keypoints, "loss"), lifter(keypoints)
        lifter.double()
        exact = lifter(keypoints.double(), "loss"), lifter(keypoints.double())
    root = SKELETON.root_index
    for (raw, relative), key, tolerance in (
        (single, "output", TOLERANCE),
        (exact, "output_f64", TOLERANCE_FLOAT64),
    ):
        wanted = golden[key]
        assert difference(raw, wanted) < tolerance
        assert difference(relative, wanted - wanted[:, root : root + 1]) < tolerance


@pytest.mark.parametrize(
    ("name", "non_local", "parameters"),
    [("semgcn", False, 267_343), ("semgcn_nonlocal", True, 434_703), ("poseaug_gcn", False, 267_343)],
)
def test_published_names_and_sizes(name: str, non_local: bool, parameters: int) -> None:
    lifter = SemGCNLifter(SemGCNSettings(non_local=non_local), SKELETON)
    assert sum(value.numel() for value in lifter.parameters()) == parameters
    assert shapes_of(lifter.to_published_state()) == published_shapes(name)


@pytest.mark.parametrize("segment", ["nonlocal", "non_local"])
def test_both_names_of_the_non_local_blocks_load(segment: str) -> None:
    settings = SemGCNSettings(channels=16, blocks=1, non_local=True)
    source, target = SemGCNLifter(settings, SKELETON), SemGCNLifter(settings, SKELETON)
    state = {
        name.replace(".nonlocal.", f".{segment}."): value
        for name, value in source.to_published_state().items()
    }
    assert any(f".{segment}." in name for name in state)
    target.from_published_state(state)
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


def test_three_training_steps() -> None:
    """Losses, gradient norms and every state entry after three steps of the released training."""
    golden = np.load(golden_path("golden_train_semgcn.npz"))
    lifter = SemGCNLifter(SemGCNSettings(), SKELETON)
    lifter.from_published_state(rule_a_state(shapes_of(lifter.to_published_state())))
    trainer = LifterTrainer(
        LifterTrainerSettings(
            loss="joints",
            learning_rate=1e-3,
            grad_clip_norm=1.0,
            schedule=ReleasedExponentialSchedule(),
        ),
        lifter,
    )
    x, y = torch.from_numpy(golden["x"]), torch.from_numpy(golden["y"])
    for step in range(3):
        norm = gradient_norm(lifter, x, y)
        assert trainer.step(x, y) == pytest.approx(golden["loss"][step], rel=1e-3)
        assert norm == pytest.approx(golden["grad_norm_before_clip"][step], rel=1e-3)
    state = lifter.to_published_state()
    assert sorted(state) == sorted(golden["state_keys"].tolist())
    for key, (total, squares) in zip(golden["state_keys"], golden["state_checksum"], strict=True):
        values = state[key].double()
        # Biases before a BatchNorm have no gradient but rounding, which Adam turns into steps of the whole rate, 1e-3.
        slack = 0.1 if key.endswith(("gconv.bias", "running_mean")) else 1e-3
        # A gradient near zero may change its sign in the last bit, and Adam makes a whole step of it: with two threads,
        # or in float64, the sums of the largest matrices lie 8e-7 per entry from those of the published run.
        rounding = max(2e-2, 2e-6 * values.numel())
        assert float(values.sum()) == pytest.approx(total, rel=1e-3, abs=max(slack, rounding)), key
        assert float(values.square().sum()) == pytest.approx(squares, rel=1e-3, abs=slack), key
    lifter.eval()
    assert difference(lifter(x[:8], "loss"), golden["eval_out"]) < 6e-3


def gradient_norm(lifter: SemGCNLifter, x: torch.Tensor, y: torch.Tensor) -> float:
    """Of the released loss, leaving BatchNorm's running statistics as they were."""
    state = {name: value.clone() for name, value in lifter.state_dict().items()}
    lifter.train()
    gradients = torch.autograd.grad(
        (lifter(x, "loss") - y).square().mean(), list(lifter.parameters()), allow_unused=False
    )
    lifter.load_state_dict(state)
    return float(torch.stack([gradient.norm() for gradient in gradients]).norm())
