"""Errors of the poses package, and the base class of every error that posemill raises on purpose."""


class PosemillError(Exception):
    """Something that posemill found wrong and can explain: where, wanted, got, what to do."""


class SkeletonError(PosemillError, ValueError):
    """A skeleton is ill-formed, unknown, or does not fit the array or the other skeleton given."""


class PoseShapeError(PosemillError, ValueError):
    """An array of poses has the wrong shape, type or row count."""


class CameraError(PosemillError, ValueError):
    """A camera or a camera rig is unknown or ill-formed."""


class RotationError(PosemillError, ValueError):
    """A rotation was asked for in an unknown layout or order."""


class ProtocolError(PosemillError, ValueError):
    """Numbers of different evaluation protocols were about to be mixed, or a protocol is unknown."""
