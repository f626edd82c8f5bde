"""Choice of a lifter by settings."""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field

from estimators.lifters.contract import Lifter
from estimators.lifters.graphs.semgcn import SemGCNLifter, SemGCNSettings
from estimators.lifters.graphs.stgcn import STGCNLifter, STGCNSettings
from estimators.lifters.repnet.lifter import RepNetLifter
from estimators.lifters.repnet.settings import RepNetSettings
from estimators.lifters.simple_baseline import SimpleBaselineLifter, SimpleBaselineSettings
from estimators.lifters.temporal.dual_stream import DualStreamLifter, DualStreamSettings
from estimators.lifters.temporal.videopose import VideoPoseLifter, VideoPoseSettings
from poses.skeleton import Skeleton

AnyLifterSettings = (
    SimpleBaselineSettings
    | VideoPoseSettings
    | DualStreamSettings
    | RepNetSettings
    | SemGCNSettings
    | STGCNSettings
)
LifterSettings = Annotated[AnyLifterSettings, Field(discriminator="kind")]
"""Settings of any lifter; `kind` says which."""

_LIFTERS: dict[str, Callable[..., Lifter]] = {
    "simple_baseline": SimpleBaselineLifter,
    "videopose": VideoPoseLifter,
    "dual_stream": DualStreamLifter,
    "repnet": RepNetLifter,
    "semgcn": SemGCNLifter,
    "stgcn": STGCNLifter,
}


def build_lifter(settings: AnyLifterSettings, skeleton: Skeleton, seed: int | None = None) -> Lifter:
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
