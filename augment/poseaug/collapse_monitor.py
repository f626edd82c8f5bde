"""Watches the augmentor for collapse, and says in words what is wrong.

The published method collapses on some seeds ("change the seed"): the augmentor copies its input, turns one
bone by a right angle while the mean over bones stays in its band, sends every pose to one place, or the
discriminators win.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from augment.poseaug.generator import Augmented3D
from augment.poseaug.settings import LossSettings
from poses.skeleton import Skeleton


class CollapseMonitorSettings(BaseModel):
    """Limits of a healthy augmentor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: int = Field(default=50, ge=1, description="updates that the running means look back on")
    settle: int = Field(default=200, ge=0, description="updates before any verdict")
    least_change: float = Field(
        default=0.01, description="mean 1 - cos below this: the augmentor copies its input"
    )
    most_change_per_bone: float = Field(default=0.75, description="mean 1 - cos of any bone")
    least_inside: float = Field(default=0.1, description="share of poses inside the bone angle band")
    most_accuracy: float = Field(default=0.985, description="of a discriminator")
    least_kept: float = Field(default=0.02, description="share of fakes that pass the filters")
    least_depth_spread_m: float = Field(default=0.02, description="standard deviation of the root's depth")


@dataclass(frozen=True)
class Verdict:
    """Whether the augmentor is healthy; if not, why.

    `collapsed` says that it is past use: its losses are no numbers, it copies its input, hardly a pose is kept or
    inside the band, or all stand at one depth. A bone turned too far or a discriminator that wins are complaints only:
    with the published losses both come on every seed sooner or later, so another seed is no cure.
    """

    healthy: bool
    reasons: tuple[str, ...]
    collapsed: bool = False


class CollapseMonitor:
    """Running means of what shows a collapse; `verdict` judges them."""

    def __init__(self, settings: CollapseMonitorSettings, losses: LossSettings, skeleton: Skeleton) -> None:
        self.settings = settings
        self._losses = losses
        self._skeleton = skeleton
        self.updates = 0
        self.means: dict[str, float] = {}

    def observe(
        self, augmented: Augmented3D, accuracy: Mapping[str, float], kept_fraction: float
    ) -> dict[str, float]:
        """Take in one generator update.

        Args:
            augmented: What the augmentor made.
            accuracy: Share of right answers of each discriminator; empty when they were not asked.
            kept_fraction: Share of fakes that passed the filters.

        Returns:
            This update's numbers by name.
        """
        change = augmented.bone_angle_change.detach()
        inside = (change.mean(1) - self._losses.bone_angle_centre).abs() <= self._losses.bone_angle_half_width
        numbers = {
            f"bone_angle_change/{bone}": value
            for bone, value in zip(self._skeleton.bones, change.mean(0).tolist(), strict=True)
        }
        numbers["bone_angle_change_mean"] = float(change.mean())
        numbers["inside_bone_angle_band"] = float(inside.float().mean())
        length = augmented.bone_length_ratio.detach().abs()
        numbers["inside_bone_length_band"] = float((length <= self._losses.bone_length_free).float().mean())
        numbers |= _spread("translation", augmented.translation_m.detach())
        numbers |= {f"accuracy_{name}": value for name, value in accuracy.items()}
        numbers["kept_fraction"] = kept_fraction
        rate = 1.0 / self.settings.memory
        for name, value in numbers.items():
            before = self.means.get(name, value)
            self.means[name] = before + rate * (value - before)
        self.updates += 1
        return numbers

    def verdict(self) -> Verdict:
        """Judge the running means; always healthy before `settle` updates."""
        if self.updates < max(1, self.settings.settle):
            return Verdict(healthy=True, reasons=())
        limits, means = self.settings, self.means
        reasons = [f"{name} is {value}" for name, value in means.items() if not math.isfinite(value)]
        if means["bone_angle_change_mean"] < limits.least_change:
            reasons.append(
                f"the augmentor copies its input: mean 1 - cos {means['bone_angle_change_mean']:.4f} "
                f"< {limits.least_change}"
            )
        complaints: list[str] = []
        for bone in self._skeleton.bones:
            change = means[f"bone_angle_change/{bone}"]
            if change > limits.most_change_per_bone:
                angle = math.degrees(math.acos(max(-1.0, 1.0 - change)))
                complaints.append(f"bone {bone} is turned by about {angle:.0f} degrees on average")
        if means["inside_bone_angle_band"] < limits.least_inside:
            reasons.append(
                f"only {means['inside_bone_angle_band']:.1%} of poses have a bone angle change inside the "
                f"band"
            )
        for name in ("d3d", "d2d"):
            accuracy = means.get(f"accuracy_{name}", 0.5)
            if accuracy > limits.most_accuracy:
                complaints.append(
                    f"discriminator {name} is right in {accuracy:.1%}: the augmentor no longer learns from it"
                )
        if means["kept_fraction"] < limits.least_kept:
            reasons.append(f"only {means['kept_fraction']:.1%} of augmented poses pass the filters")
        if means["translation_z_std_m"] < limits.least_depth_spread_m:
            reasons.append(f"all poses stand at one depth (spread {means['translation_z_std_m']:.3f} m)")
        return Verdict(
            healthy=not reasons and not complaints,
            reasons=(*reasons, *complaints),
            collapsed=bool(reasons),
        )

    def state(self) -> dict[str, Any]:
        """Running means as JSON."""
        finite = {name: value if math.isfinite(value) else None for name, value in self.means.items()}
        return {"updates": self.updates, "means": finite}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self.updates = int(state["updates"])
        self.means = {
            name: math.nan if value is None else float(value) for name, value in state["means"].items()
        }


def _spread(name: str, values_m: Tensor) -> dict[str, float]:
    means, deviations = values_m.mean(0).tolist(), values_m.std(0, correction=0).tolist()
    numbers = {f"{name}_{axis}_mean_m": value for axis, value in zip("xyz", means, strict=True)}
    return numbers | {f"{name}_{axis}_std_m": value for axis, value in zip("xyz", deviations, strict=True)}
