"""PoseBatch and MotionClip."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from poses.batch import PoseBatch
from poses.cameras import make_camera_px, project_px, to_screen
from poses.errors import PoseShapeError
from poses.motion import MotionClip
from poses.skeleton import load_skeleton


def make_batch(rows: int = 5, first_id: int = 0, skeleton_name: str = "h36m_16") -> PoseBatch:
    skeleton = load_skeleton(skeleton_name)
    rng = np.random.default_rng(first_id)
    joints = (rng.normal(size=(rows, skeleton.n_joints, 3)) * 0.4 + [0, 0, 5]).astype(np.float32)
    camera = np.tile(make_camera_px((1145, 1145), (512, 512), (1000, 1000)), (rows, 1))
    text = np.asarray(["x"] * rows, dtype=object)
    return PoseBatch(
        skeleton=skeleton,
        sample_id=np.arange(first_id, first_id + rows),
        joints_camera_m=joints,
        keypoints_px=project_px(joints, camera),
        keypoint_confidence=np.ones((rows, skeleton.n_joints), np.float32),
        camera_px=camera,
        source_id=np.arange(first_id, first_id + rows),
        copy=np.zeros(rows, np.int32),
        frame=np.arange(rows, dtype=np.int32),
        clip=text,
        subject=text,
        action=text,
        camera_name=text,
        extra={"score": np.arange(rows, dtype=np.float32)},
    )


def test_a_good_batch_is_valid_and_pickles() -> None:
    batch = make_batch()
    batch.validate()
    copy = pickle.loads(pickle.dumps(batch))  # noqa: S301
    assert np.array_equal(copy.joints_camera_m, batch.joints_camera_m)


def test_derived_columns() -> None:
    batch = make_batch()
    assert (batch.joints_root_m[:, 0] == 0).all()
    np.testing.assert_allclose(
        batch.joints_root_m + batch.joints_camera_m[:, :1], batch.joints_camera_m, atol=1e-6
    )
    np.testing.assert_array_equal(batch.keypoints_screen, to_screen(batch.keypoints_px, batch.camera_px))


@pytest.mark.parametrize("index", [[2, 0], np.asarray([True, False, True, False, False]), slice(1, 3), []])
def test_take_keeps_columns_together(index: object) -> None:
    batch = make_batch()
    taken = batch.take(index)
    expected = np.arange(5)[index if len(np.shape(index)) == 0 or len(index) else slice(0)]
    assert taken.sample_id.tolist() == expected.tolist()
    assert np.array_equal(taken.joints_camera_m, batch.joints_camera_m[expected])
    assert taken.extra["score"].tolist() == expected.tolist()


def test_concat_is_the_inverse_of_take() -> None:
    batch = make_batch()
    whole = PoseBatch.concat([batch.take(slice(0, 2)), batch.take(slice(2, 5))])
    assert np.array_equal(whole.keypoints_px, batch.keypoints_px)
    assert np.array_equal(whole.extra["score"], batch.extra["score"])


def test_an_empty_batch_is_valid() -> None:
    empty = PoseBatch.empty(load_skeleton("coco_17"))
    empty.validate()
    assert len(empty) == 0
    assert empty.keypoints_screen.shape == (0, 17, 2)


def test_batches_that_differ_do_not_concatenate() -> None:
    with pytest.raises(PoseShapeError, match="at least one"):
        PoseBatch.concat([])
    with pytest.raises(PoseShapeError, match=r"h36m_16.*h36m_17"):
        PoseBatch.concat([make_batch(), make_batch(skeleton_name="h36m_17")])
    with pytest.raises(PoseShapeError, match="extra columns"):
        PoseBatch.concat([make_batch(), replace(make_batch(), extra={})])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("joints_camera_m", np.zeros((5, 17, 3), np.float32), r"joints_camera_m.*\(5, 16, 3\)"),
        ("joints_camera_m", np.zeros((5, 16, 3)), "float32.*float64"),
        ("source_id", np.zeros(4, np.int64), "source_id"),
        ("clip", np.asarray(["a"] * 5), "object array"),
        ("extra", {"score": np.zeros(3)}, "extra.*5 rows"),
    ],
)
def test_wrong_shapes_are_refused_when_made(column: str, value: object, message: str) -> None:
    with pytest.raises(PoseShapeError, match=message):
        replace(make_batch(), **{column: value})


@pytest.mark.parametrize(
    ("column", "at", "value", "message"),
    [
        ("joints_camera_m", (3, 2, 1), np.nan, "finite.*row 3"),
        ("keypoints_px", (1, 0, 0), np.inf, "finite.*row 1"),
        ("joints_camera_m", (2, 0, 2), -1.0, "before the camera.*row 2"),
        ("sample_id", 4, 0, "occur once.*row 4"),
        ("sample_id", 2, -5, "negative"),
        ("keypoint_confidence", (0, 0), 1.5, r"\[0, 1\]"),
        ("camera_px", (0, 9), 0.0, "image size"),
    ],
)
def test_bad_values_are_found_with_their_row(column: str, at: object, value: float, message: str) -> None:
    batch = make_batch()
    getattr(batch, column)[at] = value
    with pytest.raises(PoseShapeError, match=message):
        batch.validate()


def make_clip(**changes: object) -> MotionClip:
    values = {
        "key": "toy/a",
        "subject": "s",
        "action": "walk",
        "rate_hz": 30.0,
        "joints_world_m": np.zeros((4, 16, 3), np.float32),
        "skeleton": load_skeleton("h36m_16"),
        "source_file": "a.bvh",
        "source_frame": np.arange(4, dtype=np.int32),
    }
    return MotionClip(**(values | changes))


def test_clips_know_their_length() -> None:
    assert len(make_clip()) == 4
    assert make_clip().duration_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints_world_m": np.zeros((4, 17, 3), np.float32)}, r"toy/a.*\(T, 16, 3\)"),
        ({"joints_world_m": np.zeros((4, 16, 3))}, "float64"),
        ({"source_frame": np.arange(3, dtype=np.int32)}, "source_frame"),
        ({"rate_hz": 0.0}, "positive"),
        ({"rate_hz": float("nan")}, "positive"),
    ],
)
def test_bad_clips_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PoseShapeError, match=message):
        make_clip(**changes)
