"""The loop's RepNet: what it is built from, in this process or where its actor runs, and the files that it leaves."""

import hashlib
from functools import lru_cache
from typing import Any

from estimators.checkpoints import checkpoint_to_bytes
from estimators.lifters.repnet.judge import export_judge, judge_of
from pipelines.chosen_on import LAST_STEP
from pipelines.closed_loop.checkpoint import MemberState
from pipelines.closed_loop.source_poses import SourcePoses
from pipelines.closed_loop.unpaired_member import RepNetMember
from pipelines.closed_loop.unpaired_settings import UnpairedSettings
from pipelines.closed_loop.weak_lessons import WeakLessons
from pipelines.errors import SettingsError
from pipelines.knobs import canonical_json
from pipelines.pose_table import PairsSource
from pipelines.trained_lifter import lifter_to_bytes
from pipelines.unpaired_data import Detections, load_detections
from poses.skeleton import Skeleton
from storage.reader import Dataset

REPNET_LIFTER_FILE, REPNET_CRITIC_FILE = "repnet/lifter.safetensors", "repnet/critic.safetensors"


def unpaired_inputs(settings: UnpairedSettings, skeleton: Skeleton) -> dict[str, str]:
    """The digest of all files that the 2D poses may come from, for the loop's plan.

    Raises:
        SettingsError: if they have another skeleton than the loop's poses.
    """
    digests: list[str] = []
    for source in settings.data:
        dataset = Dataset.open(source.url, source.version)
        _check_skeleton(source.url, dataset.skeleton, skeleton)
        digests += [entry.sha256 for entry in dataset.pair_files]
    return {"unpaired": hashlib.sha256(canonical_json(sorted(digests))).hexdigest()}


def with_versions(settings: UnpairedSettings) -> UnpairedSettings:
    """The same sources, each at the version that it has now: every member reads the same rows."""
    data = tuple(
        source.model_copy(update={"version": Dataset.open(source.url, source.version).manifest.version})
        for source in settings.data
    )
    return settings.model_copy(update={"data": data})


def build_repnet_member(
    settings: UnpairedSettings, source: SourcePoses, seed: int, device: str = "cpu"
) -> RepNetMember:
    """RepNet with fresh weights.

    Raises:
        SettingsError: if there are no 2D poses, or they have another skeleton.
    """
    return RepNetMember(settings, _detections_for(settings, source.skeleton), source, seed, device)


def build_weak_lessons(
    settings: UnpairedSettings | None, skeleton: Skeleton, sees_windows: bool, seed: int, device: str
) -> WeakLessons | None:
    """The trainer's weak loss; None where the settings want none.

    Raises:
        SettingsError: as `build_repnet_member`, or if the estimator sees windows of frames.
    """
    if settings is None or settings.weak_weight == 0:
        return None
    if sees_windows:
        raise SettingsError(
            "loop.unpaired.weak_weight is above 0 and loop.lifter sees windows of frames, but unpaired 2D poses are "
            "single ones; choose a single-frame lifter, or set weak_weight to 0"
        )
    return WeakLessons(settings, _detections_for(settings, skeleton), skeleton, seed, device)


def repnet_files(
    settings: UnpairedSettings, source: SourcePoses, state: MemberState, provenance: dict[str, Any]
) -> dict[str, bytes]:
    """By path: RepNet as a lifter like any other, and as the critic that `augment` judges with."""
    member = build_repnet_member(settings, source, seed=0)
    member.load_networks(state)
    trainer = member.trainer
    metadata: dict[str, Any] = {
        **provenance,
        "step": state.scalars["trainer"]["adam_lifter"]["steps"],
        "selected_on": LAST_STEP,
        "unpaired": [source.model_dump(mode="json") for source in settings.data],
    }
    weights = dict(trainer.lifter.state_dict())
    lifter = lifter_to_bytes(weights, settings.chosen_network(), source.skeleton, metadata)
    tensors, document = export_judge(judge_of(trainer, member.measured_poses()))
    return {
        REPNET_LIFTER_FILE: lifter,
        REPNET_CRITIC_FILE: checkpoint_to_bytes(tensors, {**document, **metadata}),
    }


def _detections_for(settings: UnpairedSettings, skeleton: Skeleton) -> Detections:
    found = _load(settings.data)
    _check_skeleton(", ".join(source.url for source in settings.data), found.skeleton, skeleton)
    return found


@lru_cache(maxsize=1)
def _load(data: tuple[PairsSource, ...]) -> Detections:
    return load_detections(data)


def _check_skeleton(url: str, got: Skeleton, wanted: Skeleton) -> None:
    if got.joints != wanted.joints:
        raise SettingsError(
            f"loop.unpaired.data: the 2D poses of {url} have skeleton {got.name!r}, the loop's poses {wanted.name!r}; "
            "import them again with that skeleton"
        )
