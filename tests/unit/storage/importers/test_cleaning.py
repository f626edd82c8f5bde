"""What is quarantined, why, and that no frame gets lost on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.importers.cleaning import find_bad_frames, find_jumps
from storage.importers.options import ImportOptions
from tests.unit.storage.importers.bodies import H36M_17, swaying_m

WRIST = H36M_17.index("left_wrist")
KNEE = H36M_17.index("left_knee")


def reasons(
    joints_m: np.ndarray, rate_hz: float = 120.0, **options: object
) -> dict[str, list[tuple[int, int]]]:
    result = find_bad_frames(joints_m, H36M_17, rate_hz, ImportOptions.model_validate(options))
    found: dict[str, list[tuple[int, int]]] = {"kept": [(part.first, part.last) for part in result.kept]}
    for part in result.quarantined:
        found.setdefault(part.reason, []).append((part.first, part.last))
    return found


def test_a_clean_clip_is_kept_whole() -> None:
    assert reasons(swaying_m(300, 120.0)) == {"kept": [(0, 299)]}


def test_a_spike_costs_its_frame_and_both_neighbours_and_cuts_the_clip() -> None:
    joints = swaying_m(300, 120.0)
    joints[150, WRIST, 0] += 0.3  # 36 m/s there and back
    assert reasons(joints) == {"kept": [(0, 148), (152, 299)], "jump": [(149, 151)]}


def test_a_short_stretch_between_two_jumps_goes_with_them() -> None:
    joints = swaying_m(300, 120.0)
    joints[100:130, KNEE, 2] -= 0.25  # a knee that flips for a quarter of a second
    assert reasons(joints) == {
        "kept": [(0, 98), (131, 299)],
        "jump": [(99, 100), (129, 130)],
        "too_short": [(101, 128)],
    }
    assert "too_short" not in reasons(joints, min_clip_s=0.1)


def test_on_jump_clip_quarantines_all_of_it() -> None:
    joints = swaying_m(300, 120.0)
    joints[150, WRIST, 0] += 0.3
    assert reasons(joints, on_jump="clip") == {"kept": [], "clip_with_jump": [(0, 299)]}
    result = find_bad_frames(joints, H36M_17, 120.0, ImportOptions(on_jump="clip"))
    assert result.quarantined[0].detail.startswith("left_wrist moves at 3")
    assert result.quarantined[0].detail.endswith("2 jumps in the clip")


def test_nan_and_infinity_cost_exactly_their_frames() -> None:
    joints = swaying_m(300, 30.0)
    joints[100, WRIST, 1] = np.nan
    joints[101, KNEE] = np.inf
    joints[0] = np.nan
    assert reasons(joints, 30.0) == {"kept": [(1, 99), (102, 299)], "not_finite": [(0, 0), (100, 101)]}
    assert reasons(np.full((5, 17, 3), np.nan)) == {"kept": [], "not_finite": [(0, 4)]}


def test_zero_length_bones_are_named() -> None:
    joints = swaying_m(200, 120.0)
    joints[:, WRIST] = joints[:, H36M_17.index("left_elbow")]
    result = find_bad_frames(joints, H36M_17, 120.0, ImportOptions())
    assert not result.kept
    assert [(part.reason, part.detail) for part in result.quarantined] == [
        ("zero_length_bone", "bones of zero length: left_wrist")
    ]


def test_a_body_that_teleports_jumps() -> None:
    joints = swaying_m(300, 120.0)
    joints[150:, :, 0] += 1.0
    assert reasons(joints)["jump"] == [(149, 150)]


def test_speed_decides_at_the_limit() -> None:
    for speed_mps, jumps in ((19.9, 0), (20.1, 1)):
        joints = np.repeat(swaying_m(1, 120.0), 100, axis=0)
        joints[50:, WRIST, 0] += speed_mps / 120.0
        assert find_jumps(joints, H36M_17, 120.0, 20.0).sum() == jumps


def test_at_30_hz_a_flip_is_found_that_is_slower_than_a_kick() -> None:
    flip, kick = swaying_m(90, 30.0), swaying_m(90, 30.0)
    flip[45:, KNEE, 2] -= 0.32  # 9.6 m/s in one step
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.clip((np.arange(90) - 40) / 6.0, 0.0, 1.0))
    kick[:, H36M_17.index("right_ankle"), 1:] += 1.2 * ramp[:, None] * np.array([0.6, 0.8])  # peaks at 9 m/s
    assert find_jumps(flip, H36M_17, 30.0, 20.0).tolist().index(True) == 44
    assert not find_jumps(kick, H36M_17, 30.0, 20.0).any()


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4])
def test_very_short_clips_are_judged_too(n_frames: int) -> None:
    assert reasons(swaying_m(n_frames, 30.0), 30.0) == {"kept": [(0, n_frames - 1)]}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_frame_is_kept_or_quarantined_exactly_once(data: st.DataObject) -> None:
    n_frames = data.draw(st.integers(1, 60))
    joints = swaying_m(n_frames, 30.0)
    for _ in range(data.draw(st.integers(0, 5))):
        frame, joint = data.draw(st.integers(0, n_frames - 1)), data.draw(st.integers(0, 16))
        joints[frame, joint] += data.draw(st.sampled_from([np.nan, np.inf, 0.5, 3.0, -40.0]))
    options = ImportOptions(
        min_clip_s=data.draw(st.sampled_from([0.0, 0.1, 1.0])),
        on_jump=data.draw(st.sampled_from(["frames", "clip"])),
    )
    result = find_bad_frames(joints, H36M_17, 30.0, options)
    parts = sorted([*result.kept, *result.quarantined], key=lambda part: part.first)
    assert [frame for part in parts for frame in range(part.first, part.last + 1)] == list(range(n_frames))
    assert all(not part.reason for part in result.kept)
    assert all(part.reason and part.detail for part in result.quarantined)
    for part in result.kept:
        stretch = joints[part.first : part.last + 1]
        assert np.isfinite(stretch).all()
        assert not find_jumps(stretch, H36M_17, 30.0, 20.0).any() or len(stretch) < 4
