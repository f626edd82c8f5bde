"""Turned views: what they show, that the term's gradient is autograd's, that it tells which way depth points."""

from dataclasses import astuple
from typing import Literal

import pytest
import torch
from torch import Tensor

from estimators.lifters.repnet.camera import camera_parts, reproject
from estimators.lifters.repnet.flat_pose import flatten_joints, unflatten_joints
from estimators.lifters.repnet.lifter import build_repnet
from estimators.lifters.repnet.settings import (
    CriticSettings,
    RepNetSettings,
    RepNetTrainerSettings,
    TurnedViewsSettings,
    repnet_preset,
)
from estimators.lifters.repnet.torso import align_to_torso
from estimators.lifters.repnet.trainer import RepNetTrainer
from estimators.lifters.repnet.turned_views import TurnedViews, draw_cameras, turned_losses, turned_views
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")
SETTINGS = TurnedViewsSettings(distance_m=None)
FLIP = torch.tensor([1.0, 1.0, -1.0])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def poses(rows: int, seed: int = 0) -> Tensor:
    joints = 0.4 * torch.randn(rows, 16, 3, generator=seeded(seed))
    return flatten_joints(align_to_torso(joints, SKELETON).joints_m)


def make_trainer(turned: TurnedViewsSettings | None, shared: bool = True, **changes) -> RepNetTrainer:
    critic = CriticSettings(pose_width=8, chain_width=16, joined_width=8)
    settings = RepNetTrainerSettings(critic=critic, turned=turned, **changes)
    network = RepNetSettings(width=24, shared_block=shared, extra_pose_layer=shared)
    return RepNetTrainer(settings, build_repnet(network, SKELETON, seed=0), seed=0)


def keypoints(trainer: RepNetTrainer, rows: int = 6) -> Tensor:
    return trainer.prepare_keypoints(0.3 * torch.randn(rows, 16, 2, generator=seeded(5)))


def test_a_view_is_the_pose_under_its_camera() -> None:
    views = turned_views(SETTINGS, poses(8), None, seeded())
    image = reproject(views.camera, unflatten_joints(views.poses_flat, 3))
    torch.testing.assert_close(flatten_joints(image), views.keypoints_flat)
    parts = camera_parts(views.camera)
    torch.testing.assert_close(
        parts.rotation[:, :2] * parts.scale[:, None, None], views.camera, atol=1e-4, rtol=1e-4
    )
    found = turned_losses(views, views.poses_flat, views.camera.flatten(1))
    torch.testing.assert_close(found, torch.zeros(2), atol=1e-5, rtol=0)


def test_what_is_near_looks_larger() -> None:
    level = TurnedViewsSettings(elevation_deg=0.0, elevation_deviation_deg=0.0, roll_deviation_deg=0.0)
    near = turned_views(level.model_copy(update={"distance_m": (2.0, 2.0)}), poses(64), None, seeded())
    far = turned_views(level.model_copy(update={"distance_m": (1e6, 1e6)}), poses(64), None, seeded())
    flat = turned_views(level.model_copy(update={"distance_m": None}), poses(64), None, seeded())
    torch.testing.assert_close(far.keypoints_flat, flat.keypoints_flat, atol=1e-4, rtol=0)
    torch.testing.assert_close(far.camera, flat.camera, atol=1e-4, rtol=1e-4)
    rotation = camera_parts(near.camera).rotation
    turned_m = unflatten_joints(near.poses_flat, 3) @ rotation.transpose(1, 2)
    ratio = flat_points(near) / flat_points(far)
    # At 2 m a joint 1 m nearer than the centre looks twice as large; centres and spreads differ a little.
    is_clear = (flat_points(far).abs() > 0.5)[..., 0]
    growth, wanted = ratio[..., 0][is_clear], (1 / (1 + turned_m[..., 2] / 2))[is_clear]
    assert float(torch.corrcoef(torch.stack([growth, wanted]))[0, 1]) > 0.8


def flat_points(views: TurnedViews) -> Tensor:
    return unflatten_joints(views.keypoints_flat, 2)


def test_joints_that_were_not_seen_are_missing_in_the_views_too() -> None:
    availability = torch.ones(8, 16)
    availability[2:5, SKELETON.index("head")] = 0
    views = turned_views(SETTINGS, poses(8), availability, seeded())
    head = unflatten_joints(views.keypoints_flat, 2)[:, SKELETON.index("head")]
    assert bool((head[2:5] == 0).all())
    assert bool((head[:2] != 0).any())


def test_cameras_stand_all_around_and_as_high_as_asked() -> None:
    turns = draw_cameras(SETTINGS, 4000, seeded())
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(4000))
    # Where the camera is, in the body's frame (y down): opposite to its line of sight.
    place = -turns[:, 2]
    quarter = torch.atan2(place[:, 0], -place[:, 2]).div(torch.pi / 2).floor().long() + 2
    assert torch.bincount(quarter, minlength=4).min() > 850
    above = torch.rad2deg(torch.asin(-place[:, 1]))
    assert float(above.mean()) == pytest.approx(SETTINGS.elevation_deg, abs=1.5)
    level = draw_cameras(SETTINGS.model_copy(update={"elevation_deviation_deg": 0.0}), 200, seeded())
    torch.testing.assert_close(
        torch.rad2deg(torch.asin(level[:, 2, 1])), torch.full((200,), SETTINGS.elevation_deg)
    )


def test_the_losses_have_their_units() -> None:
    views = turned_views(SETTINGS, poses(8), None, seeded())
    angle = torch.tensor(0.01)
    roll = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    shift = torch.cat([torch.full((8, 16), 0.05), torch.zeros(8, 32)], 1)
    found = turned_losses(views, views.poses_flat + shift, (roll @ views.camera).flatten(1))
    torch.testing.assert_close(found, torch.tensor([0.05, 0.01 * 2**0.5]), rtol=1e-3, atol=0)


def test_a_flip_in_depth_costs_what_no_other_term_sees() -> None:
    views = turned_views(SETTINGS, poses(64), None, seeded())
    flipped = flatten_joints(unflatten_joints(views.poses_flat, 3) * FLIP)
    camera = views.camera * FLIP
    image = reproject(camera, unflatten_joints(flipped, 3))
    torch.testing.assert_close(flatten_joints(image), views.keypoints_flat)
    assert float(turned_losses(views, flipped, camera.flatten(1))[1]) > 1.0


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("source", ["real", "generated"])
def test_one_step_is_autograds(source: Literal["real", "generated"], shared: bool) -> None:
    """Adam's first update is the rate in the direction of the gradient; the other terms weigh nothing here."""
    turned = TurnedViewsSettings(poses=source)
    off = {"adversarial_weight": 0.0, "reprojection_weight": 0.0, "camera_weight": 0.0}
    trainer = make_trainer(turned, shared, **off)
    seen, real = keypoints(trainer), poses(6, seed=3)
    mixing = torch.full((6, 1), 0.5)
    shown = real if source == "real" else trainer.lifter.network(seen)[0].detach()
    views = turned_views(
        turned, shown, None, seeded(1)
    )  # the trainer's numbers: its seed + 1, mixing was given
    losses = turned_losses(views, *trainer.lifter.network(views.keypoints_flat))
    total = turned.pose_weight * losses[0] + turned.camera_weight * losses[1]
    before = [value.detach().clone() for value in trainer.lifter.parameters()]
    gradients = torch.autograd.grad(total, list(trainer.lifter.parameters()))
    said = trainer.step(seen, real, mixing=mixing)
    assert (said.turned_pose_m, said.turned_camera) == pytest.approx(tuple(losses.tolist()), rel=1e-5)
    assert said.generator == pytest.approx(float(total.detach()), rel=1e-5)
    for value, old, gradient in zip(trainer.lifter.parameters(), before, gradients, strict=True):
        clear = gradient.abs() > 1e-4
        moved = (old - value.detach())[clear] / trainer.settings.learning_rate
        torch.testing.assert_close(moved, gradient[clear].sign(), atol=0.02, rtol=0)


def test_a_weight_of_nothing_changes_no_other_gradient() -> None:
    plain, idle = make_trainer(None), make_trainer(TurnedViewsSettings(pose_weight=0.0, camera_weight=0.0))
    mixing = torch.full((6, 1), 0.5)
    one, other = (trainer.step(keypoints(trainer), poses(6), mixing=mixing) for trainer in (plain, idle))
    assert astuple(one)[:8] == pytest.approx(astuple(other)[:8])
    for value, same in zip(plain.lifter.parameters(), idle.lifter.parameters(), strict=True):
        torch.testing.assert_close(value, same)


def test_a_resumed_run_draws_the_same_cameras() -> None:
    whole, cut = make_trainer(SETTINGS), make_trainer(SETTINGS)
    for trainer in (whole, cut):
        trainer.step(keypoints(trainer), poses(6))
    tensors, scalars = cut.state_dict()
    other = make_trainer(SETTINGS)
    other.load_state_dict(tensors, scalars)
    assert astuple(whole.step(keypoints(whole), poses(6))) == astuple(other.step(keypoints(other), poses(6)))


def test_only_the_default_preset_has_the_term() -> None:
    assert repnet_preset("code").trainer.turned is None
    assert repnet_preset("paper").trainer.turned is None
    assert repnet_preset("default").trainer.turned is not None


def test_unseen_views_of_the_poses_come_out_better() -> None:
    body = poses(1, seed=7)
    trainer = make_trainer(SETTINGS, learning_rate=1e-2, adversarial_weight=0.1)
    unseen, real = (
        turned_views(SETTINGS, body.expand(200, -1), None, seeded(9)),
        body.expand(32, -1).contiguous(),
    )

    def error() -> Tensor:
        with torch.no_grad():
            return turned_losses(unseen, *trainer.lifter.network(unseen.keypoints_flat))

    before = error()
    for step in range(60):
        trainer.step(turned_views(SETTINGS, real, None, seeded(100 + step)).keypoints_flat, real)
    assert bool((error() < torch.tensor([0.5, 0.8]) * before).all())
