"""Three steps of VideoPose3D's semi-supervised training against the published code (golden/README.md)."""

import numpy as np
import pytest
import torch

from estimators.lifters.contract import Lifter
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.lifters.temporal.videopose import VideoPoseLifter, VideoPoseSettings
from estimators.lifters.training.batch_norm import BatchNormMomentum
from estimators.lifters.training.semi_losses import Labelled, Unlabelled
from estimators.lifters.training.semi_supervised import SemiSupervisedSettings, SemiSupervisedTrainer
from poses.cameras import project_screen
from poses.skeleton import load_skeleton
from tests.golden.weight_rules import rule_a_state
from tests.shared_data import golden_path

LOSSES_RELATIVE = 1e-3
SETTINGS = VideoPoseSettings(channels=64, kernel_widths=(3, 3, 3), predict_root=True, dropout=0.0)
STEPS = 3
LABELLED = 16
CENTRE = 13


def _norm(name: str) -> list[str]:
    return [
        f"{name}.{key}" for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]


KEYS = [
    *_norm("expand_bn"),
    "shrink.weight",
    "shrink.bias",
    "expand_conv.weight",
    *(f"layers_conv.{i}.weight" for i in range(4)),
    *(key for i in range(4) for key in _norm(f"layers_bn.{i}")),
]


@pytest.fixture(scope="module")
def golden():
    return np.load(golden_path("golden_train_videopose_semi.npz"))


@pytest.fixture
def trainer() -> SemiSupervisedTrainer:
    skeleton = load_skeleton("h36m_17")
    networks = VideoPoseLifter(SETTINGS, skeleton), RootTrajectory(SETTINGS, skeleton)
    for network in networks:
        shapes = {name: tuple(value.shape) for name, value in network.to_published_state().items()}
        network.from_published_state(rule_a_state(shapes))
    settings = SemiSupervisedSettings(
        warmup_epochs=0, batch_norm_momentum=BatchNormMomentum(epochs=STEPS), distortion="published"
    )
    return SemiSupervisedTrainer(settings, *networks)


def batches(golden) -> tuple[Labelled, Unlabelled]:
    keypoints, joints, root = (torch.from_numpy(golden[name]) for name in ("x2d", "rel", "traj"))
    camera = torch.from_numpy(golden["cam"]).expand(len(keypoints) - LABELLED, 9)
    known, unknown = slice(None, LABELLED), slice(LABELLED, None)
    return (
        Labelled(keypoints[known], joints[known, CENTRE], root[known, CENTRE, 0]),
        Unlabelled(keypoints[unknown], keypoints[unknown, CENTRE], camera),
    )


def checksums(network: Lifter | RootTrajectory, keys: list[str]) -> np.ndarray:
    state = network.to_published_state()
    return np.asarray(
        [[float(state[key].double().sum()), float(state[key].double().square().sum())] for key in keys]
    )


def test_three_epochs_of_one_step(golden, trainer: SemiSupervisedTrainer) -> None:
    """Rate and BatchNorm momentum fall after every epoch, so that the third loss and the statistics test both."""
    for epoch in range(STEPS):
        trainer.begin_epoch(epoch)
        losses = trainer.step(*batches(golden))
        got = [losses.total, losses.position, losses.trajectory, losses.projection, losses.bones]
        wanted = golden["losses_total_3d_traj_proj_bone"][epoch]
        np.testing.assert_allclose(got, wanted, rtol=LOSSES_RELATIVE)
    for network, name in ((trainer.lifter, "pos"), (trainer.trajectory, "traj")):
        wanted = golden[f"{name}_checksum"]
        np.testing.assert_allclose(checksums(network, KEYS), wanted, rtol=1e-4, atol=5e-3)


def test_outputs_after_the_steps(golden, trainer: SemiSupervisedTrainer) -> None:
    for epoch in range(STEPS):
        trainer.begin_epoch(epoch)
        trainer.step(*batches(golden))
    trainer.lifter.eval()
    trainer.trajectory.eval()
    keypoints = torch.from_numpy(golden["x2d"][:4])
    with torch.no_grad():
        poses, roots = trainer.lifter(keypoints, "loss"), trainer.trajectory(keypoints)
    assert float(np.abs(poses.numpy() - golden["eval_pos"]).max()) < 2e-3
    assert float(np.abs(roots.numpy() - golden["eval_traj"][:, :, 0]).max()) < 2e-3


def test_the_golden_input_is_the_published_projection_of_its_poses(golden) -> None:
    joints = torch.from_numpy(golden["rel"] + golden["traj"])
    projected = project_screen(joints, torch.from_numpy(golden["cam"])[None, None], clamp=True)
    np.testing.assert_allclose(projected.numpy(), golden["x2d"], atol=1e-5)
