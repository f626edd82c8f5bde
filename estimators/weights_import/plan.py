"""What a recogniser finds out about a state dict: which network to build, and which tensor goes where."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from estimators.errors import CheckpointError
from poses.skeleton import Skeleton

Shapes = Mapping[str, tuple[int, ...]]
"""State-dict key to shape."""
COUNTER = "num_batches_tracked"
"""BatchNorm's counter of batches: torch before 0.4.1 did not save it, and nothing in evaluation uses it."""


@dataclass(frozen=True)
class ImportOptions:
    """What the user says about a file; None or False where it shall be found out.

    Attributes:
        kind: Of the lifter, where it is not recognised.
        key: Of the wrapper's entry with the state dict.
        skeleton: Where it is not that of the published networks with so many joints.
        keypoints: Skeleton of the 2D joints of a VideoPose network, where it is another one than that of the poses.
        causal: The VideoPose network looks only backwards.
        without_camera: RepNet's generator alone will do; its camera network stays untrained.
    """

    kind: str | None = None
    key: str | None = None
    skeleton: Skeleton | None = None
    keypoints: str | None = None
    causal: bool = False
    without_camera: bool = False


@dataclass(frozen=True)
class NetworkPlan:
    """The network that a state dict belongs to.

    Attributes:
        settings: Of `estimators.lifters.settings.LifterSettings`, as plain values.
        joints: Joints of its skeleton.
        least_numbers: Fewest parameters that such a network has; a file with fewer is refused before anything is built.
        names: Key in the file -> key in the network's published layout, for every tensor that is taken.
        ignored: Tensors that are left out, each with why.
        notes: What a reader should know about these weights.
        untrained: Keys of the published layout that the file does not have and that keep fresh weights.
        selected_on: What the published script chose the checkpoint on: 'test' where it keeps the best epoch on the test
            split, as a lifter's file then says.
        is_trajectory: It gives the root's place instead of a pose (`estimators.lifters.temporal.trajectory`).
    """

    settings: dict[str, Any]
    joints: int
    least_numbers: int
    names: Mapping[str, str]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()
    selected_on: str = "unknown"
    is_trajectory: bool = False


@dataclass(frozen=True)
class Family:
    """A published architecture.

    Attributes:
        title: For reports.
        kind: Of the lifter that is built.
        marks: Patterns of keys (`fnmatch`); the family is recognised if each matches some key.
        plan: Reads the hyper-parameters off the shapes.
    """

    title: str
    kind: str
    marks: tuple[str, ...]
    plan: Callable[["ShapeReader", "ImportOptions"], NetworkPlan]


class ShapeReader:
    """Shapes by key, with errors that say what a recogniser wanted."""

    def __init__(self, shapes: Shapes, where: str, family: str) -> None:
        self.shapes = shapes
        self.where = where
        self.family = family

    def of(self, key: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor that the family cannot be without.

        Raises:
            CheckpointError: if it is missing, or has another number of dimensions.
        """
        if key not in self.shapes:
            raise self.fault(f"tensor {key!r} is missing")
        shape = self.shapes[key]
        if len(shape) != dimensions or 0 in shape:
            raise self.fault(f"tensor {key!r} wants {dimensions} dimensions, got shape {list(shape)}")
        return shape

    def count(self, prefix: str, suffix: str) -> int:
        """How many of prefix0suffix, prefix1suffix, ... there are, without a gap."""
        index = 0
        while f"{prefix}{index}{suffix}" in self.shapes:
            index += 1
        return index

    def same_names(self) -> dict[str, str]:
        """Every tensor under its own name."""
        return {key: key for key in self.shapes}

    def fault(self, what: str) -> CheckpointError:
        """The error that says so."""
        return CheckpointError(
            f"{self.where}: recognised as {self.family}, but {what}; the file is of another variant or damaged. If it "
            "is another network, say which with --as"
        )
