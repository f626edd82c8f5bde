"""RepNet's job resumes to the same numbers; its files serve as lifter and as critic of the augment job."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from estimators.checkpoints import load_checkpoint
from estimators.errors import CheckpointError
from estimators.lifters.repnet.judge import import_judge
from pipelines import train_unpaired
from pipelines.errors import PlanMismatchError, SettingsError
from pipelines.evaluate import EvaluateSettings, run_evaluate
from pipelines.mass_augment import AugmentSettings, run_augment
from pipelines.plan import Unit
from pipelines.pose_table import PairsSource
from pipelines.stage_chain import RowRange
from pipelines.stages.pose_critic import CAMERA, PLAUSIBILITY, REPROJECTION, PoseCritic
from pipelines.train_unpaired import TrainUnpairedSettings, run_train_unpaired
from pipelines.trained_lifter import load_trained_lifter
from pipelines.unpaired_data import load_detections, load_real_poses
from poses.errors import SkeletonError
from poses.skeleton import load_skeleton
from storage.reader import Dataset
from tests.unit.pipelines.cases import Killed, context

SMALL_CRITIC = {"pose_width": 8, "chain_width": 16, "joined_width": 8}


def settings(source: Path, **changes: Any) -> TrainUnpairedSettings:
    values: dict[str, Any] = {
        "poses": [{"url": str(source), "parts": ["source_train"]}],
        "keypoints": [{"url": str(source), "parts": ["target_*"], "rigs": ["h36m_like"]}],
        "validation": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
        "network": {"width": 16},
        "trainer": {"critic": SMALL_CRITIC, "learning_rate": 1e-3},
        "batch_rows": 16,
        "steps": 12,
        "validate_every": 4,
        "checkpoint_every": 4,
    }
    return TrainUnpairedSettings.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def trained(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("repnet")
    run_train_unpaired(settings(source), context(out))
    return out


def test_a_killed_run_goes_on_to_the_same_files(
    source: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = train_unpaired.RepNetTrainer.step

    def dies_at_ten(self: Any, *arguments: Any) -> Any:
        if self.steps == 10:
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(train_unpaired.RepNetTrainer, "step", dies_at_ten)
    with pytest.raises(Killed):
        run_train_unpaired(settings(source), context(tmp_path))
    monkeypatch.undo()
    result = run_train_unpaired(settings(source), context(tmp_path))
    assert [entry["step"] for entry in result.history] == [4, 8, 12]
    assert all(entry["pa_mpjpe_mm"] > 0 for entry in result.history)
    for name in (result.lifter_path, result.critic_path):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_another_recipe_is_refused(source: Path, tmp_path: Path) -> None:
    run_train_unpaired(settings(source, steps=1), context(tmp_path))
    with pytest.raises(PlanMismatchError, match="preset"):
        run_train_unpaired(settings(source, steps=1, preset="paper"), context(tmp_path))


def test_only_one_half_of_each_pair_is_used(source: Path) -> None:
    whole = Dataset.open(str(source)).read_pairs()
    train = whole.take(whole.extra["part"] == "source_train")
    real = load_real_poses([PairsSource(url=str(source), parts=("source_train",))])
    np.testing.assert_array_equal(real.joints_root_m, train.joints_root_m)
    chosen = whole.take((whole.extra["part"] == "target_subject") & (whole.extra["rig"] == "h36m_like"))
    seen = load_detections([PairsSource(url=str(source), parts=("target_*",), rigs=("h36m_like",))])
    np.testing.assert_allclose(seen.keypoints_screen, chosen.keypoints_screen, atol=1e-6)
    assert seen.availability.min() == 1.0


def test_an_empty_selection_is_told(source: Path, tmp_path: Path) -> None:
    nothing = [{"url": str(source), "parts": ["target_hard"]}]
    with pytest.raises(SettingsError, match="no rows in parts target_hard"):
        run_train_unpaired(settings(source, keypoints=nothing), context(tmp_path))


def test_its_lifter_is_evaluated_like_any_other(source: Path, trained: Path, tmp_path: Path) -> None:
    lifter = load_trained_lifter(str(trained / "lifter.safetensors"))
    assert lifter.metadata["selected_on"] == "last step"
    wanted = EvaluateSettings.model_validate(
        {
            "checkpoint": str(trained / "lifter.safetensors"),
            "data": [{"url": str(source), "parts": ["source_valid"], "rigs": ["h36m_like"]}],
        }
    )
    (row,) = run_evaluate(wanted, context(tmp_path))
    metrics = row.result.metrics
    assert 0 < metrics["pa_mpjpe_mm"] < metrics["mpjpe_mm"]


def augmented(source: Path, trained: Path, out: Path, **changes: Any) -> Dataset:
    values = {
        "source": str(source),
        "augmentor": {"kind": "detector_noise"},
        "critic": str(trained / "critic.safetensors"),
        "rows_per_unit": 100,
    }
    run_augment(AugmentSettings.model_validate({**values, **changes}), context(out))
    return Dataset.open(str(out))


def test_the_augment_job_adds_the_critics_columns(source: Path, trained: Path, tmp_path: Path) -> None:
    first = augmented(source, trained, tmp_path / "one")
    pairs = first.read_pairs()
    assert len(pairs) > 100
    assert pairs.extra[CAMERA].shape == (len(pairs), 2, 4)
    for column in (CAMERA, REPROJECTION, PLAUSIBILITY):
        assert pairs.extra[column].dtype == np.float32
        assert np.isfinite(pairs.extra[column]).all()
    assert (pairs.extra[REPROJECTION] > 0).all()
    assert pairs.extra[PLAUSIBILITY].std() > 0
    other = augmented(source, trained, tmp_path / "two", micro_rows=37)
    digests = [sorted(entry.sha256 for entry in made.pair_files) for made in (first, other)]
    assert digests[0] == digests[1], "a row's judgement depends on the rows beside it"


def test_another_critic_is_another_run(source: Path, trained: Path, tmp_path: Path) -> None:
    augmented(source, trained, tmp_path)
    with pytest.raises(PlanMismatchError, match="critic"):
        augmented(source, trained, tmp_path, critic=None)


def test_a_stage_of_its_own_gives_the_same(source: Path, trained: Path) -> None:
    batch = Dataset.open(str(source)).read_pairs().take(np.arange(300))
    critic = PoseCritic(str(trained / "critic.safetensors"))
    critic.setup()
    whole = critic.judged(batch)
    parts = [critic.judged(batch.take(slice(start, start + 7))) for start in range(0, 300, 7)]
    for column in (CAMERA, REPROJECTION, PLAUSIBILITY):
        joined = np.concatenate([part.extra[column] for part in parts])
        np.testing.assert_array_equal(joined, whole.extra[column])
    assert len(critic.judged(batch.take(slice(0, 0))).extra[CAMERA]) == 0


def test_the_camera_images_the_body(source: Path, trained: Path) -> None:
    """The column's camera applied to the aligned pose gives the column's reprojection error."""
    from estimators.lifters.repnet.torso import align_to_torso

    batch = Dataset.open(str(source)).read_pairs().take(np.arange(20))
    found = PoseCritic(str(trained / "critic.safetensors")).judged(batch)
    body = align_to_torso(torch.from_numpy(batch.joints_camera_m), batch.skeleton).joints_m.numpy()
    camera = found.extra[CAMERA]
    image = body @ camera[:, :, :3].transpose(0, 2, 1) + camera[:, None, :, 3]
    error = np.linalg.norm(image - batch.keypoints_px, axis=-1).mean(1)
    np.testing.assert_allclose(found.extra[REPROJECTION], error, rtol=1e-3)


def test_missing_keypoints_count_for_nothing(source: Path, trained: Path) -> None:
    batch = Dataset.open(str(source)).read_pairs().take(np.arange(10))
    critic, results = PoseCritic(str(trained / "critic.safetensors")), []
    for nonsense in (0.0, 900.0):
        confidence, keypoints = batch.keypoint_confidence.copy(), batch.keypoints_px.copy()
        confidence[:, 5], keypoints[:, 5] = 0.0, nonsense
        results.append(critic.judged(replace(batch, keypoint_confidence=confidence, keypoints_px=keypoints)))
    np.testing.assert_array_equal(results[0].extra[REPROJECTION], results[1].extra[REPROJECTION])
    nobody = replace(batch, keypoint_confidence=np.zeros_like(batch.keypoint_confidence))
    assert (critic.judged(nobody).extra[REPROJECTION] == 0).all()


def test_plausibility_is_in_deviations_of_real_scores(source: Path, trained: Path) -> None:
    judge = import_judge(load_checkpoint(trained / "critic.safetensors"), "here")
    real = torch.from_numpy(load_real_poses(settings(source).poses).joints_root_m)
    found = judge.judge(real, real[..., :2]).plausibility
    assert abs(float(found.mean())) < 0.05
    assert float(found.std()) == pytest.approx(1.0, abs=0.05)
    shifted = replace(judge, real_mean=judge.real_mean - judge.real_deviation)
    torch.testing.assert_close(shifted.judge(real, real[..., :2]).plausibility, found - 1.0)


def test_another_file_is_no_critic(trained: Path) -> None:
    checkpoint = load_checkpoint(trained / "lifter.safetensors")
    with pytest.raises(CheckpointError, match="holds 'lifter', wanted a RepNet critic"):
        import_judge(checkpoint, "there")


def test_other_skeletons_are_refused_by_name(source: Path, trained: Path) -> None:
    """COCO's 17 joints and H36M's 17 have the same shape: only the skeleton tells them apart."""
    critic = PoseCritic(str(trained / "critic.safetensors"))
    with pytest.raises(SkeletonError, match=r"trained on skeleton 'h36m_16'.*'coco_17' \(nose"):
        critic.check_skeleton(load_skeleton("coco_17"))
    with pytest.raises(CheckpointError, match="'coco_17'"):
        load_trained_lifter(str(trained / "lifter.safetensors")).check_skeleton(load_skeleton("coco_17"))


def test_a_link_of_a_chain_gives_the_same_columns(source: Path, trained: Path) -> None:
    batch = Dataset.open(str(source)).read_pairs().take(np.arange(5))
    link = PoseCritic(str(trained / "critic.safetensors"))
    link.setup()
    passed = link.transform(Unit("one", "augment", {}, rows=5), RowRange(0, 5), batch)
    np.testing.assert_array_equal(passed.extra[CAMERA], link.judged(batch).extra[CAMERA])
    np.testing.assert_array_equal(passed.sample_id, batch.sample_id)
