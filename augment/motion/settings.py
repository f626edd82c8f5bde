"""Settings of the embedded source of motion."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

DEFAULT_MIXTURE: dict[str, float] = {
    "walk": 2.0,
    "run": 1.0,
    "turn": 1.0,
    "gesture": 1.5,
    "wave": 0.7,
    "reach": 1.5,
    "bend": 1.0,
    "squat": 1.0,
    "lunge": 0.8,
    "kneel": 0.7,
    "sit": 1.5,
    "kick": 0.8,
    "punch": 0.7,
    "jump": 0.7,
    "lie_down": 1.0,
    "explore": 2.0,
}


class MotionSettings(BaseModel):
    """What the generator makes: how many clips of which people doing what.

    `mixture` gives the relative share of each behaviour; a behaviour left out is not made. `n_subjects`
    people of different size take turns. `style_deviation_deg` is how far one person's posture lies from the
    rest posture, `sway_deg` how much a still body moves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_clips: int = Field(default=64, ge=1)
    n_subjects: int = Field(default=12, ge=1)
    rate_hz: float = Field(default=30.0, gt=1.0, le=480.0)
    shortest_clip_s: float = Field(default=5.0, gt=0.5)
    longest_clip_s: float = Field(default=10.0, gt=0.5)
    mixture: dict[str, float] = Field(default_factory=lambda: dict(DEFAULT_MIXTURE))
    female_share: float = Field(default=0.5, ge=0.0, le=1.0)
    style_deviation_deg: float = Field(default=4.0, ge=0.0, le=15.0)
    sway_deg: float = Field(default=1.2, ge=0.0, le=10.0)
    room_m: float = Field(default=4.0, gt=0.5)
    """Side of the square that people move in: a clip ends early when its person would leave it."""
    skeleton: str = "h36m_17"

    @model_validator(mode="after")
    def _check(self) -> "MotionSettings":
        if self.longest_clip_s < self.shortest_clip_s:
            raise ValueError(
                f"longest_clip_s ({self.longest_clip_s}) is below shortest_clip_s ({self.shortest_clip_s})"
            )
        unknown = sorted(set(self.mixture) - set(DEFAULT_MIXTURE))
        if unknown:
            raise ValueError(
                f"mixture: no behaviour {', '.join(unknown)}; there are {', '.join(DEFAULT_MIXTURE)}"
            )
        if not any(share > 0 for share in self.mixture.values()) or min(self.mixture.values()) < 0:
            raise ValueError("mixture: shares must not be negative, and one at least must be above 0")
        return self
