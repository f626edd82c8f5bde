"""Metrics and the protocols that average them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poses.errors import PoseShapeError, ProtocolError
from poses.kinematics import rotate_joints
from poses.metrics import (
    auc,
    joint_errors_mm,
    mpjpe_mm,
    n_mpjpe_mm,
    object_keypoint_similarity,
    pa_mpjpe_mm,
    pa_mpjpe_reflection_mm,
    pck,
    procrustes_align,
    velocity_errors_mm,
)
from poses.protocols import (
    PROTOCOLS,
    check_one_protocol,
    evaluate,
    find_protocol,
    is_better,
    mean_over_runs,
    relative_change,
)
from poses.rotations import random_rotation_matrix
from poses.skeleton import load_skeleton

few = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**31 - 1)
SKELETON = load_skeleton("h36m_16")


def poses(seed: int, batch: int = 6) -> torch.Tensor:
    made = torch.randn(batch, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 0.4
    return made - made[:, :1]


def test_mpjpe_by_hand() -> None:
    target = torch.zeros(2, 16, 3)
    predicted = target.clone()
    predicted[1, 5] = torch.tensor([0.3, 0.0, 0.4])
    assert mpjpe_mm(predicted, target).tolist() == pytest.approx([0.0, 500 / 16])


@few
@given(seed=seeds)
def test_procrustes_undoes_any_similarity(seed: int) -> None:
    target = poses(seed)
    generator = torch.Generator().manual_seed(seed)
    rotation = random_rotation_matrix(torch.rand(6, 3, dtype=torch.float64, generator=generator))
    moved = rotate_joints(target, rotation) * 1.7 + torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(procrustes_align(moved, target), target)
    assert pa_mpjpe_mm(moved, target).max() < 1e-6
    noisy = target + 0.1 * poses(seed + 1)
    aligned = pa_mpjpe_mm(noisy, target)
    torch.testing.assert_close(pa_mpjpe_mm(rotate_joints(noisy, rotation) * 0.3, target), aligned)


@few
@given(seed=seeds)
def test_procrustes_is_the_best_and_never_reflects(seed: int) -> None:
    target = poses(seed)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    aligned = procrustes_align(mirrored, target)
    error = (aligned - target).square().sum((1, 2))
    assert (error > 1e-2).all()  # a reflection would bring it to zero
    generator = torch.Generator().manual_seed(seed)
    small = random_rotation_matrix(torch.rand(6, 3, dtype=torch.float64, generator=generator))
    other = rotate_joints(aligned - target.mean(1, keepdim=True), small) + target.mean(1, keepdim=True)
    assert (error <= (other - target).square().sum((1, 2)) + 1e-12).all()


def test_repnets_error_forgives_a_mirrored_pose_and_stands_under_its_own_name_only() -> None:
    target = poses(3)
    mirrored = target * torch.tensor([-2.0, 2.0, 2.0])
    assert pa_mpjpe_reflection_mm(mirrored, target).max() < 1e-6
    assert pa_mpjpe_mm(mirrored, target).min() > 50
    noisy = target + 0.1 * poses(4)
    assert (pa_mpjpe_reflection_mm(noisy, target) <= pa_mpjpe_mm(noisy, target) + 1e-9).all()
    result = evaluate("released_repnet", mirrored, target, SKELETON, sequence=["a"] * 6)
    assert set(result.metrics) == {"pa_mpjpe_reflection_mm"}
    for name, protocol in PROTOCOLS.items():
        assert ("pa_mpjpe_reflection_mm" in protocol.metrics) == (name == "released_repnet")


def test_reflections_by_hand() -> None:
    """A square with one corner lifted, and its mirror image: 3D, so that no rotation undoes the mirror."""
    target = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]])
    mirrored = target * torch.tensor([1.0, 1.0, -1.0])
    assert pa_mpjpe_reflection_mm(mirrored, target).item() == pytest.approx(0, abs=1e-6)
    # Centred, the Gram matrix of the tetrahedron has singular values 1, 1, 1/4; the best rotation turns the weakest:
    # scale (1 + 1 - 1/4) / (1 + 1 + 1/4) = 7/9.
    aligned = procrustes_align(mirrored, target)
    size = [(pose - pose.mean(1, keepdim=True)).square().sum() for pose in (aligned, target)]
    assert (size[0] / size[1]).item() == pytest.approx((7 / 9) ** 2)


def test_motionberts_scale_comes_from_the_ground_truth_and_must_be_given() -> None:
    skeleton = load_skeleton("h36m_17")
    target = torch.randn(3, 17, 3, generator=torch.Generator().manual_seed(0))
    target = target - target[:, :1]
    scale = torch.tensor([0.5, 2.0, 4.0])
    in_units = target / scale[:, None, None]
    action = ["a", "b", "b"]
    found = evaluate("released_motionbert", in_units, target, skeleton, action, true_scale_m=scale)
    assert found.metrics["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    with pytest.raises(ProtocolError, match="give true_scale_m, or choose another protocol"):
        evaluate("released_motionbert", in_units, target, skeleton, action)
    with pytest.raises(ProtocolError, match="takes estimates as they are"):
        evaluate("frame_mean_with_root", in_units, target, skeleton, true_scale_m=scale)


def test_which_way_is_better_depends_on_the_metric() -> None:
    assert is_better("mpjpe_mm", 10.0, 11.0)
    assert not is_better("mpjpe_mm", 10.0, 11.0, min_change=1.0)
    assert is_better("auc", 0.6, 0.5)
    assert not is_better("auc", 0.5, 0.6)
    assert not is_better("mpjpe_mm", float("nan"), 11.0)
    with pytest.raises(ProtocolError, match=r"no metric 'mpjpe'; did you mean 'mpjpe_mm'"):
        find_protocol("frame_mean_with_root").check_metric("mpjpe")
    with pytest.raises(ProtocolError, match="it has pa_mpjpe_reflection_mm"):
        find_protocol("released_repnet").check_metric("mpjpe_mm")


def test_procrustes_survives_a_collapsed_estimate() -> None:
    aligned = procrustes_align(torch.zeros(1, 16, 3), poses(0, 1))
    assert torch.isfinite(aligned).all()
    torch.testing.assert_close(aligned, poses(0, 1).mean(1, keepdim=True).expand(1, 16, 3))


@few
@given(seed=seeds, scale=st.floats(0.2, 5))
def test_n_mpjpe_ignores_scale_only(seed: int, scale: float) -> None:
    target, predicted = poses(seed), poses(seed) + 0.1 * poses(seed + 1)
    torch.testing.assert_close(n_mpjpe_mm(predicted * scale, target), n_mpjpe_mm(predicted, target))
    assert n_mpjpe_mm(target * scale, target).max() < 1e-9
    assert torch.isfinite(n_mpjpe_mm(torch.zeros_like(target), target)).all()


def test_velocity_ignores_a_constant_offset() -> None:
    target = poses(0)
    assert velocity_errors_mm(target + 1.0, target).max() < 1e-9
    jump = target.clone()
    jump[3:] += torch.tensor([0.0, 0.1, 0.0])
    assert velocity_errors_mm(jump, target).tolist() == pytest.approx([0, 0, 100, 0, 0], abs=1e-5)


def test_pck_is_strict_and_auc_has_its_known_ceiling() -> None:
    errors = torch.tensor([[150.0, 149.9, 0.0, 500.0]], dtype=torch.float64)
    assert pck(errors).item() == 0.5
    assert auc(torch.zeros(1, 16, dtype=torch.float64)).item() == pytest.approx(30 / 31)
    wrong = torch.full((1, 16), 1000.0, dtype=torch.float64)
    wrong[0, 0] = 0
    assert pck(wrong).item() == 0.0625
    by_hand = np.mean([(errors.numpy() < threshold).mean() for threshold in range(0, 151, 5)])
    assert auc(errors).item() == pytest.approx(by_hand)


def test_oks_by_hand() -> None:
    skeleton = load_skeleton("coco_17")
    sigmas = torch.tensor(skeleton.oks_sigmas)
    target = torch.rand(2, 17, 2) * 100
    area = torch.tensor([400.0, 900.0])
    labelled = torch.zeros(2, 17, dtype=torch.bool)
    labelled[0, skeleton.index("nose")] = True
    predicted = target.clone()
    predicted[:, skeleton.index("nose"), 0] += 2.0
    seen = object_keypoint_similarity(predicted, target, area, sigmas, labelled)
    assert seen[0].item() == pytest.approx(np.exp(-4 / (2 * 400 * (2 * 0.026) ** 2)), rel=1e-4)
    assert torch.isnan(seen[1])
    assert object_keypoint_similarity(target, target, area, sigmas).tolist() == pytest.approx([1.0, 1.0])


def test_shapes_must_pair_up() -> None:
    with pytest.raises(PoseShapeError, match="pair up"):
        joint_errors_mm.__wrapped__(torch.zeros(2, 16, 3), torch.zeros(2, 17, 3))


def errors_of(*per_pose_mm: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets at zero and estimates whose 15 joints besides the root are all wrong by the given distances."""
    target = torch.zeros(len(per_pose_mm), 16, 3)
    predicted = target.clone()
    predicted[:, 1:, 2] = torch.tensor(per_pose_mm)[:, None] / 1000
    return predicted, target


def test_the_four_means_differ_as_they_should() -> None:
    predicted, target = errors_of(10, 10, 10, 50)
    action = ["walk", "walk", "walk", "sit"]
    names = [name for name in PROTOCOLS if name not in ("released_repnet", "released_motionbert")]
    found = {name: evaluate(name, predicted, target, SKELETON, action).metrics["mpjpe_mm"] for name in names}
    assert found == {
        "frame_mean_with_root": pytest.approx(20 * 15 / 16),
        "frame_mean_without_root": pytest.approx(20),
        "action_mean_with_root": pytest.approx(30 * 15 / 16),
        "action_mean_without_root": pytest.approx(30),
        "released_poseaug": pytest.approx(20 * 15 / 16),
        "released_semgcn": pytest.approx(30 * 15 / 16),
    }


def test_a_result_says_what_it_is() -> None:
    predicted, target = errors_of(10, 200)
    result = evaluate("frame_mean_without_root", predicted, target, SKELETON, ["a", "b"])
    assert result.protocol == "frame_mean_without_root"
    assert result.n_poses == 2
    assert result.metrics["pck_150"] == 0.5
    assert result.by_action["a"]["mpjpe_mm"] == pytest.approx(10)
    assert set(result.metrics) == {"mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "pck_150", "auc"}


def test_velocity_stays_inside_its_sequence() -> None:
    predicted, target = errors_of(0, 0, 90, 90)
    split = evaluate("frame_mean_without_root", predicted, target, SKELETON, sequence=["a", "a", "b", "b"])
    assert split.metrics["velocity_mm_per_frame"] == pytest.approx(0)
    joined = evaluate("frame_mean_without_root", predicted, target, SKELETON, sequence=["a"] * 4)
    assert joined.metrics["velocity_mm_per_frame"] == pytest.approx(30)


def test_numbers_of_two_protocols_never_meet() -> None:
    predicted, target = errors_of(10, 20)
    first = evaluate("frame_mean_with_root", predicted, target, SKELETON)
    second = evaluate("frame_mean_without_root", predicted, target, SKELETON)
    with pytest.raises(ProtocolError, match=r"frame_mean_with_root, frame_mean_without_root"):
        relative_change(first, second)
    with pytest.raises(ProtocolError, match="one protocol"):
        mean_over_runs([first, second])
    with pytest.raises(ProtocolError, match="no protocol"):
        check_one_protocol([])
    worse = evaluate("frame_mean_with_root", 2 * predicted, target, SKELETON)
    assert relative_change(worse, first) == pytest.approx(1.0)
    mean, spread = mean_over_runs([first, worse])
    assert mean["mpjpe_mm"] == pytest.approx(1.5 * first.metrics["mpjpe_mm"])
    assert spread["mpjpe_mm"] == pytest.approx(first.metrics["mpjpe_mm"] / 2**0.5)
    assert mean_over_runs([first])[1]["mpjpe_mm"] == 0


def test_bad_evaluations_are_explained() -> None:
    predicted, target = errors_of(10, 20)
    with pytest.raises(ProtocolError, match=r"did you mean 'released_poseaug'"):
        find_protocol("release_poseaug")
    with pytest.raises(ProtocolError, match="give the action"):
        evaluate("action_mean_with_root", predicted, target, SKELETON)
    with pytest.raises(ProtocolError, match="defined for 16 joints"):
        evaluate("released_poseaug", torch.zeros(1, 17, 3), torch.zeros(1, 17, 3), load_skeleton("h36m_17"))
    with pytest.raises(ProtocolError, match="no poses"):
        evaluate("released_poseaug", predicted[:0], target[:0], SKELETON)
    with pytest.raises(ProtocolError, match="root-relative"):
        evaluate("released_poseaug", predicted, target + 1, SKELETON)
    with pytest.raises(PoseShapeError, match="action wants"):
        evaluate("released_poseaug", predicted, target, SKELETON, ["a"])
    predicted[1, 3, 0] = float("nan")
    with pytest.raises(ProtocolError, match="estimate of pose 1"):
        evaluate("released_poseaug", predicted, target, SKELETON)
