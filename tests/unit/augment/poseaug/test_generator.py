"""The augmentor: what each step may change, parameter counts, safe norms, folded inference."""

import math

import pytest
import torch

from augment.errors import AugmentError
from augment.poseaug import frozen_generator
from augment.poseaug.frozen_generator import FrozenGenerator, bfloat16_is_fast
from augment.poseaug.generator import Augmented3D, PoseAugGenerator
from augment.poseaug.geometry import bones_of, joints_of, lengths_and_directions, rotation_from_axis_angle
from augment.poseaug.settings import GeneratorSettings
from poses.skeleton import load_skeleton
from tests.unit.augment.poseaug.samples import SKELETON, poses, small_generator_settings

FIELDS = ("joints_camera_m", "bone_angle_change", "bone_length_ratio", "axis_angle_rad", "translation_m")


def trained_generator(skeleton=SKELETON, settings: GeneratorSettings | None = None) -> PoseAugGenerator:
    """A generator whose BatchNorm layers have seen some poses."""
    torch.manual_seed(0)
    generator = PoseAugGenerator(settings or small_generator_settings(), skeleton)
    random = torch.Generator().manual_seed(1)
    for step in range(10):
        generator(poses(64, step, skeleton), generator.draw_noise(64, random))
    return generator.eval()


def augment(rows: int = 32) -> tuple[torch.Tensor, Augmented3D]:
    generator = trained_generator()
    joints = poses(rows, 50)
    with torch.no_grad():
        return joints, generator(joints, generator.draw_noise(rows, torch.Generator().manual_seed(2)))


def lengths(joints: torch.Tensor) -> torch.Tensor:
    return bones_of(joints, SKELETON).norm(dim=-1)


def directions(joints: torch.Tensor) -> torch.Tensor:
    return lengths_and_directions(bones_of(joints, SKELETON), safe=True)[1]


def test_published_parameter_counts() -> None:
    generator = PoseAugGenerator(GeneratorSettings(), SKELETON)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in generator.named_children()}
    assert counts == {"bone_angle": 302_125, "bone_length": 296_713, "rigid_motion": 582_662}
    products = [part for part in generator.modules() if isinstance(part, torch.nn.Linear)]
    assert sum(part.weight.numel() for part in products) == 1_166_080


def test_bone_angle_step_keeps_lengths_root_and_torso() -> None:
    source, made = augment()
    torch.testing.assert_close(lengths(made.bone_angle_joints_m), lengths(source), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made.bone_angle_joints_m[:, 0], source[:, 0])
    frozen = SKELETON.bone_indices(SKELETON.frozen_direction_bones).tolist()
    assert len(frozen) == 2
    torch.testing.assert_close(
        directions(made.bone_angle_joints_m)[:, frozen], directions(source)[:, frozen], atol=1e-4, rtol=0.0
    )
    assert bool((made.bone_angle_change[:, frozen] == 0).all())
    free = [bone for bone in range(SKELETON.n_bones) if bone not in frozen]
    assert float(made.bone_angle_change[:, free].mean()) > 0.01
    change = 1.0 - (directions(made.bone_angle_joints_m) * directions(source)).sum(-1)
    torch.testing.assert_close(change, made.bone_angle_change, atol=1e-4, rtol=0.0)


def test_bone_length_step_keeps_directions_and_ties_both_sides() -> None:
    source, made = augment()
    torch.testing.assert_close(
        directions(made.bone_length_joints_m), directions(made.bone_angle_joints_m), atol=1e-4, rtol=0.0
    )
    ratio = lengths(made.bone_length_joints_m) / lengths(source) - 1.0
    torch.testing.assert_close(
        ratio, made.bone_length_ratio[:, torch.tensor(SKELETON.bone_group_index.copy())], atol=1e-4, rtol=0.0
    )
    left, right = SKELETON.bone_index("left_knee"), SKELETON.bone_index("right_knee")
    torch.testing.assert_close(ratio[:, left], ratio[:, right], atol=1e-4, rtol=0.0)
    assert float(made.bone_length_ratio.abs().max()) <= 0.2
    assert float(made.bone_length_ratio.abs().max()) > 0.0
    assert float(ratio[:, SKELETON.bone_index("thorax")].abs().max()) < 1e-5


def test_rigid_motion_step_is_rigid_and_puts_the_root_at_the_translation() -> None:
    _, made = augment()
    torch.testing.assert_close(made.joints_camera_m[:, 0], made.translation_m, atol=1e-5, rtol=0.0)
    assert bool((made.translation_m[:, 2] >= 0).all())
    before = torch.cdist(made.bone_length_joints_m, made.bone_length_joints_m)
    after = torch.cdist(made.joints_camera_m, made.joints_camera_m)
    torch.testing.assert_close(before, after, atol=1e-3, rtol=0.0)
    rotation = rotation_from_axis_angle(made.axis_angle_rad)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(32), atol=1e-5, rtol=0.0)
    assert float(made.axis_angle_rad.abs().max()) <= math.pi


def test_rotation_has_finite_gradients_at_zero() -> None:
    vector = torch.zeros(2, 3, requires_grad=True)
    rotation = rotation_from_axis_angle(vector)
    torch.testing.assert_close(rotation.detach(), torch.eye(3).expand(2, 3, 3))
    rotation.square().sum().backward()
    assert vector.grad is not None
    assert bool(torch.isfinite(vector.grad).all())


def test_a_bone_without_length_spoils_only_unsafe_norms() -> None:
    joints = poses(8)
    joints[3, SKELETON.index("head")] = joints[3, SKELETON.index("thorax")]
    for safe in (True, False):
        torch.manual_seed(0)
        generator = PoseAugGenerator(small_generator_settings(), SKELETON, safe_norms=safe)
        made = generator(joints, generator.draw_noise(8, torch.Generator().manual_seed(0)))
        finite = torch.isfinite(made.joints_camera_m).flatten(1).all(1)
        assert bool(finite.all()) == safe
        assert bool(finite[3]) == safe


def test_paper_settings_move_torso_and_all_lengths() -> None:
    settings = small_generator_settings().model_copy(
        update={"freeze_torso_directions": False, "freeze_lengths": False}
    )
    generator = trained_generator(settings=settings)
    with torch.no_grad():
        made = generator(poses(16), generator.draw_noise(16, torch.Generator().manual_seed(0)))
    assert float(made.bone_angle_change[:, SKELETON.bone_index("spine")].abs().max()) > 1e-3
    thorax_group = int(SKELETON.bone_group_index[SKELETON.bone_index("thorax")])
    assert float(made.bone_length_ratio[:, thorax_group].abs().max()) > 1e-4


def test_joints_of_inverts_bones_of_on_another_skeleton() -> None:
    skeleton = load_skeleton("h36m_17")
    joints = poses(5, 0, skeleton)
    root = joints[:, skeleton.root_index : skeleton.root_index + 1]
    torch.testing.assert_close(joints_of(bones_of(joints, skeleton), root, skeleton), joints)


@pytest.mark.parametrize("skeleton_name", ["h36m_16", "h36m_17"])
def test_frozen_generator_equals_evaluation_mode(skeleton_name: str) -> None:
    skeleton = load_skeleton(skeleton_name)
    generator = trained_generator(skeleton)
    joints, noise = poses(40, 7, skeleton), generator.draw_noise(40, torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = generator(joints, noise)
    got = FrozenGenerator(generator)(joints, noise)
    for field in FIELDS:
        torch.testing.assert_close(getattr(got, field), getattr(wanted, field), atol=1e-4, rtol=1e-4)


def test_frozen_rows_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_generator, "BLOCK", 16)
    generator = trained_generator()
    frozen = FrozenGenerator(generator)
    joints, noise = poses(50, 8), generator.draw_noise(50, torch.Generator().manual_seed(4))
    whole = frozen(joints, noise)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(5))
    turned = frozen(joints[order], noise[order])
    for field in FIELDS:
        assert torch.equal(getattr(whole, field)[order], getattr(turned, field)), field
        for rows in (1, 15, 17, 33):
            assert torch.equal(
                getattr(frozen(joints[:rows], noise[:rows]), field), getattr(whole, field)[:rows]
            )


def test_frozen_generator_is_a_copy_and_knows_its_types() -> None:
    generator = trained_generator()
    frozen = FrozenGenerator(generator)
    joints, noise = poses(4), generator.draw_noise(4, torch.Generator().manual_seed(6))
    before = frozen(joints, noise).joints_camera_m
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1)
    assert torch.equal(before, frozen(joints, noise).joints_camera_m)
    assert len(frozen(joints[:0], noise[:0]).joints_camera_m) == 0
    with pytest.raises(AugmentError, match=r"float32 or bfloat16, got torch\.float16"):
        FrozenGenerator(generator, torch.float16)


def test_bfloat16_moves_the_draw_but_not_the_bones() -> None:
    generator = trained_generator()
    joints, noise = poses(30, 9), generator.draw_noise(30, torch.Generator().manual_seed(7))
    made = FrozenGenerator(generator, torch.bfloat16)(joints, noise)
    exact = FrozenGenerator(generator)(joints, noise)
    group = torch.tensor(SKELETON.bone_group_index.copy())
    wanted = lengths(joints) * (1.0 + made.bone_length_ratio[:, group])
    torch.testing.assert_close(lengths(made.joints_camera_m), wanted, atol=1e-4, rtol=1e-4)
    assert float((made.bone_angle_change - exact.bone_angle_change).abs().mean()) < 0.05
    assert isinstance(bfloat16_is_fast(), bool)
