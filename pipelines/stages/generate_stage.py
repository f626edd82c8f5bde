"""The generate stage: a range of clips of the embedded motion generator, as sequences and pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

from augment.motion.generator import generate_clip
from augment.motion.settings import MotionSettings
from pipelines.executor import BadRow, OnBadRow
from pipelines.plan import Unit
from pipelines.stages.clip_intake import ClipIntake, IntakeSettings
from pipelines.stages.clip_table import TakenClip, write_clip_table
from pipelines.stages.quarantined import strict_json
from storage.commit import UnitCommit, read_commit
from storage.object_store import open_store
from storage.quarantine import QuarantinedRow
from storage.writer import UnitWriter

STAGE = "generate"


@dataclass(frozen=True)
class GenerateStageSettings:
    """What every unit of a run has in common."""

    out_url: str
    run_id: str
    seed: int
    motion: MotionSettings
    intake: IntakeSettings
    on_bad_row: OnBadRow = "quarantine"


class GenerateStage:
    """Does generate units: the clips from `first_clip` on, or a list of clips. A row of a unit is a clip."""

    def __init__(self, settings: GenerateStageSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        """Open the output; the generator's tables load with the first clip."""
        self._store = open_store(self._settings.out_url)
        self._intake = ClipIntake(self._settings.intake)

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        """Generate, project, write and commit."""
        settings = self._settings
        done = read_commit(self._store, settings.run_id, unit.unit_id)
        if done is not None:
            return done
        bad = {row.row: row for row in bad_rows}
        clips = _clips_of(unit)
        taken: list[TakenClip] = []
        with UnitWriter(self._store, settings.run_id, unit.unit_id, self._intake.skeleton) as writer:
            for row, index in enumerate(clips):
                if row not in bad:
                    taken += self._intake.add([generate_clip(settings.motion, settings.seed, index)], writer)
                elif settings.on_bad_row == "skip":
                    writer.reject(f"bad clip: {bad[row].failure.error_class}", 1)
                else:
                    writer.quarantine([self._quarantined(index, bad[row])])
            write_clip_table(self._store, settings.run_id, unit.unit_id, taken)
            return writer.commit()

    def probe(self, unit: Unit, start_row: int, stop_row: int) -> None:
        """Generate and project some clips and forget them."""
        for index in _clips_of(unit)[start_row:stop_row]:
            self._intake.add([generate_clip(self._settings.motion, self._settings.seed, index)], None)

    def _quarantined(self, index: int, bad: BadRow) -> QuarantinedRow:
        return QuarantinedRow(
            source="embedded",
            row=index,
            reason=str(bad.failure),
            stage=STAGE,
            traceback=bad.failure.traceback,
            raw_json=strict_json({"clip": index, "seed": self._settings.seed}),
            unit_row=bad.row,
        )


def _clips_of(unit: Unit) -> Sequence[int]:
    """Numbers of the unit's clips: a range, or (a retry) a list."""
    if "clips" in unit.payload:
        return unit.payload["clips"]
    first = unit.payload["first_clip"]
    return range(first, first + unit.rows)
