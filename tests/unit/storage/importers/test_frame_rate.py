"""Gravity tells a frame rate that is too high."""

import numpy as np
import pytest

from storage.importers.frame_rate import centre_of_mass_weights, doubtful_rate, fall_mps2
from storage.importers.options import ImportOptions
from storage.importers.read_motion import read_motion
from tests.unit.storage.importers.bodies import H36M_17, swaying_m


def hopping_m(n_frames: int, rate_hz: float) -> np.ndarray:
    """A stiff body that hops: free fall for 0.3 s, then pushed up for 0.3 s."""
    joints = swaying_m(n_frames, rate_hz)
    phase_s = np.mod(np.arange(n_frames) / rate_hz, 0.6)
    flight = 9.81 * (0.3 * phase_s - phase_s**2) / 2.0
    push = -9.81 * (0.3 * (phase_s - 0.3) - (phase_s - 0.3) ** 2) / 2.0
    joints[:, :, 1] += np.where(phase_s < 0.3, flight, push)[:, None]
    return joints


def test_free_fall_is_measured_as_g() -> None:
    assert fall_mps2([hopping_m(240, 120.0)], H36M_17, 120.0) == pytest.approx(-9.81, rel=0.02)


def test_a_doubled_rate_is_doubted_and_the_true_one_is_not() -> None:
    joints = hopping_m(240, 60.0)
    assert doubtful_rate([joints], H36M_17, 60.0) == ""
    doubt = doubtful_rate([joints], H36M_17, 120.0)
    assert "120 Hz is too high" in doubt
    assert "60 Hz" in doubt


def test_too_little_motion_says_nothing() -> None:
    assert fall_mps2([hopping_m(20, 30.0)], H36M_17, 30.0) is None
    assert fall_mps2([], H36M_17, 30.0) is None


def test_the_centre_of_mass_of_a_standing_body_lies_in_the_pelvis_region() -> None:
    weights = centre_of_mass_weights(H36M_17)
    assert weights is not None
    height_m = float(swaying_m(1, 30.0)[0, :, 1] @ weights)
    assert weights.sum() == pytest.approx(1.0)
    assert 0.9 < height_m < 1.1


def test_read_motion_passes_the_doubt_on(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", hop=hopping_m(120, 30.0))
    assert not read_motion(tmp_path / "a.npz").notes
    notes = read_motion(tmp_path / "a.npz", ImportOptions(rate_overrides={"*": 60.0})).notes
    assert len(notes) == 1
    assert "say so in rate_overrides" in notes[0]
