"""The state dict inside a weight file, out of the wrappers that the published training scripts write.

SemGCN: {epoch, lr, step, state_dict, optimizer, error}. VideoPose3D: {epoch, lr, random_state, optimizer, model_pos,
model_traj (None when trained supervised), random_state_semi}. PoseAug: {state_dict, epoch} (run_baseline) or {epoch,
model_pos} (run_poseaug). MotionBERT: {epoch, lr, optimizer, model_pos, min_loss}; MotionAGFormer: {..., model, ...};
both with `module.` before every key (DataParallel). specs/lifters.md, section 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from estimators.errors import CheckpointError
from estimators.weights_import.container import Container, Leaf
from estimators.weights_import.stand_ins import Inert, TensorRef

WRAPPER_KEYS = ("state_dict", "model_pos", "model", "model_state_dict", "model_traj")
"""Where the published scripts keep a network, in the order in which it is looked for."""
DATA_PARALLEL = "module."
_FACTS = ("epoch", "step", "lr", "error", "min_loss", "min_mpjpe")
MAX_TENSORS = 20_000


@dataclass(frozen=True)
class StateDict:
    """The tensors of one network and what lay beside them.

    Attributes:
        tensors: By state-dict key, without `module.`.
        key: The wrapper's key under which they were; "" for a bare state dict.
        facts: What the wrapper tells about the training: epoch, step, error...
        ignored: The wrapper's other entries, each with what it is.
        notes: What was changed on the way.
    """

    tensors: Mapping[str, Leaf]
    key: str
    facts: Mapping[str, Any]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Key to shape."""
        return {key: tuple(leaf.shape) for key, leaf in self.tensors.items()}


def find_state_dict(container: Container, key: str | None = None) -> StateDict:
    """The network's tensors in a file.

    Args:
        container: The file.
        key: The wrapper's key to take, such as 'model_traj'; None takes the first of `WRAPPER_KEYS` that is there.

    Raises:
        CheckpointError: if there is no state dict, or none under that key.
    """
    tree = container.tree
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{container.where}: holds {described(tree)}, wanted a dictionary with a state dict; save "
            "`model.state_dict()`"
        )
    candidates = [name for name in WRAPPER_KEYS if _is_state_dict(tree.get(name))]
    if key is not None:
        if not _is_state_dict(tree.get(key)):
            raise CheckpointError(
                f"{container.where}: no state dict under {key!r:.60} (there is {described(tree.get(key))}); the file "
                f"has {_entries(tree)}"
            )
        chosen = key
    elif candidates:
        chosen = candidates[0]
    elif _is_state_dict(tree):
        return _state_dict(container, tree, "", {})
    else:
        raise CheckpointError(
            f"{container.where}: no state dict in it; wanted tensors by name, or one of "
            f"{', '.join(WRAPPER_KEYS)}; the file has {_entries(tree)}. Give the key with --key"
        )
    return _state_dict(container, tree[chosen], chosen, {k: v for k, v in tree.items() if k != chosen})


def _state_dict(
    container: Container, values: Mapping[Any, Any], key: str, around: Mapping[Any, Any]
) -> StateDict:
    if len(values) > MAX_TENSORS:
        raise CheckpointError(
            f"{container.where}: a state dict of {len(values):,} entries; lifters have some hundred"
        )
    strange = [name for name in values if not isinstance(name, str)]
    if strange:
        raise CheckpointError(
            f"{container.where}: its state dict has keys that are no text; the file is damaged"
        )
    tensors = {name: leaf for name, leaf in values.items() if isinstance(leaf, Leaf)}
    ignored = [f"{name}: {described(leaf)}" for name, leaf in values.items() if not isinstance(leaf, Leaf)]
    notes: list[str] = [*container.notes]
    if tensors and all(name.startswith(DATA_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(DATA_PARALLEL): leaf for name, leaf in tensors.items()}
        notes.append(f"every key began with {DATA_PARALLEL!r} (DataParallel), taken off")
    ignored += [f"{name!s:.60}: {described(value)}" for name, value in around.items() if name not in _FACTS]
    facts = {name: around[name] for name in _FACTS if isinstance(around.get(name), int | float | str)}
    return StateDict(tensors, key, facts, tuple(ignored), tuple(notes))


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(leaf, Leaf) for leaf in value.values())


def _entries(tree: Mapping[Any, Any]) -> str:
    names = [f"{name!s:.40} ({described(value)})" for name, value in list(tree.items())[:12]]
    return ", ".join(names) + (", ..." if len(tree) > 12 else "") if names else "no entries"


def described(value: Any) -> str:
    """What a value is, in a few words; it is not walked."""
    if isinstance(value, TensorRef | Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, Inert):
        return f"a {value.what}, not read"
    if isinstance(value, dict | list | tuple):
        return f"a {type(value).__name__} of {len(value):,}"
    if value is None or isinstance(value, bool | int | float):
        return f"{value!r:.40}"
    return f"text {value!r:.40}" if isinstance(value, str) else f"a {type(value).__name__}"
