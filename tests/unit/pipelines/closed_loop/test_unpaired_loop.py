"""RepNet as a member of the loop: learned beside the estimator, saved with it, and heard where it is asked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from estimators.lifters.repnet.judge import import_judge
from estimators.lifters.repnet.settings import CriticSettings, RepNetSettings, RepNetTrainerSettings
from estimators.lifters.temporal.videopose import VideoPoseSettings
from estimators.weights import flatten_state
from pipelines.closed_loop import build_crew, unpaired_crew
from pipelines.closed_loop.build_crew import CrewPlan, crew_factory
from pipelines.closed_loop.checkpoint import LoopCheckpoints, LoopState, MemberState
from pipelines.closed_loop.chunks import PoseChunk
from pipelines.closed_loop.collapse import with_new_randomness
from pipelines.closed_loop.crew import TRAINER_NAME, UNPAIRED_NAME, Crew, InProcessCrew
from pipelines.closed_loop.job import METRICS_FILE, plan_closed_loop, run_closed_loop
from pipelines.closed_loop.loop import run_loop
from pipelines.closed_loop.reports import MetricsLog
from pipelines.closed_loop.settings import ClosedLoopSettings
from pipelines.closed_loop.source_data import LoopData
from pipelines.closed_loop.unpaired_crew import REPNET_CRITIC_FILE, REPNET_LIFTER_FILE
from pipelines.closed_loop.unpaired_member import RepNetMember
from pipelines.closed_loop.unpaired_settings import UnpairedSettings
from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.in_process import InProcessExecutor
from pipelines.pose_table import PairsSource
from pipelines.progress import RecordingProgress
from pipelines.trained_lifter import load_trained_lifter, read_checkpoint
from pipelines.unpaired_data import Detections
from poses.skeleton import load_skeleton
from storage.object_store import open_store
from tests.unit.pipelines.closed_loop.loop_parts import SKELETON, feedback_loop, poseaug_loop, source_poses
from tests.unit.pipelines.closed_loop.small_dataset import make_small_dataset

SEED = 3
ROWS = 70
REPNET = UnpairedSettings(
    data=(PairsSource(url="in memory"),),
    network=RepNetSettings(width=16, pose_blocks=1, camera_blocks=1),
    trainer=RepNetTrainerSettings(critic=CriticSettings(pose_width=8, chain_width=16, joined_width=8)),
    batch_rows=8,
    steps_per_batch=2,
    weak_rows=8,
)
KINDS = {"poseaug": poseaug_loop, "feedback": feedback_loop}


def detections(missing: bool = True) -> Detections:
    """2D of other people; every third pose misses a wrist."""
    keypoints = source_poses(50, seed=7).keypoints_screen.numpy()
    availability = np.ones(keypoints.shape[:2], np.float32)
    if missing:
        availability[::3, SKELETON.index("left_wrist")] = 0.0
    return Detections(SKELETON, keypoints, availability)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = LoopData(source_poses(ROWS), source_poses(20, 1))
    monkeypatch.setattr(build_crew, "load_loop_data", lambda *_: data)
    monkeypatch.setattr(unpaired_crew, "_load", lambda _: detections())


def unpaired(**changes: Any) -> UnpairedSettings:
    return REPNET.model_copy(update=changes)


def finish(
    settings: ClosedLoopSettings, folder: Path, factory: Any = None
) -> tuple[InProcessCrew, list[dict[str, Any]]]:
    """Run (or go on with) a loop in `folder`."""
    store = open_store(folder)
    log = MetricsLog(store, "metrics.jsonl")
    crew = run_loop(
        settings.order(ROWS),
        factory or crew_factory(CrewPlan(settings, "in memory", 1, SEED), on_ray=False),
        LoopCheckpoints(store, "checkpoints", "settings"),
        log,
        RecordingProgress(),
    )
    assert isinstance(crew, InProcessCrew)
    return crew, log.lines


def estimator(crew: InProcessCrew) -> Tensor:
    return flatten_state(crew.trainer.lifter).flat


def repnet(crew: InProcessCrew) -> Tensor:
    assert crew.unpaired is not None
    weights = crew.unpaired.weights()
    return torch.cat([weights.lifter.flat, weights.critic.flat])


@pytest.mark.usefixtures("in_memory")
def test_repnet_learns_and_leaves_the_estimator_alone(tmp_path: Path) -> None:
    plain, plain_lines = finish(feedback_loop(rounds=2), tmp_path / "plain")
    crew, lines = finish(feedback_loop(rounds=2, unpaired=REPNET), tmp_path / "unpaired")
    assert crew.unpaired is not None
    assert crew.unpaired.trainer.steps == 2 * 4 * 2
    assert torch.equal(estimator(plain), estimator(crew))
    assert UNPAIRED_NAME not in plain.state(4).members
    assert plain.state(4).members[TRAINER_NAME].scalars == crew.state(4).members[TRAINER_NAME].scalars
    own = {name for line in lines for name in line if name.startswith(("repnet_", "weak_", "loss_weak"))}
    assert {"repnet_reprojection", "repnet_critic", "repnet_camera"} <= own
    assert not any("weak" in name for name in own)
    assert [{k: v for k, v in line.items() if k not in own} for line in lines] == plain_lines


@pytest.mark.usefixtures("in_memory")
def test_the_word_of_repnet_counts_after_its_rounds_and_by_its_weight(tmp_path: Path) -> None:
    def run(name: str, **changes: Any) -> tuple[Tensor, list[dict[str, Any]]]:
        settings = feedback_loop(rounds=2, unpaired=unpaired(**changes))
        crew, lines = finish(settings, tmp_path / name)
        return estimator(crew), lines

    silent, _ = run("silent")
    early, lines = run("early", weak_weight=0.1, weak_after_rounds=2)
    heard, heard_lines = run("heard", weak_weight=0.1, weak_after_rounds=1)
    assert torch.equal(silent, early)
    assert not any("loss_weak" in line for line in lines)
    assert not torch.equal(silent, heard)
    assert ["loss_weak" in line for line in heard_lines] == [False, True]
    line = heard_lines[1]
    assert line["loss_weak"] == pytest.approx(0.1 * (line["weak_reprojection"] + line["weak_critic"]))


@pytest.mark.usefixtures("in_memory")
def test_chunk_size_changes_nothing(tmp_path: Path) -> None:
    settings = poseaug_loop(rounds=3, unpaired=unpaired(weak_weight=0.01))
    one, _ = finish(settings.model_copy(update={"chunk_batches": 1}), tmp_path / "one")
    many, _ = finish(settings.model_copy(update={"chunk_batches": 64}), tmp_path / "many")
    assert torch.equal(estimator(one), estimator(many))
    assert torch.equal(repnet(one), repnet(many))


class _KilledError(Exception):
    """Stands for the end of the process."""


class _DoomedCrew(InProcessCrew):
    """Dies after RepNet's steps of a round, before the trainer's."""

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        if round_index == 2:
            raise _KilledError
        return super().consume(round_index, chunks, share)


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("kind", list(KINDS))
def test_resume_after_a_kill_gives_the_same_numbers(kind: str, tmp_path: Path) -> None:
    settings = KINDS[kind](rounds=3, unpaired=unpaired(weak_weight=0.01), pretrain_rounds=1)
    undisturbed, expected = finish(settings, tmp_path / "undisturbed")

    def doomed(attempt: int) -> Crew:
        crew = crew_factory(CrewPlan(settings, "in memory", 1, SEED), on_ray=False)(attempt)
        assert isinstance(crew, InProcessCrew)
        return _DoomedCrew(crew.augmentors, crew.trainer, crew.unpaired)

    with pytest.raises(_KilledError):
        finish(settings, tmp_path / "killed", doomed)
    resumed, lines = finish(settings, tmp_path / "killed")
    assert torch.equal(estimator(undisturbed), estimator(resumed))
    assert torch.equal(repnet(undisturbed), repnet(resumed))
    assert lines == expected
    one, other = undisturbed.state(4).members[UNPAIRED_NAME], resumed.state(4).members[UNPAIRED_NAME]
    assert one.scalars == other.scalars
    assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())


def chunk(rows: int, batches: int = 3) -> PoseChunk:
    """Augmented poses, in so many batches."""
    poses = source_poses(rows, seed=5) if rows else source_poses(1)
    joints, keypoints = poses.joints_root_m.numpy()[:rows], poses.keypoints_screen.numpy()[:rows]
    return PoseChunk(0, 0, 0, joints, keypoints, [rows, *[0] * (batches - 1)])


def learned(share: float, source_seed: int, fakes: int) -> Tensor:
    source = source_poses(40, seed=source_seed)
    member = RepNetMember(unpaired(augmented_share=share), detections(), source, SEED)
    member.learn([chunk(fakes)])
    return flatten_state(member.trainer.critic).flat


def test_the_critics_real_poses_are_the_rounds_augmented_ones_in_their_share() -> None:
    assert torch.equal(learned(1.0, 1, 30), learned(1.0, 2, 30))  # the source is not looked at
    assert not torch.equal(learned(0.5, 1, 30), learned(0.5, 2, 30))
    assert torch.equal(learned(0.0, 1, 30), learned(0.0, 1, 0))  # nor are augmented ones
    assert not torch.equal(learned(0.5, 1, 30), learned(0.5, 1, 0))


def test_a_round_without_batches_is_no_step() -> None:
    member = RepNetMember(REPNET, detections(), source_poses(40), SEED)
    assert member.learn([PoseChunk(0, 0, 0, chunk(0).joints_root_m, chunk(0).keypoints_screen, [])]) == {}
    assert member.trainer.steps == 0


def test_windows_of_augmented_poses_are_learned_frame_by_frame() -> None:
    flat = chunk(30)
    windows = PoseChunk(
        0, 0, 0, flat.joints_root_m.reshape(10, 3, 16, 3), flat.keypoints_screen, flat.batch_rows
    )
    weights: list[Tensor] = []
    for one in (flat, windows):
        member = RepNetMember(REPNET, detections(), source_poses(40), SEED)
        member.learn([one])
        weights.append(flatten_state(member.trainer.critic).flat)
    assert torch.equal(*weights)


def test_a_restart_after_a_collapse_keeps_repnet() -> None:
    def state(value: float) -> LoopState:
        member = MemberState({"random/mixing": torch.full((1,), value)}, {"monitor": value})
        return LoopState(1, {TRAINER_NAME: member, UNPAIRED_NAME: member, "augmentor-0": member})

    mixed = with_new_randomness(state(1.0), state(2.0)).members
    assert mixed[UNPAIRED_NAME] == state(1.0).members[UNPAIRED_NAME]
    assert mixed["augmentor-0"].scalars == {"monitor": 2.0}


@pytest.mark.usefixtures("in_memory")
def test_the_weak_loss_refuses_windows_and_broken_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    def hire(**changes: Any) -> None:
        settings = feedback_loop(unpaired=unpaired(weak_weight=0.1), **changes)
        build_crew.build_trainer(CrewPlan(settings, "in memory", 1, SEED))

    with pytest.raises(SettingsError, match="sees windows of frames"):
        hire(lifter=VideoPoseSettings(channels=8, kernel_widths=(3,)))
    poor = detections()
    poor.availability[:, 0] = 0.0
    monkeypatch.setattr(unpaired_crew, "_load", lambda _: poor)
    with pytest.raises(SettingsError, match="0 of 50 2D poses have all of their joints"):
        hire()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_small_dataset(tmp_path_factory.mktemp("source"))


def of_dataset(source: str, **selection: Any) -> UnpairedSettings:
    return unpaired(data=(PairsSource(url=source, **selection),), weak_weight=0.01)


def test_a_loop_leaves_repnet_beside_its_estimator(source: str, tmp_path: Path) -> None:
    settings = poseaug_loop(rounds=3, batch_rows=64, unpaired=of_dataset(source, parts=("source_valid",)))
    context = RunContext(str(tmp_path), InProcessExecutor(), seed=SEED)
    run_closed_loop(settings, source, context)
    trained = load_trained_lifter(str(tmp_path / REPNET_LIFTER_FILE))
    assert trained.settings == REPNET.network
    checkpoint = read_checkpoint(str(tmp_path / REPNET_CRITIC_FILE))
    judge = import_judge(checkpoint, REPNET_CRITIC_FILE)
    judged = judge.judge(source_poses(5).joints_root_m, source_poses(5).keypoints_screen)
    assert bool(torch.isfinite(judged.plausibility).all())
    assert checkpoint.metadata["unpaired"][0]["parts"] == ["source_valid"]
    assert checkpoint.metadata["step"] > 0
    assert load_trained_lifter(str(tmp_path / "lifter.safetensors")).settings == settings.lifter
    lines = MetricsLog(open_store(tmp_path), METRICS_FILE).lines
    assert all("repnet_reprojection" in line for line in lines)
    assert "loss_weak" in lines[-1]


def test_unpaired_poses_of_another_skeleton_are_refused_before_anything_runs(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = poseaug_loop(unpaired=of_dataset(source))
    plan = plan_closed_loop(settings, source, SEED)
    assert "unpaired" in plan.inputs
    assert "unpaired" not in plan_closed_loop(poseaug_loop(), source, SEED).inputs

    class Foreign:
        skeleton = load_skeleton("coco_17")
        pair_files = ()

    monkeypatch.setattr(unpaired_crew.Dataset, "open", lambda *_: Foreign())
    with pytest.raises(SettingsError, match=r"skeleton 'coco_17', the loop's poses 'h36m_\d+'"):
        unpaired_crew.unpaired_inputs(of_dataset(source), load_skeleton("h36m_16"))


def test_an_empty_selection_is_refused(source: str, tmp_path: Path) -> None:
    settings = poseaug_loop(rounds=1, unpaired=of_dataset(source, parts=("nowhere",)))
    with pytest.raises(SettingsError, match="no rows in parts nowhere"):
        run_closed_loop(settings, source, RunContext(str(tmp_path), InProcessExecutor(), seed=SEED))


def test_no_sources_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        UnpairedSettings.model_validate({"data": []})
