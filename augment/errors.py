"""Errors of the augment package."""

from poses.errors import PosemillError


class AugmentError(PosemillError, ValueError):
    """An augmentor was given something it cannot work with, or settings that contradict each other."""
