"""What import and generate stages do with every clip: name its part, keep the motion, see it with cameras."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.parts import RigSettings, Split, SplitSettings, load_split
from pipelines.stages.clip_table import TakenClip
from pipelines.stages.clip_views import ViewSettings, on_skeleton, recentred, views
from poses.motion import MotionClip
from poses.skeleton import Skeleton, load_skeleton
from storage.writer import UnitWriter


@dataclass(frozen=True)
class IntakeSettings:
    """What every clip of a run has in common.

    Attributes:
        skeleton: Name or path of the dataset's skeleton.
        split: Which part a clip belongs to.
        rigs: Which cameras see that part.
        view: Which frames become pairs, and which poses are rejected.
        keep_sequences: Whether whole motions are written beside the pairs.
    """

    skeleton: str
    split: SplitSettings
    rigs: RigSettings
    view: ViewSettings
    keep_sequences: bool = True


class ClipIntake:
    """Turns clips into sequences and pairs of one unit after the other."""

    def __init__(self, settings: IntakeSettings) -> None:
        self._settings = settings
        self.skeleton: Skeleton = load_skeleton(settings.skeleton)
        self._split: Split = load_split(settings.split)

    def add(self, clips: Iterable[MotionClip], writer: UnitWriter | None) -> list[TakenClip]:
        """Work on clips; without a writer the result is thrown away, as in a probe. Returns those of some part."""
        taken: list[TakenClip] = []
        for clip in clips:
            part = self._split.part_of(clip.key, clip.subject)
            if part is None:
                if writer is not None:
                    writer.reject("frames of clips that the split leaves out", len(clip))
                continue
            self._add(recentred(on_skeleton(clip, self.skeleton)), part, writer)
            taken.append(
                TakenClip(
                    clip.key, clip.subject, clip.action, part, clip.rate_hz, len(clip), clip.source_file
                )
            )
        return taken

    def _add(self, clip: MotionClip, part: str, writer: UnitWriter | None) -> None:
        if writer is not None and self._settings.keep_sequences:
            writer.add_clips([clip])
        for view in views(clip, part, self._settings.rigs.rigs_of(part), self._settings.view):
            if writer is None:
                continue
            writer.add_pairs(view.pairs)
            for reason, count in sorted(view.rejected.items()):
                writer.reject(reason, count)
