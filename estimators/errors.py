"""Errors of the estimators package."""

from poses.errors import PosemillError


class CheckpointError(PosemillError, ValueError):
    """A checkpoint or a weight buffer is damaged, or does not fit the module that it is loaded into."""


class LifterInputError(PosemillError, ValueError):
    """A lifter was given keypoints of the wrong shape, or not in screen coordinates."""
