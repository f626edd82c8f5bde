"""What golden files hold, and how far from it we are."""

import numpy as np
import torch


def embedded_state(golden) -> dict[str, torch.Tensor]:
    """The state dict inside a golden file."""
    return {
        key.removeprefix("sd/"): torch.from_numpy(golden[key])
        for key in golden.files
        if key.startswith("sd/")
    }


def difference(got: torch.Tensor, wanted: np.ndarray) -> float:
    """Greatest absolute one."""
    return float((got.detach() - torch.from_numpy(wanted)).abs().max())
