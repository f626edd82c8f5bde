"""A published weight file as a lifter of posemill: read, recognised, compared name by name, loaded, tried once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from estimators.errors import CheckpointError
from estimators.lifters.contract import Lifter
from estimators.lifters.settings import LifterSettings, build_lifter
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.weights_import.container import Container
from estimators.weights_import.families import recognise
from estimators.weights_import.plan import COUNTER, Family, ImportOptions, NetworkPlan
from estimators.weights_import.read_weights import read_weights
from estimators.weights_import.state_dicts import StateDict, find_state_dict
from poses.skeleton import Skeleton, load_skeleton, skeleton_names

PUBLISHED_SKELETONS = {16: "h36m_16", 17: "h36m_17"}
"""Joint count -> skeleton: every published lifter known here has one of these two, in this order."""
_SHOWN = 8
Network = Lifter | RootTrajectory


@dataclass(frozen=True)
class ImportReport:
    """What was found and done, as plain values.

    Attributes:
        file, sha256, size_bytes, format: The file.
        network, kind, skeleton: What it was recognised as.
        settings: Of the lifter.
        key: The wrapper's entry that was taken; "" for a bare state dict.
        facts: What the wrapper tells: epoch, step, error...
        parameters: Numbers that training changes.
        selected_on: As `NetworkPlan`.
        mapped: Key in the file -> key in the published layout.
        filled: Keys that the file lacks and that were set to zero (batch counters).
        untrained: Keys that the file lacks and that keep fresh weights, because the user said so.
        ignored: What was left out, each with what it is.
        notes: What a reader should know.
    """

    file: str
    sha256: str
    size_bytes: int
    format: str
    network: str
    kind: str
    skeleton: str
    settings: Mapping[str, Any]
    key: str
    facts: Mapping[str, Any]
    parameters: int
    mapped: Mapping[str, str]
    selected_on: str = "unknown"
    filled: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def origin(self) -> dict[str, Any]:
        """What goes into the lifter's file: where its weights come from."""
        return {
            "file": self.file.rpartition("/")[2],
            "sha256": self.sha256,
            "format": self.format,
            "network": self.network,
            "key": self.key,
            "facts": dict(self.facts),
            "mapped": len(self.mapped),
            "renamed": {old: new for old, new in self.mapped.items() if old != new},
            "filled": list(self.filled),
            "untrained": list(self.untrained),
            "ignored": list(self.ignored),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ImportedLifter:
    """A lifter (or a trajectory model) with the weights of a file, in evaluation mode."""

    module: Network
    settings: Any
    report: ImportReport = field(repr=False)


def import_weights(data: bytes, where: str, options: ImportOptions | None = None) -> ImportedLifter:
    """Make a lifter of a weight file. Nothing in the file is run.

    Args:
        data: The whole file.
        where: Its name, for error messages and the report.
        options: What the user says about it.

    Raises:
        CheckpointError: if it cannot be read, is of no known network, lacks a tensor, has one too many or of another
            shape, or holds numbers that are not finite.
    """
    options = options or ImportOptions()
    container = read_weights(data, where)
    found = find_state_dict(container, options.key)
    family, plan = recognise(found.shapes, where, options)
    settings = _settings(family, plan, where)
    skeleton = options.skeleton or _published_skeleton(plan.joints, where)
    _check_size(skeleton, found, plan, where)
    module = _network(settings, skeleton, plan)
    fresh = module.to_published_state()
    filled = _check_fit({name: tuple(value.shape) for name, value in fresh.items()}, found, plan, where)
    state, notes = _state(container, found, plan, filled)
    module.from_published_state(state | {name: fresh[name] for name in plan.untrained})
    module.eval()
    _try_once(module, where)
    report = ImportReport(
        file=where,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        format=container.format,
        network=family.title,
        kind="trajectory" if plan.is_trajectory else settings.kind,
        skeleton=skeleton.name,
        settings=settings.model_dump(mode="json"),
        key=found.key,
        facts=found.facts,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        mapped=dict(plan.names),
        selected_on=plan.selected_on,
        filled=filled,
        untrained=plan.untrained,
        ignored=(*found.ignored, *plan.ignored),
        notes=(*found.notes, *plan.notes, *notes),
    )
    return ImportedLifter(module, settings, report)


def _settings(family: Family, plan: NetworkPlan, where: str) -> Any:
    try:
        return TypeAdapter(LifterSettings).validate_python(plan.settings)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "union_tag_invalid":
            raise CheckpointError(
                f"{where}: recognised as {family.title}; this posemill has no {plan.settings['kind']!r} lifter yet"
            ) from error
        place = ".".join(str(part) for part in first["loc"][1:])
        raise CheckpointError(
            f"{where}: recognised as {family.title}, but {place or 'its shape'}: {first['msg']}; leave out what "
            "does not fit, or say the kind with --as"
        ) from error


def _published_skeleton(joints: int, where: str) -> Skeleton:
    if joints not in PUBLISHED_SKELETONS:
        raise CheckpointError(
            f"{where}: a network of {joints} joints; published ones have {' or '.join(map(str, PUBLISHED_SKELETONS))}. "
            f"Give its skeleton with --skeleton ({', '.join(skeleton_names())}, or a YAML file)"
        )
    return load_skeleton(PUBLISHED_SKELETONS[joints])


def _check_size(skeleton: Skeleton, found: StateDict, plan: NetworkPlan, where: str) -> None:
    if skeleton.n_joints != plan.joints:
        raise CheckpointError(
            f"{where}: its network has {plan.joints} joints, skeleton {skeleton.name!r} has {skeleton.n_joints}; give "
            "the skeleton that it was trained with"
        )
    numbers = sum(prod(shape) for shape in found.shapes.values())
    if plan.least_numbers > numbers:
        raise CheckpointError(
            f"{where}: the {plan.settings['kind']} network that its shapes tell has {plan.least_numbers:,} numbers or "
            f"more, the file {numbers:,}; tensors are missing or of other shapes, the file is damaged"
        )


def _network(settings: Any, skeleton: Skeleton, plan: NetworkPlan) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RootTrajectory(settings, skeleton) if plan.is_trajectory else build_lifter(settings, skeleton)


def _check_fit(
    wanted: Mapping[str, tuple[int, ...]], found: StateDict, plan: NetworkPlan, where: str
) -> tuple[str, ...]:
    """Compare every name and shape; gives the batch counters that the file lacks.

    Raises:
        CheckpointError: if something is missing, too much, or of another shape.
    """
    sources = {new: old for old, new in plan.names.items() if old in found.tensors}
    got = {new: tuple(found.tensors[old].shape) for new, old in sources.items()}
    absent = {name for name in wanted if name not in got and name.endswith(COUNTER)} | set(plan.untrained)
    faults = [
        f"{name!r:.80} wants shape {list(shape)}, {f'got {list(got[name])}' if name in got else 'is missing'}"
        for name, shape in wanted.items()
        if got.get(name) != shape and name not in absent
    ]
    faults += [
        f"{sources[name]!r:.80} {list(shape)} has no place in it"
        for name, shape in got.items()
        if name not in wanted
    ]
    if faults:
        more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise CheckpointError(
            f"{where}: does not fit the {plan.settings['kind']} network that its shapes tell ({len(wanted)} tensors "
            f"wanted, {len(got)} found): {'; '.join(faults[:_SHOWN])}{more}. It is of a variant that posemill does not "
            "have, or damaged"
        )
    return tuple(name for name in wanted if name in absent and name not in plan.untrained)


def _state(
    container: Container, found: StateDict, plan: NetworkPlan, filled: tuple[str, ...]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The published state dict out of the file, and notes on what was changed."""
    state = {new: _number(container, found, old) for old, new in plan.names.items() if old in found.tensors}
    state |= {name: torch.zeros((), dtype=torch.int64) for name in filled}
    notes = (
        [f"{len(filled)} batch counters are not in the file (torch before 0.4.1), set to 0"] if filled else []
    )
    kinds = {str(found.tensors[key].dtype).removeprefix("torch.") for key in plan.names} - {
        "float32",
        "int64",
    }
    if kinds:
        notes.append(f"numbers of type {', '.join(sorted(kinds))} made float32")
    return state, tuple(notes)


def _number(container: Container, found: StateDict, key: str) -> Tensor:
    tensor = container.tensor(found.tensors[key])
    if key.endswith(COUNTER):
        return tensor.long()
    tensor = tensor.float()
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise CheckpointError(
            f"{container.where}: tensor {key!r:.80} has {bad:,} of {prod(tensor.shape):,} numbers that are NaN or "
            "infinite; its training broke down, take an earlier checkpoint"
        )
    return tensor


def _try_once(module: Network, where: str) -> None:
    """Lift one window of a person at the image's centre; weights that give nothing finite are of no use."""
    frames = torch.zeros(1, module.receptive_field, module.keypoint_skeleton.n_joints, 2)
    with torch.inference_mode():
        joints = module(frames)
    if not bool(torch.isfinite(joints).all()):
        raise CheckpointError(
            f"{where}: the network gives NaN or infinite joints with these weights; the file is damaged"
        )
