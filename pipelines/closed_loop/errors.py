"""What can go wrong in a closed loop."""

from poses.errors import PosemillError


class LoopStateError(PosemillError, ValueError):
    """A loop checkpoint is damaged or belongs to other settings."""


class CrewLostError(PosemillError, RuntimeError):
    """A member of the loop's crew died; the loop goes on from its last checkpoint with a new crew."""


class CollapseError(PosemillError, RuntimeError):
    """The augmentor collapsed again and again; the message carries the monitor's verdict."""
