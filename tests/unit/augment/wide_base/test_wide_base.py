"""The wide base draw: bound to rows, human joints, the spread that its settings say."""

import math

import numpy as np
import pytest
import torch

from augment.contract import up_camera_of
from augment.wide_base.body_plan import body_plan
from augment.wide_base.draw import DrawnPoses, SourceViews, draw_base
from augment.wide_base.factors import FactorOdds
from augment.wide_base.library import build_library, mirrored, upright, upright_from_camera
from augment.wide_base.local_pose import rotate, to_local, to_world
from augment.wide_base.row_draws import RowDraws
from augment.wide_base.settings import TiltComponent, WideBaseSettings
from poses.cameras import screen_intrinsics
from poses.kinematics import bone_directions, bone_lengths_m
from poses.randomness import RowRandom
from tests.unit.augment.pose_samples import sample_batch

STILL = WideBaseSettings(
    crossover_share=0.0,
    range_of_motion_share=0.0,
    articulation_max_deg=0.0,
    rig_sigma_deg=0.0,
    body_scale_sigma=0.0,
    length_group_sigma={},
    tilt=(TiltComponent(share=1.0),),
)
DRAWN_VIEWS = WideBaseSettings(source_view_share=0.0, natural_source_view_share=0.0)


@pytest.fixture(scope="module", params=["h36m_16", "h36m_17"])
def parts(request: pytest.FixtureRequest):
    batch = sample_batch(200, request.param)
    up = torch.from_numpy(up_camera_of(batch))
    world_m = upright(torch.from_numpy(np.ascontiguousarray(batch.joints_root_m)), up)
    library = build_library(world_m, batch.subject, batch.skeleton)
    return batch, world_m, library, body_plan(batch.skeleton)


def drawn(
    parts, settings: WideBaseSettings, rows=slice(None), copy: int = 1, odds: FactorOdds | None = None
) -> DrawnPoses:
    batch, world_m, library, plan = parts
    draws = RowDraws(RowRandom(1, "test", batch.sample_id[rows], copy))
    source = to_local(world_m[rows], plan)
    camera_m = torch.from_numpy(np.ascontiguousarray(batch.joints_camera_m[rows]))
    views = SourceViews(
        upright_from_camera(torch.from_numpy(up_camera_of(batch))[rows]).transpose(1, 2),
        camera_m[:, plan.skeleton.root_index],
        torch.from_numpy(np.ascontiguousarray(screen_intrinsics(batch.camera_px[rows]), np.float32)),
    )
    return draw_base(source, views, library, draws, odds or FactorOdds.even(settings), settings, plan)


def test_upright_makes_people_stand(parts) -> None:
    _, world_m, _, plan = parts
    head = plan.skeleton.index("head")
    assert (world_m[:, head, 1] > 0.2).float().mean() > 0.95


def test_local_form_and_back(parts) -> None:
    _, world_m, _, plan = parts
    back = to_world(to_local(world_m, plan), bone_lengths_m(world_m, plan.skeleton), plan)
    torch.testing.assert_close(back, world_m, atol=2e-6, rtol=0)


@pytest.mark.parametrize("settings", [WideBaseSettings(), STILL], ids=["default", "still"])
def test_any_batch_size_gives_the_same_bits(parts, settings: WideBaseSettings) -> None:
    whole = drawn(parts, settings)
    for size in (1, 2, 3, 5, 8, 13, 17, 63, 64, 65):
        for start in (0, 7):
            rows = slice(start, start + size)
            part = drawn(parts, settings, rows)
            for name in ("joints_root_m", "root_camera_m", "intrinsics_screen"):
                assert torch.equal(getattr(part, name), getattr(whole, name)[rows]), (name, size, start)


def test_without_spread_only_the_view_changes(parts) -> None:
    _, world_m, _, plan = parts
    made = drawn(parts, STILL).joints_root_m
    bones_old, bones_new = (bone_directions(pose, plan.skeleton) for pose in (world_m, made))
    gram_old, gram_new = (bones @ bones.transpose(1, 2) for bones in (bones_old, bones_new))
    apart = (gram_new - gram_old).abs()
    assert apart.flatten().quantile(0.8) < 1e-5
    assert apart.max() < 0.05, "nearly straight limbs get the hinge axis of anatomy, all else stays"


def test_left_and_right_bones_stay_alike(parts) -> None:
    skeleton = parts[3].skeleton
    lengths = bone_lengths_m(drawn(parts, WideBaseSettings()).joints_root_m, skeleton)
    for left, right in skeleton.mirror_pairs:
        apart = lengths[:, skeleton.bone_index(left)] - lengths[:, skeleton.bone_index(right)]
        assert apart.abs().max() < 1e-5


def test_knees_and_elbows_bend_forwards_and_not_too_far(parts) -> None:
    _, _, _, plan = parts
    wild = WideBaseSettings(articulation_max_deg=80.0, crossover_share=0.5, range_of_motion_share=0.0)
    directions = bone_directions(drawn(parts, wild).joints_root_m, plan.skeleton)
    for limb in plan.limbs:
        bend = torch.cosine_similarity(directions[:, limb.upper], directions[:, limb.lower]).clamp(-1, 1)
        assert torch.rad2deg(torch.arccos(bend)).max() <= wild.max_flexion_deg + 0.1


def test_articulation_spreads_with_its_setting(parts) -> None:
    _, world_m, _, plan = parts
    source = to_local(world_m, plan).directions
    moved = []
    for most_deg in (5.0, 35.0):
        settings = STILL.model_copy(update={"articulation_max_deg": most_deg})
        local = to_local(drawn(parts, settings).joints_root_m, plan).directions  # in any orientation
        cosine = (local * source).sum(-1).clamp(-1, 1)
        moved.append(torch.rad2deg(torch.arccos(cosine)).mean().item())
    assert 0.5 < moved[0] < 6
    assert moved[1] > 3 * moved[0]


def test_the_root_is_seen_where_and_as_large_as_drawn(parts) -> None:
    made = drawn(parts, DRAWN_VIEWS)
    focal, centre = made.intrinsics_screen[:, 0], made.intrinsics_screen[:, 2:4]
    assert focal.min() >= 1.1
    assert focal.max() <= 2.7
    scale = focal / made.root_camera_m[:, 2]
    assert torch.log(scale).mean().item() == pytest.approx(
        math.log(WideBaseSettings().scale_median), abs=0.08
    )
    place = made.root_camera_m[:, :2] * scale.unsqueeze(1) + centre
    assert place.std().item() == pytest.approx(WideBaseSettings().position_sigma, rel=0.15)


def test_feedback_moves_draws_between_bins(parts) -> None:
    odds = dict(FactorOdds.even(DRAWN_VIEWS).odds)
    odds["focal"] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    made = drawn(parts, DRAWN_VIEWS, odds=FactorOdds(odds))
    steered = ~made.natural
    assert (made.bins["focal"][steered] == 3).all()
    assert made.intrinsics_screen[steered, 0].min() > 2.0
    base = drawn(parts, DRAWN_VIEWS)
    assert torch.equal(made.bins["focal"][made.natural], base.bins["focal"][made.natural])
    assert (made.bins["focal"][made.natural] != 3).any()


def test_bodies_are_as_large_as_the_sources_on_average(parts) -> None:
    _, _, library, plan = parts
    wide = WideBaseSettings(
        body_scale_sigma=0.2, length_group_sigma=dict.fromkeys(plan.skeleton.bone_length_groups, 0.3)
    )
    lengths_m = [
        bone_lengths_m(drawn(parts, wide, copy=copy).joints_root_m, plan.skeleton).mean(0)
        for copy in range(1, 9)
    ]
    ratio = torch.stack(lengths_m).mean(0) / library.bone_lengths_m.mean(0)
    # Log-normal scales about a median of 1 would be 7 % larger on average.
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.025)


def test_copies_differ(parts) -> None:
    one, two = (drawn(parts, WideBaseSettings(), copy=copy).joints_root_m for copy in (1, 2))
    assert ((one - two).abs().amax((1, 2)) > 1e-3).all()


def test_mirrored_twice_is_the_same(parts) -> None:
    _, world_m, _, plan = parts
    twice = mirrored(mirrored(world_m, plan.skeleton), plan.skeleton)
    assert torch.equal(twice, world_m)


def test_rotate_is_the_matrix_product() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, vector = torch.randn(9, 3, 3, generator=generator), torch.randn(9, 3, generator=generator)
    torch.testing.assert_close(rotate(matrix, vector), (matrix @ vector.unsqueeze(-1)).squeeze(-1))


def test_a_share_is_seen_as_its_source_was(parts) -> None:
    batch, _, _, plan = parts
    made = drawn(
        parts, WideBaseSettings(source_view_share=0.5, natural_source_view_share=0.0, natural_share=0.5)
    )
    own = made.source_view.numpy()
    assert 0.15 < own.mean() < 0.35  # half of the half that is not natural
    root_m = batch.joints_camera_m[:, plan.skeleton.root_index]
    assert np.array_equal(made.root_camera_m.numpy()[own], root_m[own])
    assert np.array_equal(made.intrinsics_screen.numpy()[own], screen_intrinsics(batch.camera_px)[own])
    everywhere = WideBaseSettings(source_view_share=1.0, natural_source_view_share=1.0)
    assert drawn(parts, everywhere).source_view.all()


def test_natural_poses_stay_near_their_source(parts) -> None:
    _, world_m, _, plan = parts
    change = {}
    for share in (0.0, 1.0):
        settings = WideBaseSettings(natural_share=share, tilt=(TiltComponent(share=1.0),))
        local = to_local(drawn(parts, settings).joints_root_m, plan).directions
        source = to_local(world_m, plan).directions
        limbs = [bone for limb in plan.limbs for bone in (limb.upper, limb.lower)]
        change[share] = (1 - (local * source).sum(-1)[:, limbs]).abs().median().item()
    assert change[1.0] < 0.5 * change[0.0]
