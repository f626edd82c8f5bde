"""The job `train` with keypoints that have no 3D: both networks learn, are kept, and resume to the same bits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from estimators.checkpoints import load_checkpoint
from estimators.errors import CheckpointError
from pipelines import train_semi
from pipelines.errors import SettingsError
from pipelines.plan import Plan
from pipelines.train import TrainSettings, plan_train, run_train
from pipelines.train_semi import TRAJECTORY_FILE, SemiSupervisedLesson, load_trained_trajectory
from pipelines.trained_lifter import load_trained_lifter
from poses.cameras import project_screen
from poses.kinematics import mirror_joints
from poses.skeleton import load_skeleton
from tests.unit.pipelines.cases import Killed, context

VIDEOPOSE = {"kind": "videopose", "channels": 16, "kernel_widths": [3, 3]}


def settings(source: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": [{"url": str(source), "parts": ["source_train"], "rigs": ["h36m_like"]}],
        "validation": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
        "lifter": VIDEOPOSE,
        "semi_supervised": {
            "unlabelled": [{"url": str(source), "parts": ["target_subject"], "rigs": ["h36m_like"]}],
            "unlabelled_rows": 16,
        },
        "batch_rows": 24,
        "steps": 8,
        "steps_per_epoch": 3,
        "validate_every": 4,
        "checkpoint_every": 3,
        "mirror_share": 0.5,
    }
    return TrainSettings.model_validate({**values, **changes})


def test_a_killed_run_goes_on_to_the_same_numbers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_train(settings(source), context(tmp_path / "whole"))
    step = train_semi.SemiSupervisedTrainer.step

    def dies_at_five(self: Any, *arguments: Any) -> Any:
        if self.steps == 5:
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(train_semi.SemiSupervisedTrainer, "step", dies_at_five)
    with pytest.raises(Killed):
        run_train(settings(source), context(tmp_path / "cut"))
    monkeypatch.undo()
    assert run_train(settings(source), context(tmp_path / "cut")).history == whole.history
    for name in (whole.lifter_path, TRAJECTORY_FILE):
        ours, theirs = load_checkpoint(tmp_path / "whole" / name), load_checkpoint(tmp_path / "cut" / name)
        assert ours.tensors.keys() == theirs.tensors.keys()
        assert all(torch.equal(ours.tensors[key], theirs.tensors[key]) for key in ours.tensors), name
    lifter = load_trained_lifter(str(tmp_path / "whole" / whole.lifter_path)).module
    trajectory = load_trained_trajectory(str(tmp_path / "whole" / TRAJECTORY_FILE))
    keypoints = torch.rand(2, 9, lifter.skeleton.n_joints, 2)
    assert trajectory(keypoints).shape == (2, 1, 3)
    with pytest.raises(CheckpointError, match="wanted a trajectory model"):
        load_trained_trajectory(str(tmp_path / "whole" / whole.lifter_path))


def lesson_of(source: Path, **changes: Any) -> SemiSupervisedLesson:
    from estimators.lifters.settings import build_lifter

    wanted = settings(source, **changes)
    return SemiSupervisedLesson(wanted, build_lifter(wanted.lifter, load_skeleton("h36m_16"), seed=0), seed=0)


@pytest.mark.parametrize("mirror_share", [0.0, 1.0])
def test_mirrored_rows_still_project_onto_their_keypoints(source: Path, mirror_share: float) -> None:
    """Pose, root and camera are mirrored together, or projection would miss the mirrored 2D."""
    lesson = lesson_of(source, mirror_share=mirror_share)
    batch = lesson._batch(lesson._unlabelled)  # pyright: ignore[reportPrivateUsage]
    joints_camera_m = batch["joints"] + batch["root"][:, None]
    projected = project_screen(joints_camera_m, batch["intrinsics"], distortion="brown_conrady")
    torch.testing.assert_close(projected, batch["target"], atol=1e-4, rtol=0.0)
    turned = mirror_joints(batch["target"], load_skeleton("h36m_16"))
    assert not torch.allclose(turned, batch["target"], atol=1e-2)
    middle = batch["keypoints"].shape[1] // 2
    assert torch.equal(batch["keypoints"][:, middle], batch["target"])


def test_the_first_epoch_is_labelled_only_then_unlabelled_rows_join(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson = lesson_of(source)
    seen: list[int] = []
    step = train_semi.SemiSupervisedTrainer.step

    def watched(self: Any, labelled: Any, unlabelled: Any = None) -> Any:
        seen.append(0 if unlabelled is None else len(unlabelled.keypoints_screen))
        return step(self, labelled, unlabelled)

    monkeypatch.setattr(train_semi.SemiSupervisedTrainer, "step", watched)
    for epoch in (0, 1):
        lesson.trainer.begin_epoch(epoch)
        lesson.learn()
    assert seen == [0, 16]


def test_the_unlabelled_data_are_part_of_the_plan(source: Path) -> None:
    plan: Plan = plan_train(settings(source), 0)
    assert plan.run_id != plan_train(settings(source, semi_supervised=None), 0).run_id


def test_what_does_not_go_together_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set workers to 1, reader to memory"):
        settings(source, reader="mapped")
    with pytest.raises(SettingsError, match=r"simple_baseline lifter wants.*semi_supervised\.trajectory"):
        run_train(settings(source, lifter={"kind": "simple_baseline", "width": 8}), context(tmp_path / "a"))
    nobody = {"unlabelled": [{"url": str(source), "parts": ["target_hard"]}]}
    with pytest.raises(SettingsError, match="no pairs in parts target_hard"):
        run_train(settings(source, semi_supervised=nobody), context(tmp_path / "b"))


def test_the_paper_s_simple_baseline_is_standardised_by_the_training_data(
    source: Path, tmp_path: Path
) -> None:
    lifter = {"kind": "simple_baseline", "width": 8, "standardise": True, "max_norm": 1.0}
    result = run_train(settings(source, semi_supervised=None, lifter=lifter, steps=4), context(tmp_path))
    state = load_trained_lifter(str(tmp_path / result.lifter_path)).module.state_dict()
    assert float(state["standard_out.spread"].max()) < 0.9
    assert float(state["standard_in.mean"].abs().max()) > 1e-3
