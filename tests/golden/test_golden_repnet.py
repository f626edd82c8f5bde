"""RepNet against the published TensorFlow code and its formulas (golden/README.md; the inputs are real motion)."""

import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch

from estimators.lifters.repnet.camera import camera_loss, reproject, reprojection_loss
from estimators.lifters.repnet.chain import PUBLISHED_JOINTS, chain_bones, chain_gram, chain_matrix
from estimators.lifters.repnet.flat_pose import unflatten_joints
from estimators.lifters.repnet.lifter import RepNetLifter
from estimators.lifters.repnet.published import critic_from_published, critic_to_published
from estimators.lifters.repnet.settings import repnet_preset
from estimators.lifters.repnet.trainer import RepNetTrainer
from poses.skeleton import load_skeleton
from tests.shared_data import golden_path

SKELETON = load_skeleton("h36m_16")
ORDER = SKELETON.indices(PUBLISHED_JOINTS)
TOLERANCE = 1e-4
STEP_TOLERANCE = 1e-3
CRITIC_LIST_ORDER = (14, 15, 18, 16, 19, 20, 17, 21, 22)


@cache
def rule_a_prime(tag: str, number: int, kernel: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Kernel (in, out) and bias of one layer, rule A' of golden/README.md."""

    def drawn(part: str, shape: Sequence[int]) -> np.ndarray:
        random = np.random.RandomState(zlib.crc32(f"{tag}/{number}/{part}".encode()))
        return random.standard_normal(shape)

    return {
        "kernel": (drawn("kernel", kernel) * np.sqrt(1 / kernel[0])).astype(np.float32),
        "bias": (0.05 * drawn("bias", kernel[1:])).astype(np.float32),
    }


def golden_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The state that the golden file was made with, by Keras name."""
    state: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        if not name.endswith("/kernel"):
            continue
        layer = name.removesuffix("/kernel")
        index = int(layer.removeprefix("dense").removeprefix("_") or 0)
        if index < 9:
            tag, number = "gen", index
        elif index < 14:
            tag, number = "cam", index - 9
        else:
            tag, number = "disc", CRITIC_LIST_ORDER.index(index)
        drawn = rule_a_prime(tag, number, shape)
        state[name], state[f"{layer}/bias"] = drawn["kernel"], drawn["bias"]
    return state


def ours(flat: np.ndarray) -> torch.Tensor:
    """(B, D J) in the published joint order -> in the skeleton's."""
    joints = flat.reshape(len(flat), -1, len(ORDER))
    mapped = np.empty_like(joints)
    mapped[:, :, ORDER] = joints
    return torch.from_numpy(mapped.reshape(len(flat), -1))


def published(flat: torch.Tensor) -> np.ndarray:
    """Inverse of `ours`."""
    return flat.detach().numpy().reshape(len(flat), -1, len(ORDER))[:, :, ORDER].reshape(len(flat), -1)


def golden_trainer() -> RepNetTrainer:
    preset = repnet_preset("code")
    trainer = RepNetTrainer(preset.trainer, RepNetLifter(preset.network, SKELETON))
    lifter, critic = trainer.lifter, trainer.critic
    shapes = {name: tuple(value.shape) for name, value in lifter.to_published_state().items()}
    lifter.from_published_state(golden_state(shapes))
    shapes = {name: tuple(value.shape) for name, value in critic_to_published(critic).items()}
    critic_from_published(critic, golden_state(shapes))
    return trainer


@pytest.fixture(scope="module")
def golden():
    return np.load(golden_path("golden_repnet_official_tf.npz"))


def worst(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted).max())


def test_forward_equals_the_published_code(golden) -> None:
    trainer = golden_trainer()
    lifter, critic = trainer.lifter, trainer.critic
    assert sum(value.numel() for value in critic.parameters()) == 2_373_401
    assert sum(value.numel() for value in lifter.parameters()) == 7_088_048 + 4_010_006
    with torch.no_grad():
        pose, camera = lifter.network(ours(golden["x2d"]))
        assert worst(published(pose), golden["pose3d"]) < TOLERANCE
        assert worst(camera.numpy(), golden["cam"]) < TOLERANCE
        image = reproject(camera.view(-1, 2, 3), unflatten_joints(pose, 3))
        assert worst(published(image.transpose(1, 2).flatten(1)), golden["rep2d"]) < TOLERANCE
        assert worst(critic.psi(ours(golden["x3d"])).numpy(), golden["psi"]) < TOLERANCE
        assert worst(critic(ours(golden["x3d"])).numpy(), golden["critic_real"]) < TOLERANCE
        assert worst(critic(pose).numpy(), golden["critic_fake"]) < TOLERANCE


def checksum(state: dict[str, torch.Tensor], layers: Sequence[int]) -> np.ndarray:
    names = [f"dense_{layer}" if layer else "dense" for layer in layers]
    arrays = [state[f"{name}/{part}"].double() for name in names for part in ("kernel", "bias")]
    return np.asarray([(float(array.sum()), float(array.square().sum())) for array in arrays])


def test_three_full_steps_equal_the_published_code(golden) -> None:
    trainer = golden_trainer()
    keypoints, poses = ours(golden["x2d"]), ours(golden["x3d"])
    for step in range(3):
        losses = trainer.step(keypoints, poses, mixing=torch.from_numpy(golden["eps"]))
        got = [losses.critic, losses.critic_real, losses.critic_fake, losses.gradient_penalty]
        np.testing.assert_allclose(got, golden[f"step{step}_critic_losses"], rtol=STEP_TOLERANCE)
        got = [losses.generator, losses.adversarial, losses.reprojection, losses.camera]
        np.testing.assert_allclose(got, golden[f"step{step}_adv_losses"], rtol=STEP_TOLERANCE)
        lifter, critic = trainer.lifter.to_published_state(), critic_to_published(trainer.critic)
        for tag, state, layers in (
            ("disc", critic, CRITIC_LIST_ORDER),
            ("gen", lifter, range(9)),
            ("cam", lifter, (0, 1, 2, *range(9, 14))),
        ):
            wanted = golden[f"step{step}_{tag}_checksum"]
            np.testing.assert_allclose(checksum(state, layers), wanted, rtol=1e-4, atol=5e-3)
        with torch.no_grad():
            pose, camera = trainer.lifter.network(keypoints)
            assert worst(published(pose), golden[f"step{step}_pose3d"]) < 1e-3
            assert worst(camera.numpy(), golden[f"step{step}_cam"]) < 1e-3
            assert worst(trainer.critic(poses).numpy(), golden[f"step{step}_critic_real"]) < 5e-3


def test_formulas() -> None:
    golden = np.load(golden_path("golden_repnet_formulas.npz"))
    for kind, name in (("published", "C"), ("published_pre_2020", "C_pre_2020_10_23")):
        assert worst(chain_matrix(SKELETON, kind).numpy()[ORDER], golden[name]) == 0
    bones = [[PUBLISHED_JOINTS.index(joint) for joint in bone] for bone in chain_bones(SKELETON, "published")]
    assert bones == golden["bones"].tolist()
    poses = ours(golden["x3d"])
    psi = chain_gram(poses.view(-1, 3, 16) @ chain_matrix(SKELETON, "published"))
    assert worst(psi.numpy(), golden["psi"]) < 1e-5
    camera = torch.from_numpy(golden["cam"]).view(-1, 2, 3)
    keypoints = unflatten_joints(ours(golden["x2d"]), 2)
    image = reproject(camera, unflatten_joints(ours(golden["pose3d"]), 3))
    assert worst(published(image.transpose(1, 2).flatten(1)), golden["reproj"]) < 1e-5
    weights = repnet_preset("code").trainer.joint_weights
    weight = torch.tensor([weights.get(joint, 1.0) for joint in SKELETON.joints])
    assert np.array_equal(np.tile(weight.numpy()[ORDER], 2), golden["weights32"].astype(np.float32))
    code = reprojection_loss(keypoints, image, weight, "sum_abs")
    assert worst(code.numpy(), golden["l2d_code"]) < 1e-5
    paper = reprojection_loss(keypoints, image, torch.ones(16), "frobenius")
    assert worst(paper.numpy(), golden["lrep_paper_frobenius"]) < 1e-4
    assert worst(camera_loss(camera, "sum_abs").numpy(), golden["cam_code_sumabs"]) < 1e-5
    assert worst(camera_loss(camera, "frobenius").numpy(), golden["cam_paper_frobenius"]) < 1e-5
