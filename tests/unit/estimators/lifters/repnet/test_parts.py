"""RepNet's parts: chain, normalisation, torso, cameras, passes by hand, losses, published layout."""

import math

import numpy as np
import pytest
import torch

from estimators.errors import CheckpointError
from estimators.lifters.repnet.camera import (
    camera_loss,
    camera_parts,
    centre_on_available,
    reproject,
    reprojection_loss,
)
from estimators.lifters.repnet.chain import PUBLISHED_JOINTS, chain_bones, chain_matrix
from estimators.lifters.repnet.critic import KinematicChainCritic
from estimators.lifters.repnet.dense_path import DensePath, LayerShape, learn_nothing, residual_block
from estimators.lifters.repnet.flat_pose import flatten_joints, normalise_keypoints, unflatten_joints
from estimators.lifters.repnet.lifter import RepNetLifter
from estimators.lifters.repnet.published import (
    critic_from_published,
    critic_to_published,
    generator_from_published,
    lifter_from_published,
    lifter_to_published,
)
from estimators.lifters.repnet.settings import CriticSettings, RepNetSettings, TorsoSettings, repnet_preset
from estimators.lifters.repnet.torso import TORSO_JOINTS, align_to_torso
from poses.errors import SkeletonError
from poses.kinematics import bone_vectors, kinematic_chain_gram
from poses.rotations import axis_angle_to_matrix
from poses.skeleton import Skeleton, load_skeleton

SKELETON = load_skeleton("h36m_16")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotations(rows: int, seed: int = 1) -> torch.Tensor:
    return axis_angle_to_matrix(random(rows, 3, seed=seed))


@pytest.mark.parametrize("name", ["h36m_16", "h36m_17", "smpl_24"])
def test_the_chain_of_a_skeleton_is_its_bones(name: str) -> None:
    skeleton = load_skeleton(name)
    joints = random(4, skeleton.n_joints, 3)
    critic = KinematicChainCritic(CriticSettings(), skeleton)
    bones = critic.bones(flatten_joints(joints)).transpose(1, 2)
    torch.testing.assert_close(bones, -bone_vectors(joints, skeleton), atol=1e-5, rtol=1e-5)
    psi = kinematic_chain_gram(joints, skeleton, unit=False)
    torch.testing.assert_close(critic.psi(flatten_joints(joints)), psi, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["skeleton", "published"])
def test_psi_does_not_see_place_or_view(kind) -> None:
    critic = KinematicChainCritic(CriticSettings(chain=kind), SKELETON)
    joints = random(5, 16, 3)
    moved = joints @ rotations(5).transpose(1, 2) + random(5, 1, 3, seed=2)
    torch.testing.assert_close(
        critic.psi(flatten_joints(joints)), critic.psi(flatten_joints(moved)), atol=1e-4, rtol=1e-4
    )


def test_the_chain_before_2020_saw_the_place() -> None:
    old, new = (chain_matrix(SKELETON, kind) for kind in ("published_pre_2020", "published"))
    column = chain_bones(SKELETON, "published").index(("right_hip", "left_hip"))
    assert torch.nonzero(old != new).tolist() == [[SKELETON.index("left_hip"), column]]
    assert new.sum(0).tolist() == [0.0] * 15
    assert old[:, column].sum() == 2.0


def test_a_published_chain_wants_its_joints() -> None:
    with pytest.raises(
        SkeletonError, match=r"published chain wants.*'coco_17' lacks pelvis, spine, thorax, head"
    ):
        chain_matrix(load_skeleton("coco_17"), "published")


def test_normalisation_takes_off_place_and_size() -> None:
    keypoints = random(6, 16, 2)
    normalised = normalise_keypoints(keypoints)
    moved = normalise_keypoints(keypoints * 7 + torch.tensor([3.0, -2.0]))
    torch.testing.assert_close(normalised.flat, moved.flat, atol=1e-5, rtol=1e-5)
    assert np.allclose(normalised.flat.numpy().std(1), 1.0, atol=1e-5)
    assert torch.equal(unflatten_joints(flatten_joints(keypoints), 2), keypoints)
    back = unflatten_joints(moved.flat, 2) * moved.spread[:, None, None] + moved.centre[:, None]
    torch.testing.assert_close(back, keypoints * 7 + torch.tensor([3.0, -2.0]), atol=1e-4, rtol=1e-4)


def test_missing_joints_count_for_nothing_in_the_normalisation() -> None:
    keypoints, availability = random(3, 16, 2), torch.ones(3, 16)
    availability[:, 4:6] = 0
    nonsense = keypoints.clone()
    nonsense[:, 4:6] = 100.0
    got, wanted = normalise_keypoints(nonsense, availability), normalise_keypoints(keypoints, availability)
    assert torch.equal(got.flat, wanted.flat)
    seen = availability[0] > 0
    alone = normalise_keypoints(keypoints[:, seen])
    torch.testing.assert_close(got.spread, alone.spread)
    torch.testing.assert_close(unflatten_joints(got.flat, 2)[:, seen], unflatten_joints(alone.flat, 2))
    assert bool((unflatten_joints(got.flat, 2)[:, ~seen] == 0).all())
    everything = normalise_keypoints(keypoints, torch.ones(3, 16))
    torch.testing.assert_close(everything.flat, normalise_keypoints(keypoints).flat)


def test_one_point_or_none_stays_finite() -> None:
    assert bool(torch.isfinite(normalise_keypoints(torch.ones(2, 16, 2)).flat).all())
    nobody = normalise_keypoints(random(2, 16, 2), torch.zeros(2, 16))
    assert bool((nobody.flat == 0).all())


@pytest.mark.parametrize("align_scale", [True, False])
def test_alignment_takes_off_view_and_place(align_scale: bool) -> None:
    torso = TorsoSettings(align_scale=align_scale)
    joints = 0.4 * random(8, 16, 3)
    aligned = align_to_torso(joints, SKELETON, torso)
    size = 1.7 if align_scale else 1.0
    moved = align_to_torso(size * joints @ rotations(8).transpose(1, 2) + 5.0, SKELETON, torso)
    torch.testing.assert_close(moved.joints_m, aligned.joints_m, atol=1e-4, rtol=1e-3)
    assert float(aligned.joints_m.mean(1).abs().max()) < 1e-6
    assert float((torch.linalg.det(aligned.rotation) - 1).abs().max()) < 1e-5
    back = aligned.joints_m @ aligned.rotation / aligned.scale[:, None, None]
    torch.testing.assert_close(back, joints - joints.mean(1, keepdim=True), atol=1e-5, rtol=1e-4)


def test_an_upright_body_before_the_camera_is_left_alone() -> None:
    joints = torch.zeros(1, 16, 3)
    width, height = TorsoSettings().hip_width_m / 2, TorsoSettings().height_m
    shoulder = TorsoSettings().shoulder_width_m / 2
    places = ((width, 0), (-width, 0), (shoulder, -height), (-shoulder, -height))
    for joint, (x, y) in zip(TORSO_JOINTS, places, strict=True):
        joints[0, SKELETON.index(joint), :2] = torch.tensor([x, y])
    aligned = align_to_torso(joints, SKELETON)
    torch.testing.assert_close(aligned.rotation[0], torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(aligned.scale, torch.ones(1))


def test_alignment_needs_hips_and_shoulders() -> None:
    stick = Skeleton("stick", ("pelvis", "thorax", "head"), (-1, 0, 1))
    with pytest.raises(SkeletonError, match="'stick' lacks left_hip, right_hip, left_shoulder"):
        align_to_torso(random(1, 3, 3), stick)


def test_scaled_rotations_are_found_again_and_cost_nothing() -> None:
    rotation, scale = rotations(9), torch.linspace(0.1, 4.0, 9)
    camera = scale[:, None, None] * rotation[:, :2]
    parts = camera_parts(camera)
    torch.testing.assert_close(parts.rotation, rotation, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(parts.scale, scale)
    for distance in ("sum_abs", "frobenius"):
        assert float(camera_loss(camera, distance).max()) < 1e-5


def test_the_nearest_rotation_of_any_camera() -> None:
    camera = random(20, 2, 3)
    left, singular, right = torch.linalg.svd(camera, full_matrices=False)
    parts = camera_parts(camera)
    torch.testing.assert_close(parts.rotation[:, :2], left @ right, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(parts.scale, singular.mean(1), atol=1e-5, rtol=1e-4)
    assert bool(torch.isfinite(camera_parts(torch.zeros(2, 2, 3)).rotation).all())


def test_losses_by_hand() -> None:
    camera = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])  # K K^T = diag(4, 1), trace 5
    assert float(camera_loss(camera, "sum_abs")) == pytest.approx(0.6 + 0.6)
    assert float(camera_loss(camera, "frobenius")) == pytest.approx(0.6 * math.sqrt(2))
    keypoints, weight = torch.zeros(1, 2, 2), torch.tensor([1.0, 0.5])
    image = torch.tensor([[[3.0, 4.0], [1.0, -2.0]]])
    assert float(reprojection_loss(keypoints, image, weight, "sum_abs")) == pytest.approx((7 + 1.5) / 4)
    assert float(reprojection_loss(keypoints, image, weight, "frobenius")) == pytest.approx(
        math.sqrt(25 + 1.25)
    )
    torch.testing.assert_close(reproject(camera, torch.ones(1, 2, 3)), torch.tensor([[[2.0, 1.0]] * 2]))


def test_poses_are_centred_as_their_keypoints_are() -> None:
    joints, availability = random(3, 16, 3), torch.ones(3, 16)
    torch.testing.assert_close(centre_on_available(joints, availability), joints)
    joints = joints - joints.mean(1, keepdim=True)
    availability[:, 2:7] = 0
    moved = centre_on_available(joints, availability)
    assert float(moved[:, availability[0] > 0].mean(1).abs().max()) < 1e-6


def residual_path() -> DensePath:
    torch.manual_seed(0)
    path = DensePath(
        [LayerShape(5, 8), *residual_block(8, 1), *residual_block(8, 3), LayerShape(8, 2, False)], 0.3
    )
    for layer in path.linears:
        torch.nn.init.normal_(layer.bias, std=0.1)
    return path.double()


def test_gradients_by_hand_are_autograds() -> None:
    path, values = residual_path(), random(7, 5).double()
    pull = random(7, 2, seed=3).double()
    leaf = values.clone().requires_grad_()
    wanted = torch.autograd.grad((path(leaf) * pull).sum(), [leaf, *path.parameters()])
    got: dict[torch.nn.Linear, tuple[torch.Tensor, torch.Tensor]] = {}
    with torch.no_grad():
        nodes = path.nodes(values)
        at_input = path.pull_back(
            nodes, pull, lambda layer, delta, below: got.update({layer: (delta.t() @ below, delta.sum(0))})
        )
    torch.testing.assert_close(at_input, wanted[0])
    flat = [gradient for layer in path.linears for gradient in got[layer]]
    for one, other in zip(flat, wanted[1:], strict=True):
        torch.testing.assert_close(one, other)


def test_a_skip_from_the_input_counts_too() -> None:
    path = DensePath([*residual_block(4, 0)], 0.3).double()
    values = random(3, 4).double().requires_grad_()
    (wanted,) = torch.autograd.grad(path(values).sum(), values)
    with torch.no_grad():
        got = path.pull_back(path.nodes(values), torch.ones(3, 4).double(), learn_nothing)
    torch.testing.assert_close(got, wanted)


def test_tangents_by_hand_are_directional_derivatives() -> None:
    critic = KinematicChainCritic(
        CriticSettings(pose_width=6, chain_width=9, joined_width=5), SKELETON
    ).double()
    poses, change = 0.3 * random(4, 48).double(), random(4, 48, seed=2).double()
    with torch.no_grad():
        wanted = (critic(poses + 1e-6 * change) - critic(poses - 1e-6 * change)) / 2e-6
        nodes = critic.nodes(poses)
        before = nodes.joined[-1].clone()
        critic.push_tangents(nodes, 1, change[1:])
    torch.testing.assert_close(nodes.joined[-1][1:], wanted[1:], atol=1e-6, rtol=1e-5)
    assert torch.equal(nodes.joined[-1][:1], before[:1])


def test_presets_differ_as_the_spec_says() -> None:
    code, paper = repnet_preset("code"), repnet_preset("paper")
    assert (code.network.shared_block, paper.network.shared_block) == (True, False)
    assert (code.trainer.distance, paper.trainer.distance) == ("sum_abs", "frobenius")
    assert code.trainer.joint_weights == {"pelvis": 0.0, "thorax": 0.1, "head": 0.1}
    assert dict(paper.trainer.joint_weights) == {}
    assert [code.trainer.schedule.factor(0, epoch) for epoch in (4, 5, 15)] == pytest.approx([1, 0.1, 1e-3])
    with torch.device("meta"):
        lifter = RepNetLifter(paper.network, SKELETON)
    hidden = 1000 * 1001
    assert sum(p.numel() for p in lifter.parameters()) == 2 * (33_000 + 4 * hidden) + 1001 * (48 + 6)


def published_critic(chain="published") -> KinematicChainCritic:
    return KinematicChainCritic(
        CriticSettings(pose_width=6, chain_width=9, joined_width=5, chain=chain), SKELETON
    )


def test_published_layout_goes_there_and_back() -> None:
    lifter, critic = RepNetLifter(RepNetSettings(width=12), SKELETON), published_critic()
    state = lifter_to_published(lifter) | critic_to_published(critic)
    assert list(state)[:2] == ["dense/kernel", "dense/bias"]
    assert list(state)[-2:] == ["dense_22/kernel", "dense_22/bias"]
    assert state["dense/kernel"].shape == (32, 12)
    column = PUBLISHED_JOINTS.index("left_wrist")
    ours = lifter.pose.linears[-1].bias.view(3, 16)[:, SKELETON.index("left_wrist")]
    assert torch.equal(state["dense_8/bias"].view(3, 16)[:, column], ours)
    other_lifter, other_critic = RepNetLifter(RepNetSettings(width=12), SKELETON), published_critic()
    shuffled = {key: state[key].numpy() for key in sorted(state)}
    lifter_from_published(other_lifter, shuffled)
    critic_from_published(other_critic, shuffled)
    keypoints, poses = random(3, 16, 2), random(3, 48)
    assert torch.equal(other_lifter(keypoints), lifter(keypoints))
    assert torch.equal(other_critic(poses), critic(poses))


def test_other_numbers_of_blocks_go_there_and_back() -> None:
    lifters = [
        RepNetLifter(RepNetSettings(width=8, pose_blocks=1, camera_blocks=3), SKELETON) for _ in range(2)
    ]
    state = lifter_to_published(lifters[0])
    assert state["dense_6/kernel"].shape == (8, 48)
    lifters[1].from_published_state(state)
    keypoints = random(3, 16, 2)
    assert torch.equal(lifters[0](keypoints), lifters[1](keypoints))


def test_old_keras_names_and_a_generator_alone() -> None:
    lifter = RepNetLifter(RepNetSettings(width=12), SKELETON)
    state = list(lifter_to_published(lifter).values())
    old = {f"dense_{1 + i // 2}/{'bias' if i % 2 else 'kernel'}:0": value for i, value in enumerate(state)}
    other = RepNetLifter(RepNetSettings(width=12), SKELETON)
    generator_from_published(other, dict(list(old.items())[:18]))
    keypoints = random(3, 16, 2)
    got, wanted = other.estimate(keypoints), lifter.estimate(keypoints)
    assert torch.equal(got.joints_body_m, wanted.joints_body_m)
    assert not torch.equal(got.camera, wanted.camera)
    with pytest.raises(CheckpointError, match="got 9; give a file of all of them"):
        other.from_published_state(dict(list(old.items())[:18]))


def test_checkpoints_of_other_networks_are_refused() -> None:
    lifter, critic = RepNetLifter(RepNetSettings(width=12), SKELETON), published_critic()
    wider = lifter_to_published(RepNetLifter(RepNetSettings(width=13), SKELETON))
    before = lifter(random(2, 16, 2))
    with pytest.raises(CheckpointError, match=r"'dense_0': wanted a kernel of \[32, 12\], got \[32, 13\]"):
        lifter.from_published_state(wider)
    with pytest.raises(CheckpointError, match=r"wanted names such as 'dense_3/kernel'.*'w1.weight'"):
        lifter.from_published_state({"w1.weight": torch.zeros(2, 2)})
    state = lifter_to_published(lifter)
    del state["dense_4/bias"]
    with pytest.raises(CheckpointError, match="dense_4 lacks its kernel or its bias"):
        lifter.from_published_state(state)
    assert torch.equal(lifter(random(2, 16, 2)), before)
    with pytest.raises(CheckpointError, match="build the critic with chain 'published'"):
        critic_from_published(KinematicChainCritic(CriticSettings(), SKELETON), critic_to_published(critic))


def test_coco_order_is_refused_by_skeleton() -> None:
    lifter = RepNetLifter(RepNetSettings(width=12), load_skeleton("coco_17"))
    with pytest.raises(
        SkeletonError, match=r"published RepNet weights are for the joints right_hip.*'coco_17'"
    ):
        lifter.to_published_state()
