"""Skeletons as data, and the maps between them."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from poses.errors import PoseShapeError, SkeletonError
from poses.skeleton import Skeleton, joint_map, load_skeleton, skeleton_names

TOY = """
name: toy_5
joints: {pelvis: null, left_hip: pelvis, left_knee: left_hip, right_hip: pelvis, right_knee: right_hip}
mirror_pairs: [[left_hip, right_hip], [left_knee, right_knee]]
"""


@pytest.fixture
def toy(tmp_path: Path) -> Skeleton:
    return load_skeleton(write(tmp_path, TOY))


def write(folder: Path, text: str) -> Path:
    path = folder / "skeleton.yaml"
    path.write_text(text)
    return path


def test_the_six_built_in_skeletons() -> None:
    counts = {name: load_skeleton(name).n_joints for name in skeleton_names()}
    assert counts == {
        "coco_17": 17,
        "h36m_16": 16,
        "h36m_17": 17,
        "halpe_26": 26,
        "mpii_16": 16,
        "smpl_24": 24,
    }


def test_h36m_16_is_the_published_skeleton() -> None:
    skeleton = load_skeleton("h36m_16")
    assert skeleton.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14)
    assert skeleton.bone_group_index.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8]
    assert skeleton.n_bone_groups == 9
    assert skeleton.feedback_weights == (1, 5, 2, 1, 5, 2, 1, 1, 1, 1, 5, 2, 1, 5, 2, 1)
    groups = [sorted(skeleton.indices(group).tolist()) for group in skeleton.feedback_groups.values()]
    assert groups == [[1, 4, 10, 13], [2, 5, 9, 11, 14], [3, 6, 12, 15]]
    parts = {part: sorted(skeleton.part_bone_index(part).tolist()) for part in skeleton.body_parts}
    assert parts == {
        "left_arm": [7, 9, 10, 11],
        "right_arm": [7, 12, 13, 14],
        "right_leg": [0, 1, 2, 3, 6],
        "left_leg": [0, 3, 4, 5, 6],
        "torso": [0, 3, 6, 7, 8, 9, 12],
    }
    assert skeleton.bone_indices(skeleton.frozen_direction_bones).tolist() == [6, 7]
    assert skeleton.bone_indices(skeleton.frozen_length_bones).tolist() == [7]
    left, right = zip(*skeleton.mirror_pairs, strict=True)
    assert skeleton.indices(left).tolist() == [4, 5, 6, 10, 11, 12]
    assert skeleton.indices(right).tolist() == [1, 2, 3, 13, 14, 15]


def test_smpl_24_has_the_published_tree() -> None:
    parents = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
    assert load_skeleton("smpl_24").parents == parents


@pytest.mark.parametrize("name", skeleton_names())
def test_every_skeleton_survives_json_and_pickle(name: str) -> None:
    skeleton = load_skeleton(name)
    assert Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict()))) == skeleton
    copy = pickle.loads(pickle.dumps(skeleton))  # noqa: S301
    assert copy == skeleton
    assert hash(copy) == hash(skeleton)
    assert load_skeleton(name) is skeleton


@pytest.mark.parametrize("name", skeleton_names())
def test_every_skeleton_is_symmetric(name: str) -> None:
    skeleton = load_skeleton(name)
    mirror = skeleton.mirror_index
    assert np.array_equal(mirror[mirror], np.arange(skeleton.n_joints))
    for joint in skeleton.joints:
        if joint.startswith("left_"):
            assert skeleton.joints[mirror[skeleton.index(joint)]] == joint.replace("left_", "right_")
    same_group = skeleton.bone_group_index[skeleton.bone_mirror_index]
    assert np.array_equal(same_group, skeleton.bone_group_index)
    assert {"left_arm", "right_arm", "left_leg", "right_leg", "torso"} == set(skeleton.body_parts)


def test_a_skeleton_of_ones_own(toy: Skeleton) -> None:
    assert toy.bones == ("left_hip", "left_knee", "right_hip", "right_knee")
    assert toy.bone_parent_index.tolist() == [0, 1, 0, 3]
    assert list(toy.bone_length_groups) == ["hip", "knee"]
    assert toy.feedback_weights == (1.0,) * 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("left_knee: left_hip", "left_knee: left_hop", "unknown parent 'left_hop'"),
        ("pelvis: null", "pelvis: right_knee", "exactly one root"),
        ("left_hip: pelvis", "left_hip: left_knee", "circle"),
        ("mirror_pairs", "mirror_pair", "did you mean 'mirror_pairs'"),
        ("[left_knee, right_knee]", "[left_knee, right_nee]", "did you mean 'right_knee'"),
        ("[left_knee, right_knee]", "[left_hip, right_knee]", "two mirror pairs"),
        (
            "name: toy_5",
            "name: toy_5\nbone_length_groups: {hips: [left_hip, right_hip]}",
            "missing: left_knee, right_knee",
        ),
        ("name: toy_5", "name: toy_5\nbody_parts: {leg: [pelvis]}", "no bone 'pelvis'"),
        ("name: toy_5", "name: toy_5\nfeedback_weights: {nose: 2}", "unknown: nose"),
        ("name: toy_5", "name: toy_5\noks_sigmas: {pelvis: 0.1}", "missing: left_hip"),
        ("name: toy_5", "name: toy_5\nderived: [1, 2]", "wrong form"),
        ("joints: {", "joints: [", "not valid YAML"),
        ("name: toy_5", "title: toy_5", "wanted a mapping with 'name' and 'joints'"),
    ],
)
def test_a_bad_file_is_explained(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TOY
    path = write(tmp_path, TOY.replace(old, new, 1))
    with pytest.raises(SkeletonError, match=message) as caught:
        load_skeleton(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).count(str(path)) == 1


def test_unknown_names_list_the_valid_ones(toy: Skeleton, tmp_path: Path) -> None:
    with pytest.raises(SkeletonError, match=r"'h36m_18'.*h36m_17"):
        load_skeleton("h36m_18")
    with pytest.raises(SkeletonError, match="cannot read"):
        load_skeleton(tmp_path / "absent.yaml")
    with pytest.raises(SkeletonError, match=r"no joint 'nose'.*pelvis, left_hip"):
        toy.index("nose")
    with pytest.raises(SkeletonError, match="by its child joint"):
        toy.bone_index("pelvis")
    with pytest.raises(SkeletonError, match="left_arm, right_arm"):
        load_skeleton("h36m_16").part_bone_index("tail")


def test_mapping_drops_and_copies_by_name() -> None:
    source, target = load_skeleton("h36m_17"), load_skeleton("h36m_16")
    poses = np.random.default_rng(0).normal(size=(2, 17, 3)).astype(np.float32)
    mapped = joint_map(source, target).apply(poses)
    assert mapped.dtype == np.float32
    assert np.array_equal(mapped, np.delete(poses, source.index("neck_nose"), axis=1))
    by_torch = joint_map(source, target).apply(torch.from_numpy(poses))
    assert np.array_equal(by_torch.numpy(), mapped)


def test_mapping_derives_what_is_missing() -> None:
    source, target = load_skeleton("coco_17"), load_skeleton("h36m_17")
    poses = np.random.default_rng(0).normal(size=(4, 3, 17, 2)).astype(np.float32)
    mapped = joint_map(source, target).apply(poses)

    def given(joint: str) -> np.ndarray:
        return poses[..., source.index(joint), :]

    def made(joint: str) -> np.ndarray:
        return mapped[..., target.index(joint), :]

    pelvis = (given("left_hip") + given("right_hip")) / 2
    thorax = (given("left_shoulder") + given("right_shoulder")) / 2
    np.testing.assert_allclose(made("pelvis"), pelvis, atol=1e-6)
    np.testing.assert_allclose(made("spine"), (pelvis + thorax) / 2, atol=1e-6)
    np.testing.assert_allclose(made("neck_nose"), given("nose"), atol=1e-6)
    np.testing.assert_allclose(made("right_wrist"), given("right_wrist"), atol=1e-6)
    torch_mapped = joint_map(source, target).apply(torch.from_numpy(poses))
    np.testing.assert_allclose(torch_mapped.numpy(), mapped, atol=1e-6)


def test_a_missing_joint_spoils_only_what_needs_it() -> None:
    source, target = load_skeleton("coco_17"), load_skeleton("h36m_16")
    poses = np.ones((1, 17, 2), np.float32)
    poses[0, source.index("left_hip")] = np.nan
    missing = np.isnan(joint_map(source, target).apply(poses)).any((0, 2))
    assert {joint for joint, gone in zip(target.joints, missing, strict=True) if gone} == {
        "left_hip",
        "pelvis",
        "spine",
    }


def test_mapping_keeps_translations() -> None:
    """Every recipe's weights sum to one, or a moved pose would map to a stretched one."""
    for source in map(load_skeleton, skeleton_names()):
        for name in ("h36m_16", "h36m_17", "mpii_16"):
            np.testing.assert_allclose(joint_map(source, load_skeleton(name)).weights.sum(1), 1)


def test_what_cannot_be_mapped_is_named(toy: Skeleton) -> None:
    with pytest.raises(SkeletonError, match=r"no nose, left_eye.*source joints are pelvis"):
        joint_map(load_skeleton("h36m_16"), load_skeleton("coco_17"))
    with pytest.raises(PoseShapeError, match=r"17.*\(2, 16, 3\)"):
        joint_map(load_skeleton("h36m_17"), load_skeleton("h36m_16")).apply(np.zeros((2, 16, 3)))
