"""Deterministic weights of the golden files: rule A of golden/README.md."""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch


def rule_a_tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor of one state-dict key."""
    random = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    batch_norm_weight = key.endswith("weight") and len(shape) == 1
    if key.endswith("running_var") or batch_norm_weight:
        values = 0.5 + random.random_sample(shape)
        if key.endswith("W.1.weight"):  # of a non-local block
            values = 0.2 * values
    elif key.endswith(".e"):
        values = random.standard_normal(shape)
    elif key.endswith(".W"):
        values = random.standard_normal(shape) * math.sqrt(2 / shape[1])
    elif key.endswith(("running_mean", "bias")):
        values = 0.1 * random.standard_normal(shape)
    else:
        values = random.standard_normal(shape) * math.sqrt(2 / max(1, math.prod(shape[1:])))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def rule_a_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A whole state dict."""
    return {key: rule_a_tensor(key, shape) for key, shape in shapes.items()}
