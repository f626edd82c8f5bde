"""Bone length templates from any dataset, and the swap."""

import numpy as np
import pytest
import torch

from augment.errors import AugmentError
from augment.poseaug.bone_length_template import build_bone_length_template, swap_bone_lengths
from augment.poseaug.geometry import bones_of, lengths_and_directions
from tests.unit.augment.poseaug.samples import SKELETON, poses


def sizes() -> tuple[np.ndarray, np.ndarray]:
    base = poses(30).numpy()
    scaled = np.concatenate([base[:10], base[10:20] * 1.2, base[20:] * 0.8])
    return scaled, np.array(["b"] * 10 + ["a"] * 10 + ["c"] * 10, dtype=object)


def test_template_has_the_median_lengths_of_each_subject() -> None:
    joints, subject = sizes()
    template = build_bone_length_template(joints, subject, SKELETON)
    assert template.subjects == ("a", "b", "c")
    child, parent = SKELETON.index("left_knee"), SKELETON.index("left_hip")
    lengths = np.linalg.norm(joints[10:20, child] - joints[10:20, parent], axis=-1)
    assert template.lengths_m[0, SKELETON.bone_index("left_knee")] == pytest.approx(np.median(lengths))


def test_tied_templates_are_symmetric() -> None:
    tied = build_bone_length_template(*sizes(), SKELETON, tie=True)
    left, right = SKELETON.bone_index("left_wrist"), SKELETON.bone_index("right_wrist")
    np.testing.assert_array_equal(tied.lengths_m[:, left], tied.lengths_m[:, right])


def test_swap_replaces_lengths_and_nothing_else_and_does_not_add_up() -> None:
    template = build_bone_length_template(*sizes(), SKELETON)
    joints, uniform = poses(6, 3), torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 0.9999999])
    swapped = swap_bone_lengths(joints, template, uniform)
    lengths, directions = lengths_and_directions(bones_of(swapped, SKELETON), safe=True)
    wanted = torch.from_numpy(template.lengths_m)[[0, 0, 1, 1, 2, 2]]
    torch.testing.assert_close(lengths[..., 0], wanted, atol=1e-5, rtol=0.0)
    source_directions = lengths_and_directions(bones_of(joints, SKELETON), safe=True)[1]
    torch.testing.assert_close(directions, source_directions, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(swapped[:, 0], joints[:, 0])
    torch.testing.assert_close(swap_bone_lengths(swapped, template, uniform), swapped, atol=1e-5, rtol=0.0)


def test_bad_subjects_are_named() -> None:
    joints, subject = sizes()
    joints[10:20, SKELETON.index("head")] = joints[10:20, SKELETON.index("thorax")]
    with pytest.raises(AugmentError, match=r"bone 'head' of subject 'a' has length 0\.0 m"):
        build_bone_length_template(joints, subject, SKELETON)
    with pytest.raises(AugmentError, match="at least one pose"):
        build_bone_length_template(joints[:0], subject[:0], SKELETON)
