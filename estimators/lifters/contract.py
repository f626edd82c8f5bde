"""What every 2D-to-3D lifter is: screen keypoints in, root-relative metres out, the root exactly zero."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from estimators.errors import LifterInputError
from poses.skeleton import Skeleton

SCREEN_LIMIT = 10.0
"""Screen coordinates lie around [-1, 1]; values beyond this limit can only be pixels."""
Output = Literal["poses", "loss", "sequence"]
"""What `forward` is asked for."""


class Lifter(nn.Module, ABC):
    """Base of all lifters; subclasses implement `lift`.

    Attributes:
        skeleton: Joints of the output, and of the input unless there is a `keypoint_skeleton`.
        keypoint_skeleton: Joints of the input.
        receptive_field: Frames that one output frame sees; 1 for single-frame lifters.
        causal: The output frame is the last of its window instead of the middle one.
        lifts_sequences: The network gives a pose for every frame of its input at once; such lifters are trained on all
            frames of a window (`lift_sequence`), not on the middle one alone.
        takes_confidence: A third input channel, the keypoints' confidence in [0, 1], may be given; without it, 1.
    """

    skeleton: Skeleton
    keypoint_skeleton: Skeleton
    receptive_field: int
    causal: bool = False
    lifts_sequences: bool = False
    takes_confidence: bool = False

    def __init__(
        self, skeleton: Skeleton, receptive_field: int, keypoint_skeleton: Skeleton | None = None
    ) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.keypoint_skeleton = skeleton if keypoint_skeleton is None else keypoint_skeleton
        self.receptive_field = receptive_field

    def forward(self, keypoints_screen: Tensor, output: Output = "poses") -> Tensor:
        """Lift 2D keypoints to 3D.

        Args:
            keypoints_screen: (B, T, J, 2) screen coordinates, T >= receptive field; single-frame lifters also
                take (B, J, 2).
            output: What is wanted: `lift`'s poses, what a training loss compares (`lift_for_loss`), or a pose for every
                frame of any T (`lift_sequence`).

        Returns:
            (B, T - receptive_field + 1, J, 3) joints relative to the root, metres, camera axes; (B, J, 3) for
            input without a time axis. The root is exactly zero.

        Raises:
            LifterInputError: on a wrong shape, or values that are pixels or not finite.
        """
        least_frames = 1 if output == "sequence" else self.receptive_field
        check_keypoints(keypoints_screen, self.keypoint_skeleton, least_frames, self.takes_confidence)
        if output == "sequence":
            return self.lift_sequence(keypoints_screen)
        return self.lift(keypoints_screen) if output == "poses" else self.lift_for_loss(keypoints_screen)

    @abstractmethod
    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """`forward` without the checks, for callers that made the input themselves."""

    def lift_for_loss(self, keypoints_screen: Tensor) -> Tensor:
        """What a training loss compares with root-relative targets: `lift`, unless the network has an output for the
        root of its own, which the published code trains towards zero and subtracts only in evaluation."""
        return self.lift(keypoints_screen)

    def lift_sequence(self, keypoints_screen: Tensor) -> Tensor:
        """(B, T, J, 2) -> (B, T, J, 3): a pose for every frame; frames beyond the ends repeat the end."""
        return self.lift(pad_ends(keypoints_screen, self.receptive_field, self.causal))

    def fit(self, keypoints_screen: Tensor, joints_root_m: Tensor) -> None:
        """Take what the network must know of the training data before the first step, such as their mean; most need
        nothing.

        Args:
            keypoints_screen: (N, J, 2) of training pairs, or a fair sample.
            joints_root_m: (N, J, 3) of the same pairs, metres.
        """

    def to_published_state(self) -> dict[str, Tensor]:
        """State dict in the layout of the published checkpoints; the module's own unless it differs."""
        return dict(self.state_dict())

    def from_published_state(self, state: dict[str, Tensor]) -> None:
        """Load a state dict in the layout of the published checkpoints."""
        self.load_state_dict(state)


def pad_ends(keypoints_screen: Tensor, receptive_field: int, causal: bool = False) -> Tensor:
    """(B, T, J, C) with its first and last frame repeated, so that a lifter gives T frames of it."""
    before = receptive_field - 1 if causal else receptive_field // 2
    after = receptive_field - 1 - before
    first, last = keypoints_screen[:, :1], keypoints_screen[:, -1:]
    parts = [first.expand(-1, before, -1, -1), keypoints_screen, last.expand(-1, after, -1, -1)]
    return torch.cat(parts, dim=1) if receptive_field > 1 else keypoints_screen


def check_keypoints(
    keypoints_screen: Tensor, skeleton: Skeleton, receptive_field: int, takes_confidence: bool = False
) -> None:
    """Raise LifterInputError unless these can be screen keypoints of the skeleton, enough frames of them."""
    shape = list(keypoints_screen.shape)
    n_joints = skeleton.n_joints
    channels = (2, 3) if takes_confidence else (2,)
    if keypoints_screen.ndim not in (3, 4) or shape[-1] not in channels or shape[-2] != n_joints:
        raise LifterInputError(
            f"lifter for skeleton {skeleton.name!r} wants (B, {n_joints}, 2) or (B, T, {n_joints}, 2) "
            f"screen keypoints "
            f"of {', '.join(skeleton.joints)}; got shape {shape}; map the keypoints to this skeleton first"
        )
    frames = 1 if keypoints_screen.ndim == 3 else shape[1]
    if frames < receptive_field:
        raise LifterInputError(
            f"lifter with a receptive field of {receptive_field} frames wants (B, T, {n_joints}, 2) with "
            f"T >= {receptive_field}, got shape {shape}; pad the clip at its ends"
        )
    inside = keypoints_screen.detach().abs() <= SCREEN_LIMIT
    if keypoints_screen.numel() and not bool(inside.all()):
        raise LifterInputError(_describe_values(keypoints_screen.detach()))


def _describe_values(keypoints_screen: Tensor) -> str:
    bad = int((~torch.isfinite(keypoints_screen)).sum())
    if bad:
        return (
            f"lifter input holds {bad} coordinates that are NaN or infinite, wanted finite screen "
            f"coordinates; "
            "drop or fill missing keypoints first"
        )
    largest = float(keypoints_screen.abs().max())
    return (
        f"lifter wants screen coordinates (x = 2 x_px / width - 1, about [-1, 1]), got values up to "
        f"{largest:.4g}, "
        "which look like pixels; convert them with poses.cameras.to_screen"
    )


def insert_root(joints_without_root: Tensor, root_index: int) -> Tensor:
    """Put an all-zero root joint into (..., J-1, 3), giving (..., J, 3)."""
    if root_index == 0:
        return nn.functional.pad(joints_without_root, (0, 0, 1, 0))
    before, after = joints_without_root[..., :root_index, :], joints_without_root[..., root_index:, :]
    return torch.cat([before, torch.zeros_like(joints_without_root[..., :1, :]), after], dim=-2)
