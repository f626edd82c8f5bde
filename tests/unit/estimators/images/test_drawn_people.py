"""Drawn people: where they are, what is before what, how sides are coloured, and that rows stand alone."""

import numpy as np
import pytest

from estimators.images.crops import Crops, crops_around
from estimators.images.drawn_people import DrawingSettings, draw_people, whole_image
from estimators.images.stick_figures import figures
from poses.cameras import make_camera_px, project_px
from poses.skeleton import load_skeleton, skeleton_names

SKELETON = load_skeleton("h36m_16")
PLAIN = DrawingSettings(clutter=False, grain=0.0)
CAMERA = make_camera_px((1100.0, 1100.0), (500.0, 500.0), (1000, 1000))[None].astype(np.float32)
STANDING = {  # metres from the pelvis, facing the camera (which looks along z): their left is at larger x
    "pelvis": (0, 0, 0), "right_hip": (-0.12, 0, 0), "left_hip": (0.12, 0, 0),
    "right_knee": (-0.13, 0.42, 0), "left_knee": (0.13, 0.42, 0),
    "right_ankle": (-0.13, 0.84, 0), "left_ankle": (0.13, 0.84, 0),
    "spine": (0, -0.22, 0), "thorax": (0, -0.45, 0), "head": (0, -0.68, 0),
    "left_shoulder": (0.18, -0.43, 0), "right_shoulder": (-0.18, -0.43, 0),
    "left_elbow": (0.45, -0.43, 0), "right_elbow": (-0.45, -0.43, 0),
    "left_wrist": (0.68, -0.43, 0), "right_wrist": (-0.68, -0.43, 0),
}  # fmt: skip


def standing(turned: float = 0.0) -> np.ndarray:
    """(1, 16, 3) a person with arms spread, four metres away, turned about the vertical."""
    joints = np.asarray([STANDING[name] for name in SKELETON.joints])
    cosine, sine = np.cos(turned), np.sin(turned)
    x, z = joints[:, 0] * cosine + joints[:, 2] * sine, joints[:, 2] * cosine - joints[:, 0] * sine
    return np.stack([x, joints[:, 1], z + 4.0], -1)[None].astype(np.float32)


def drawn(joints: np.ndarray, settings: DrawingSettings = PLAIN, size: int = 96, row: int = 7) -> np.ndarray:
    crops = crops_around(project_px(joints, CAMERA), 0.15)
    return draw_people(joints, CAMERA, crops, np.asarray([row]), SKELETON, settings, size)[0]


def colour_at(image: np.ndarray, joint: str, joints: np.ndarray) -> np.ndarray:
    crops = crops_around(project_px(joints, CAMERA), 0.15)
    place = crops.points_in_crop(project_px(joints, CAMERA))[0, SKELETON.index(joint)]
    x, y = ((place + 1) / 2 * len(image)).astype(int)
    return image[y, x].astype(int)


def test_limbs_are_where_the_keypoints_are() -> None:
    joints = standing()
    image = drawn(joints)
    for joint in SKELETON.joints:
        assert np.abs(colour_at(image, joint, joints) - 128).max() > 12, joint
    share = (np.abs(image.astype(int) - 128).max(-1) > 2).mean()
    assert 0.08 < share < 0.3


def test_sides_have_their_colours_and_the_face_its_front() -> None:
    joints = standing()
    image = drawn(joints)
    left, right = colour_at(image, "left_knee", joints), colour_at(image, "right_knee", joints)
    assert left[0] - left[2] > 30  # warm
    assert right[2] - right[0] > 30  # cool
    face = colour_at(image, "head", joints)
    back = standing(np.pi)
    hair = colour_at(drawn(back), "head", back)
    assert np.abs(face - hair).max() > 40
    same = DrawingSettings(clutter=False, grain=0.0, side_colours=False)
    plain = drawn(joints, same)
    tones = [colour_at(plain, name, joints) / 255 for name in ("left_ankle", "right_ankle")]
    assert np.abs(tones[0] - tones[1]).max() < 0.12  # light alone


def test_what_is_near_hides_what_is_far() -> None:
    joints = standing(np.pi / 2)
    left, right = project_px(joints, CAMERA)[0, [SKELETON.index("left_elbow"), SKELETON.index("right_elbow")]]
    assert np.abs(left - right).max() < 60
    near = "left_elbow" if joints[0, SKELETON.index("left_elbow"), 2] < 4 else "right_elbow"
    shade = colour_at(drawn(joints), near, joints)
    assert (shade[0] > shade[2]) == (near == "left_elbow")


def test_a_mirrored_crop_is_the_mirrored_picture() -> None:
    joints = standing(0.5)
    crops = crops_around(project_px(joints, CAMERA), 0.15)
    mirrored = Crops(crops.centre_px, crops.half_side_px, crops.angle_rad, ~crops.mirrored)
    ids, look = np.asarray([7]), DrawingSettings(clutter=False, grain=0.0)
    plain = draw_people(joints, CAMERA, crops, ids, SKELETON, look, 64)[0]
    other = draw_people(joints, CAMERA, mirrored, ids, SKELETON, look, 64)[0]
    differs = np.abs(plain[:, ::-1].astype(int) - other).max(-1)
    person = np.abs(plain.astype(int) - 128).max(-1) > 2
    assert ((np.abs(other.astype(int) - 128).max(-1) > 2) == person[:, ::-1]).mean() > 0.99
    assert differs.mean() < 12  # the light stays where it is


def test_a_rows_picture_does_not_depend_on_its_batch() -> None:
    joints = np.concatenate([standing(angle) for angle in (0.0, 0.7, 2.0)])
    cameras, ids = np.repeat(CAMERA, 3, axis=0), np.asarray([5, 6, 9])
    crops = crops_around(project_px(joints, cameras), 0.15)
    whole = draw_people(joints, cameras, crops, ids, SKELETON, DrawingSettings(), 32)
    alone = draw_people(
        joints[1:2], cameras[1:2], crops.take(slice(1, 2)), ids[1:2], SKELETON, DrawingSettings(), 32
    )
    np.testing.assert_array_equal(whole[1], alone[0])
    other = draw_people(
        joints[:1], cameras[:1], crops.take(slice(0, 1)), ids[1:2], SKELETON, DrawingSettings(), 32
    )
    assert (whole[0] != other[0]).mean() > 0.5  # another row, other clothes and another background


@pytest.mark.parametrize("name", skeleton_names())
def test_every_skeleton_has_a_body(name: str) -> None:
    skeleton = load_skeleton(name)
    random = np.random.default_rng(0).normal(size=(2, skeleton.n_joints, 3)) * 0.3 + [0, 0, 4]
    body = figures(random, skeleton)
    assert body.ends_m.shape[1] == len(body.paint) == len(body.radius_m) >= skeleton.n_bones
    assert (body.radius_m > 0).all()


def test_people_at_the_lens_or_out_of_view_do_no_harm() -> None:
    joints = standing()
    joints[..., 2] -= 4.0
    squares = whole_image(CAMERA)
    image = draw_people(joints, CAMERA, squares, np.asarray([1]), SKELETON, PLAIN, 32)[0]
    assert image.shape == (32, 32, 3)
    away = standing() + np.float32([100.0, 0.0, 0.0])
    empty = draw_people(away, CAMERA, squares, np.asarray([1]), SKELETON, PLAIN, 32)[0]
    assert (empty == 128).all()
