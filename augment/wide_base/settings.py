"""How wide the base spreads: every distribution of it, with its numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class TiltComponent(BaseModel):
    """One component of the mixture that whole bodies are tilted by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Share
    sigma_deg: float = Field(default=0.0, ge=0.0)
    """Standard deviation of the tilt about a random horizontal axis."""
    any_orientation: bool = False
    """Draw the orientation evenly from all rotations instead (tumbling, lying, upside down)."""


class WideBaseSettings(BaseModel):
    """The base draw. `feedback.py` may move probability between the bins of four of its factors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    natural_share: Share = 0.76
    """Share of the poses that stay near their source and upright: ordinary poses, seen from new cameras."""
    natural_articulation: Share = 0.25
    """Their articulation level, as a share of what it would be."""
    crossover_share: Share = 0.3
    """Mean probability, per limb and for the chest, of taking it from another pose; grows with articulation."""
    range_of_motion_share: Share = 0.15
    """Mean probability, per limb, of drawing it from the normal ranges of motion; grows with articulation."""
    articulation_max_deg: float = Field(default=35.0, ge=0.0)
    """The standard deviation of the joint rotations at articulation level 1; the level is drawn per pose, 0 to 1."""
    chest_ratio: float = Field(default=0.6, ge=0.0)
    head_ratio: float = Field(default=0.6, ge=0.0)
    """Share of that standard deviation that the chest and the head get."""
    max_flexion_deg: float = Field(default=149.0, gt=0.0, le=180.0)
    """Knees and elbows bend this far at most, and never backwards."""
    rig_sigma_deg: float = Field(default=6.0, ge=0.0)
    """Rotation of the structural bones (hips, clavicles, spine, head): mocap rigs differ in where they put joints."""
    body_scale_sigma: float = Field(default=0.06, ge=0.0)
    length_group_sigma: dict[str, float] = Field(
        default_factory=lambda: {
            "hips": 0.2,
            "thighs": 0.06,
            "shins": 0.06,
            "spine": 0.15,
            "thorax": 0.15,
            "head": 0.25,
            "shoulders": 0.25,
            "upper_arms": 0.06,
            "forearms": 0.08,
        }
    )
    """Log-normal spread per bone-length group, left and right tied."""
    tilt: tuple[TiltComponent, ...] = (
        TiltComponent(share=0.6, sigma_deg=5.0),
        TiltComponent(share=0.25, sigma_deg=40.0),
        TiltComponent(share=0.15, any_orientation=True),
    )
    camera_pitch_mean_deg: float = 5.0
    camera_pitch_sigma_deg: float = Field(default=28.0, ge=0.0)
    camera_roll_sigma_deg: float = Field(default=4.0, ge=0.0)
    focal_screen_min: float = Field(default=1.1, gt=0.0)
    focal_screen_max: float = Field(default=2.7, gt=0.0)
    """Normalised focal length (2f/w), log-uniform."""
    scale_median: float = Field(default=0.43, gt=0.0)
    scale_sigma: float = Field(default=0.4, ge=0.0)
    """Screen units per metre at the root, log-normal: the synthetic box size that placement aligns to."""
    position_sigma: float = Field(default=0.25, ge=0.0)
    """Standard deviation of the root's position on the screen."""
    centre_sigma: float = Field(default=0.03, ge=0.0)
    """Standard deviation of the principal point on the screen."""
    min_depth_m: float = Field(default=0.5, gt=0.0)
    max_abs_screen: float = Field(default=1.2, gt=0.0)
    """Two-sided image filter: poses with a joint past it are refused."""
    source_view_share: Share = 0.25
    """Share of the bent poses that is seen by its source's own camera, standing where the source stood."""
    natural_source_view_share: Share = 0.3
    """The same share of the natural poses: other bodies before the source's cameras."""
