"""golden_kcs_poseaug: bone vectors and part-wise Gram matrices of the released PoseAug code on real poses."""

import numpy as np
import pytest
import torch

from poses.kinematics import bone_directions, bone_vectors, joints_from_bones, kinematic_chain_gram
from poses.skeleton import load_skeleton
from tests.shared_data import shared_path

SKELETON = load_skeleton("h36m_16")
PUBLISHED_NAMES = {"left_arm": "lh", "right_arm": "rh", "right_leg": "ll", "left_leg": "rl", "torso": "hb"}


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(shared_path("golden", "golden_kcs_poseaug.npz")) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def test_bones_have_the_opposite_sign(golden: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(-bone_vectors(golden["pose"], SKELETON), golden["bone_vec"], atol=1e-6, rtol=0)
    directions = bone_directions(golden["pose"], SKELETON)
    torch.testing.assert_close(-directions, golden["bone_unit"], atol=1e-5, rtol=0)
    unit_pose = joints_from_bones(directions, SKELETON)
    torch.testing.assert_close(unit_pose, golden["pose_from_unit"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("part", sorted(PUBLISHED_NAMES))
def test_part_gram(golden: dict[str, torch.Tensor], part: str) -> None:
    gram = kinematic_chain_gram(golden["pose"], SKELETON, part)
    at = sorted(SKELETON.part_bone_index(part).tolist())
    masked = torch.zeros(len(gram), 15, 15)
    masked[:, torch.tensor(at)[:, None], torch.tensor(at)] = gram
    torch.testing.assert_close(masked, golden[f"kcs_{PUBLISHED_NAMES[part]}"], atol=1e-4, rtol=0)
