"""What a 2D detector does to keypoints: jitter, trouble with hidden joints, misses, left-right mix-ups.

The 3D stays as it is, the 2D becomes what a detector might have said. Jitter is proportional to the person's
size in the image, joint by joint as in COCO's annotation spread (wrists and ankles are easier to place than
hips), times a factor that is drawn per pose (a blurred or dark image is bad everywhere). A joint is hidden
when another part of the body stands before it in the image; hidden joints are jittered more and missed more.
`extra["augment_noise_px"]` records how far every keypoint was moved, so that a check of 3D against 2D can
allow for it; `extra["augment_noise_kind"]` says why.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32
from pydantic import BaseModel, ConfigDict, Field

from augment.contract import Augmented, derived_pairs, split_by_reason
from augment.validity import reasons_if_not_finite
from poses.batch import PoseBatch
from poses.randomness import RowRandom
from poses.skeleton import Skeleton

PURPOSE = "detector_noise"
NOISE_COLUMN = "augment_noise_px"
KIND_COLUMN = "augment_noise_kind"
SEEN, HIDDEN, MISSED, SWAPPED = 0, 1, 2, 3
"""Values of `augment_noise_kind`; the last that applies."""


class DetectorNoiseSettings(BaseModel):
    """How bad the detector is. Lengths are shares of the person's box (its longer side) in the image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jitter: float = Field(default=0.008, ge=0.0)
    """Standard deviation per axis of a visible joint of weight 1."""
    joint_weight: dict[str, float] = Field(
        default_factory=lambda: {
            "pelvis": 1.3, "hip": 1.3, "knee": 1.05, "ankle": 1.1, "spine": 1.2, "thorax": 0.9,
            "neck_nose": 0.6, "head": 0.7, "shoulder": 0.95, "elbow": 0.9, "wrist": 0.8,
        }
    )  # fmt: skip
    """Relative jitter by joint name without its side; joints that are not named weigh 1."""
    pose_sigma: float = Field(default=0.35, ge=0.0)
    """Log-normal spread of the factor that all joints of a pose share."""
    hidden_radius: float = Field(default=0.045, ge=0.0)
    """A joint is hidden when a joint that is not its neighbour lies this near in the image and before it."""
    hidden_depth_m: float = Field(default=0.08, ge=0.0)
    hidden_factor: float = Field(default=3.0, ge=1.0)
    miss_share: float = Field(default=0.01, ge=0.0, le=1.0)
    hidden_miss_share: float = Field(default=0.1, ge=0.0, le=1.0)
    miss_factor: float = Field(default=8.0, ge=1.0)
    """A missed joint has confidence 0 and lies this many times further off."""
    limb_swap_share: float = Field(default=0.015, ge=0.0, le=1.0)
    """Per pair of limbs (both legs, both arms): left taken for right."""
    body_swap_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """All limbs at once: front taken for back."""


class DetectorNoiseAugmentor:
    """Detector noise as an `Augmentor`: one noisy pair per row and copy."""

    def __init__(self, settings: DetectorNoiseSettings, seed: int) -> None:
        self._settings, self._seed = settings, seed

    @property
    def name(self) -> str:
        """What it is called."""
        return PURPOSE

    def augment(self, batch: PoseBatch, copy: int) -> Augmented:
        """Pairs with noisy 2D and confidences that tell of it (imperfectly, as a detector's do)."""
        randomness = RowRandom(self._seed, PURPOSE, batch.sample_id, copy)
        keypoints_px, confidence, kind = noisy_keypoints(batch, randomness, self._settings)
        moved_px = _length(keypoints_px - batch.keypoints_px)
        pairs = derived_pairs(
            batch,
            self._seed,
            PURPOSE,
            copy,
            columns={"keypoints_px": keypoints_px, "keypoint_confidence": confidence},
            extra={NOISE_COLUMN: moved_px, KIND_COLUMN: kind},
        )
        return split_by_reason(pairs, reasons_if_not_finite(pairs.joints_camera_m, pairs.keypoints_px))


def noisy_keypoints(
    batch: PoseBatch, randomness: RowRandom, settings: DetectorNoiseSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the detector says.

    Returns:
        Keypoints (B, J, 2) in pixels, confidences (B, J) float32, and the kind of error (B, J) int8.
    """
    skeleton, joints = batch.skeleton, batch.skeleton.n_joints
    box_px = _box_px(batch.keypoints_px)
    hidden = hidden_joints(batch, settings)
    missed_share = np.where(hidden, np.float32(settings.hidden_miss_share), np.float32(settings.miss_share))
    missed = randomness.uniform(joints, stream="miss") < missed_share
    severity = _power_of_two(randomness.normal(1, stream="severity") * np.float32(settings.pose_sigma))
    weight = np.array(
        [settings.joint_weight.get(_unsided(name), 1.0) for name in skeleton.joints], np.float32
    )
    factor = np.where(hidden, np.float32(settings.hidden_factor), np.float32(1))
    factor = np.where(missed, np.float32(settings.miss_factor), factor)
    relative = np.float32(settings.jitter) * severity * weight * factor
    noise = randomness.normal(2 * joints, stream="jitter").reshape(len(batch), joints, 2)
    source, swapped = _swaps(skeleton, randomness, settings)
    keypoints_px = np.take_along_axis(batch.keypoints_px, source[..., None], axis=1)
    keypoints_px = keypoints_px + noise * (relative * box_px)[..., None]
    kind = np.where(hidden, np.int8(HIDDEN), np.int8(SEEN))
    kind = np.where(swapped, np.int8(SWAPPED), np.where(missed, np.int8(MISSED), kind))
    confidence = _confidence(_length(noise) * relative, randomness, joints)
    confidence = np.where(missed, np.float32(0), confidence * batch.keypoint_confidence)
    return keypoints_px, confidence.astype(np.float32), kind


def hidden_joints(batch: PoseBatch, settings: DetectorNoiseSettings) -> Bool[np.ndarray, "B J"]:
    """Which joints another part of the body stands before, as seen by the camera."""
    x, y = (batch.keypoints_px[..., axis] for axis in range(2))
    depth_m = batch.joints_camera_m[..., 2]
    near_px2 = np.square(np.float32(settings.hidden_radius) * _box_px(batch.keypoints_px))
    hidden = np.zeros(x.shape, bool)
    for joint, blockers in enumerate(_not_neighbours(batch.skeleton)):
        apart_px2 = np.square(x[:, blockers] - x[:, [joint]]) + np.square(y[:, blockers] - y[:, [joint]])
        before = depth_m[:, blockers] < depth_m[:, [joint]] - np.float32(settings.hidden_depth_m)
        hidden[:, joint] = ((apart_px2 < near_px2) & before).any(axis=1)
    return hidden


def _swaps(
    skeleton: Skeleton, randomness: RowRandom, settings: DetectorNoiseSettings
) -> tuple[np.ndarray, Bool[np.ndarray, "B J"]]:
    """Which joint each keypoint is taken from (B, J), and whether that is another one."""
    limbs = _limb_pairs(skeleton)
    draws = randomness.uniform(len(limbs) + 1, stream="swap")
    everything = draws[:, :1] < np.float32(settings.body_swap_share)
    source = np.tile(np.arange(skeleton.n_joints), (len(draws), 1))
    for column, members in enumerate(limbs, start=1):
        swap = everything[:, 0] | (draws[:, column] < np.float32(settings.limb_swap_share))
        source[np.ix_(swap, members)] = skeleton.mirror_index[members]
    return source, source != np.arange(skeleton.n_joints)


def _confidence(relative_error: np.ndarray, randomness: RowRandom, joints: int) -> np.ndarray:
    """Falls with the error as a share of the box, with a spread of its own: 1 / (1 + (error / 5 %)^2), less 0-15 %."""
    trust = np.float32(1) / (np.float32(1) + np.square(relative_error / np.float32(0.05)))
    return trust * (np.float32(1) - np.float32(0.15) * randomness.uniform(joints, stream="confidence"))


def _box_px(keypoints_px: Float32[np.ndarray, "B J 2"]) -> Float32[np.ndarray, "B 1"]:
    """Longer side of each person's box."""
    return (keypoints_px.max(axis=1) - keypoints_px.min(axis=1)).max(axis=1, keepdims=True)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(vectors[..., 0]) + np.square(vectors[..., 1]))


def _power_of_two(log_factor: np.ndarray) -> np.ndarray:
    """exp by float64, rounded to float32: its last bit does not depend on numpy's vector loops."""
    return np.exp(log_factor.astype(np.float64)).astype(np.float32)


def _unsided(name: str) -> str:
    return name.removeprefix("left_").removeprefix("right_")


@lru_cache(maxsize=32)
def _not_neighbours(skeleton: Skeleton) -> tuple[np.ndarray, ...]:
    """Per joint: the joints that are neither itself nor at the other end of one of its bones."""
    links = {(joint, parent) for joint, parent in enumerate(skeleton.parents) if parent >= 0}
    return tuple(
        np.array(
            [
                other
                for other in range(skeleton.n_joints)
                if other != joint and (joint, other) not in links and (other, joint) not in links
            ],
            dtype=np.int64,
        )
        for joint in range(skeleton.n_joints)
    )


@lru_cache(maxsize=32)
def _limb_pairs(skeleton: Skeleton) -> tuple[np.ndarray, ...]:
    """The joints of each pair of limbs: mirror pairs that hang together, both sides in one array."""
    limb_of: dict[int, int] = {}
    limbs: list[list[int]] = []
    paired = {joint for joint, other in enumerate(skeleton.mirror_index) if joint != other}
    for joint in sorted(paired, key=lambda index: _depth(skeleton, index)):
        if joint in limb_of:
            continue
        partner, parent = int(skeleton.mirror_index[joint]), skeleton.parents[joint]
        limb = limb_of.get(parent)
        if limb is None:
            limb = len(limbs)
            limbs.append([])
        limbs[limb] += [joint, partner]
        limb_of |= {joint: limb, partner: limb}
    return tuple(np.array(members, dtype=np.int64) for members in limbs)


def _depth(skeleton: Skeleton, joint: int) -> int:
    steps = 0
    while skeleton.parents[joint] >= 0:
        joint, steps = skeleton.parents[joint], steps + 1
    return steps
