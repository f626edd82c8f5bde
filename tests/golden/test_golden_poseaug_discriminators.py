"""The discriminators against the released code on real poses (golden/README.md)."""

import numpy as np
import pytest
import torch

from augment.poseaug.discriminators import BodyPartDiscriminator, ProjectionDiscriminator
from augment.poseaug.geometry import bones_of, joints_of, lengths_and_directions
from augment.poseaug.settings import DiscriminatorSettings
from poses.skeleton import load_skeleton
from tests.golden.weight_rules import rule_a_state, rule_a_tensor
from tests.shared_data import golden_path

TOLERANCE = 1e-4
SKELETON = load_skeleton("h36m_16")
PUBLISHED_PATHS = ("left_arm", "right_arm", "right_leg", "left_leg", "torso")
"""Our names of the released code's paths 1 to 5: lh, rh, ll, rl, hb; its leg names are swapped."""
PUBLISHED_LAYERS = {
    "layer_1": "kcs_layer_1",
    "layer_2": "kcs_layer_2",
    "layer_3": "kcs_layer_3",
    "layer_last": "layer_last",
    "score": "layer_pred",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(golden_path("golden_kcs_poseaug.npz")) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def published_columns(part: str) -> torch.Tensor:
    """Columns of the published 225 inputs that a part uses."""
    bones = sorted(int(bone) for bone in SKELETON.part_bone_index(part))
    return torch.tensor([row * SKELETON.n_bones + column for row in bones for column in bones])


def body_part_discriminator() -> BodyPartDiscriminator:
    network = BodyPartDiscriminator(DiscriminatorSettings(), SKELETON)
    for path, part in enumerate(PUBLISHED_PATHS, start=1):
        for ours, theirs in PUBLISHED_LAYERS.items():
            layer = getattr(network.branches[part], ours)
            inputs = 225 if ours == "layer_1" else layer.in_features
            weight = rule_a_tensor(f"kcs_path_{path}.{theirs}.weight", (layer.out_features, inputs))
            if ours == "layer_1":
                weight = weight[:, published_columns(part)]
            bias = rule_a_tensor(f"kcs_path_{path}.{theirs}.bias", (layer.out_features,))
            layer.load_state_dict({"weight": weight, "bias": bias})
    return network


def test_bones_point_the_other_way_and_unit_poses_agree(golden: dict[str, torch.Tensor]) -> None:
    bones = bones_of(golden["pose"], SKELETON)
    assert torch.allclose(-bones, golden["bone_vec"], atol=1e-6)
    _, directions = lengths_and_directions(bones, safe=True)
    assert torch.allclose(-directions, golden["bone_unit"], atol=1e-5)
    rebuilt = joints_of(directions, torch.zeros(len(bones), 1, 3), SKELETON)
    assert torch.allclose(rebuilt, golden["pose_from_unit"], atol=1e-5)


def test_gram_matrices_of_the_parts(golden: dict[str, torch.Tensor]) -> None:
    _, directions = lengths_and_directions(bones_of(golden["pose"], SKELETON), safe=True)
    gram = (directions @ directions.transpose(1, 2)).flatten(1)
    for name, part in zip(("kcs_lh", "kcs_rh", "kcs_ll", "kcs_rl", "kcs_hb"), PUBLISHED_PATHS, strict=True):
        theirs, columns = golden[name].flatten(1), published_columns(part)
        assert torch.allclose(gram[:, columns], theirs[:, columns], atol=1e-5), name
        assert int((theirs != 0).any(0).sum()) == len(columns), "the other columns are zero"


def test_body_part_scores(golden: dict[str, torch.Tensor]) -> None:
    network = body_part_discriminator()
    order = [list(SKELETON.body_parts).index(part) for part in PUBLISHED_PATHS]
    scores = network(golden["pose"]).detach()[:, order]
    assert float((scores - golden["d3d"]).abs().max()) < TOLERANCE


def test_projection_scores(golden: dict[str, torch.Tensor]) -> None:
    network = ProjectionDiscriminator(DiscriminatorSettings(), SKELETON)
    network.load_state_dict(
        rule_a_state({key: tuple(value.shape) for key, value in network.state_dict().items()})
    )
    scores = network(golden["pose"][..., :2]).detach()  # the golden file scores x and y of the pose
    assert float((scores - golden["d2d"]).abs().max()) < TOLERANCE
