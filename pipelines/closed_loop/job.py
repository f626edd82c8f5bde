"""The job `loop`: a closed loop on a dataset, from its plan to the trained estimator and augmentor on disk."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from augment.feedback_loop.trained import export_feedback
from augment.poseaug.trained import export_augmentor
from estimators.checkpoints import checkpoint_to_bytes
from estimators.lifters.settings import build_lifter
from estimators.weights import WeightBuffer, flatten_state, load_flat
from pipelines.chosen_on import LAST_STEP, chosen_on
from pipelines.closed_loop.build_crew import CrewPlan, build_augmentor, crew_factory
from pipelines.closed_loop.checkpoint import LoopCheckpoints, LoopState, MemberState
from pipelines.closed_loop.crew import AUGMENTOR_NAME, TRAINER_NAME, UNPAIRED_NAME, Crew
from pipelines.closed_loop.feedback_member import FeedbackMember
from pipelines.closed_loop.loop import run_loop
from pipelines.closed_loop.poseaug_member import PoseAugMember
from pipelines.closed_loop.reports import MetricsLog
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.closed_loop.source_data import load_loop_data
from pipelines.closed_loop.source_poses import SourcePoses
from pipelines.closed_loop.unpaired_crew import repnet_files, unpaired_inputs, with_versions
from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.knobs import canonical_json
from pipelines.plan import Plan, Unit, freeze_plan, make_plan
from pipelines.ray_pool import RayPoolExecutor
from pipelines.step_watch import watched_steps
from pipelines.trained_lifter import lifter_to_bytes, read_checkpoint
from poses.skeleton import Skeleton
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset

LIFTER_FILE = "lifter.safetensors"
AUGMENTOR_FILE = "augmentor.safetensors"
RESULT_FILE = "result.json"
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class ClosedLoopResult:
    """What a loop leaves behind.

    Attributes:
        url: Folder of the loop.
        lifter_steps: Updates that the estimator got.
        best_validation_mm: Its lowest validation error; None without validation poses.
        has_augmentor: True if a learned augmentor was saved.
    """

    url: str
    lifter_steps: int
    best_validation_mm: float | None
    has_augmentor: bool


def plan_closed_loop(settings: ClosedLoopSettings, source_url: str, seed: int) -> Plan:
    """The loop's plan: one unit per round, and the source's version as its input."""
    chosen_on(settings.valid_parts, settings.choose_on_test, "loop.valid_parts")
    dataset = Dataset.open(source_url, settings.source_version)
    digests = [entry.sha256 for entry in dataset.manifest.files]
    source = hashlib.sha256(canonical_json(sorted(digests))).hexdigest()
    units = [
        Unit(f"round-{index:06d}", "loop") for index in range(settings.pretrain_rounds + settings.rounds)
    ]
    weights: dict[str, str] = {}
    if settings.start_from is not None:
        weights["start_from"] = tensors_digest(read_checkpoint(settings.start_from).tensors)
    inputs = {"source": source}
    if settings.unpaired is not None:
        inputs |= unpaired_inputs(settings.unpaired, dataset.skeleton)
    return make_plan("loop", settings, seed, units, inputs, weights)


def tensors_digest(tensors: dict[str, Tensor]) -> str:
    """Digest of named tensors, whatever file they came in."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def run_closed_loop(settings: ClosedLoopSettings, source_url: str, context: RunContext) -> ClosedLoopResult:
    """Run a closed loop on a dataset, or go on with it where it was left.

    Raises:
        PlanMismatchError: if the output holds a loop of another plan.
        SettingsError: if the source has nothing to train on, or the mode needs Ray and there is none.
        JobStoppedError: if it was asked to stop; the rounds that were done are kept.
    """
    on_ray = isinstance(context.executor, RayPoolExecutor)
    if settings.mode == "async" and not on_ray:
        raise SettingsError(
            "loop.mode is async, which needs actors; set executor to ray, or loop.mode to sync"
        )
    store = open_store(context.out_url)
    plan = plan_closed_loop(settings, source_url, context.seed)
    freeze_plan(store, plan, context.accept_other_plan)
    finished = _finished(store, context.out_url, plan.run_id)
    if finished is not None:
        context.progress.log(f"loop {plan.run_id}: done before, nothing to do")
        return finished
    with watched_steps(context, plan.run_id, plan.job, len(plan.units), "rounds") as watched:
        return _run(settings, source_url, watched, plan)


def _run(settings: ClosedLoopSettings, source_url: str, context: RunContext, plan: Plan) -> ClosedLoopResult:
    """Everything behind the frozen plan."""
    store, on_ray = open_store(context.out_url), isinstance(context.executor, RayPoolExecutor)
    version = Dataset.open(source_url, settings.source_version).manifest.version
    if settings.unpaired is not None:
        settings = settings.model_copy(update={"unpaired": with_versions(settings.unpaired)})
    crew_plan = CrewPlan(settings, source_url, version, context.seed)
    data = load_loop_data(crew_plan.dataset_url, crew_plan.dataset_version, settings)
    checkpoints = LoopCheckpoints(store, "checkpoints", plan.run_id)
    log = MetricsLog(store, METRICS_FILE)
    wait_for_nodes_s = 0.0
    if isinstance(context.executor, RayPoolExecutor):
        context.executor.connect()
        wait_for_nodes_s = context.executor.settings.wait_for_nodes_s
    order = settings.order(len(data.train))
    factory = crew_factory(crew_plan, on_ray, wait_for_nodes_s)
    crew = run_loop(order, factory, checkpoints, log, context.progress, context.stop)
    state = _final_state(crew, checkpoints)
    crew.close()
    return _save(store, context.out_url, crew_plan, data.train.skeleton, state, plan, log)


def _final_state(crew: Crew, checkpoints: LoopCheckpoints) -> LoopState:
    return checkpoints.load_latest() or crew.state(0)


def _finished(store: ObjectStore, url: str, run_id: str) -> ClosedLoopResult | None:
    if not store.exists(RESULT_FILE):
        return None
    result = json.loads(store.read_bytes(RESULT_FILE))
    if result["run_id"] != run_id:
        return None
    return ClosedLoopResult(
        url, result["lifter_steps"], result["best_validation_mm"], result["has_augmentor"]
    )


def _save(
    store: ObjectStore,
    url: str,
    crew_plan: CrewPlan,
    skeleton: Skeleton,
    state: LoopState,
    plan: Plan,
    log: MetricsLog,
) -> ClosedLoopResult:
    """Write the best estimator, the augmentor and, last, the result."""
    settings = crew_plan.settings
    trainer = state.members[TRAINER_NAME]
    best_mm = trainer.scalars["best_error_mm"]
    steps = int(trainer.scalars["trainer"]["steps"])
    provenance: dict[str, Any] = {
        "run_id": plan.run_id,
        "lifter_steps": steps,
        "validation_mpjpe_mm": best_mm,
        "selected_on": LAST_STEP
        if best_mm is None
        else chosen_on(settings.valid_parts, settings.choose_on_test, "loop.valid_parts"),
        "chosen_on": list(settings.valid_parts) if best_mm is not None else LAST_STEP,
    }
    tensors = _lifter_tensors(settings, skeleton, trainer)
    store.write_bytes(LIFTER_FILE, lifter_to_bytes(tensors, settings.lifter, skeleton, provenance))
    augmentor = _augmentor_bytes(crew_plan, state.members[AUGMENTOR_NAME.format(index=0)], provenance)
    if augmentor is not None:
        store.write_bytes(AUGMENTOR_FILE, augmentor)
    if settings.unpaired is not None:
        source, member = _source_of(crew_plan), state.members[UNPAIRED_NAME]
        for path, data in repnet_files(settings.unpaired, source, member, {"run_id": plan.run_id}).items():
            store.write_bytes(path, data)
    result = {
        "run_id": plan.run_id,
        "lifter_steps": steps,
        "best_validation_mm": best_mm,
        "has_augmentor": augmentor is not None,
        "rounds": len(log.lines),
    }
    store.write_bytes(RESULT_FILE, json.dumps(result, indent=1).encode())
    return ClosedLoopResult(url, steps, best_mm, augmentor is not None)


def _source_of(crew_plan: CrewPlan) -> SourcePoses:
    return load_loop_data(crew_plan.dataset_url, crew_plan.dataset_version, crew_plan.settings).train


def _lifter_tensors(
    settings: ClosedLoopSettings, skeleton: Skeleton, trainer: MemberState
) -> dict[str, Tensor]:
    """The state dict of the best estimator; the last one where nothing was validated."""
    averaged = any(name.startswith("trainer.average/") for name in trainer.tensors)
    prefix = "trainer.average/" if averaged else "trainer.lifter/"
    last = {k[len(prefix) :]: v for k, v in trainer.tensors.items() if k.startswith(prefix)}
    if "best_weights" not in trainer.tensors:
        return last
    lifter = build_lifter(settings.lifter, skeleton, 0)
    layout = flatten_state(lifter).layout
    load_flat(lifter, WeightBuffer(0, trainer.tensors["best_weights"], layout))
    return dict(lifter.state_dict())


def _augmentor_bytes(
    crew_plan: CrewPlan, member_state: MemberState, provenance: dict[str, Any]
) -> bytes | None:
    """The file of the learned augmentor; None for those that learn nothing."""
    member = build_augmentor(crew_plan, 0)
    member.load_state(member_state)
    if isinstance(member, PoseAugMember):
        tensors, metadata = export_augmentor(member.learner)
    elif isinstance(member, FeedbackMember):
        tensors, metadata = export_feedback(member.learner)
    else:
        return None
    return checkpoint_to_bytes(tensors, {**metadata, "provenance": provenance})
