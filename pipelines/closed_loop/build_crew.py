"""Hiring the crew: what each member is built from, in this process or where its actor runs."""

from dataclasses import dataclass, replace
from functools import partial

import torch

from augment.feedback_loop.learner import FeedbackLearner
from augment.poseaug.learner import PoseAugLearner
from augment.random_augmentation import RandomAugmentationSettings
from augment.wide_base.library import build_library, upright
from estimators.checkpoints import load_module_state
from estimators.lifters.contract import Lifter
from estimators.lifters.settings import build_lifter
from estimators.lifters.training.trainer import LifterTrainer
from pipelines.closed_loop.augmentors import LoopAugmentor, NoAugmentor
from pipelines.closed_loop.crew import Crew, CrewFactory, InProcessCrew
from pipelines.closed_loop.feedback_member import FeedbackMember
from pipelines.closed_loop.poseaug_member import PoseAugMember
from pipelines.closed_loop.random_member import RandomMember
from pipelines.closed_loop.settings import (
    ClosedLoopSettings,
    FeedbackAugmentation,
    NoAugmentation,
    PoseAugAugmentation,
    RandomAugmentation,
)
from pipelines.closed_loop.source_data import load_loop_data
from pipelines.closed_loop.source_poses import SourcePoses
from pipelines.closed_loop.source_windows import SourceWindows, window_shape
from pipelines.closed_loop.trainer_worker import TrainerOrder, TrainerWorker
from pipelines.closed_loop.unpaired_crew import build_repnet_member, build_weak_lessons
from pipelines.closed_loop.unpaired_member import RepNetMember
from pipelines.errors import SettingsError
from pipelines.executor import WorkerResources
from pipelines.trained_lifter import load_trained_lifter
from poses.identity import stable_id


@dataclass(frozen=True)
class CrewPlan:
    """What a crew is built from; small, so that it travels to actors."""

    settings: ClosedLoopSettings
    dataset_url: str
    dataset_version: int
    seed: int
    attempt: int = 0
    """How often the loop was restarted because its augmentor collapsed; gives the augmentors other seeds."""


def member_seed(seed: int, member: str) -> int:
    """The seed of one member, below 2**31 so that every generator takes it."""
    return stable_id("closed_loop", seed, member) % (2**31)


def member_device(settings: ClosedLoopSettings) -> str:
    """Where a member computes: on the GPU that it reserved, or on the CPU.

    Raises:
        SettingsError: if a GPU is reserved and torch finds none.
    """
    if settings.gpus_per_actor == 0:
        return "cpu"
    if not torch.cuda.is_available():
        raise SettingsError(
            f"loop.gpus_per_actor is {settings.gpus_per_actor:g}, but torch finds no CUDA device here; set it to 0, or "
            "run where there is a GPU (`posemill doctor` tells)"
        )
    return "cuda"


def build_trainer(plan: CrewPlan) -> TrainerWorker:
    """The trainer with a fresh estimator."""
    settings = plan.settings
    data = load_loop_data(plan.dataset_url, plan.dataset_version, settings)
    lifter = build_lifter(settings.lifter, data.train.skeleton, member_seed(plan.seed, "lifter"))
    if settings.start_from is not None:
        start = load_trained_lifter(settings.start_from)
        start.check_skeleton(data.train.skeleton)
        load_module_state(lifter, dict(start.module.state_dict()), settings.start_from)
    device = member_device(settings)
    trainer = LifterTrainer(settings.trainer, lifter.to(device), member_seed(plan.seed, "trainer"))
    validation = data.validation.to(device) if data.validation is not None else None
    order = TrainerOrder(
        diet=settings.diet,
        batch_rows=settings.batch_rows,
        lifter_steps=settings.lifter_steps,
        seed=member_seed(plan.seed, "diet"),
        flip_real=settings.flip_real,
        validate_every_rounds=settings.validate_every_rounds,
        first_round=settings.pretrain_rounds,
    )
    weak = build_weak_lessons(
        settings.unpaired,
        data.train.skeleton,
        window_shape(lifter).temporal,
        member_seed(plan.seed, "unpaired"),
        device,
    )
    return TrainerWorker(order, trainer, data.train.to(device), validation, data.validation_rows, weak)


def build_unpaired(plan: CrewPlan) -> RepNetMember | None:
    """RepNet with fresh weights; None where the loop has no unpaired data."""
    settings = plan.settings
    if settings.unpaired is None:
        return None
    source = load_loop_data(plan.dataset_url, plan.dataset_version, settings).train
    return build_repnet_member(
        settings.unpaired, source, member_seed(plan.seed, "repnet"), member_device(settings)
    )


def build_augmentor(plan: CrewPlan, index: int) -> LoopAugmentor:
    """The `index`-th augmentor. Several share the source: each takes every n-th pose and has a seed of its own."""
    settings = plan.settings
    source = load_loop_data(plan.dataset_url, plan.dataset_version, settings).train
    again = f".attempt-{plan.attempt}" if plan.attempt else ""
    seed = member_seed(plan.seed, f"augmentor-{index}{again}")
    device = member_device(settings)
    lifter = build_lifter(settings.lifter, source.skeleton, 0).to(device)
    shape = window_shape(lifter)
    share = SourceWindows(source, shape).share(index, settings.augmentors)
    fake_share = 1.0 if settings.diet == "alternate" else 1.0 - settings.real_share
    wanted = max(2, round(settings.batch_rows * fake_share))
    match settings.augmentor:
        case NoAugmentation():
            return NoAugmentor(source, shape)
        case RandomAugmentation() as chosen:
            spread = RandomAugmentationSettings.preset(chosen.preset)
            return RandomMember(spread, share, wanted, seed)
        case PoseAugAugmentation() as chosen:
            learner = PoseAugLearner(chosen.resolved, source.skeleton, seed, device)
            return PoseAugMember(
                learner,
                share,
                lifter,
                wanted,
                settings.pretrain_rounds,
                seed,
                chosen.swap_bone_lengths,
                device,
            )
        case FeedbackAugmentation() as chosen:
            return _feedback_member(chosen, settings, source, share, lifter, wanted, seed, device)


def _feedback_member(
    chosen: FeedbackAugmentation,
    settings: ClosedLoopSettings,
    source: SourcePoses,
    share: SourceWindows,
    lifter: Lifter,
    wanted: int,
    seed: int,
    device: str,
) -> FeedbackMember:
    world_m = upright(source.joints_root_m, source.up_camera)
    library = build_library(world_m, source.subject, source.skeleton, chosen.settings.library_poses)
    learner = FeedbackLearner(chosen.settings, source.skeleton, library, seed, device)
    return FeedbackMember(learner, share, lifter, wanted, settings.pretrain_rounds, seed)


def crew_factory(plan: CrewPlan, on_ray: bool, wait_for_nodes_s: float = 0.0) -> CrewFactory:
    """How to raise the crew, and to raise it again after a loss or a collapse.

    Args:
        plan: What the crew is built from.
        on_ray: As actors, or in this process.
        wait_for_nodes_s: On Ray: how long members may wait for nodes that an autoscaler adds.
    """
    if on_ray:
        return partial(_raise_ray_crew, plan, wait_for_nodes_s)
    return partial(_raise_in_process_crew, plan)


def _raise_in_process_crew(plan: CrewPlan, attempt: int = 0) -> Crew:
    plan = replace(plan, attempt=attempt)
    augmentors = [build_augmentor(plan, index) for index in range(plan.settings.augmentors)]
    return InProcessCrew(augmentors, build_trainer(plan), build_unpaired(plan))


def _raise_ray_crew(plan: CrewPlan, wait_for_nodes_s: float, attempt: int = 0) -> Crew:
    from pipelines.closed_loop.ray_crew import RayCrew

    plan = replace(plan, attempt=attempt)
    resources = WorkerResources(num_cpus=plan.settings.cpus_per_actor, num_gpus=plan.settings.gpus_per_actor)
    builders = [partial(build_augmentor, plan, index) for index in range(plan.settings.augmentors)]
    labels = plan.settings.trainer_labels
    unpaired = None if plan.settings.unpaired is None else partial(build_unpaired, plan)
    return RayCrew(builders, partial(build_trainer, plan), resources, wait_for_nodes_s, labels, unpaired)
