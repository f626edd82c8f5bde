"""The label stage: 2D keypoints of a pairs file through a lifter into pseudo-labels, placed before their camera.

A unit is a range of rows of one file. A lifter of windows also sees the frames around a row, of the same file; frames
beyond the ends of a clip, a gap or the file repeat the end. The source's 3D, if it has any, is never read.

What comes out are pairs like any others: the source's keypoints and camera with the lifter's pose, its root where the
pose's image fits the keypoints best, or where a trajectory model sees it. Two things tell how far they may be trusted:
`label_reprojection_px` (B, J), distance of each joint's image from its keypoint, which `posemill verify` holds the file
to; and RepNet's columns (`stages.pose_critic`), if a critic is given.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from estimators.lifters.contract import check_keypoints
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from pipelines.errors import UnitError
from pipelines.executor import BadRow
from pipelines.frame_runs import sequence_numbers
from pipelines.label_roots import RootFinder
from pipelines.label_settings import LabelSettings
from pipelines.parts import part_names
from pipelines.plan import Unit
from pipelines.pose_table import PoseTable, Windows
from pipelines.stages.pose_critic import PLAUSIBILITY, PoseCritic
from pipelines.stages.quarantined import bad_pairs
from pipelines.trained_lifter import load_trained_lifter
from poses.batch import PoseBatch
from poses.cameras import in_front, project_px
from poses.identity import derive_ids, stable_id
from poses.skeleton import Skeleton
from storage.bone_ranges import are_impossible, bone_lengths_m
from storage.commit import UnitCommit, read_commit
from storage.errors import ShardError
from storage.object_store import open_store
from storage.reader import Dataset
from storage.row_checks import LABEL_COLUMN
from storage.writer import UnitWriter

STAGE = "label"
TOO_FEW_KEYPOINTS, BEHIND_CAMERA = "too_few_keypoints", "behind_camera"
IMPOSSIBLE_BONES, REPROJECTION, IMPLAUSIBLE = "impossible_bones", "reprojection", "implausible"
"""Reasons to refuse a label, in order of precedence."""
_INPUT_COLUMNS = (
    "sample_id", "keypoints_px", "keypoint_confidence", "camera_px",
    "source_id", "copy", "frame", "clip", "subject", "action", "camera_name",
)  # fmt: skip
_KEPT_EXTRA = ("part", "rig", "up_camera", "image")


class LabelStage:
    """Does label units.

    Args:
        settings: Of the job.
        out_url: Dataset to write.
        run_id, seed: Of the plan.
        source_version: Of the dataset to read.
    """

    def __init__(
        self, settings: LabelSettings, out_url: str, run_id: str, seed: int, source_version: int
    ) -> None:
        self._settings, self._run_id, self._seed = settings, run_id, seed
        self._out_url, self._source_version = out_url, source_version
        self._file: tuple[str, PoseTable] | None = None

    def setup(self) -> None:
        """Open the source and load the networks."""
        settings = self._settings
        self._store = open_store(self._out_url)
        self._source = Dataset.open(settings.source, self._source_version)
        self._lifter = load_trained_lifter(settings.lifter, settings.device)
        self._predictor = LifterTrainer(LifterTrainerSettings(), self._lifter.module)
        self._roots = RootFinder(settings.trajectory, settings.device, settings.flip)
        self._critic = PoseCritic(settings.critic, settings.device) if settings.critic is not None else None

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        """Read, label, write and commit."""
        done = read_commit(self._store, self._run_id, unit.unit_id)
        if done is not None:
            return done
        whole = self._read(unit)
        keep = np.ones(len(whole), bool)
        keep[[bad.row for bad in bad_rows]] = False
        with self._writer(unit) as writer:
            if self._settings.bad_rows.on_bad_row == "quarantine":
                payload = unit.payload
                writer.quarantine(bad_pairs(whole, bad_rows, payload["file"], payload["start_row"], STAGE))
            else:
                for bad in bad_rows:
                    writer.reject(f"bad row: {bad.failure.error_class}", 1)
            rejected: Counter[str] = Counter()
            for labels, reasons in self._labelled(unit, whole, np.flatnonzero(keep)):
                writer.add_pairs(labels)
                rejected.update(reasons)
            for reason, count in sorted(rejected.items()):
                writer.reject(reason, count)
            return writer.commit()

    def probe(self, unit: Unit, start_row: int, stop_row: int) -> None:
        """Label some rows of the unit and forget the result."""
        whole = self._read(unit)
        for _ in self._labelled(unit, whole, np.arange(start_row, min(stop_row, len(whole)))):
            pass

    def _writer(self, unit: Unit) -> UnitWriter:
        return UnitWriter(
            self._store,
            self._run_id,
            unit.unit_id,
            self._lifter.module.skeleton,
            keypoint_skeleton=self._source.keypoints_of,
        )

    def _read(self, unit: Unit) -> PoseBatch:
        """The unit's rows, without their 3D."""
        payload = unit.payload
        try:
            there = self._source.open_pairs(payload["file"]).columns
            wanted = [*_INPUT_COLUMNS, *(name for name in _KEPT_EXTRA if name in there)]
            return self._source.read_rows(
                payload["file"], payload["start_row"], payload["stop_row"], columns=wanted
            )
        except ShardError as error:
            raise UnitError(f"unit {unit.unit_id}: {error}") from error

    def _labelled(
        self, unit: Unit, whole: PoseBatch, rows: np.ndarray
    ) -> Iterator[tuple[PoseBatch, Counter[str]]]:
        """Labels of some rows of the unit, and why the others of them have none."""
        parts = self._settings.parts
        if parts is not None:
            rows = rows[np.isin(part_names(whole)[rows], list(parts))]
        table, first = self._table(unit, whole)
        windows = Windows(table, self._lifter.module.receptive_field, self._lifter.causal)
        at_once = max(1, self._settings.frames_at_once // self._lifter.module.receptive_field)
        for start in range(0, len(rows), at_once):
            chosen = rows[start : start + at_once]
            inputs = windows.inputs(first + chosen)
            check_keypoints(inputs, table.keypoints_of, 1)
            joints = self._predictor.predict(inputs.to(self._settings.device), flip=self._settings.flip)
            joints_root_m = joints.reshape(len(chosen), -1, 3).cpu().numpy()
            batch = whole.take(chosen)
            places, there = self._roots.places(joints_root_m, batch, table, first + chosen)
            yield self._kept(self._pairs(batch.take(there), joints_root_m[there], places[there]), there)

    def _table(self, unit: Unit, whole: PoseBatch) -> tuple[PoseTable, int]:
        """What the networks look at, and the row of it that is the unit's first: the unit's own rows, or, for windows,
        those of its file, which are read once."""
        lone = self._lifter.module.receptive_field == 1 and self._roots.receptive_field == 1
        file = unit.payload["file"]
        if lone:
            return _keypoint_table(whole, self._lifter.module.skeleton), 0
        if self._file is None or self._file[0] != file:
            there = self._source.open_pairs(file).columns
            wanted = [*_INPUT_COLUMNS, *(name for name in ("rig",) if name in there)]
            rows = next(entry.rows for entry in self._source.pair_files if entry.path == file)
            batch = self._source.read_rows(file, 0, rows, columns=wanted)
            self._file = file, _keypoint_table(batch, self._lifter.module.skeleton)
        return self._file[1], unit.payload["start_row"]

    def _pairs(self, batch: PoseBatch, joints_root_m: np.ndarray, places: np.ndarray) -> PoseBatch:
        joints_camera_m = (joints_root_m + places[:, None]).astype(np.float32)
        skeleton, keypoints = self._lifter.module.skeleton, batch.keypoints_of
        image_px = project_px(joints_camera_m, batch.camera_px)
        distance_px = np.zeros(batch.keypoint_confidence.shape, np.float32)
        for number, name in enumerate(keypoints.joints):
            if name in skeleton.joints:
                offset = image_px[:, skeleton.index(name)] - batch.keypoints_px[:, number]
                distance_px[:, number] = np.linalg.norm(offset, axis=-1)
        return PoseBatch(
            skeleton=skeleton,
            sample_id=derive_ids(batch.sample_id, self._seed, STAGE, 0),
            joints_camera_m=joints_camera_m,
            keypoints_px=batch.keypoints_px,
            keypoint_confidence=batch.keypoint_confidence,
            camera_px=batch.camera_px,
            source_id=batch.sample_id,
            copy=batch.copy,
            frame=batch.frame,
            clip=batch.clip,
            subject=batch.subject,
            action=batch.action,
            camera_name=batch.camera_name,
            extra={**batch.extra, LABEL_COLUMN: distance_px},
            keypoint_skeleton=keypoints,
        )

    def _kept(self, labels: PoseBatch, there: np.ndarray) -> tuple[PoseBatch, Counter[str]]:
        """Labels that pass every test, and how many failed which."""
        settings = self._settings
        rejected = Counter({TOO_FEW_KEYPOINTS: int((~there).sum())})
        labels = _without(labels, ~in_front(labels.joints_camera_m), BEHIND_CAMERA, rejected)
        impossible = are_impossible(bone_lengths_m(labels.joints_camera_m, labels.skeleton), labels.skeleton)
        labels = _without(labels, np.asarray(impossible.any(1)), IMPOSSIBLE_BONES, rejected)
        if settings.max_reprojection_px is not None:
            too_far = mean_reprojection_px(labels) > settings.max_reprojection_px
            labels = _without(labels, too_far, REPROJECTION, rejected)
        if self._critic is not None:
            labels = self._critic.judged(labels)
            if settings.max_implausibility is not None:
                bad = labels.extra[PLAUSIBILITY] > settings.max_implausibility
                labels = _without(labels, bad, IMPLAUSIBLE, rejected)
        return labels, +rejected


def mean_reprojection_px(labels: PoseBatch) -> np.ndarray:
    """(B,) over the joints that were seen and that both skeletons have."""
    shared = np.isin(labels.keypoints_of.joints, labels.skeleton.joints)
    seen = (labels.keypoint_confidence > 0) & shared
    total = np.where(seen, labels.extra[LABEL_COLUMN], 0.0).sum(1)
    return total / np.maximum(seen.sum(1), 1)


def _without(labels: PoseBatch, bad: np.ndarray, reason: str, rejected: Counter[str]) -> PoseBatch:
    if not bad.any():
        return labels
    rejected[reason] += int(bad.sum())
    return labels.take(~bad)


def _keypoint_table(batch: PoseBatch, skeleton: Skeleton) -> PoseTable:
    """The rows as lifters look at them; there are no poses yet."""
    rig = batch.extra["rig"] if "rig" in batch.extra else np.full(len(batch), "", object)
    return PoseTable(
        skeleton,
        np.ascontiguousarray(batch.keypoints_screen, np.float32),
        np.zeros((len(batch), skeleton.n_joints, 3), np.float32),
        batch.action,
        np.full(len(batch), "", object),
        rig,
        sequence_numbers(batch.clip, batch.camera_name, rig, batch.copy),
        batch.frame,
        keypoint_skeleton=batch.keypoints_of,
    )


def label_unit_id(file: str, start_row: int) -> str:
    """Name of a label unit: the same for the same source rows."""
    return f"{stable_id(file):016x}-r{start_row}"
