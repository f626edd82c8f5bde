"""VideoPose3D lifter (Pavllo et al. 2019, arXiv 1811.11742): temporal convolutions, any odd receptive field.

The network itself is in `convolutions.py`; `trajectory.py` gives it the second meaning that semi-supervised
training needs.
"""

from math import prod
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from estimators.lifters.contract import Lifter, insert_root
from estimators.lifters.temporal.convolutions import TemporalConvolutions
from poses.skeleton import Skeleton, load_skeleton


class VideoPoseSettings(BaseModel):
    """Shape of a VideoPose lifter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["videopose"] = "videopose"
    channels: int = Field(default=1024, ge=1)
    kernel_widths: tuple[int, ...] = Field(
        default=(1, 1, 1, 1, 1), min_length=1, description="odd; their product is the receptive field"
    )
    causal: bool = False
    dropout: float = Field(default=0.25, ge=0.0, lt=1.0)
    predict_root: bool = Field(
        default=False,
        description="the network has an output for the root, which is subtracted (VideoPose3D's own "
        "checkpoints); otherwise it predicts every joint but the root (PoseAug's)",
    )
    keypoint_skeleton: str | None = Field(
        default=None,
        description="skeleton of the 2D keypoints where it is not that of the poses: 'coco_17' for VideoPose3D's "
        "checkpoints on detections in COCO order",
    )

    @field_validator("kernel_widths")
    @classmethod
    def _odd(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 or width % 2 == 0 for width in widths):
            raise ValueError(f"kernel widths must be odd and positive, got {list(widths)}")
        return widths


def kernel_widths_for(receptive_field: int) -> tuple[int, ...]:
    """Kernel widths whose product is an odd receptive field: its prime factors; five ones for one frame.

    Raises:
        ValueError: if the receptive field is even or below 1.
    """
    if receptive_field < 1 or receptive_field % 2 == 0:
        raise ValueError(
            f"a receptive field is an odd number of frames, got {receptive_field}; take the next odd one"
        )
    if receptive_field == 1:
        return (1, 1, 1, 1, 1)
    widths, rest, factor = [], receptive_field, 3
    while rest > 1:
        while rest % factor == 0:
            widths.append(factor)
            rest //= factor
        factor += 2
    return tuple(widths)


class VideoPoseLifter(TemporalConvolutions, Lifter):
    """Temporal convolutional lifter; see the module's text."""

    def __init__(self, settings: VideoPoseSettings, skeleton: Skeleton) -> None:
        keypoint_skeleton = load_skeleton(settings.keypoint_skeleton) if settings.keypoint_skeleton else None
        super().__init__(skeleton, prod(settings.kernel_widths), keypoint_skeleton)
        self.settings = settings
        self.causal = settings.causal
        outputs = skeleton.n_joints if settings.predict_root else skeleton.n_bones
        self.build(
            2 * self.keypoint_skeleton.n_joints,
            3 * outputs,
            settings.channels,
            settings.kernel_widths,
            settings.causal,
            settings.dropout,
        )

    def lift(self, keypoints_screen: Tensor) -> Tensor:
        """(B, T, J, 2) or (B, J, 2) screen -> (B, T', J, 3) or (B, J, 3) metres, root-relative."""
        if keypoints_screen.ndim == 3:
            return self.lift(keypoints_screen.unsqueeze(1)).squeeze(1)
        joints_m = self.network(keypoints_screen)
        root = self.skeleton.root_index
        if self.settings.predict_root:
            return joints_m - joints_m[..., root : root + 1, :]
        return insert_root(joints_m, root)

    def lift_for_loss(self, keypoints_screen: Tensor) -> Tensor:
        """As `lift`, but with the network's own output for the root, which VideoPose3D trains towards zero."""
        if not self.settings.predict_root:
            return self.lift(keypoints_screen)
        if keypoints_screen.ndim == 3:
            return self.network(keypoints_screen.unsqueeze(1)).squeeze(1)
        return self.network(keypoints_screen)
