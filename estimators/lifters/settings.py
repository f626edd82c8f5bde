"""Choice of a lifter by settings."""

from typing import Annotated

import torch
from pydantic import Field

from estimators.lifters.contract import Lifter
from estimators.lifters.simple_baseline import SimpleBaselineLifter, SimpleBaselineSettings
from estimators.lifters.videopose import VideoPoseLifter, VideoPoseSettings
from poses.skeleton import Skeleton

LifterSettings = Annotated[SimpleBaselineSettings | VideoPoseSettings, Field(discriminator="kind")]
"""Settings of any lifter; `kind` says which."""

_LIFTERS = {"simple_baseline": SimpleBaselineLifter, "videopose": VideoPoseLifter}


def build_lifter(
    settings: SimpleBaselineSettings | VideoPoseSettings, skeleton: Skeleton, seed: int | None = None
) -> Lifter:
    """A lifter with fresh weights.

    Args:
        settings: Kind and shape of the network.
        skeleton: Joints of its input and output.
        seed: Of the initial weights; the global random state is left as it was. None draws from the global
            state.
    """
    if seed is None:
        return _LIFTERS[settings.kind](settings, skeleton)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _LIFTERS[settings.kind](settings, skeleton)
