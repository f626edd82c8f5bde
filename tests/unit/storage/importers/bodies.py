"""Made-up motion of our 17 joints, for tests of what comes after the readers."""

import numpy as np

from poses.skeleton import load_skeleton

H36M_17 = load_skeleton("h36m_17")

STANDING_M = {
    "pelvis": (0.0, 0.95, 0.0),
    "right_hip": (-0.1, 0.93, 0.0),
    "right_knee": (-0.1, 0.5, 0.02),
    "right_ankle": (-0.1, 0.08, 0.0),
    "left_hip": (0.1, 0.93, 0.0),
    "left_knee": (0.1, 0.5, 0.02),
    "left_ankle": (0.1, 0.08, 0.0),
    "spine": (0.0, 1.15, 0.0),
    "thorax": (0.0, 1.4, 0.0),
    "neck_nose": (0.0, 1.55, 0.05),
    "head": (0.0, 1.65, 0.0),
    "left_shoulder": (0.18, 1.38, 0.0),
    "left_elbow": (0.2, 1.1, 0.0),
    "left_wrist": (0.2, 0.85, 0.05),
    "right_shoulder": (-0.18, 1.38, 0.0),
    "right_elbow": (-0.2, 1.1, 0.0),
    "right_wrist": (-0.2, 0.85, 0.05),
}


def swaying_m(n_frames: int, rate_hz: float) -> np.ndarray:
    """(T, 17, 3): a standing body that walks along z, its wrists swinging at up to 2 m/s."""
    time_s = np.arange(n_frames) / rate_hz
    joints = np.repeat(np.array([STANDING_M[name] for name in H36M_17.joints])[None], n_frames, axis=0)
    joints[:, :, 2] += 1.2 * time_s[:, None]
    swing = 0.3 * np.sin(2 * np.pi * time_s)
    joints[:, H36M_17.index("left_wrist"), 2] += swing
    joints[:, H36M_17.index("right_wrist"), 2] -= swing
    return joints
