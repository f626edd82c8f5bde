"""The image variant of SemGCN: sizes of its backbone, integral regression, features at joints, training."""

import pytest
import torch

from estimators.errors import LifterInputError
from estimators.images.graph_pose import GraphPoseNetwork, GraphPoseSettings
from estimators.images.integral import cell_centres, soft_argmax
from estimators.images.joint_features import features_at_joints
from estimators.images.resnet import ResNet, ResNetSettings, normalise_image
from estimators.lifters.graphs.semgcn import SemGCNSettings
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")
SMALL = GraphPoseSettings(
    backbone=ResNetSettings(depth=18, width=4),
    graph=SemGCNSettings(channels=8, blocks=1, non_local=True),
    head_channels=8,
)


def network_of(settings: GraphPoseSettings = SMALL) -> GraphPoseNetwork:
    torch.manual_seed(0)
    return GraphPoseNetwork(settings, SKELETON)


def crops(rows: int) -> torch.Tensor:
    return torch.rand(rows, 3, 32, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("depth", "parameters"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032)])
def test_backbones_have_the_known_sizes(depth: int, parameters: int) -> None:
    """Those of the public networks less their classifiers, (512 or 2048) * 1000 + 1000."""
    backbone = ResNet(ResNetSettings(depth=depth))
    assert sum(value.numel() for value in backbone.parameters()) == parameters
    names = set(backbone.state_dict())
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer2.0.downsample.1.weight",
        "layer4.1.conv2.weight",
    } <= names
    assert ("layer1.0.downsample.0.weight" in names) == (depth == 50)


def test_the_paper_has_3842_inputs_a_joint() -> None:
    assert GraphPoseSettings().inputs == 3842
    maps = ResNet(ResNetSettings(depth=50, width=2))(torch.zeros(1, 3, 64, 32))
    assert [tuple(features.shape) for features in maps] == [
        (1, 8, 16, 8),
        (1, 16, 8, 4),
        (1, 32, 4, 2),
        (1, 64, 2, 1),
    ]


def test_a_sharp_heatmap_gives_its_cell() -> None:
    logits = torch.zeros(1, 1, 4, 8)
    logits[0, 0, 3, 1] = 200.0
    wanted = torch.stack([cell_centres(8, logits)[1], cell_centres(4, logits)[3]])
    torch.testing.assert_close(soft_argmax(logits)[0, 0], wanted)
    torch.testing.assert_close(soft_argmax(torch.zeros(2, 3, 4, 8)), torch.zeros(2, 3, 2), atol=1e-6, rtol=0)


def test_features_are_those_of_the_place() -> None:
    """A map that holds its own coordinates is read at any place inside, and both conventions agree."""
    ramp = torch.randn(1)  # only for its type
    x = cell_centres(16, ramp).view(1, 1, 1, 16).expand(2, 1, 8, 16)
    y = cell_centres(8, ramp).view(1, 1, 8, 1).expand(2, 1, 8, 16)
    places = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(2)) - 0.5
    features = features_at_joints([torch.cat([x, y], dim=1), 2 * x], places)
    torch.testing.assert_close(features[..., :2], places)
    torch.testing.assert_close(features[..., 2:], 2 * places[..., :1])


def test_images_are_normalised_as_public_weights_expect() -> None:
    white = normalise_image(torch.ones(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(white, torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-4, rtol=0)


def test_root_and_given_keypoints() -> None:
    network = network_of().eval()
    found = network(crops(2))
    assert found.keypoints_crop.shape == (2, 16, 2)
    assert bool((found.joints_root_m[:, SKELETON.root_index] == 0).all())
    assert bool((found.joints_m[:, SKELETON.root_index] != 0).any())
    again = network(crops(2), found.keypoints_crop)
    torch.testing.assert_close(again.joints_m, found.joints_m)
    moved = network(crops(2), found.keypoints_crop + 0.3)
    assert not torch.allclose(moved.joints_m, found.joints_m)


def test_it_learns_2d_and_3d_together() -> None:
    network = network_of().train()
    generator = torch.Generator().manual_seed(5)
    keypoints = torch.rand(4, 16, 2, generator=generator) - 0.5
    keypoints[0, 3] = float("nan")
    joints = 0.3 * torch.randn(4, 16, 3, generator=generator)
    joints = joints - joints[:, :1]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    history = []
    for _ in range(15):
        total, parts = network.loss(crops(4), keypoints, joints)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(parts)
    assert history[-1]["joints"] < history[0]["joints"]
    assert history[-1]["keypoints"] < history[0]["keypoints"] - 1e-3
    missing = [name for name, value in network.named_parameters() if value.grad is None]
    assert missing == []


def test_wrong_crops_and_keypoints_are_refused() -> None:
    network = network_of().eval()
    with pytest.raises(LifterInputError, match="multiples of 32"):
        network(torch.rand(1, 3, 60, 64))
    with pytest.raises(LifterInputError, match="divide bytes by 255"):
        network(crops(1) * 255)
    with pytest.raises(LifterInputError, match="divide bytes by 255"):
        network(crops(1) * float("nan"))
    with pytest.raises(LifterInputError, match="convert pixels"):
        network(crops(1), torch.full((1, 16, 2), 40.0))
