"""Joint maps: the built-in ones fit their naming, yours can be written, and unknown names are explained."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from storage.errors import ImporterError
from storage.importers.joint_map import JointMap, joint_map_names, load_joint_map
from storage.importers.recognise import recognise
from tests.unit.storage.importers.bodies import H36M_17
from tests.unit.storage.importers.motion_files import ASF_BONES, CMU_MOTIONBUILDER

MOTIONBUILDER = (*(name for name, *_ in CMU_MOTIONBUILDER), "Head_end", "LeftHand_end")
ASF = ("root", *(name for name, *_ in ASF_BONES))
DAZ = (
    *("hip", "abdomen", "chest", "neck", "head", "leftEye"),
    *(
        f"{side}{part}"
        for side in "lr"
        for part in ("Collar", "Shldr", "ForeArm", "Hand", "Thigh", "Shin", "Foot")
    ),
)
BIPED = (
    *("Hips", "Chest", "Chest2", "Neck", "Head", "Head_end"),
    *(
        f"{side}{part}"
        for side in ("Left", "Right")
        for part in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow", "Wrist")
    ),
)


@pytest.mark.parametrize(
    ("joints", "name"),
    [(MOTIONBUILDER, "cmu_motionbuilder"), (ASF, "asf_cmu"), (DAZ, "cmu_daz"), (BIPED, "cmu_3dsmax")],
)
def test_each_naming_is_recognised(joints: tuple[str, ...], name: str) -> None:
    assert recognise(joints, "a.bvh").name == name


@pytest.mark.parametrize("name", joint_map_names())
def test_left_and_right_are_mirror_images_in_every_map(name: str) -> None:
    joint_map = load_joint_map(name)

    def other_side(source: object) -> object:
        if isinstance(source, tuple):
            return tuple(other_side(one) for one in source)
        text = str(source)
        for left, right in (("Left", "Right"), ("left", "right"), ("l", "r")):
            if text.startswith(left):
                return right + text[len(left) :]
        raise AssertionError(f"{name}: {source} is not on the left")

    for left, right in H36M_17.mirror_pairs:
        assert joint_map.joints[right] == other_side(joint_map.joints[left])


def test_derived_joints_are_what_they_say() -> None:
    joint_map = load_joint_map("cmu_daz")
    sources = joint_map.sources(DAZ)
    positions = np.random.default_rng(0).normal(size=(4, len(sources), 3))
    mapped = joint_map.apply(positions, sources)
    at = {name: positions[:, row] for row, name in enumerate(sources)}
    np.testing.assert_allclose(mapped[:, H36M_17.index("pelvis")], (at["lThigh"] + at["rThigh"]) / 2)
    np.testing.assert_array_equal(mapped[:, H36M_17.index("spine")], at["chest"])
    beyond = mapped[:, H36M_17.index("head")] - at["head"]
    np.testing.assert_allclose(np.linalg.norm(beyond, axis=-1), 0.16)
    along = at["head"] - at["neck"]
    np.testing.assert_allclose(np.cross(beyond, along), 0.0, atol=1e-12)
    assert ((beyond * along).sum(axis=-1) > 0).all()


def test_unknown_names_are_listed_with_the_nearest_map_and_what_to_do() -> None:
    joints = tuple(f"mixamorig:{name}" for name in MOTIONBUILDER)
    with pytest.raises(ImporterError) as caught:
        recognise(joints, "dance.bvh")
    message = str(caught.value)
    assert message.startswith("dance.bvh: unknown joint names: mixamorig:Hips, mixamorig:LHipJoint")
    for part in ("nearest built-in joint map", "Copy", ".yaml", "unit_m", "`joint_map`"):
        assert part in message


def test_a_small_spelling_difference_is_pointed_at() -> None:
    joints = tuple("LeftUpperLeg" if name == "LeftUpLeg" else name for name in MOTIONBUILDER)
    with pytest.raises(ImporterError, match="is its 'LeftUpLeg' the file's 'LeftUpperLeg'"):
        recognise(joints, "dance.bvh")


def test_your_own_map_by_path(tmp_path: Path) -> None:
    values = load_joint_map("cmu_motionbuilder").model_dump(mode="json")
    values["name"] = "mine"
    values["joints"]["head"] = "Neck1"
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    assert recognise(MOTIONBUILDER, "a.bvh", str(path)).joints["head"] == "Neck1"
    with pytest.raises(
        ImporterError, match=r"a\.bvh: joint map 'mine' wants .*LeftUpLeg.*which the file has not"
    ):
        recognise(DAZ, "a.bvh", str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": {"pelvis": "Hips"}}, "missing: right_hip"),
        ({"unit": 0.01}, "unit: Extra inputs"),
        ({"unit_m": -1}, "unit_m: Input should be greater than 0"),
        ({"joints": {"nose": "Head"}}, "unknown: nose"),
    ],
)
def test_a_wrong_map_says_what_is_wrong(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(load_joint_map("cmu_motionbuilder").model_dump(mode="json") | change))
    with pytest.raises(ImporterError, match=message):
        load_joint_map(str(path))


def test_missing_maps_and_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(ImporterError, match="no joint map 'cmu'; built in are asf_cmu, cmu_3dsmax"):
        load_joint_map("cmu")
    with pytest.raises(ImporterError, match="cannot read the joint map"):
        load_joint_map(str(tmp_path / "none.yaml"))
    (tmp_path / "bad.yaml").write_text("joints: [")
    with pytest.raises(ImporterError, match="no valid YAML"):
        load_joint_map(str(tmp_path / "bad.yaml"))


def test_a_map_is_data_that_round_trips() -> None:
    joint_map = load_joint_map("cmu_3dsmax")
    assert JointMap.model_validate(joint_map.model_dump(mode="json")) == joint_map
