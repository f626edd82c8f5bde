"""Mass augmentation of windows: whole motions in, whole motions out, each a clip of its own."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from pipelines import build
from pipelines.errors import SettingsError
from pipelines.file_windows import NO_WINDOW, file_windows
from pipelines.mapped_rows import MappedRows
from pipelines.mass_augment import AugmentSettings, plan_augment, rows_to_augment, run_augment
from pipelines.pose_table import PairsSource, Windows, load_table
from pipelines.retry_quarantine import retry_quarantine
from pipelines.run_units import UnitsResult
from pipelines.stages import augment_stage
from poses.batch import PoseBatch
from storage.manifest import publish_manifest
from storage.object_store import open_store
from storage.reader import Dataset
from storage.verify import verify_dataset
from storage.writer import UnitWriter
from tests.unit.pipelines.cases import context, make_source

FRAMES = 9


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    url = tmp_path_factory.mktemp("source")
    make_source(url)
    return url


@pytest.fixture(scope="module")
def rows(source: Path) -> PoseBatch:
    """The source's training rows."""
    pairs = Dataset.open(source).read_pairs()
    return pairs.take(pairs.extra["part"] == "source_train")


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, UnitsResult]:
    """Three copies of every window."""
    url = tmp_path_factory.mktemp("windows")
    return url, run_augment(settings(source, copies=3), context(url))


def settings(source: Path, **changes: object) -> AugmentSettings:
    values = {
        "source": str(source),
        "augmentor": {"kind": "wide"},
        "window_frames": FRAMES,
        "copies_per_unit": 2,
        **changes,
    }
    return AugmentSettings.model_validate(values)


def in_order(url: Path) -> PoseBatch:
    pairs = Dataset.open(url).read_pairs()
    return pairs.take(np.argsort(pairs.sample_id))


def same_pairs(left: Path, right: Path) -> bool:
    one, two = in_order(left), in_order(right)
    names = ("sample_id", "joints_camera_m", "keypoints_px", "frame", "source_id", "copy")
    same = [getattr(one, name).tobytes() == getattr(two, name).tobytes() for name in names]
    return all(same) and one.clip.tolist() == two.clip.tolist()


def windows_in(rows: PoseBatch, frames: int = FRAMES, stride: int = FRAMES) -> int:
    """Windows of the source's runs, which have no gaps."""
    runs = Counter(zip(rows.clip.tolist(), rows.camera_name.tolist(), strict=True))
    return sum((length - frames) // stride + 1 for length in runs.values() if length >= frames)


def test_every_window_of_every_copy_is_made_or_counted(
    rows: PoseBatch, made: tuple[Path, UnitsResult]
) -> None:
    url, result = made
    pairs = Dataset.open(url).read_pairs()
    pairs.validate()
    assert len(pairs) + sum(result.rejected.values()) == 3 * len(rows)
    assert result.rejected[NO_WINDOW] == 3 * (len(rows) - FRAMES * windows_in(rows)) > 0
    assert all(count % FRAMES == 0 for reason, count in result.rejected.items() if reason != NO_WINDOW)
    assert len(pairs) > 0.5 * 3 * len(rows)
    assert verify_dataset(Dataset.open(url)).is_sound


def test_each_window_is_a_clip_of_consecutive_source_frames(
    rows: PoseBatch, made: tuple[Path, UnitsResult]
) -> None:
    pairs = Dataset.open(made[0]).read_pairs()
    clips = pairs.clip.reshape(-1, FRAMES)  # shuffled, but a window's rows stay together and in order
    assert (clips == clips[:, :1]).all()
    assert len(set(clips[:, 0])) == len(clips)
    assert (pairs.frame.reshape(-1, FRAMES) == np.arange(FRAMES)).all()
    where = {int(sample): row for row, sample in enumerate(rows.sample_id)}
    source = np.array([where[int(sample)] for sample in pairs.source_id]).reshape(-1, FRAMES)
    assert (np.diff(rows.frame[source], axis=1) == 1).all()
    for names in (rows.clip, rows.camera_name):
        assert (names[source] == names[source][:, :1]).all()
    assert not (np.diff(source[:, 0]) > 0).all()  # it is shuffled
    used = Counter(zip(pairs.source_id.tolist(), pairs.copy.tolist(), strict=True))
    assert set(used.values()) == {1}
    assert clips[0, 0].startswith(rows.clip[source[0, 0]] + f"/{rows.frame[source[0, 0]]:06d}-")


def test_a_temporal_lifter_reads_exactly_these_windows(made: tuple[Path, UnitsResult]) -> None:
    pairs = Dataset.open(made[0]).read_pairs()
    middle = pairs.sample_id.reshape(-1, FRAMES)[:, FRAMES // 2]
    wanted = dict(
        zip(
            middle.tolist(),
            pairs.joints_root_m.reshape(-1, FRAMES, *pairs.joints_root_m.shape[1:]),
            strict=True,
        )
    )
    seen = 0
    for batch in Dataset.open(made[0]).to_torch(window=FRAMES):
        for sample, joints in zip(
            batch["sample_id"][:, FRAMES // 2].tolist(), batch["joints_root_m"], strict=True
        ):
            if sample in wanted:
                np.testing.assert_array_equal(joints.numpy(), wanted[sample])
                seen += 1
    assert seen == len(middle)
    table = load_table([PairsSource(url=str(made[0]))])
    windows = Windows(table, FRAMES, every_frame=True)
    rows = np.flatnonzero(table.frame == FRAMES // 2)
    for row, joints in zip(rows.tolist(), windows.targets(rows), strict=True):
        own = table.joints_root_m[table.sequence == table.sequence[row]]
        np.testing.assert_array_equal(
            joints.numpy(), own[np.argsort(table.frame[table.sequence == table.sequence[row]])]
        )


def test_motion_is_as_smooth_as_the_source(
    rows: PoseBatch, made: tuple[Path, UnitsResult], source: Path, tmp_path: Path
) -> None:
    pairs = Dataset.open(made[0]).read_pairs()
    recorded = np.concatenate(
        [np.diff(rows.joints_camera_m[at], 2, axis=0) for at in file_windows_of(source)]
    )
    frames = pairs.joints_camera_m.reshape(-1, FRAMES, *pairs.joints_camera_m.shape[1:])
    roughness = [np.linalg.norm(step, axis=-1).mean() for step in (np.diff(frames, 2, axis=1), recorded)]
    assert roughness[0] < 2 * roughness[1]


def file_windows_of(source: Path) -> list[np.ndarray]:
    """Row numbers, among the training rows, of all windows: the files' order is that of `read_pairs`."""
    dataset = Dataset.open(source)
    kept = np.flatnonzero(dataset.read_pairs().extra["part"] == "source_train")
    found, offset = [], 0
    for entry in dataset.pair_files:
        there = file_windows(dataset, entry.path, ("source_train",), FRAMES, FRAMES).rows + offset
        found += [np.searchsorted(kept, window) for window in there]
        offset += entry.rows
    return found


def test_batches_units_and_resumes_change_no_pair(
    source: Path, made: tuple[Path, UnitsResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_augment(settings(source, copies=3, micro_rows=100), context(tmp_path / "small"))
    files = [[file.sha256 for file in Dataset.open(url).pair_files] for url in (made[0], tmp_path / "small")]
    assert files[0] == files[1]
    run_augment(settings(source, copies=3, micro_rows=200, rows_per_unit=300), context(tmp_path / "units"))
    assert same_pairs(made[0], tmp_path / "units")
    run, done = augment_stage.AugmentStage.run, []

    def dies_at_the_second(self, unit, bad_rows=()):
        if done:
            raise KeyboardInterrupt
        done.append(unit.unit_id)
        return run(self, unit, bad_rows)

    with monkeypatch.context() as patch:
        patch.setattr(augment_stage.AugmentStage, "run", dies_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            run_augment(settings(source, copies=3), context(tmp_path / "cut"))
    run_augment(settings(source, copies=3), context(tmp_path / "cut"))
    assert [file.sha256 for file in Dataset.open(tmp_path / "cut").pair_files] == files[0]


class Poisoned:
    """Raises on windows with one row; runs out of GPU memory above two windows."""

    name = "poisoned"

    def __init__(self, inner, poison: int) -> None:
        self._inner, self._poison = inner, poison

    def augment(self, batch, copy: int):
        raise NotImplementedError

    def augment_windows(self, batch, copy: int, shape):
        if len(batch) > 2 * shape.frames:
            raise torch.OutOfMemoryError
        if self._poison in batch.sample_id.tolist():
            raise ValueError("poisoned row")
        return self._inner.augment_windows(batch, copy, shape)


@pytest.mark.parametrize("on_bad_row", ["quarantine", "skip"])
def test_a_bad_row_spoils_its_window_only_and_can_be_retried(
    source: Path, rows: PoseBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_bad_row: str
) -> None:
    window = file_windows_of(source)[3]
    poison = int(rows.sample_id[window[2]])
    job = settings(
        source, augmentor={"kind": "mirror"}, bad_rows={"on_bad_row": on_bad_row, "max_bad_rows": 1}
    )
    build = augment_stage.build_augmentor
    with monkeypatch.context() as patch:
        patch.setattr(augment_stage, "build_augmentor", lambda *a: Poisoned(build(*a), poison))
        result = run_augment(job, context(tmp_path / "out"))
    pairs = Dataset.open(tmp_path / "out").read_pairs()
    assert len(pairs) == FRAMES * (windows_in(rows) - 1)
    assert not set(pairs.source_id.tolist()) & set(rows.sample_id[window].tolist())
    if on_bad_row == "skip":
        assert result.rejected["bad window: ValueError"] == 1
        return
    kept = list(Dataset.open(tmp_path / "out").quarantined_rows())
    assert [row.reason for row in kept] == ["ValueError: poisoned row"]
    assert kept[0].raw_json.count('"sample_id"') == FRAMES
    run_augment(job, context(tmp_path / "whole"))
    retried = retry_quarantine(context(tmp_path / "out"))[0]
    assert (retried.retried, retried.passed, retried.pairs) == (1, 1, FRAMES)
    assert same_pairs(tmp_path / "whole", tmp_path / "out")


def test_overlapping_windows_share_frames_under_other_ids(
    source: Path, rows: PoseBatch, tmp_path: Path
) -> None:
    job = settings(source, augmentor={"kind": "mirror"}, window_stride=4)
    result = run_augment(job, context(tmp_path))
    pairs = Dataset.open(tmp_path).read_pairs()
    pairs.validate()
    assert len(pairs) == FRAMES * windows_in(rows, FRAMES, 4)
    assert len(np.unique(pairs.source_id)) + result.rejected[NO_WINDOW] == len(rows)
    assert Counter(Counter(pairs.source_id.tolist()).values()).keys() >= {2}
    assert verify_dataset(Dataset.open(tmp_path)).is_sound


def test_no_row_group_ends_inside_a_window(
    source: Path, made: tuple[Path, UnitsResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment_stage, "ROW_GROUP_ROWS", 50)
    run_augment(settings(source, copies=3), context(tmp_path))
    dataset = Dataset.open(tmp_path)
    assert same_pairs(made[0], tmp_path)
    for entry in dataset.pair_files:
        file = pq.ParquetFile(tmp_path / entry.path)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        assert len(sizes) > 2
        assert all(size % FRAMES == 0 for size in sizes)


def test_the_plan_knows_how_many_rows_it_will_make(source: Path, made: tuple[Path, UnitsResult]) -> None:
    job = settings(source, copies=3, rows_per_unit=100)
    plan, dataset = plan_augment(job, 0)
    weights = rows_to_augment(job, plan, dataset)
    result = made[1]
    rejected = sum(count for reason, count in result.rejected.items() if reason != NO_WINDOW)
    assert sum(weights.values()) == result.n_pairs + rejected
    assert len(plan.units) > 4
    assert all(0 < unit.rows <= 100 // FRAMES for unit in plan.units)


def test_windows_of_rows_in_any_order_and_with_gaps(rows: PoseBatch, tmp_path: Path) -> None:
    one = replace(
        rows.take((rows.clip == rows.clip[0]) & (rows.camera_name == rows.camera_name[0])), extra={}
    )
    there = np.setdiff1d(np.arange(30), [12])  # runs of 12 and 17 frames
    order = np.random.Generator(np.random.PCG64(1)).permutation(there)
    store = open_store(tmp_path)
    with UnitWriter(store, "r", "u", one.skeleton, row_group_rows=10) as writer:
        writer.add_pairs(one.take(order))
        commit = writer.commit()
    publish_manifest(store, "r", [commit], one.skeleton)
    dataset = Dataset.open(tmp_path)
    found = file_windows(dataset, dataset.pair_files[0].path, None, 5, 5)
    frames = sorted((order[window] - order[window][0]).tolist() for window in found.rows)
    assert frames == [list(range(5))] * 5
    assert sorted(order[found.rows[:, 0]].tolist()) == [0, 5, 13, 18, 23]
    assert found.left_over == 2 + 2
    assert (np.diff(found.rows[:, 0]) > 0).all()
    assert len(file_windows(dataset, dataset.pair_files[0].path, None, 18, 1)) == 0
    with pytest.raises(SettingsError, match="no column 'part'"):
        file_windows(dataset, dataset.pair_files[0].path, ("a",), 5, 5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"augmentor": {"kind": "detector_noise"}}, "draws each frame for itself"),
        ({"window_frames": 1, "window_stride": 3}, "there are no windows"),
        ({"window_frames": 0}, "greater than or equal to 1"),
    ],
)
def test_what_makes_no_windows_is_refused(source: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(source, **changes)


@pytest.mark.parametrize("reader", ["memory", "mapped"])
def test_training_may_leave_out_what_repeats_frames(
    made: tuple[Path, UnitsResult], tmp_path: Path, reader: str
) -> None:
    pairs = Dataset.open(made[0]).read_pairs()
    n_windows, source = len(pairs) // FRAMES, PairsSource(url=str(made[0]))
    for frames, per_window in ((FRAMES, 1), (5, FRAMES - 4)):
        rows = rows_of(source, reader, frames, tmp_path)
        assert len(rows) == per_window * n_windows
        inputs = rows.inputs(np.arange(len(rows)))
        assert inputs.shape[1] == frames
        assert not (inputs[:, 1:] == inputs[:, :-1]).flatten(2).all(2).any()  # no frame stands there twice
    everything = rows_of(source, reader, FRAMES, tmp_path, whole_only=False)
    assert len(everything) == FRAMES * n_windows
    with pytest.raises(SettingsError, match="no clip has 11 frames"):
        rows_of(source, reader, 11, tmp_path)


def rows_of(
    source: PairsSource, reader: str, frames: int, folder: Path, whole_only: bool = True
) -> Windows | MappedRows:
    if reader == "mapped":
        return MappedRows(source, str(folder), frames, whole_only=whole_only)
    return Windows(load_table([source]), frames, whole_only=whole_only)


def test_clips_that_are_too_short_give_nothing_and_are_counted(
    source: Path, rows: PoseBatch, tmp_path: Path
) -> None:
    result = run_augment(settings(source, copies=3, window_frames=1000), context(tmp_path))
    assert (result.n_pairs, result.rejected) == (0, {NO_WINDOW: 3 * len(rows)})
    assert verify_dataset(Dataset.open(tmp_path)).is_sound


def test_a_build_hands_its_windows_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[AugmentSettings] = []

    class Told(Exception):  # noqa: N818 - it ends the test's part of the build
        pass

    def note(job: AugmentSettings, _context: object) -> None:
        asked.append(job)
        raise Told

    monkeypatch.setattr(build, "run_augment", note)
    chosen = {
        "augment": {"window_frames": FRAMES},
        "loop": {"augmentor": {"kind": "random", "preset": "wide"}},
    }
    with pytest.raises(Told):
        build._augment(build.BuildSettings.model_validate(chosen), context(tmp_path), "out")  # pyright: ignore[reportPrivateUsage]
    assert (asked[0].window_frames, asked[0].stride, asked[0].augmentor.kind) == (FRAMES, FRAMES, "wide")
