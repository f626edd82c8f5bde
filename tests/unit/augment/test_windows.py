"""Windows are augmented as one thing: the same draws in all frames, and the motion goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from augment.errors import AugmentError
from augment.feedback_loop.drawer import BaseDrawer, Candidates, judge
from augment.poseaug.fake_filter import REJECTION_REASONS, worst_frame
from augment.poseaug.generator import PoseAugGenerator
from augment.poseaug.settings import GeneratorSettings
from augment.random_augmentation import RandomAugmentationSettings, RandomDraw, draw
from augment.validity import REASONS
from augment.wide_base.exchange import shortest_turn
from augment.wide_base.factors import FactorOdds
from augment.wide_base.library import build_library, upright
from augment.wide_base.local_pose import unit
from augment.wide_base.settings import WideBaseSettings
from augment.windows import WindowShape
from poses.kinematics import bone_directions, bone_lengths_m
from poses.randomness import RowRandom
from tests.unit.augment.window_samples import SHAPE, SKELETON, SampleWindows, sample_windows

BENT = WideBaseSettings(natural_share=0.0, crossover_share=0.5, range_of_motion_share=0.3)
"""Every limb is exchanged often."""


def random_draw(windows: SampleWindows) -> RandomDraw:
    temporal = windows.shape.temporal
    return draw(
        windows.joints_root_m,
        windows.up_camera,
        SKELETON,
        RowRandom(1, "test", windows.row_id, 1),
        RandomAugmentationSettings.wide(),
        shape=windows.shape,
        motion=windows.motion if temporal else None,
    )


def base_draw(windows: SampleWindows, settings: WideBaseSettings = BENT) -> Candidates:
    poses = sample_windows().output_frames
    library = build_library(
        upright(poses.joints_root_m, poses.up_camera), np.full(len(poses.row_id), "a"), SKELETON
    )
    drawer = BaseDrawer(settings, SKELETON, library, seed=1)
    return drawer.draw(windows.rows, 1, FactorOdds.even(settings))


def still(windows: SampleWindows) -> SampleWindows:
    """The same windows, all frames like the output frame."""
    return replace(
        windows, joints_camera_m=windows.joints_camera_m[SHAPE.anchors(len(windows.joints_camera_m))]
    )


def joints_of(windows: SampleWindows, kind: str) -> Tensor:
    """(W·T, J, 3) drawn joints before their cameras."""
    drawn = random_draw(windows) if kind == "random" else base_draw(windows).drawn
    return drawn.joints_camera_m


def roughness_m(joints_camera_m: Tensor) -> Tensor:
    """(W,) largest second difference of any joint in time."""
    frames = SHAPE.windows(joints_camera_m)
    return (frames[:, 2:] - 2 * frames[:, 1:-1] + frames[:, :-2]).norm(dim=-1).flatten(1).amax(1)


KINDS = pytest.mark.parametrize("kind", ["random", "base"])


@KINDS
def test_output_frames_are_drawn_like_poses_on_their_own(kind: str) -> None:
    windows = sample_windows()
    output = SHAPE.output_frames(joints_of(windows, kind))
    alone = joints_of(windows.output_frames, kind)
    assert (output - alone).norm(dim=-1).median() < 1e-5
    assert (output - alone).norm(dim=-1).max() < 0.06  # hinges of nearly straight limbs come from anatomy


@KINDS
def test_one_body_in_all_frames(kind: str) -> None:
    lengths_m = SHAPE.windows(bone_lengths_m(joints_of(sample_windows(), kind), SKELETON))
    recorded = SHAPE.windows(bone_lengths_m(sample_windows().joints_camera_m, SKELETON))
    allowed = (recorded.amax(1) - recorded.amin(1)) * 1.5 + 1e-5
    assert ((lengths_m.amax(1) - lengths_m.amin(1)) <= allowed).all()
    assert (lengths_m[:, 0] - recorded[:, 0]).abs().mean() > 0.005  # another body


@KINDS
def test_a_still_window_stays_still(kind: str) -> None:
    frames = SHAPE.windows(joints_of(still(sample_windows()), kind))
    torch.testing.assert_close(frames, frames[:, :1].expand_as(frames), atol=1e-5, rtol=0.0)


@KINDS
def test_motion_stays_smooth_and_is_not_frozen(kind: str) -> None:
    windows = sample_windows()
    made, recorded = joints_of(windows, kind), windows.joints_camera_m
    assert (roughness_m(made) < 6 * roughness_m(recorded) + 0.02).all()
    for joints in (["left_wrist", "right_wrist"], ["left_ankle", "right_ankle"]):  # mirroring exchanges them
        bones = SKELETON.bone_indices(joints)
        moved = [
            SHAPE.windows(bone_directions(poses, SKELETON)[:, bones])
            .diff(dim=1)
            .norm(dim=-1)
            .flatten(1)
            .sum(1)
            for poses in (made, recorded)
        ]
        moving = moved[1] > 0.2
        assert moving.sum() >= 5
        assert (moved[0][moving] > 0.5 * moved[1][moving]).float().mean() > 0.9


@KINDS
def test_people_go_as_far_as_in_the_recording(kind: str) -> None:
    windows = sample_windows()
    root = SKELETON.root_index
    sizes = [
        bone_lengths_m(joints, SKELETON).sum(1)
        for joints in (joints_of(windows, kind), windows.joints_camera_m)
    ]
    steps = [
        SHAPE.windows(joints[:, root]).diff(dim=1).norm(dim=-1).sum(1)
        for joints in (joints_of(windows, kind), windows.joints_camera_m)
    ]
    growth = SHAPE.output_frames(sizes[0] / sizes[1])
    torch.testing.assert_close(steps[0], steps[1] * growth, atol=1e-4, rtol=1e-3)
    assert steps[1].max() > 0.1


def test_draws_do_not_depend_on_the_batch() -> None:
    windows = sample_windows()
    some = slice(3, 20)
    rows = slice(3 * SHAPE.frames, 20 * SHAPE.frames)
    part = SampleWindows(
        windows.joints_camera_m[rows],
        windows.up_camera[rows],
        windows.intrinsics_screen[rows],
        windows.row_id[some],
    )
    for kind in ("random", "base"):
        assert torch.equal(joints_of(part, kind), joints_of(windows, kind)[rows])


def test_one_bad_frame_refuses_a_whole_window() -> None:
    windows = sample_windows()
    drawn = base_draw(windows, WideBaseSettings()).drawn
    root_m = torch.zeros_like(drawn.root_camera_m) + torch.tensor([0.0, 0.0, 6.0])
    root_m[SHAPE.frames + 2] = torch.tensor([9.0, 0.0, 6.0])  # one frame of the second window
    root_m[-1, 2] = -3.0
    drawn = replace(drawn, root_camera_m=root_m)
    judged = judge(drawn, WideBaseSettings(), SHAPE)
    bad = torch.nonzero(~judged.keep)[:, 0].tolist()
    assert bad == [1, len(windows.row_id) - 1]
    assert torch.nonzero(judged.failed["behind_camera"])[:, 0].tolist() == bad[1:]


def test_reasons_of_windows_follow_the_precedence() -> None:
    shape = WindowShape(3, 1)
    last, first = REASONS[-1], REASONS[0]
    reason = np.array(["", "", "", last, "", first, "", last, ""], object)
    assert shape.first_reasons(reason, REASONS).tolist() == ["", first, last]
    codes = torch.tensor([REJECTION_REASONS.index(name) for name in reason], dtype=torch.int8)
    assert [REJECTION_REASONS[code] for code in worst_frame(codes, shape).tolist()] == ["", first, last]


def test_the_learned_augmentor_gives_a_window_one_body_and_one_place() -> None:
    windows = sample_windows()
    torch.manual_seed(0)
    generator = PoseAugGenerator(GeneratorSettings(width=16, noise_size=4), SKELETON)
    noise = generator.draw_noise(len(windows.row_id), torch.Generator().manual_seed(1))
    with torch.no_grad():
        generator(windows.joints_camera_m, noise, SHAPE)
        made = generator.eval()(windows.joints_camera_m, noise, SHAPE)
        alone = generator(windows.output_frames.joints_camera_m, noise)
        at_rest = generator(still(windows).joints_camera_m, noise, SHAPE)
    torch.testing.assert_close(
        made.output_frames(SHAPE).joints_camera_m, alone.joints_camera_m, atol=1e-4, rtol=1e-4
    )
    frames = SHAPE.windows(at_rest.joints_camera_m)
    torch.testing.assert_close(frames, frames[:, :1].expand_as(frames), atol=1e-3, rtol=1e-4)
    ratio = SHAPE.windows(bone_lengths_m(made.joints_camera_m, SKELETON))
    ratio = ratio / SHAPE.windows(bone_lengths_m(windows.joints_camera_m, SKELETON))
    assert (ratio.amax(1) - ratio.amin(1)).max() < 1e-3


def test_the_shortest_turn_brings_one_direction_to_another() -> None:
    random = torch.Generator().manual_seed(0)
    start, end = (unit(torch.randn(50, 3, generator=random)) for _ in range(2))
    torch.testing.assert_close(shortest_turn(start, end, start), end, atol=1e-5, rtol=0.0)
    kept = unit(torch.linalg.cross(start, end))
    torch.testing.assert_close(shortest_turn(start, end, kept), kept, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize(("frames", "output"), [(0, 0), (3, 3), (3, -1)])
def test_the_output_frame_is_one_of_the_window(frames: int, output: int) -> None:
    with pytest.raises(AugmentError, match="output frame"):
        WindowShape(frames, output)
