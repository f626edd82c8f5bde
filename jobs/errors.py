"""Errors of the terminal layer."""

from poses.errors import PosemillError


class RecipeError(PosemillError, ValueError):
    """A recipe, or a value given on the command line, cannot be used."""


class ReportError(PosemillError, ValueError):
    """A report cannot be made of what was given."""


class ClusterError(PosemillError, RuntimeError):
    """A cluster cannot be reached, refuses us, would take jobs from anyone, or lost a job."""
