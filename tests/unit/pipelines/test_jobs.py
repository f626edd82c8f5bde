"""The jobs from end to end on a small embedded source, in this process."""

from pathlib import Path

import numpy as np
import pytest
import torch

from augment.motion.generator import generate_clip
from augment.motion.settings import MotionSettings
from pipelines.errors import BadRowError, PlanError, PlanMismatchError, PoolError, TooManyBadRowsError
from pipelines.executor import BadRowPolicy
from pipelines.heartbeat import read_heartbeat
from pipelines.import_motion import ImportSettings, plan_import, run_import
from pipelines.mass_augment import AugmentSettings, run_augment
from pipelines.parts import SplitSettings
from pipelines.stages import augment_stage
from pipelines.stages.clip_table import read_clip_table
from pipelines.status import run_status
from poses.identity import derive_ids
from storage.errors import DatasetError, ImporterError
from storage.importers.options import ImportOptions
from storage.object_store import open_store
from storage.reader import Dataset
from tests.unit.pipelines.cases import Killed, context, small_import


def augment_settings(source: Path, **changes: object) -> AugmentSettings:
    values = {
        "source": str(source),
        "augmentor": {"kind": "wide"},
        "copies": 3,
        "copies_per_unit": 2,
        **changes,
    }
    return AugmentSettings.model_validate(values)


def standing(n_frames: int) -> np.ndarray:
    """(T, 17, 3) of one person of the embedded source."""
    clip = generate_clip(MotionSettings(n_clips=1, mixture={"gesture": 1.0}), 0, 0)
    return clip.joints_world_m[:n_frames]


def test_import_writes_pairs_sequences_and_the_parts_of_clips(source: Path) -> None:
    dataset = Dataset.open(source)
    pairs = dataset.read_pairs()
    pairs.validate()
    assert set(pairs.extra["part"]) == {"source_train", "source_valid", "target_subject"}
    train = pairs.extra["part"] == "source_train"
    assert set(pairs.extra["rig"][train]) == {"h36m_like"}
    assert set(pairs.extra["rig"][~train]) == {"h36m_like", "mpi_inf_3dhp_like"}
    clips = list(dataset.clips())
    assert len(clips) == 6
    taken = read_clip_table(open_store(source), dataset.manifest.run_ids[0])
    assert {clip.key: clip.n_frames for clip in taken} == {clip.key: len(clip) for clip in clips}


def test_import_again_is_a_resume_that_does_nothing(source: Path) -> None:
    again = run_import(small_import(), context(source))
    assert again.units.manifest.version == 1
    assert again.units.report.commits == []


def test_import_with_another_recipe_is_refused_with_the_difference(source: Path) -> None:
    with pytest.raises(PlanMismatchError, match=r"recipe\.motion\.n_clips: 6 there, 7 now"):
        run_import(small_import(7), context(source))


def test_import_of_nothing_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no motion")
    with pytest.raises(ImporterError, match=r"nothing to import.*notes\.txt"):
        run_import(ImportSettings(source=str(tmp_path)), context(tmp_path / "out"))


def test_files_that_cannot_be_read_are_quarantined_by_name(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    np.savez(data / "good.npz", walk=standing(40))
    (data / "broken.bvh").write_text("HIERARCHY\nROOT Hips\n{")
    settings = ImportSettings(source=str(data), split=SplitSettings(shares={"source_train": 1.0}))
    result = run_import(settings, context(tmp_path / "out"))
    kept = list(Dataset.open(tmp_path / "out").quarantined_rows())
    assert [row.source for row in kept] == ["broken.bvh"]
    assert "broken.bvh" in kept[0].reason
    assert result.units.quarantined == 1
    assert result.units.n_pairs > 0


@pytest.mark.parametrize("on_bad_row", ["fail", "skip"])
def test_a_file_that_cannot_be_read_may_end_the_import_or_be_skipped(tmp_path: Path, on_bad_row: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "broken.bvh").write_text("HIERARCHY\nROOT Hips\n{")
    (data / "other.npz").write_bytes(b"nothing")
    np.savez(data / "good.npz", walk=standing(40))
    settings = ImportSettings(
        source=str(data), bad_rows=BadRowPolicy.model_validate({"on_bad_row": on_bad_row, "max_bad_rows": 2})
    )
    if on_bad_row == "fail":
        with pytest.raises(
            BadRowError, match=r"unit files-00000., row 0: ImporterError: .*(broken\.bvh|other\.npz)"
        ):
            run_import(settings, context(tmp_path / "out"))
        return
    result = run_import(settings, context(tmp_path / "out"))
    assert (result.units.rejected["bad file: ImporterError"], result.units.quarantined) == (2, 0)
    strict = settings.model_copy(update={"bad_rows": BadRowPolicy(on_bad_row="skip", max_bad_rows=1)})
    with pytest.raises(TooManyBadRowsError, match="2 bad rows with those of unit"):
        run_import(strict, context(tmp_path / "strict"))


def test_the_same_files_in_another_folder_are_the_same_run(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        np.savez(folder / "take.npz", walk=standing(3))
        ids.append(plan_import(ImportSettings(source=str(folder)), 0).run_id)
    assert ids[0] == ids[1]


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for folder in ("a", "b"):
        (data / folder).mkdir(parents=True)
        np.savez(data / folder / "take.npz", walk=standing(40))
    (data / "index.csv").write_text("key,subject,action_class\ntake/walk,anna,walk\n")
    settings = ImportSettings(source=str(data), options=ImportOptions(index_csv=data / "index.csv"))
    with pytest.raises(PlanError, match=r"clip 'take/walk' comes from a/take\.npz and from b/take\.npz"):
        run_import(settings, context(tmp_path / "out"))
    with pytest.raises(DatasetError):
        Dataset.open(tmp_path / "out")


def test_augment_makes_every_copy_of_the_chosen_part_once(source: Path, tmp_path: Path) -> None:
    result = run_augment(augment_settings(source), context(tmp_path))
    pairs = Dataset.open(tmp_path).read_pairs()
    pairs.validate()
    original = Dataset.open(source).read_pairs()
    train_ids = original.sample_id[original.extra["part"] == "source_train"]
    assert len(pairs) + sum(result.rejected.values()) == 3 * len(train_ids)
    assert set(pairs.copy.tolist()) == {1, 2, 3}
    assert set(pairs.extra["part"]) == {"source_train"}
    assert np.isin(pairs.source_id, train_ids).all()
    expected = derive_ids(pairs.source_id, 0, "wide", pairs.copy)
    np.testing.assert_array_equal(pairs.sample_id, expected)


def test_how_rows_are_cut_into_batches_changes_no_pair(source: Path, tmp_path: Path) -> None:
    made = []
    for name, changes in {"large": {}, "small": {"micro_rows": 37, "rows_per_unit": 100}}.items():
        run_augment(augment_settings(source, copies=1, **changes), context(tmp_path / name))
        pairs = Dataset.open(tmp_path / name).read_pairs()
        made.append(pairs.take(np.argsort(pairs.sample_id)))
    np.testing.assert_array_equal(made[0].sample_id, made[1].sample_id)
    np.testing.assert_array_equal(made[0].joints_camera_m, made[1].joints_camera_m)
    np.testing.assert_array_equal(made[0].keypoints_px, made[1].keypoints_px)


class PoisonedAugmentor:
    """Raises on one row."""

    name = "poisoned"

    def __init__(self, inner, poison: int) -> None:
        self._inner, self._poison = inner, poison

    def augment(self, batch, copy: int):
        if self._poison in batch.sample_id.tolist():
            raise ValueError("poisoned row")
        return self._inner.augment(batch, copy)


@pytest.mark.parametrize("on_bad_row", ["quarantine", "skip"])
def test_a_row_that_breaks_the_augmentor_is_named_and_the_rest_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_bad_row: str
) -> None:
    rows = Dataset.open(source).read_pairs()
    poison = int(rows.sample_id[np.flatnonzero(rows.extra["part"] == "source_train")[11]])
    build = augment_stage.build_augmentor
    monkeypatch.setattr(augment_stage, "build_augmentor", lambda *a: PoisonedAugmentor(build(*a), poison))
    settings = augment_settings(source, copies=1, bad_rows={"on_bad_row": on_bad_row})
    result = run_augment(settings, context(tmp_path))
    dataset = Dataset.open(tmp_path)
    pairs, train = dataset.read_pairs(), int((rows.extra["part"] == "source_train").sum())
    assert poison not in pairs.source_id.tolist()
    assert len(pairs) + sum(result.rejected.values()) + result.quarantined == train
    if on_bad_row == "skip":
        assert result.rejected["bad row: ValueError"] == 1
        return
    kept = list(dataset.quarantined_rows())
    assert [(row.stage, row.reason) for row in kept] == [("augment", "ValueError: poisoned row")]
    assert f'"sample_id": {poison}' in kept[0].raw_json
    assert "poisoned row" in kept[0].traceback


def test_a_damaged_source_gives_the_unit_up_with_the_reason(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run_import(small_import(), context(copy))
    dataset = Dataset.open(copy)
    path = copy / dataset.pair_files[0].path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PoolError, match="bytes in the manifest"):
        run_augment(augment_settings(copy, parts=None), context(tmp_path / "out"))
    statuses = run_status(str(tmp_path / "out"))
    assert statuses[0].condition == "failed"
    assert statuses[0].failures == {"UnitError": 2}
    assert "PoolError" in statuses[0].error


def test_status_of_a_finished_run(source: Path) -> None:
    status = run_status(str(source))[0]
    assert (status.condition, status.units_done, status.units_total) == ("done", 2, 2)
    assert status.rows == Dataset.open(source).n_pairs
    assert status.units_per_s is not None
    assert status.remaining_s is None


def test_status_of_a_run_that_fell_silent(source: Path) -> None:
    store = open_store(source)
    run_id = Dataset.open(source).manifest.run_ids[0]
    beat = read_heartbeat(store, run_id)
    assert beat is not None
    path = f"runs/{run_id}/heartbeat.json"
    running = beat.model_copy(update={"state": "running"})
    store.write_bytes(path, running.model_dump_json().encode())
    try:
        assert run_status(str(source), beat.updated_unix_s + 5)[0].condition == "running"
        assert run_status(str(source), beat.updated_unix_s + 500)[0].condition == "silent"
    finally:
        store.write_bytes(path, beat.model_dump_json().encode())


def test_status_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no run here"):
        run_status(str(tmp_path))


def test_a_job_killed_after_a_unit_goes_on_and_doubles_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = augment_settings(source)
    whole = run_augment(settings, context(tmp_path / "whole"))
    run = augment_stage.AugmentStage.run
    done: list[str] = []

    def dies_at_the_second(self, unit, bad_rows=()):
        if done:
            raise Killed
        done.append(unit.unit_id)
        return run(self, unit, bad_rows)

    monkeypatch.setattr(augment_stage.AugmentStage, "run", dies_at_the_second)
    with pytest.raises(Killed):
        run_augment(settings, context(tmp_path / "cut"))
    monkeypatch.undo()
    assert run_status(str(tmp_path / "cut"))[0].units_done == 1
    resumed = run_augment(settings, context(tmp_path / "cut"))
    assert done[0] not in {commit.unit_id for commit in resumed.report.commits}
    files = [[entry.sha256 for entry in result.manifest.files] for result in (whole, resumed)]
    assert files[0] == files[1]


class HungryAugmentor:
    """Runs out of GPU memory above ten rows."""

    name = "hungry"

    def __init__(self, inner) -> None:
        self._inner = inner
        self.sizes: list[int] = []

    def augment(self, batch, copy: int):
        self.sizes.append(len(batch))
        if len(batch) > 10:
            raise torch.OutOfMemoryError
        return self._inner.augment(batch, copy)


def test_gpu_out_of_memory_halves_the_micro_batch_and_remembers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run_augment(augment_settings(source, copies=1), context(tmp_path / "plain"))
    build, made = augment_stage.build_augmentor, []

    def hungry(*arguments):
        made.append(HungryAugmentor(build(*arguments)))
        return made[0]

    monkeypatch.setattr(augment_stage, "build_augmentor", hungry)
    settings = augment_settings(source, copies=1, micro_rows=64)
    result = run_augment(settings, context(tmp_path / "hungry"))
    assert [size for size in made[0].sizes if size > 10] == [64, 32, 16]
    assert result.n_pairs == plain.n_pairs
