"""Settings of PoseAug (Gong et al., CVPR 2021, arXiv 2105.02465) and its three presets.

`released` is what the published code does, its defects included, each behind a flag of `Compat`; `paper` has
the paper's feedback (Eq. 9) and regulariser (Eq. 10) and moves the torso; `default` is `released` with the
defects mended.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GeneratorSettings(_Settings):
    """Shape and limits of the augmentor."""

    width: int = Field(default=256, ge=1, description="units of each hidden layer of a head")
    blocks: int = Field(default=2, ge=0, description="pairs of hidden layers after the first")
    noise_size: int = Field(default=48, ge=1, description="normal numbers per head and pose")
    bone_length_limit: float = Field(
        default=0.2, gt=0.0, lt=1.0, description="largest relative change of a length"
    )
    freeze_torso_directions: bool = Field(
        default=True, description="leave skeleton.frozen_direction_bones alone"
    )
    freeze_lengths: bool = Field(default=True, description="leave skeleton.frozen_length_bones alone")


class DiscriminatorSettings(_Settings):
    """Shape of the discriminators, and how often and on what they are trained."""

    part_width: int = Field(default=256, ge=1, description="hidden units of a body-part branch")
    part_neck: int = Field(default=100, ge=1, description="units of its last hidden layer")
    projection_width: int = Field(default=100, ge=1)
    every: int = Field(
        default=2, ge=1, description="train them at every n-th generator update, the first included"
    )
    pool_size: int = Field(
        default=4096, ge=1, description="earlier fakes that each discriminator may see again"
    )


class LossSettings(_Settings):
    """Weights and bands of the augmentor's losses."""

    adversarial_3d: float = Field(default=6.0, ge=0.0)
    adversarial_2d: float = Field(default=1.0, ge=0.0)
    regulariser: float = Field(
        default=3.0, ge=0.0, description="weight of bone angle plus bone length range loss"
    )
    regulariser_kind: Literal["band", "threshold"] = Field(
        default="band", description="'band': the released range losses; 'threshold': Eq. 10"
    )
    bone_angle_centre: float = Field(default=0.205, ge=0.0, description="of a pose's mean 1 - cos")
    bone_angle_half_width: float = Field(default=0.165, gt=0.0)
    bone_angle_per_bone_limit: float | None = Field(
        default=None, gt=0.0, description="also hold 1 - cos of every bone below this"
    )
    bone_length_free: float = Field(default=0.1, ge=0.0, description="relative change that costs nothing")


class FeedbackSettings(_Settings):
    """Error feedback of the estimator."""

    kind: Literal["ratio_band", "exp", "none"] = Field(
        default="ratio_band", description="'ratio_band': the released loss; 'exp': Eq. 9"
    )
    bone_angle_weight: float = Field(default=0.1, ge=0.0)
    rigid_motion_weight: float = Field(default=0.01, ge=0.0)
    bone_angle_ratio_start: float = Field(
        default=3.0, description="centre of the band (beta of Eq. 9), epoch 0"
    )
    bone_angle_ratio_end: float = Field(default=5.0, description="centre after `ramp_epochs`")
    bone_angle_ratio_half_width: float = Field(default=2.0, ge=0.0)
    rigid_motion_ratio_start: float = 17.0
    rigid_motion_ratio_end: float = 17.0
    rigid_motion_ratio_half_width: float = Field(default=15.0, ge=0.0)
    ramp_epochs: int = Field(default=50, ge=1)
    warmup_epochs: int = Field(
        default=2, ge=0, description="no feedback up to and including this epoch (from 1)"
    )


class Compat(_Settings):
    """Defects of the released code, which `default` mends (True: as released)."""

    one_sided_image_filter: bool = Field(default=False, description="reject only 2D > 1, never 2D < -1")
    train_mode_estimator: bool = Field(
        default=False,
        description="run the estimator in train mode for the feedback: dropout noise, statistics drift",
    )
    unsafe_norms: bool = Field(
        default=False, description="NaN for bones without length instead of a direction"
    )
    clamp_instead_of_reject: bool = Field(
        default=False, description="emit joints behind the camera with the sign-flipped, clamped 2D"
    )
    published_distortion: bool = Field(
        default=False, description="the published tangential distortion instead of Brown-Conrady's"
    )


class PoseAugSettings(_Settings):
    """Everything about the augmentor's training but the data."""

    preset: Literal["released", "paper", "default"] = "default"
    generator: GeneratorSettings = GeneratorSettings()
    discriminators: DiscriminatorSettings = DiscriminatorSettings()
    losses: LossSettings = LossSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    compat: Compat = Compat()
    learning_rate_generator: float = Field(default=1e-4, gt=0.0)
    learning_rate_discriminators: float = Field(default=1e-4, gt=0.0)
    grad_clip_norm: float = Field(default=1.0, gt=0.0)
    epochs: int = Field(default=50, ge=1, description="of the linear schedule 1 - e / (epochs + 1)")
    z_min_m: float = Field(default=0.3, gt=0.0, description="nearest depth of a joint that is kept")


_PRESETS: dict[str, PoseAugSettings] = {
    "default": PoseAugSettings(),
    "released": PoseAugSettings(
        preset="released",
        compat=Compat(
            one_sided_image_filter=True,
            train_mode_estimator=True,
            unsafe_norms=True,
            clamp_instead_of_reject=True,
            published_distortion=True,
        ),
    ),
    "paper": PoseAugSettings(
        preset="paper",
        generator=GeneratorSettings(freeze_torso_directions=False, freeze_lengths=False),
        losses=LossSettings(regulariser=1.0, regulariser_kind="threshold"),
        feedback=FeedbackSettings(
            kind="exp",
            bone_angle_weight=1.0,
            rigid_motion_weight=1.0,
            bone_angle_ratio_start=1.0,
            bone_angle_ratio_end=5.0,
            rigid_motion_ratio_start=1.0,
            rigid_motion_ratio_end=5.0,
        ),
    ),
}


def poseaug_preset(name: Literal["released", "paper", "default"]) -> PoseAugSettings:
    """Settings of a preset by name."""
    return _PRESETS[name]
