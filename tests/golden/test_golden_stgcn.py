"""ST-GCN: names and shapes of PoseAug's checkpoints, the published graphs, and the published computation.

The released code asks for a GPU, so that there are no recorded outputs: `published_forward` below is its computation,
operation by operation on (B, C, 1, V) images, with the tables of its graph typed in.
"""

import json

import pytest
import torch
from torch.nn import functional

from estimators.lifters.graphs.stgcn import STGCNLifter, STGCNSettings
from estimators.lifters.graphs.stgcn_graph import body_graph
from poses.skeleton import load_skeleton
from tests.golden.weight_rules import rule_a_state
from tests.shared_data import golden_path

SKELETON = load_skeleton("h36m_16")
DISTANCE = [1, 2, 3, 4, 2, 3, 4, 0, 1, 2, 3, 2, 3, 4, 2, 3, 4]
BONES = [
    (0, 1), (2, 1), (3, 2), (4, 0), (5, 4), (6, 5), (7, 0), (8, 7),
    (9, 8), (10, 9), (11, 8), (12, 11), (13, 12), (14, 8), (15, 14), (16, 15),
]  # fmt: skip
MIRRORED = [(6, 3), (5, 2), (4, 1), (11, 14), (12, 15), (13, 16)]
PARTS = [[11, 12, 13], [14, 15, 16], [4, 5, 6], [1, 2, 3], [0, 7, 8, 9, 10]]
PART_DISTANCE = [1, 1, 1, 1, 0]
PART_LINKS = [(0, 4), (1, 4), (2, 4), (3, 4)]
PART_MIRRORED = [(0, 1), (2, 3)]


def published_partitions(distance, links, mirrored) -> torch.Tensor:
    nodes = len(distance)
    linked = torch.eye(nodes)
    for i, j in [*links, *mirrored]:
        linked[i, j] = linked[j, i] = 1
    normalised = linked / linked.sum(0)
    split = torch.zeros(4, nodes, nodes)
    for i in range(nodes):
        for j in range(nodes):
            if (i, j) in mirrored or (j, i) in mirrored:
                kind = 3
            elif i == j:
                kind = 0
            else:
                kind = 1 if distance[i] > distance[j] else 2
            split[kind, i, j] = normalised[i, j]
    return split


def published_forward(state: dict[str, torch.Tensor], keypoints: torch.Tensor) -> torch.Tensor:
    def convolution(name, x):
        return functional.conv2d(x, state[f"stgcn.{name}.weight"], state[f"stgcn.{name}.bias"])

    def norm(name, x, eps=1e-5):
        keys = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(state[f"stgcn.{name}.{key}"] for key in keys), eps=eps)

    def unit(name, x, graph):
        h = convolution(f"{name}.gcn.conv", x)
        n, _, t, v = h.shape
        h = torch.einsum("nkctv,kvw->nctw", h.view(n, 4, -1, t, v), graph)
        h = norm(f"{name}.tcn.4", convolution(f"{name}.tcn.3", torch.relu(norm(f"{name}.tcn.0", h))))
        if f"stgcn.{name}.residual.0.weight" in state:
            h = h + norm(f"{name}.residual.1", convolution(f"{name}.residual.0", x))
        elif not name.endswith("networks.0"):
            h = h + x
        return torch.relu(h)

    inserted = keypoints[:, 8:10].mean(1, keepdim=True)
    x = torch.cat([keypoints[:, :9], inserted, keypoints[:, 9:]], dim=1)
    rows = len(x)
    x = norm("data_bn", x.reshape(rows, 34), eps=0.1).view(rows, 17, 2).transpose(1, 2).unsqueeze(2)
    joint_graph = published_partitions(DISTANCE, BONES, MIRRORED)
    part_graph = published_partitions(PART_DISTANCE, PART_LINKS, PART_MIRRORED)
    for index in range(3):
        x = unit(f"st_gcn_networks.{index}", x, joint_graph)
    pooled = torch.cat([functional.max_pool2d(x[..., part], (1, len(part))) for part in PARTS], -1)
    for index in range(2):
        pooled = unit(f"st_gcn_pool.{index}", pooled, part_graph)
    body = functional.max_pool2d(pooled, (1, 5))
    body = torch.relu(norm("conv4.1", convolution("conv4.0", body)))
    up = torch.cat([body.repeat(1, 1, 1, 5), pooled], 1)
    up = torch.relu(norm("conv2.1", convolution("conv2.0", up)))
    spread = torch.zeros_like(x)
    for index, part in enumerate(PARTS):
        spread[..., part] = up[..., index : index + 1]
    x = torch.cat([x, spread], 1)
    theta, phi, g = (convolution(f"non_local.{name}", x).flatten(2) for name in ("theta", "phi", "g"))
    y = torch.softmax(theta.transpose(1, 2) @ phi, -1) @ g.transpose(1, 2)
    x = x + norm("non_local.W.1", convolution("non_local.W.0", y.transpose(1, 2).unsqueeze(2)))
    out = convolution("fcn.1", x)[:, :, 0].transpose(1, 2)
    return torch.cat([out[:, :9], out[:, 10:]], dim=1)


def published_lifter() -> STGCNLifter:
    lifter = STGCNLifter(STGCNSettings(), SKELETON)
    shapes = {name: tuple(value.shape) for name, value in lifter.to_published_state().items()}
    lifter.from_published_state(rule_a_state(shapes))
    return lifter.eval().requires_grad_(False)


def test_names_shapes_and_size_are_the_published_ones() -> None:
    keys = json.loads(golden_path("keys/poseaug_stgcn.json").read_text())["keys"]
    lifter = STGCNLifter(STGCNSettings(), SKELETON)
    got = {name: tuple(value.shape) for name, value in lifter.to_published_state().items()}
    assert got == {key: tuple(entry["shape"]) for key, entry in keys.items()}
    assert sum(value.numel() for value in lifter.parameters()) == 3_627_847


def test_graph_of_joints_is_the_published_one() -> None:
    graph = body_graph(load_skeleton("h36m_17"))
    torch.testing.assert_close(graph.joints, published_partitions(DISTANCE, BONES, MIRRORED))
    assert sorted(sorted(part) for part in graph.members) == sorted(PARTS)


@pytest.mark.parametrize("rows", [1, 7])
def test_network_computes_what_the_released_code_does(rows: int) -> None:
    lifter = published_lifter()
    keypoints = torch.rand(rows, 16, 2, generator=torch.Generator().manual_seed(4)) * 2 - 1
    wanted = published_forward(lifter.to_published_state(), keypoints)
    assert float((lifter(keypoints, "loss") - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
    relative = wanted - wanted[:, :1]
    assert float((lifter(keypoints) - relative).abs().max()) < 1e-4 * float(relative.abs().max())


def test_published_computation_in_double_precision() -> None:
    lifter = published_lifter().double()
    keypoints = torch.rand(4, 16, 2, dtype=torch.float64) * 2 - 1
    state = lifter.to_published_state()
    torch.set_default_dtype(torch.float64)
    try:
        wanted = published_forward(state, keypoints)
    finally:
        torch.set_default_dtype(torch.float32)
    difference = float((lifter(keypoints, "loss") - wanted).abs().max())
    assert difference < 1e-6 * float(wanted.abs().max())
