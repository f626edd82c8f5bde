"""Laws of bones, chains and forward kinematics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poses.errors import PoseShapeError
from poses.kinematics import (
    bone_directions,
    bone_lengths_m,
    bone_vectors,
    forward_kinematics,
    joints_from_bones,
    kinematic_chain_gram,
    mirror_joints,
    replace_bone_lengths,
    rotate_joints,
    rotate_limbs,
    scale_bones,
)
from poses.rotations import axis_angle_to_matrix, random_rotation_matrix
from poses.skeleton import Skeleton, load_skeleton, skeleton_names

SKELETONS = [load_skeleton(name) for name in skeleton_names()]
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=8, deadline=None)


def random_joints(
    seed: int, skeleton: Skeleton, batch: int = 3, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, skeleton.n_joints, 3, generator=generator, dtype=dtype)


def random_rotations(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return random_rotation_matrix(torch.rand(*shape, 3, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda s: s.name)
@few
@given(seed=seeds)
def test_joints_to_bones_and_back(skeleton: Skeleton, seed: int) -> None:
    joints = random_joints(seed, skeleton)
    bones = bone_vectors(joints, skeleton)
    assert bones.shape == (3, skeleton.n_bones, 3)
    back = joints_from_bones(bones, skeleton, joints[:, skeleton.root_index])
    torch.testing.assert_close(back, joints)


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda s: s.name)
def test_the_product_and_the_gathers_agree(skeleton: Skeleton) -> None:
    joints = random_joints(1, skeleton, dtype=torch.float32)
    bones = bone_vectors(joints, skeleton)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        by_gather = bone_vectors(joints, skeleton)
        by_doubling = joints_from_bones(bones, skeleton)
    assert by_gather.dtype == torch.float32
    assert torch.equal(by_gather, bones)
    torch.testing.assert_close(by_doubling, joints_from_bones(bones, skeleton), atol=1e-5, rtol=0)


def test_a_bone_is_child_minus_parent() -> None:
    skeleton = load_skeleton("h36m_16")
    joints = torch.zeros(1, 16, 3)
    joints[0, skeleton.index("right_hip")] = torch.tensor([-0.1, 0.0, 0.0])
    joints[0, skeleton.index("right_knee")] = torch.tensor([-0.1, 0.4, 0.0])
    bones = bone_vectors(joints, skeleton)
    expected = torch.tensor([0.0, 0.4, 0.0])
    assert torch.equal(bones[0, skeleton.bone_index("right_knee")], expected)


def test_rows_do_not_depend_on_their_batch() -> None:
    skeleton = load_skeleton("h36m_16")
    joints = random_joints(2, skeleton, batch=257, dtype=torch.float32)
    whole = joints_from_bones(bone_directions(joints, skeleton), skeleton)
    for start, stop in ((0, 1), (1, 4), (5, 22), (40, 257)):
        part = joints_from_bones(bone_directions(joints[start:stop], skeleton), skeleton)
        assert torch.equal(part, whole[start:stop])


def test_temporal_axes_pass_through() -> None:
    skeleton = load_skeleton("h36m_17")
    joints = random_joints(0, skeleton, batch=6)
    stacked = joints.reshape(2, 3, 17, 3)
    assert torch.equal(bone_lengths_m(stacked, skeleton).reshape(6, 16), bone_lengths_m(joints, skeleton))


@few
@given(seed=seeds)
def test_replaced_lengths_are_the_lengths(seed: int) -> None:
    skeleton = load_skeleton("h36m_16")
    joints = random_joints(seed, skeleton)
    wanted = torch.linspace(0.1, 0.5, 15, dtype=torch.float64)
    changed = replace_bone_lengths(joints, wanted, skeleton)
    torch.testing.assert_close(bone_lengths_m(changed, skeleton), wanted.expand(3, 15))
    torch.testing.assert_close(bone_directions(changed, skeleton), bone_directions(joints, skeleton))
    torch.testing.assert_close(changed[:, 0], joints[:, 0])
    same = replace_bone_lengths(joints, bone_lengths_m(joints, skeleton), skeleton)
    torch.testing.assert_close(same, joints)
    doubled = scale_bones(joints, torch.full((3, 15), 2.0, dtype=torch.float64), skeleton)
    torch.testing.assert_close(bone_vectors(doubled, skeleton), 2 * bone_vectors(joints, skeleton))


def test_zero_length_bones_stay_finite_forwards_and_backwards() -> None:
    skeleton = load_skeleton("h36m_16")
    joints = torch.zeros(2, 16, 3)
    joints[1] = random_joints(0, skeleton, 1, torch.float32)[0]
    joints[1, skeleton.index("head")] = joints[1, skeleton.index("thorax")]
    joints.requires_grad_()
    lengths = bone_lengths_m(joints, skeleton)
    assert torch.equal(lengths[0], torch.zeros(15))
    assert lengths[1, skeleton.bone_index("head")] == 0
    total = (
        lengths.sum()
        + bone_directions(joints, skeleton).sum()
        + kinematic_chain_gram(joints, skeleton).sum()
        + replace_bone_lengths(joints, lengths, skeleton).sum()
    )
    total.backward()
    assert torch.isfinite(total)
    assert joints.grad is not None
    assert torch.isfinite(joints.grad).all()


@few
@given(seed=seeds)
def test_gram_ignores_rotation_translation_and_length(seed: int) -> None:
    skeleton = load_skeleton("h36m_16")
    joints = random_joints(seed, skeleton)
    moved = rotate_joints(joints, random_rotations(seed, 3)) + 5.0
    longer = scale_bones(moved, torch.linspace(0.5, 2, 15, dtype=torch.float64), skeleton)
    for part in (None, *skeleton.body_parts):
        gram = kinematic_chain_gram(joints, skeleton, part)
        torch.testing.assert_close(kinematic_chain_gram(longer, skeleton, part), gram)
        torch.testing.assert_close(gram, gram.transpose(1, 2))
    plain = kinematic_chain_gram(joints, skeleton, unit=False)
    torch.testing.assert_close(
        plain.diagonal(dim1=1, dim2=2).sqrt(), bone_lengths_m(joints, skeleton), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda s: s.name)
def test_mirroring_twice_changes_nothing(skeleton: Skeleton) -> None:
    joints = random_joints(3, skeleton)
    once = mirror_joints(joints, skeleton)
    assert torch.equal(mirror_joints(once, skeleton), joints)
    assert torch.equal(once[:, skeleton.index("left_knee"), 0], -joints[:, skeleton.index("right_knee"), 0])
    by_bone = bone_lengths_m(joints, skeleton)[:, skeleton.bone_mirror_index.tolist()]
    torch.testing.assert_close(bone_lengths_m(once, skeleton), by_bone)


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda s: s.name)
def test_forward_kinematics_of_identity_is_the_rest_pose(skeleton: Skeleton) -> None:
    rest = random_joints(4, skeleton, batch=1)
    offsets = torch.zeros_like(rest)
    offsets[:, skeleton.bone_child_index] = bone_vectors(rest, skeleton)
    offsets[:, skeleton.root_index] = rest[:, skeleton.root_index]
    identity = torch.eye(3, dtype=torch.float64).expand(5, skeleton.n_joints, 3, 3)
    joints, rotations = forward_kinematics(identity, offsets, skeleton.parents)
    torch.testing.assert_close(joints, rest.expand(5, -1, -1))
    assert torch.equal(rotations, identity)


@few
@given(seed=seeds)
def test_forward_kinematics_composes_outwards(seed: int) -> None:
    parents = (2, 0, -1)  # children may stand before their parents
    local = random_rotations(seed, 2, 3)
    offsets = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    joints, rotations = forward_kinematics(local, offsets, parents)
    torch.testing.assert_close(rotations[:, 1], local[:, 2] @ local[:, 0] @ local[:, 1])
    torch.testing.assert_close(joints[:, 0], offsets[:, 2] + (local[:, 2] @ offsets[:, 0, :, None])[..., 0])
    elbow = ((local[:, 2] @ local[:, 0]) @ offsets[:, 1, :, None])[..., 0]
    torch.testing.assert_close(joints[:, 1], joints[:, 0] + elbow)


def test_rotating_a_limb_moves_only_what_lies_beyond() -> None:
    skeleton = load_skeleton("h36m_16")
    joints = random_joints(5, skeleton, batch=2)
    local = torch.eye(3, dtype=torch.float64).repeat(2, 16, 1, 1)
    elbow = skeleton.index("left_elbow")
    local[:, elbow] = axis_angle_to_matrix(
        torch.tensor([[0.3, -0.2, 0.9], [0.0, 1.0, 0.0]], dtype=torch.float64)
    )
    moved = rotate_limbs(joints, local, skeleton)
    wrist = skeleton.index("left_wrist")
    others = [index for index in range(16) if index != wrist]
    torch.testing.assert_close(moved[:, others], joints[:, others])
    forearm = (local[:, elbow] @ (joints[:, wrist] - joints[:, elbow])[..., None])[..., 0]
    torch.testing.assert_close(moved[:, wrist], joints[:, elbow] + forearm)


def test_constants_made_in_inference_mode_still_train() -> None:
    skeleton = Skeleton("fresh_for_inference", ("pelvis", "left_knee", "right_knee"), (-1, 0, 0))
    with torch.inference_mode():
        bone_vectors(torch.randn(2, 3, 3), skeleton)
    joints = torch.randn(2, 3, 3, requires_grad=True)
    bone_vectors(joints, skeleton).square().sum().backward()
    assert joints.grad is not None


def test_wrong_joint_count_is_refused_with_both_counts() -> None:
    with pytest.raises(PoseShapeError, match=r"16.*h36m_16.*17"):
        bone_vectors(torch.zeros(2, 17, 3), load_skeleton("h36m_16"))
    with pytest.raises(PoseShapeError, match="15 bones"):
        joints_from_bones(torch.zeros(2, 16, 3), load_skeleton("h36m_16"))
    with pytest.raises(PoseShapeError, match="h36m_16"):
        mirror_joints(torch.from_numpy(np.zeros((2, 17, 3))), load_skeleton("h36m_16"))
