"""Named evaluation protocols: which joints count, and how per-pose errors become one number.

A mean over all frames and a mean over the means of the actions differ by millimetres, and so does counting
the root joint, whose error is always 0 (with 16 joints it makes MPJPE 6.25 % smaller). Every result carries
its protocol's name, and results of different protocols refuse to be compared.

The protocols named `released_*` are what released evaluations print:

- `released_poseaug`: 16 joints with the root, mean over all frames.
- `released_semgcn`: 16 joints with the root, mean over the means of the actions (42.14 mm where the frame mean of the
  same weights is 42.33).
- `released_repnet`: only RepNet's Procrustes error, which allows reflections.
- `released_motionbert`: MotionBERT, MotionAGFormer and TCPFormer multiply every estimate by a factor of the ground
  truth (`2.5d_factor`, metres per unit of the estimate) before it is compared, and leave out three sequences of
  subject 9. Such numbers are not comparable with any other; the factor must be given, and the job `evaluate` refuses
  the protocol, because its estimates are metres and have no such factor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from poses.errors import PoseShapeError, ProtocolError
from poses.metrics import (
    auc,
    joint_errors_mm,
    n_mpjpe_mm,
    pa_mpjpe_mm,
    pa_mpjpe_reflection_mm,
    pck,
    velocity_errors_mm,
)
from poses.skeleton import Skeleton
from poses.skeleton_checks import did_you_mean

VELOCITY = "velocity_mm_per_frame"
STANDARD_METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "pck_150", "auc", VELOCITY)
HIGHER_IS_BETTER = ("pck_150", "auc")


@dataclass(frozen=True)
class Protocol:
    """How numbers are made.

    Args:
        name: Stands on every result.
        count_root: Whether the root joint, always right, is one of the joints.
        mean: "frame": over all poses; "action": over the means of the actions.
        n_joints: Wanted joint count; any if None.
        metrics: Which metrics it has; the velocity only where sequences are given.
        true_scale: Whether estimates are multiplied by a scale taken from the ground truth.
    """

    name: str
    count_root: bool
    mean: Literal["frame", "action"]
    n_joints: int | None = None
    metrics: tuple[str, ...] = STANDARD_METRICS
    true_scale: bool = False

    def check_metric(self, metric: str) -> None:
        """Raise ProtocolError unless this protocol has the metric for single poses."""
        known = tuple(name for name in self.metrics if name != VELOCITY)
        if metric not in known:
            raise ProtocolError(
                f"protocol {self.name!r} has no metric {metric!r}{did_you_mean(metric, known)}; it has "
                f"{', '.join(known)}"
            )


@dataclass(frozen=True)
class ProtocolResult:
    """Numbers of one evaluation, and the protocol they belong to.

    Args:
        protocol: Name of the protocol.
        metrics: mpjpe_mm, pa_mpjpe_mm, n_mpjpe_mm, pck_150, auc, and velocity_mm_per_frame for sequences.
        n_poses: How many poses were averaged.
        by_action: The same metrics per action, frame means.
    """

    protocol: str
    metrics: Mapping[str, float]
    n_poses: int
    by_action: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("frame_mean_with_root", count_root=True, mean="frame"),
        Protocol("frame_mean_without_root", count_root=False, mean="frame"),
        Protocol("action_mean_with_root", count_root=True, mean="action"),
        Protocol("action_mean_without_root", count_root=False, mean="action"),
        Protocol("released_poseaug", count_root=True, mean="frame", n_joints=16),
        Protocol("released_semgcn", count_root=True, mean="action", n_joints=16),
        Protocol(
            "released_repnet",
            count_root=True,
            mean="frame",
            n_joints=16,
            metrics=("pa_mpjpe_reflection_mm",),
        ),
        Protocol("released_motionbert", count_root=True, mean="action", n_joints=17, true_scale=True),
    )
}


def find_protocol(name: str) -> Protocol:
    """A protocol by name; ProtocolError lists the names if there is none."""
    if name not in PROTOCOLS:
        raise ProtocolError(
            f"no evaluation protocol {name!r}{did_you_mean(name, tuple(PROTOCOLS))}; there are {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[name]


def evaluate(
    protocol: Protocol | str,
    predicted_root_m: Float[Tensor, "B J 3"],
    target_root_m: Float[Tensor, "B J 3"],
    skeleton: Skeleton,
    action: Sequence[str] | np.ndarray | None = None,
    sequence: Sequence[str] | np.ndarray | None = None,
    true_scale_m: Float[Tensor, " B"] | None = None,
) -> ProtocolResult:
    """All metrics of estimated poses under one protocol.

    Args:
        protocol: A protocol or its name.
        predicted_root_m: Estimates relative to the root joint.
        target_root_m: Targets relative to the root joint.
        skeleton: What the J joints are.
        action: Action of every pose; needed by protocols with mean "action".
        sequence: Name of the sequence every pose belongs to; rows of one sequence stand in time order. Adds
            the velocity error, over neighbouring rows of the same sequence.
        true_scale_m: Metres per unit of every estimate, taken from the ground truth; for protocols that do so.

    Raises:
        ProtocolError: if the protocol does not fit the joints, actions are missing, or a value is not finite.
    """
    chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
    predicted, target = predicted_root_m.detach().cpu(), target_root_m.detach().cpu()
    predicted = _scaled(chosen, predicted, true_scale_m)
    _check_inputs(chosen, predicted, target, skeleton)
    per_pose = _per_pose(chosen, predicted, target, skeleton)
    weights = {name: np.ones(len(predicted), bool) for name in per_pose}
    if sequence is not None and VELOCITY in chosen.metrics:
        per_pose[VELOCITY], weights[VELOCITY] = _velocity(
            chosen, predicted, target, skeleton, np.asarray(sequence)
        )
    by_action = _by_action(per_pose, weights, action)
    if chosen.mean == "frame":
        metrics = {name: _mean(values, weights[name]) for name, values in per_pose.items()}
    elif not by_action:
        raise ProtocolError(f"protocol {chosen.name!r} averages over actions; give the action of every pose")
    else:
        metrics = {name: float(np.nanmean([row[name] for row in by_action.values()])) for name in per_pose}
    return ProtocolResult(chosen.name, metrics, len(predicted), by_action)


def is_better(metric: str, score: float, best: float, min_change: float = 0.0) -> bool:
    """Whether a score beats the best one by more than `min_change`; never where it is NaN."""
    return score > best + min_change if metric in HIGHER_IS_BETTER else score < best - min_change


def check_one_protocol(results: Sequence[ProtocolResult]) -> str:
    """The protocol that all results share.

    Raises:
        ProtocolError: if there is no result or they come from different protocols.
    """
    names = sorted({result.protocol for result in results})
    if len(names) != 1:
        raise ProtocolError(
            f"results of {', '.join(names) or 'no protocol'} stand side by side; compare numbers of one protocol only"
        )
    return names[0]


def relative_change(result: ProtocolResult, baseline: ProtocolResult, metric: str = "mpjpe_mm") -> float:
    """(result - baseline) / baseline of one metric; negative is better for errors. One protocol only."""
    check_one_protocol([result, baseline])
    return result.metrics[metric] / baseline.metrics[metric] - 1.0


def mean_over_runs(results: Sequence[ProtocolResult]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and sample standard deviation (0 for one run) of every metric over runs of one protocol."""
    check_one_protocol(results)
    table = {name: np.asarray([result.metrics[name] for result in results]) for name in results[0].metrics}
    spread = 1 if len(results) > 1 else 0
    return (
        {name: float(values.mean()) for name, values in table.items()},
        {name: float(values.std(ddof=spread)) for name, values in table.items()},
    )


def _per_pose(
    protocol: Protocol, predicted: Tensor, target: Tensor, skeleton: Skeleton
) -> dict[str, np.ndarray]:
    """Per-pose metrics. Procrustes and scale always use the same joints that are counted."""
    kept = _counted(protocol, skeleton)
    predicted, target = predicted[:, kept], target[:, kept]
    errors = joint_errors_mm(predicted, target)
    metrics: dict[str, Callable[[], Tensor]] = {
        "mpjpe_mm": lambda: errors.mean(-1),
        "pa_mpjpe_mm": lambda: pa_mpjpe_mm(predicted, target),
        "n_mpjpe_mm": lambda: n_mpjpe_mm(predicted, target),
        "pck_150": lambda: pck(errors),
        "auc": lambda: auc(errors),
        "pa_mpjpe_reflection_mm": lambda: pa_mpjpe_reflection_mm(predicted, target),
    }
    return {name: metrics[name]().numpy() for name in protocol.metrics if name != VELOCITY}


def _velocity(
    protocol: Protocol, predicted: Tensor, target: Tensor, skeleton: Skeleton, sequence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    _check_rows("sequence", sequence, len(predicted))
    kept = _counted(protocol, skeleton)
    values, has_value = np.zeros(len(predicted)), np.zeros(len(predicted), bool)
    if len(predicted) > 1:
        values[1:] = velocity_errors_mm(predicted[:, kept], target[:, kept]).numpy()
        has_value[1:] = sequence[1:] == sequence[:-1]
    return values, has_value


def _by_action(
    per_pose: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    action: Sequence[str] | np.ndarray | None,
) -> dict[str, dict[str, float]]:
    if action is None:
        return {}
    actions = np.asarray(action)
    _check_rows("action", actions, len(next(iter(per_pose.values()))))
    return {
        str(label): {
            name: _mean(values, weights[name] & (actions == label)) for name, values in per_pose.items()
        }
        for label in sorted(set(actions.tolist()))
    }


def _mean(values: np.ndarray, is_counted: np.ndarray) -> float:
    return float(values[is_counted].mean()) if is_counted.any() else float("nan")


def _counted(protocol: Protocol, skeleton: Skeleton) -> list[int]:
    return [j for j in range(skeleton.n_joints) if protocol.count_root or j != skeleton.root_index]


def _scaled(protocol: Protocol, predicted: Tensor, true_scale_m: Tensor | None) -> Tensor:
    """Estimates in metres."""
    if not protocol.true_scale:
        if true_scale_m is not None:
            raise ProtocolError(
                f"protocol {protocol.name!r} takes estimates as they are, got a scale from the ground truth; leave "
                "true_scale_m out, or choose released_motionbert"
            )
        return predicted
    if true_scale_m is None:
        raise ProtocolError(
            f"protocol {protocol.name!r} multiplies every estimate by the ground truth's metres per unit, which were "
            "not given; give true_scale_m, or choose another protocol: a lifter's estimates in metres have no such "
            "factor"
        )
    _check_rows("true_scale_m", true_scale_m.numpy(force=True), len(predicted))
    return predicted * true_scale_m.detach().cpu()[:, None, None]


def _check_rows(name: str, array: np.ndarray, rows: int) -> None:
    if array.shape != (rows,):
        raise PoseShapeError(f"{name} wants one entry for each of {rows} poses, got shape {array.shape}")


def _check_inputs(protocol: Protocol, predicted: Tensor, target: Tensor, skeleton: Skeleton) -> None:
    if predicted.shape != target.shape or predicted.shape[1:] != (skeleton.n_joints, 3):
        raise PoseShapeError(
            f"evaluate wants estimates and targets (B, {skeleton.n_joints}, 3) for skeleton {skeleton.name!r}, "
            f"got {tuple(predicted.shape)} and {tuple(target.shape)}"
        )
    if protocol.n_joints is not None and protocol.n_joints != skeleton.n_joints:
        raise ProtocolError(
            f"protocol {protocol.name!r} is defined for {protocol.n_joints} joints, skeleton {skeleton.name!r} has "
            f"{skeleton.n_joints}; map it with poses.skeleton.joint_map or choose another protocol"
        )
    if len(predicted) == 0:
        raise ProtocolError(f"protocol {protocol.name!r}: no poses to evaluate")
    for name, poses in (("estimate", predicted), ("target", target)):
        bad = torch.nonzero(~torch.isfinite(poses).flatten(1).all(1))
        if len(bad):
            raise ProtocolError(
                f"protocol {protocol.name!r}: the {name} of pose {int(bad[0])} is not finite ({len(bad)} such poses); "
                "remove or repair them first, they would make every mean NaN"
            )
        root = poses[:, skeleton.root_index].abs().max()
        if root > 1e-4:
            raise ProtocolError(
                f"protocol {protocol.name!r} wants root-relative poses; a {name} has its root "
                f"{float(root):.3f} m from 0"
            )
