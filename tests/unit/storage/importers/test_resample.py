"""Frame rates: picked frames are untouched, interpolated ones lie on the motion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.importers.resample import pick_step, resample


def line(frames: np.ndarray, rate_hz: float) -> np.ndarray:
    """(T, 1, 3): one joint at 1, 2, 3 m/s along the axes, so that position tells the time."""
    return (frames / rate_hz)[:, None, None] * np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("source_hz", "target_hz", "step"),
    [
        (120, 30, 4),
        (60, 30, 2),
        (30, 30, 1),
        (120.0048, 30, 4),
        (50, 30, None),
        (16, 30, None),
        (29.97, 30, None),
    ],
)
def test_whole_ratios_pick_frames(source_hz: float, target_hz: float, step: int | None) -> None:
    assert pick_step(source_hz, target_hz) == step


def test_picking_keeps_the_phase_of_the_file_when_a_clip_was_cut() -> None:
    frames = np.arange(5, 20)
    positions, source = resample(line(frames, 120.0), frames, 120.0, 30.0)
    assert source.tolist() == [8, 12, 16]
    np.testing.assert_array_equal(positions, line(source, 120.0))


def test_a_stretch_between_two_ticks_gives_nothing() -> None:
    positions, source = resample(line(np.arange(5, 8), 120.0), np.arange(5, 8), 120.0, 30.0)
    assert positions.shape == (0, 1, 3)
    assert len(source) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.floats(5.0, 500.0),
    st.floats(5.0, 200.0),
    st.integers(0, 50),
    st.integers(1, 80),
    st.integers(0, 2**31),
)
def test_interpolation_is_exact_on_straight_motion_and_stays_in_the_stretch(
    source_hz: float, target_hz: float, first: int, n_frames: int, seed: int
) -> None:
    frames = np.arange(first, first + n_frames)
    positions, source = resample(line(frames, source_hz), frames, source_hz, target_hz)
    assert len(positions) == len(source)
    if len(source):
        assert source.min() >= first
        assert source.max() < first + n_frames
        ticks = positions[:, 0, 0] * (target_hz if pick_step(source_hz, target_hz) is None else source_hz)
        np.testing.assert_allclose(ticks, np.round(ticks), atol=1e-5)
        np.testing.assert_allclose(positions[:, 0, 1], 2 * positions[:, 0, 0], atol=1e-12)


def test_upsampling_doubles_the_frames() -> None:
    positions, source = resample(line(np.arange(10), 15.0), np.arange(10), 15.0, 30.0)
    assert len(positions) == 19
    assert source.tolist()[:4] == [0, 0, 1, 2]
    np.testing.assert_allclose(positions, line(np.arange(19), 30.0), atol=1e-12)
