"""The root's place evaluated beside the poses: errors in camera coordinates, under a protocol of their own."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from estimators.checkpoints import checkpoint_to_bytes
from estimators.errors import LifterInputError
from estimators.lifters.settings import build_lifter
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.lifters.temporal.videopose import VideoPoseSettings
from jobs.report.evaluation import evaluation_tables
from pipelines.errors import SettingsError
from pipelines.evaluate import EvaluateSettings, run_evaluate
from pipelines.evaluate_trajectory import CAMERA_PROTOCOL, check_trajectory, evaluate_in_camera, predict_roots
from pipelines.pose_table import PairsSource, PoseTable, load_table
from pipelines.trained_lifter import lifter_to_bytes
from poses.errors import ProtocolError
from poses.protocols import find_protocol
from poses.skeleton import load_skeleton
from tests.unit.pipelines.cases import context

SHAPE = VideoPoseSettings(kind="videopose", channels=8, kernel_widths=(3, 3))


def trajectory_of(skeleton_name: str = "h36m_16", **changes: Any) -> RootTrajectory:
    torch.manual_seed(3)
    shape = SHAPE.model_copy(update=changes)
    return RootTrajectory(shape, load_skeleton(skeleton_name)).eval()


def file_of(trajectory: RootTrajectory, path: Path) -> str:
    document = {
        "kind": "trajectory",
        "lifter": trajectory.settings.model_dump(mode="json"),
        "skeleton": trajectory.skeleton.to_dict(),
    }
    path.write_bytes(checkpoint_to_bytes(trajectory.state_dict(), document))
    return str(path)


@pytest.fixture
def table(source: Path) -> PoseTable:
    found = load_table([PairsSource(url=str(source), parts=("source_valid",))], with_cameras=True)
    return found.in_time_order()


def test_errors_of_known_mistakes(table: PoseTable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert table.root_camera_m is not None
    off = np.array([0.3, 0.0, 0.4], np.float32)
    roots = torch.from_numpy(table.root_camera_m + off)
    monkeypatch.setattr("pipelines.evaluate_trajectory.predict_roots", lambda *_: roots)
    result = evaluate_in_camera(trajectory_of(), table, torch.from_numpy(table.joints_root_m))
    assert result.metrics["root_error_m"] == pytest.approx(0.5, abs=1e-5)
    assert result.metrics["absolute_mpjpe_mm"] == pytest.approx(500.0, abs=0.01)
    assert result.metrics["root_error_relative"] == pytest.approx(
        np.mean(0.5 / table.root_camera_m[:, 2]), rel=1e-5
    )
    back = torch.from_numpy(
        table.joints_root_m - off
    )  # poses that are wrong the other way: the joints come out right
    assert evaluate_in_camera(trajectory_of(), table, back).metrics["absolute_mpjpe_mm"] < 0.01
    assert set(result.by_action) == set(table.action.tolist())
    assert result.n_poses == len(table)


def test_roots_are_those_of_each_rows_window(table: PoseTable) -> None:
    trajectory = trajectory_of()
    roots = predict_roots(trajectory, table)
    inside = next(
        row for row in range(4, len(table) - 4) if len(set(table.sequence[row - 4 : row + 5].tolist())) == 1
    )
    window = torch.from_numpy(table.keypoints_screen[None, inside - 4 : inside + 5])
    torch.testing.assert_close(roots[inside], trajectory(window)[0, 0], atol=1e-5, rtol=1e-4)
    past = predict_roots(trajectory_of(causal=True), table)
    assert not torch.allclose(past[inside], roots[inside])
    both = predict_roots(trajectory, table, flip=True)
    mirrored = trajectory.skeleton.mirror_index
    other = trajectory(window[:, :, mirrored] * torch.tensor([-1.0, 1.0]))[0, 0] * torch.tensor(
        [-1.0, 1.0, 1.0]
    )
    torch.testing.assert_close(both[inside], (roots[inside] + other) / 2, atol=1e-5, rtol=1e-4)


def test_the_job_tells_both_under_their_own_protocols(source: Path, tmp_path: Path) -> None:
    skeleton = load_skeleton("h36m_16")
    lifter = build_lifter(SHAPE, skeleton, seed=0)
    path = tmp_path / "lifter.safetensors"
    path.write_bytes(lifter_to_bytes(lifter.state_dict(), SHAPE, skeleton, {"selected_on": "validation"}))
    values = {
        "checkpoint": str(path),
        "data": [{"url": str(source), "parts": ["source_valid", "target_subject"], "rigs": ["h36m_like"]}],
    }
    plain = run_evaluate(EvaluateSettings.model_validate(values), context(tmp_path / "plain"))
    placed = file_of(trajectory_of(), tmp_path / "trajectory.safetensors")
    settings = EvaluateSettings.model_validate(values | {"trajectory": placed})
    rows = run_evaluate(settings, context(tmp_path / "placed"))
    assert [row.to_dict() for row in rows if row.result.protocol != CAMERA_PROTOCOL] == [
        r.to_dict() for r in plain
    ]
    extra = [row.to_dict() for row in rows if row.result.protocol == CAMERA_PROTOCOL]
    assert [row["part"] for row in extra] == ["source_valid", "target_subject"]
    assert all(
        set(row["metrics"]) == {"absolute_mpjpe_mm", "root_error_m", "root_error_relative"} for row in extra
    )
    document = json.loads((tmp_path / "placed/evaluation.json").read_text())
    assert document["trajectory"] == placed
    tables = evaluation_tables(document)
    assert [table.columns[0] for table in tables] == ["MPJPE, mm", "MPJPE in camera coordinates, mm"]
    assert "in camera coordinates" in tables[1].protocol
    with pytest.raises(ProtocolError, match="no evaluation protocol"):
        find_protocol(CAMERA_PROTOCOL)


def test_models_and_tables_that_do_not_fit_are_refused(table: PoseTable) -> None:
    lifter = build_lifter(SHAPE, load_skeleton("h36m_16"), seed=0)
    with pytest.raises(SettingsError, match="the lifter gives 'h36m_16'"):
        check_trajectory(trajectory_of("h36m_17"), lifter, "trajectory.safetensors")
    with pytest.raises(LifterInputError, match=r"trajectory.safetensors: 2D keypoints of skeleton 'h36m_16'"):
        check_trajectory(trajectory_of(keypoint_skeleton="coco_17"), lifter, "trajectory.safetensors")
    poses = torch.from_numpy(table.joints_root_m)
    with pytest.raises(SettingsError, match="load it with cameras"):
        evaluate_in_camera(trajectory_of(), replace(table, root_camera_m=None), poses)
    assert table.root_camera_m is not None
    with pytest.raises(SettingsError, match="in front of"):
        evaluate_in_camera(trajectory_of(), replace(table, root_camera_m=-table.root_camera_m), poses)
