"""The import stage: a few motion files, read, cleaned, resampled, and seen by the cameras of their part."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.executor import QUARANTINE_BAD_ROWS, BadRow, BadRowPolicy
from pipelines.plan import Unit
from pipelines.stages.clip_intake import ClipIntake, IntakeSettings
from pipelines.stages.clip_table import TakenClip, write_clip_table
from pipelines.stages.quarantined import retried_rows, strict_json
from poses.errors import PoseShapeError, SkeletonError
from poses.motion import MotionClip
from storage.commit import UnitCommit, read_commit
from storage.errors import ImporterError
from storage.importers.cleaning import QuarantinedFrames
from storage.importers.options import ImportOptions
from storage.importers.read_motion import ImportedMotion, read_motion
from storage.object_store import open_store
from storage.quarantine import QuarantinedRow
from storage.writer import UnitWriter

STAGE = "import"


@dataclass(frozen=True)
class ImportStageSettings:
    """What every unit of a run has in common.

    Attributes:
        source: Folder that the files of the units are relative to.
        out_url: Dataset to write.
        run_id: Of the plan.
        options: How files are read; their `root` is `source`.
        intake: How clips become sequences and pairs.
        bad_rows: What becomes of files that cannot be read.
    """

    source: str
    out_url: str
    run_id: str
    options: ImportOptions
    intake: IntakeSettings
    bad_rows: BadRowPolicy = QUARANTINE_BAD_ROWS


class ImportStage:
    """Does import units. A row of a unit is a file."""

    def __init__(self, settings: ImportStageSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        """Open the output; load skeleton and split."""
        self._store = open_store(self._settings.out_url)
        self._intake = ClipIntake(self._settings.intake)

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        """Read, project, write and commit."""
        settings = self._settings
        done = read_commit(self._store, settings.run_id, unit.unit_id)
        if done is not None:
            return done
        bad = {row.row: row for row in bad_rows}
        notes: list[str] = []
        taken: list[TakenClip] = []
        with UnitWriter(self._store, settings.run_id, unit.unit_id, self._intake.skeleton) as writer:
            for row, file in enumerate(unit.payload["files"]):
                if row in bad:
                    failure = bad[row].failure
                    self._leave_out(writer, file, row, failure.error_class, str(failure), failure.traceback)
                    continue
                try:
                    motion = self._read(file)
                    taken += self._intake.add(motion.clips, writer)
                except (ImporterError, SkeletonError, PoseShapeError) as error:
                    self._refuse(writer, file, row, error)
                    continue
                self._count(writer, motion, file)
                notes += motion.notes
            retried = retried_rows(self._store, unit)
            writer.quarantine(retried.carried if retried else ())
            self._keep_notes(unit, notes)
            write_clip_table(self._store, settings.run_id, unit.unit_id, taken)
            return writer.commit()

    def probe(self, unit: Unit, start_row: int, stop_row: int) -> None:
        """Read and project some files; files that `run` would refuse in words pass, unless they end the job."""
        for file in unit.payload["files"][start_row:stop_row]:
            try:
                self._intake.add(self._read(file).clips, None)
            except (ImporterError, SkeletonError, PoseShapeError):
                if self._settings.bad_rows.on_bad_row == "fail":
                    raise

    def _read(self, file: str) -> ImportedMotion:
        source = Path(self._settings.source)
        options = self._settings.options.model_copy(update={"root": source})
        motion = read_motion(source / file, options)
        clips: list[MotionClip] = [replace(clip, source_file=file) for clip in motion.clips]
        return replace(motion, clips=clips)

    def _refuse(self, writer: UnitWriter, file: str, row: int, error: Exception) -> None:
        """A file that the importer cannot read: an expected fault of the data, so no search is needed to name it.

        Raises:
            ImporterError: (or what it was) where the first bad file shall end the job.
        """
        if self._settings.bad_rows.on_bad_row == "fail":
            raise error
        self._leave_out(writer, file, row, type(error).__name__, f"{type(error).__name__}: {error}", "")

    def _leave_out(
        self, writer: UnitWriter, file: str, row: int, error_class: str, reason: str, traceback: str
    ) -> None:
        if self._settings.bad_rows.on_bad_row == "skip":
            writer.reject(f"bad file: {error_class}", 1)
            return
        raw = strict_json({"file": file})
        writer.quarantine([QuarantinedRow(file, None, reason, STAGE, traceback, raw, unit_row=row)])

    def _count(self, writer: UnitWriter, motion: ImportedMotion, file: str) -> None:
        """Count every source frame that was not passed on, and keep what was quarantined."""
        writer.quarantine(_frames_row(frames, file) for frames in motion.quarantined)
        frames_by_reason: Counter[str] = Counter()
        for frames in motion.quarantined:
            frames_by_reason[f"source frames quarantined: {frames.reason}"] += frames.n_frames
        frames_by_reason["source frames of an inserted pose"] += motion.counts.inserted_pose
        for reason, count in sorted(frames_by_reason.items()):
            writer.reject(reason, count)

    def _keep_notes(self, unit: Unit, notes: Sequence[str]) -> None:
        """What the importer mended or found odd, for people, beside the plan."""
        if notes:
            lines = [note.replace(f"{self._settings.source}/", "") for note in notes]
            path = f"runs/{self._settings.run_id}/notes/{unit.unit_id}.txt"
            self._store.write_bytes(path, ("\n".join(lines) + "\n").encode())


def _frames_row(frames: QuarantinedFrames, file: str) -> QuarantinedRow:
    return QuarantinedRow(
        source=f"{file}: {frames.key}",
        row=frames.first_frame if frames.first_frame >= 0 else None,
        reason=f"{frames.reason}: {frames.detail}",
        stage=STAGE,
        raw_json=strict_json(
            {
                "file": file,
                "clip": frames.key,
                "first_frame": frames.first_frame,
                "last_frame": frames.last_frame,
            }
        ),
    )
