"""Settings of RepNet and its presets, as specs/lifters.md 1.4 separates the paper from the published code.

`code`: one residual block shared by pose and camera, an extra dense layer before the pose, absolute
differences with joint weights, rate 1e-4 divided by 10 after epochs 5, 10 and 15. `paper`: two separate
networks of two residual blocks, Frobenius norms, all joints alike, rate 1e-3 that decays every 10 epochs.
`default` is our own: `code` with the chain of the skeleton itself (every bone, none twice), all joints alike,
turned views of the real poses (`turned_views.py`), a critic that learns but does not pull at the generator, and rate
1e-3 (docs/results_repnet.md has what each brings, and why the pull does harm between different people).
In all of them the critic and the generator take one step each per batch: the code's TRAINING_RATIO of 5 does not
mean 5:1, and no other ratio is known from the paper.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from estimators.lifters.repnet.chain import ChainKind
from estimators.lifters.training.schedules import ExponentialSchedule, Schedule, StepSchedule

LEAKY_SLOPE = 0.3
"""Keras's default, which the published networks have; torch's is 0.01."""
PresetName = Literal["paper", "code", "default"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RepNetSettings(_Settings):
    """Shape of the generator and the camera network: a lifter of kind `repnet`."""

    kind: Literal["repnet"] = "repnet"
    width: int = Field(default=1000, ge=1, description="units of each hidden layer")
    shared_block: bool = Field(
        default=True, description="pose and camera share the first layer and one block (code)"
    )
    pose_blocks: int = Field(default=2, ge=0, description="residual blocks of the pose alone")
    extra_pose_layer: bool = Field(default=True, description="one more dense layer before the pose (code)")
    camera_blocks: int = Field(default=2, ge=0, description="residual blocks of the camera alone")
    leaky_slope: float = Field(default=LEAKY_SLOPE, gt=0.0, lt=1.0)


class CriticSettings(_Settings):
    """Shape of the critic."""

    pose_width: int = Field(default=100, ge=1, description="units of the path that sees coordinates")
    chain_width: int = Field(default=1000, ge=1, description="units of the path that sees psi")
    joined_width: int = Field(default=100, ge=1)
    chain: ChainKind = "skeleton"
    leaky_slope: float = Field(default=LEAKY_SLOPE, gt=0.0, lt=1.0)


class TorsoSettings(_Settings):
    """Size of the upright body, turned to the camera, that 3D poses are aligned to by hips and shoulders."""

    hip_width_m: float = Field(default=0.26, gt=0.0)
    shoulder_width_m: float = Field(default=0.30, gt=0.0)
    height_m: float = Field(
        default=0.49, gt=0.0, description="from between the hips to between the shoulders"
    )
    align_scale: bool = Field(default=True, description="scale poses to it too, as the paper does")


class TurnedViewsSettings(_Settings):
    """Poses turned by drawn cameras, to be found again with the camera (`turned_views.py`): an own term."""

    poses: Literal["real", "generated"] = Field(
        default="real", description="whose 3D is turned; only real poses tell which way depth points"
    )
    pose_weight: float = Field(default=3.0, ge=0.0, description="of the mean joint distance, per metre")
    camera_weight: float = Field(default=1.0, ge=0.0, description="of the cameras' distance over their scale")
    elevation_deg: float = Field(default=5.0, description="of cameras above the body's horizon, mean")
    elevation_deviation_deg: float = Field(default=20.0, ge=0.0)
    roll_deviation_deg: float = Field(default=15.0, ge=0.0)
    distance_m: tuple[PositiveFloat, PositiveFloat] | None = Field(
        default=(3.0, 7.0), description="least and most, for perspective; None: a weak-perspective image"
    )


class RepNetTrainerSettings(_Settings):
    """Critic, losses and optimisers."""

    critic: CriticSettings = CriticSettings()
    torso: TorsoSettings = TorsoSettings()
    distance: Literal["sum_abs", "frobenius"] = Field(
        default="sum_abs", description="of reprojections, and of cameras from scaled rotations"
    )
    joint_weights: Mapping[str, float] = Field(
        default={}, description="weight of a joint's reprojection; joints that are not named weigh 1"
    )
    adversarial_weight: float = Field(
        default=1.0,
        ge=0.0,
        description="of the critic's word on the generator's poses; 0: it judges and does not pull",
    )
    weak_adversarial_weight: float = Field(
        default=1.0, ge=0.0, description="of its word on another lifter's poses (`weak_supervision.py`)"
    )
    reprojection_weight: float = Field(default=1.0, ge=0.0)
    camera_weight: float = Field(default=1.0, ge=0.0)
    turned: TurnedViewsSettings | None = Field(default=None, description="an own term; None: without")
    gradient_penalty: float = Field(default=10.0, ge=0.0)
    learning_rate: float = Field(default=1e-4, gt=0.0)
    betas: tuple[float, float] = (0.5, 0.9)
    epsilon: float = Field(default=1e-7, gt=0.0, description="Keras's: outside the bias correction")
    schedule: Schedule = StepSchedule(milestones=(5, 10, 15))


class RepNetPreset(_Settings):
    """A network and how it is trained."""

    network: RepNetSettings = RepNetSettings()
    trainer: RepNetTrainerSettings = RepNetTrainerSettings()


_PRESETS: Mapping[PresetName, RepNetPreset] = {
    "default": RepNetPreset(
        trainer=RepNetTrainerSettings(
            turned=TurnedViewsSettings(), adversarial_weight=0.0, learning_rate=1e-3
        )
    ),
    "code": RepNetPreset(
        trainer=RepNetTrainerSettings(
            critic=CriticSettings(chain="published"),
            joint_weights={"pelvis": 0.0, "thorax": 0.1, "head": 0.1},
        )
    ),
    "paper": RepNetPreset(
        network=RepNetSettings(shared_block=False, extra_pose_layer=False),
        trainer=RepNetTrainerSettings(
            critic=CriticSettings(chain="skeleton"),
            distance="frobenius",
            learning_rate=1e-3,
            schedule=ExponentialSchedule(decay=0.1, period=10, unit="epoch"),
        ),
    ),
}


def repnet_preset(name: PresetName) -> RepNetPreset:
    """Settings of a preset by name."""
    return _PRESETS[name]
