"""Quarantined rows run again: what passes is published on top, once; what fails stays, with today's reason."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import PlanError, PlanMismatchError
from pipelines.import_motion import ImportSettings, run_import
from pipelines.mass_augment import AugmentSettings, run_augment
from pipelines.parts import SplitSettings
from pipelines.retried_jobs import RETRIED_JOBS
from pipelines.retry_quarantine import retry_quarantine
from pipelines.stages import augment_stage, generate_stage
from pipelines.stages.quarantined import pair_json, pairs_of_json
from poses.batch import ARRAY_COLUMNS
from storage.commit import list_commits
from storage.errors import CommitConflictError
from storage.manifest import manifest_versions, read_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from storage.verify import verify_dataset
from tests.unit.pipelines.cases import Killed, context, make_source, small_import
from tests.unit.pipelines.test_jobs import standing


class Poisoned:
    """Raises on some rows."""

    name = "poisoned"

    def __init__(self, inner, poison: set[int], words: str) -> None:
        self._inner, self._poison, self._words = inner, poison, words

    def augment(self, batch, copy: int):
        if self._poison & set(batch.sample_id.tolist()):
            raise ValueError(self._words)
        return self._inner.augment(batch, copy)


def augment(source: Path, **changes: object) -> AugmentSettings:
    values = {
        "source": str(source),
        "augmentor": {"kind": "wide"},
        "copies": 2,
        "copies_per_unit": 1,
        **changes,
    }
    return AugmentSettings.model_validate(values)


def poison(monkeypatch: pytest.MonkeyPatch, rows: set[int], words: str = "poisoned row") -> None:
    build = augment_stage.build_augmentor
    monkeypatch.setattr(augment_stage, "build_augmentor", lambda *a: Poisoned(build(*a), rows, words))


def train_ids(source: Path) -> list[int]:
    rows = Dataset.open(source).read_pairs()
    return rows.sample_id[rows.extra["part"] == "source_train"].tolist()


def in_order(url: Path):
    pairs = Dataset.open(url).read_pairs()
    return pairs.take(np.argsort(pairs.sample_id))


def test_mended_code_gives_the_rows_of_an_undisturbed_run_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_augment(augment(source), context(tmp_path / "whole"))
    bad = set(train_ids(source)[3:9])
    with monkeypatch.context() as patch:
        poison(patch, bad)
        run_augment(augment(source), context(tmp_path / "out"))
    assert read_manifest(open_store(tmp_path / "out")).quarantined == 12
    result = retry_quarantine(context(tmp_path / "out"))[0]
    assert (result.retried, result.passed, result.version, result.reasons) == (12, 12, 2, {})
    whole, mended = in_order(tmp_path / "whole"), in_order(tmp_path / "out")
    np.testing.assert_array_equal(mended.sample_id, whole.sample_id)
    np.testing.assert_array_equal(mended.joints_camera_m, whole.joints_camera_m)
    np.testing.assert_array_equal(mended.extra["up_camera"], whole.extra["up_camera"])
    dataset = Dataset.open(tmp_path / "out")
    assert list(dataset.quarantined_rows()) == []
    assert dataset.manifest.quarantined == 0
    assert verify_dataset(dataset).is_sound
    assert retry_quarantine(context(tmp_path / "out")) == []
    assert manifest_versions(open_store(tmp_path / "out")) == [1, 2]
    again = run_augment(augment(source), context(tmp_path / "out"))
    assert again.manifest.version == 2
    assert again.report.commits == []


def test_what_still_fails_stays_with_todays_reason(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = train_ids(source)[5::9]
    with monkeypatch.context() as patch:
        poison(patch, set(ids[:9]))
        run_augment(augment(source, copies=1), context(tmp_path))
    with monkeypatch.context() as patch:
        poison(patch, set(ids[:5]), "another reason")
        first = retry_quarantine(context(tmp_path))[0]
        assert (first.retried, first.passed, first.version) == (9, 4, 2)
        assert first.reasons == {"ValueError: another reason": 5}
        kept = list(Dataset.open(tmp_path).quarantined_rows())
        assert {json.loads(row.raw_json)["sample_id"] for row in kept} == set(ids[:5])
        assert all("another reason" in row.traceback for row in kept)
        second = retry_quarantine(context(tmp_path))[0]
        assert (second.retried, second.passed, second.pairs, second.version) == (5, 0, 0, None)
        third = retry_quarantine(context(tmp_path))[0]
        assert third.run_id != second.run_id
    last = retry_quarantine(context(tmp_path))[0]
    assert (last.retried, last.passed, last.version) == (5, 5, 3)
    made = Dataset.open(tmp_path).read_pairs()
    assert len(np.unique(made.sample_id)) == len(made)
    assert set(ids[:9]) & set(made.source_id.tolist())


def test_a_retry_that_was_killed_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison(patch, set(train_ids(source)[5::9][:9]))
        run_augment(augment(source, copies=1), context(tmp_path))
    run = augment_stage.AugmentStage.run
    done: list[str] = []

    def dies_at_the_third(self, unit, bad_rows=()):
        if len(done) == 2:
            raise Killed
        done.append(unit.unit_id)
        return run(self, unit, bad_rows)

    with monkeypatch.context() as patch:
        patch.setattr(augment_stage.AugmentStage, "run", dies_at_the_third)
        with pytest.raises(Killed):
            retry_quarantine(context(tmp_path))
    assert manifest_versions(open_store(tmp_path)) == [1]
    result = retry_quarantine(context(tmp_path))[0]
    assert result.passed == 9
    assert len(list_commits(open_store(tmp_path), result.run_id)) == 3
    assert manifest_versions(open_store(tmp_path)) == [1, 2]


def test_of_two_retries_at_once_one_publishes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison(patch, set(train_ids(source)[:2]))
        run_augment(augment(source, copies=1), context(tmp_path))
    run = augment_stage.AugmentStage.run
    others: list[int | None] = []

    def other_retry_first(self, unit, bad_rows=()):
        if not others:
            others.append(None)
            monkeypatch.setattr("pipelines.plan.code_version", lambda: "other")
            others[0] = retry_quarantine(context(tmp_path))[0].version
        return run(self, unit, bad_rows)

    monkeypatch.setattr(augment_stage.AugmentStage, "run", other_retry_first)
    with pytest.raises((CommitConflictError, PlanError), match=r"in the dataset already|settled its rows"):
        retry_quarantine(context(tmp_path))
    assert others == [2]
    made = Dataset.open(tmp_path).read_pairs()
    assert len(np.unique(made.sample_id)) == len(made)


def test_a_file_that_was_mended_is_imported(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    np.savez(data / "good.npz", walk=standing(40))
    (data / "late.npz").write_bytes(b"half a file")
    (data / "broken.npz").write_bytes(b"no file at all")
    settings = ImportSettings(source=str(data), split=SplitSettings(shares={"source_train": 1.0}))
    run_import(settings, context(tmp_path / "out"))
    assert retry_quarantine(context(tmp_path / "out"))[0].version is None
    np.savez(data / "late.npz", run=standing(30))
    told = context(tmp_path / "out")
    result = retry_quarantine(told)[0]
    assert (result.retried, result.passed, result.version) == (2, 1, 2)
    assert "late.npz: another file than when it was quarantined" in told.progress.messages
    dataset = Dataset.open(tmp_path / "out")
    assert {clip.key for clip in dataset.clips()} == {"good/walk", "late/run"}
    assert [row.source for row in dataset.quarantined_rows()] == ["broken.npz"]
    moved = data.rename(tmp_path / "elsewhere")
    np.savez(moved / "broken.npz", jump=standing(30))
    last = retry_quarantine(context(tmp_path / "out"), {"source": str(moved)})[0]
    assert (last.passed, last.version) == (1, 3)
    assert verify_dataset(Dataset.open(tmp_path / "out")).is_sound


def test_clips_of_the_embedded_source_are_generated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = generate_stage.generate_clip

    def fails_at_four(settings, seed, index):
        if index == 4:
            raise ValueError("no clip 4")
        return generate(settings, seed, index)

    with monkeypatch.context() as patch:
        patch.setattr(generate_stage, "generate_clip", fails_at_four)
        run_import(small_import(), context(tmp_path / "out"))
    assert retry_quarantine(context(tmp_path / "out"))[0].passed == 1
    make_source(tmp_path / "whole")
    mended, whole = in_order(tmp_path / "out"), in_order(tmp_path / "whole")
    np.testing.assert_array_equal(mended.joints_camera_m, whole.joints_camera_m)


def test_a_retry_changes_no_recipe(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        poison(patch, {train_ids(source)[0]})
        run_augment(augment(source, copies=1), context(tmp_path))
    with pytest.raises(PlanMismatchError, match=r"not what rows become; wanted run-time knobs.*got copies"):
        retry_quarantine(context(tmp_path), {"copies": 2})
    with pytest.raises(PlanError, match=r"settings of the run, copies"):
        retry_quarantine(context(tmp_path), {"copies": "many"})


def test_other_weights_and_unknown_jobs_are_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison(patch, {train_ids(source)[0]})
        run_augment(augment(source, copies=1), context(tmp_path))
    other = replace(RETRIED_JOBS["augment"], weights=lambda settings: {"augmentor": "22"})
    with monkeypatch.context() as patch:
        patch.setitem(RETRIED_JOBS, "augment", other)  # pyright: ignore[reportArgumentType]
        with pytest.raises(PlanMismatchError, match="other weights would make the rows"):
            retry_quarantine(context(tmp_path))
    monkeypatch.delitem(RETRIED_JOBS, "augment")  # pyright: ignore[reportArgumentType]
    with pytest.raises(PlanError, match="rows of the job 'augment' cannot be retried"):
        retry_quarantine(context(tmp_path))


def test_a_raw_row_comes_back_as_it_was(source: Path) -> None:
    batch = Dataset.open(source).read_pairs().take(slice(0, 3))
    batch.extra["tiny"] = np.asarray([1e-42, np.nan, -np.inf], np.float32)  # pyright: ignore[reportIndexIssue]
    again = pairs_of_json([pair_json(batch, row) for row in range(3)], batch.skeleton)
    for name in ARRAY_COLUMNS:
        np.testing.assert_array_equal(getattr(again, name), getattr(batch, name))
    for name, values in batch.extra.items():
        assert again.extra[name].dtype == values.dtype
        np.testing.assert_array_equal(again.extra[name], values)


def test_rows_of_an_older_posemill_stay_and_are_told(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        poison(patch, {train_ids(source)[0]})
        patch.setattr("storage.writer.replace", lambda row, **_: row)
        run_augment(augment(source, copies=1), context(tmp_path))
    told = context(tmp_path)
    assert retry_quarantine(told) == []
    assert "1 rows stay in quarantine: an older posemill wrote them" in told.progress.messages[0]
