"""RepNet's weights in the layout of the published Keras files.

Layers are dense layers numbered in the order of their creation: generator 0-8 (0-2 shared), camera 9-13,
critic 14-22 (coordinates 14-17, psi 18-20, joined 21, score 22). tf_keras calls them dense, dense_1, ...;
Keras up to 2.2 counts from dense_1; so layers are taken in the order of the numbers in their names, never by
their place in a list (Keras lists layers by depth). Kernels are (in, out), the transpose of torch's; joints
stand in the published order.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from estimators.errors import CheckpointError
from estimators.lifters.repnet.chain import PUBLISHED_CHAIN, PUBLISHED_JOINTS
from estimators.lifters.repnet.critic import KinematicChainCritic
from estimators.lifters.repnet.lifter import RepNetLifter
from poses.errors import SkeletonError
from poses.skeleton import Skeleton

LIFTER_LAYERS, CRITIC_LAYERS = 14, 9
_NAME = re.compile(r"^(?:.*/)?dense(?:_(\d+))?/(kernel|bias)(?::0)?$")

State = Mapping[str, Tensor | np.ndarray]
"""'dense_3/kernel' (in, out) and 'dense_3/bias' -> array."""


def lifter_to_published(lifter: RepNetLifter) -> dict[str, Tensor]:
    """The lifter's 14 layers."""
    return _written(_lifter_linears(lifter), _lifter_orders(lifter), first=0)


def critic_to_published(critic: KinematicChainCritic) -> dict[str, Tensor]:
    """The critic's nine layers, numbered from 14."""
    return _written(_critic_linears(critic), _critic_orders(critic), first=LIFTER_LAYERS)


def lifter_from_published(lifter: RepNetLifter, state: State) -> None:
    """Load generator and camera from a file of both, or of both and the critic.

    Raises:
        CheckpointError: if a layer is missing or has another shape, or this lifter is not of the published
        shape. SkeletonError: if the skeleton lacks a published joint.
    """
    kernels = _in_creation_order(state)
    wanted = len(_lifter_linears(lifter))
    if len(kernels) not in (wanted, wanted + CRITIC_LAYERS):
        raise CheckpointError(
            f"RepNet wants the {wanted} dense layers of generator and camera "
            f"(or {wanted + CRITIC_LAYERS} with the critic), got {len(kernels)}; give a file of all of them, "
            "or load a generator alone with generator_from_published"
        )
    _read(_lifter_linears(lifter), _lifter_orders(lifter), kernels)


def generator_from_published(lifter: RepNetLifter, state: State) -> None:
    """Load the generator alone, as the authors' file has it; the camera network stays as it is.

    Raises:
        CheckpointError: as `lifter_from_published`.
    """
    kernels = _in_creation_order(state)
    wanted = _generator_layers(lifter)
    if len(kernels) < wanted:
        raise CheckpointError(
            f"RepNet's generator wants {wanted} dense layers, got {len(kernels)}; "
            "the file is of another network"
        )
    linears = _lifter_linears(lifter)[:wanted]
    _read(linears, _lifter_orders(lifter), kernels)


def critic_from_published(critic: KinematicChainCritic, state: State) -> None:
    """Load the critic from a file of the critic alone, or of all three networks.

    Raises:
        CheckpointError: as `lifter_from_published`, or if the critic's chain is not a published one.
    """
    kernels = _in_creation_order(state)
    if len(kernels) == LIFTER_LAYERS + CRITIC_LAYERS:
        kernels = kernels[LIFTER_LAYERS:]
    if len(kernels) != CRITIC_LAYERS:
        raise CheckpointError(
            f"RepNet's critic wants {CRITIC_LAYERS} dense layers, got {len(kernels)}; the file is of another network"
        )
    _read(_critic_linears(critic), _critic_orders(critic), kernels)


_Orders = Mapping[int, np.ndarray]
_INPUTS, _OUTPUTS = 0, 1


def _lifter_linears(lifter: RepNetLifter) -> list[nn.Linear]:
    if lifter.shared is None:
        raise CheckpointError(
            "published RepNet weights share a block between pose and camera; build the lifter with preset 'code'"
        )
    return [*lifter.shared.linears, *lifter.pose.linears, *lifter.camera.path.linears]


def _generator_layers(lifter: RepNetLifter) -> int:
    """Layers before those of the camera alone."""
    return len(_lifter_linears(lifter)) - len(lifter.camera.path.linears)


def _critic_linears(critic: KinematicChainCritic) -> list[nn.Linear]:
    if critic.settings.chain == "skeleton" or critic.matrix.shape[1] != len(PUBLISHED_CHAIN):
        raise CheckpointError(
            "published RepNet critics see the published chain; build the critic with chain 'published', or "
            "'published_pre_2020' for weights from before 2020-10-23"
        )
    return [*critic.pose.linears, *critic.chain.linears, *critic.joined.linears]


def _published_order(skeleton: Skeleton, dimensions: int) -> np.ndarray:
    """Index of each published coordinate in our rows."""
    missing = [joint for joint in PUBLISHED_JOINTS if joint not in skeleton.joints]
    if missing or skeleton.n_joints != len(PUBLISHED_JOINTS):
        raise SkeletonError(
            f"published RepNet weights are for the joints {', '.join(PUBLISHED_JOINTS)}; skeleton "
            f"{skeleton.name!r} has {', '.join(skeleton.joints)}; use skeleton 'h36m_16'"
        )
    joints = skeleton.indices(PUBLISHED_JOINTS)
    return np.concatenate([joints + axis * skeleton.n_joints for axis in range(dimensions)])


def _lifter_orders(lifter: RepNetLifter) -> tuple[_Orders, _Orders]:
    """(layer -> order of its inputs, layer -> order of its outputs) where joints are concerned."""
    skeleton = lifter.skeleton
    return {0: _published_order(skeleton, 2)}, {_generator_layers(lifter) - 1: _published_order(skeleton, 3)}


def _critic_orders(critic: KinematicChainCritic) -> tuple[_Orders, _Orders]:
    return {0: _published_order(critic.skeleton, 3)}, {}


def _written(linears: Sequence[nn.Linear], orders: tuple[_Orders, _Orders], first: int) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for number, layer in enumerate(linears):
        kernel, bias = layer.weight.detach().t().clone(), layer.bias.detach().clone()
        if number in orders[_INPUTS]:
            kernel = kernel[torch.from_numpy(orders[_INPUTS][number])]
        if number in orders[_OUTPUTS]:
            order = torch.from_numpy(orders[_OUTPUTS][number])
            kernel, bias = kernel[:, order], bias[order]
        name = f"dense_{first + number}" if first + number else "dense"
        state[f"{name}/kernel"], state[f"{name}/bias"] = kernel.contiguous(), bias
    return state


@torch.no_grad()
def _read(
    linears: Sequence[nn.Linear],
    orders: tuple[_Orders, _Orders],
    kernels: Sequence[tuple[str, Tensor, Tensor]],
) -> None:
    for layer, (name, kernel, bias) in zip(linears, kernels, strict=False):
        wanted = (layer.in_features, layer.out_features)
        if tuple(kernel.shape) != wanted or tuple(bias.shape) != wanted[1:]:
            raise CheckpointError(
                f"published RepNet layer {name!r}: wanted a kernel of {list(wanted)}, got {list(kernel.shape)} with a "
                f"bias of {list(bias.shape)}; the file is of another architecture"
            )
    for number, (layer, (_, kernel, bias)) in enumerate(zip(linears, kernels, strict=False)):
        inputs, outputs = (torch.arange(size) for size in kernel.shape)
        if number in orders[_INPUTS]:
            inputs = torch.from_numpy(orders[_INPUTS][number])
        if number in orders[_OUTPUTS]:
            outputs = torch.from_numpy(orders[_OUTPUTS][number])
        ours = torch.empty_like(kernel)
        ours[inputs[:, None], outputs[None]] = kernel
        our_bias = torch.empty_like(bias)
        our_bias[outputs] = bias
        layer.weight.copy_(ours.t())
        layer.bias.copy_(our_bias)


def _in_creation_order(state: State) -> list[tuple[str, Tensor, Tensor]]:
    """(layer name, kernel, bias) by the numbers of the names."""
    found: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = _NAME.match(key)
        if match is None:
            raise CheckpointError(
                f"published RepNet state: wanted names such as 'dense_3/kernel' and 'dense_3/bias', got {key!r}; "
                "the file is of another network"
            )
        array = (value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))).detach().float()
        found.setdefault(int(match[1] or 0), {})[match[2]] = array
    layers: list[tuple[str, Tensor, Tensor]] = []
    for number in sorted(found):
        if len(found[number]) != 2:
            raise CheckpointError(
                f"published RepNet state: layer dense_{number} lacks its kernel or its bias; the file is cut short"
            )
        layers.append((f"dense_{number}", found[number]["kernel"], found[number]["bias"]))
    return layers
