"""RepNet's training: against autograd, resumed, on missing joints, on bad input; and it learns."""

import math
from dataclasses import astuple

import pytest
import torch

from estimators.errors import CheckpointError, LifterInputError
from estimators.lifters.repnet.lifter import build_repnet
from estimators.lifters.repnet.losses import image_losses
from estimators.lifters.repnet.settings import (
    CriticSettings,
    RepNetSettings,
    RepNetTrainerSettings,
    repnet_preset,
)
from estimators.lifters.repnet.torso import align_to_torso
from estimators.lifters.repnet.trainer import RepNetTrainer
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from poses.errors import PoseShapeError
from poses.rotations import axis_angle_to_matrix
from poses.skeleton import load_skeleton

SKELETON = load_skeleton("h36m_16")
SMALL_CRITIC = CriticSettings(pose_width=8, chain_width=16, joined_width=8)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_trainer(width: int = 16, seed: int = 0, **changes) -> RepNetTrainer:
    network = changes.pop("network", RepNetSettings(width=width))
    settings = RepNetTrainerSettings(critic=SMALL_CRITIC, **changes)
    lifter = build_repnet(network, SKELETON, seed)
    return RepNetTrainer(settings, lifter, seed=seed)


def batch(trainer: RepNetTrainer, rows: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    keypoints = trainer.prepare_keypoints(0.3 * random(rows, 16, 2, seed=seed))
    return keypoints, trainer.prepare_poses(0.4 * random(rows, 16, 3, seed=seed + 1))


REGRESSION = (
    (3.59287, -0.0114607, -0.706047, 4.31038, 3.53398, 0.696522, 1.50742, 1.33005),
    (3.41338, -0.0118185, -0.672051, 4.09725, 3.46659, 0.663025, 1.49333, 1.31023),
    (3.26168, -0.0121819, -0.640696, 3.91456, 3.40178, 0.632276, 1.47949, 1.29001),
)


def test_the_paper_preset_steps_too() -> None:
    network = RepNetSettings(width=16, shared_block=False, extra_pose_layer=False)
    trainer = make_trainer(network=network, distance="frobenius", learning_rate=1e-3)
    first = trainer.step(*batch(trainer))
    for _ in range(30):
        last = trainer.step(*batch(trainer))
    assert last.reprojection < first.reprojection


def killed_and_resumed(trainer: RepNetTrainer, seed: int) -> RepNetTrainer:
    tensors, scalars = trainer.state_dict()
    other = make_trainer(seed=seed)
    other.load_state_dict(tensors, scalars)
    return other


def test_a_resumed_run_has_the_same_numbers() -> None:
    whole, cut = make_trainer(), make_trainer()
    for step in range(2):
        whole.step(*batch(whole, seed=step))
        cut.step(*batch(cut, seed=step))
    cut = killed_and_resumed(cut, seed=9)
    assert cut.steps == 2
    for step in range(2, 5):
        assert astuple(whole.step(*batch(whole, seed=step))) == astuple(cut.step(*batch(cut, seed=step)))
    for one, other in zip(whole.lifter.parameters(), cut.lifter.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_state_of_another_network_is_refused() -> None:
    tensors, scalars = make_trainer(width=16).state_dict()
    with pytest.raises(CheckpointError, match="wants shape"):
        make_trainer(width=12).load_state_dict(tensors, scalars)
    missing = {name: value for name, value in tensors.items() if "adam_critic" not in name}
    with pytest.raises(CheckpointError, match="got nothing"):
        make_trainer(width=16).load_state_dict(missing, scalars)


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    trainer = make_trainer()
    trainer.step(*batch(trainer))
    assert torch.equal(before, torch.get_rng_state())


def test_missing_joints_do_not_move_anything() -> None:
    availability = torch.ones(6, 16)
    availability[:, 3] = 0
    results = []
    for nonsense in (0.0, 3.0):
        trainer = make_trainer()
        keypoints = 0.3 * random(6, 16, 2)
        keypoints[:, 3] = nonsense
        prepared = trainer.prepare_keypoints(keypoints, availability)
        _, poses = batch(trainer)
        results.append(astuple(trainer.step(prepared, poses, availability)))
    assert results[0] == results[1]
    trainer = make_trainer()
    keypoints, poses = batch(trainer)
    everything = astuple(trainer.step(keypoints, poses, torch.ones(6, 16)))
    trainer = make_trainer()
    assert everything == pytest.approx(astuple(trainer.step(keypoints, poses)), rel=1e-5)


def test_joint_weights_by_name() -> None:
    light = make_trainer(joint_weights=dict.fromkeys(SKELETON.joints, 0.0))
    assert light.step(*batch(light)).reprojection == 0.0
    with pytest.raises(ValueError, match="no joint 'nose'"):
        make_trainer(joint_weights={"nose": 1.0})


def test_a_single_pair_is_a_batch() -> None:
    trainer = make_trainer()
    losses = trainer.step(*batch(trainer, rows=1))
    assert all(value == value for value in astuple(losses))


def test_bad_input_is_refused() -> None:
    trainer = make_trainer()
    keypoints, poses = batch(trainer)
    with pytest.raises(LifterInputError, match="B at least 1"):
        trainer.step(keypoints[:0], poses[:0])
    with pytest.raises(LifterInputError, match=r"got \[5, 32\] and \[6, 48\]"):
        trainer.step(keypoints[:5], poses)
    with pytest.raises(LifterInputError, match="look like pixels"):
        trainer.prepare_keypoints(500 * random(2, 16, 2))
    broken = random(3, 16, 3)
    broken[1, 2, 0] = float("nan")
    with pytest.raises(LifterInputError, match="1 of 3 have NaN"):
        trainer.prepare_poses(broken)
    with pytest.raises(PoseShapeError, match="wanted joints"):
        trainer.prepare_poses(random(3, 17, 3))
    with pytest.raises(LifterInputError, match="wanted finite numbers"):
        trainer.step(torch.full_like(keypoints, float("nan")), poses)


def test_it_learns_without_pairs() -> None:
    """A rigid body seen from many sides: images come to fit, cameras to be rotations, the critic to tell fakes."""
    body = align_to_torso(0.4 * random(1, 16, 3, seed=7), SKELETON).joints_m
    turns = axis_angle_to_matrix(0.5 * random(256, 3, seed=3))
    trainer = make_trainer(width=32, learning_rate=1e-3, reprojection_weight=10.0)
    real = trainer.prepare_poses(body + 0.01 * random(256, 16, 3, seed=4))
    keypoints = trainer.prepare_keypoints(0.5 * (body @ turns.transpose(1, 2))[..., :2])
    order = torch.Generator().manual_seed(0)
    history = []
    for _ in range(100):
        rows, others = (torch.randint(256, (32,), generator=order) for _ in range(2))
        history.append(trainer.step(keypoints[rows], real[others]))
    assert history[-1].reprojection < 0.4 * history[0].reprojection
    assert history[-1].camera < 0.2 * history[0].camera
    with torch.no_grad():
        fakes = trainer.lifter.network(keypoints)[0]
        assert float(trainer.critic(real).mean()) < float(trainer.critic(fakes).mean())


def test_one_generator_step_is_autograds() -> None:
    """Without the critic's word the first update of Adam is the rate in the direction of the loss's gradient."""
    trainer = make_trainer(adversarial_weight=0.0)
    keypoints, poses = batch(trainer)
    before = [value.detach().clone() for value in trainer.lifter.parameters()]
    pose, camera = trainer.lifter.network(keypoints)
    losses = image_losses(trainer.settings, keypoints, pose, camera, torch.ones(16))
    gradients = torch.autograd.grad(sum(losses), list(trainer.lifter.parameters()))
    trainer.step(keypoints, poses)
    for value, old, gradient in zip(trainer.lifter.parameters(), before, gradients, strict=True):
        clear = gradient.abs() > 1e-4
        moved = (old - value.detach())[clear] / trainer.settings.learning_rate
        torch.testing.assert_close(moved, gradient[clear].sign(), atol=0.02, rtol=0)


def test_regression_of_the_code_preset() -> None:
    """Numbers of our own on made-up input, taken when the golden steps passed; print them to make them anew."""
    preset = repnet_preset("code")
    lifter = build_repnet(preset.network.model_copy(update={"width": 16}), SKELETON, seed=0)
    critic = preset.trainer.critic.model_copy(update={"pose_width": 8, "chain_width": 16, "joined_width": 8})
    trainer = RepNetTrainer(preset.trainer.model_copy(update={"critic": critic}), lifter, seed=0)
    keypoints = trainer.prepare_keypoints(0.3 * wave(6, 16, 2))
    poses = trainer.prepare_poses(0.4 * wave(6, 16, 3))
    mixing = (wave(6, 1, 1)[:, 0] + 1) / 2
    got = [astuple(trainer.step(keypoints, poses, mixing=mixing)) for _ in range(3)]
    for ours, wanted in zip(got, REGRESSION, strict=True):
        assert ours == pytest.approx((*wanted, 0.0, 0.0), rel=1e-4, abs=1e-6)


def wave(*shape: int) -> torch.Tensor:
    """Made-up numbers that no random generator's version changes."""
    return torch.sin(1.7 * torch.arange(math.prod(shape)) + 0.3).view(*shape)


def test_it_can_be_trained_with_pairs_too() -> None:
    """As the estimator of a loop, through camera and rotation; its size is then that of the pairs."""
    lifter = build_repnet(RepNetSettings(width=32), SKELETON, seed=1)
    trainer = LifterTrainer(LifterTrainerSettings(learning_rate=1e-3), lifter)
    keypoints, joints = 0.3 * random(64, 16, 2), 0.3 * random(64, 16, 3, seed=2)
    joints = joints - joints[:, :1]
    losses = [trainer.step(keypoints, joints) for _ in range(40)]
    assert losses[-1] < 0.9 * losses[0]
    still = torch.zeros(2, 16, 2, requires_grad=True)
    lifter(still).sum().backward()
    assert still.grad is not None
    assert bool(torch.isfinite(still.grad).all())
