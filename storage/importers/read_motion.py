"""Motion files in, clean clips of one rate out: the importers' one entry."""

import fnmatch
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from poses.motion import MotionClip
from storage.errors import ImporterError
from storage.importers.cleaning import QuarantinedFrames, Stretch, find_bad_frames
from storage.importers.clip_index import ClipIndex, IndexRow, read_index, subject_of
from storage.importers.clip_source import SourceClip
from storage.importers.discover import discover, format_of, import_root, relative_name
from storage.importers.frame_rate import doubtful_rate
from storage.importers.options import ImportOptions
from storage.importers.plausibility import check_body_size, odd_posture
from storage.importers.registry import READERS
from storage.importers.resample import resample


@dataclass(frozen=True)
class FrameCounts:
    """Where the source frames went: read = inserted_pose + kept + quarantined."""

    read: int = 0
    inserted_pose: int = 0
    kept: int = 0
    quarantined: int = 0

    def __add__(self, other: "FrameCounts") -> "FrameCounts":
        return FrameCounts(
            self.read + other.read,
            self.inserted_pose + other.inserted_pose,
            self.kept + other.kept,
            self.quarantined + other.quarantined,
        )


@dataclass(frozen=True)
class ImportedMotion:
    """What came out of one file or folder.

    Args:
        clips: At the rate asked for, in file order.
        quarantined: Source frames that were not passed on, with reasons.
        notes: What was mended or looks odd, for people.
        counts: Source frames (before resampling) by what became of them.
    """

    clips: list[MotionClip] = field(default_factory=list)
    quarantined: list[QuarantinedFrames] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: FrameCounts = field(default_factory=FrameCounts)


def read_motion(path: str | Path, options: ImportOptions | None = None) -> ImportedMotion:
    """The clips of one motion file, or of every motion file below a folder.

    Args:
        path: File or folder. In a folder a file that cannot be read is quarantined with reason "unreadable",
            so that the others can be; a single file's error is raised.
        options: See `ImportOptions`; all defaults if not given.

    Returns:
        Clips in world metres, y up, subject's left = +x when facing +z, float32, at `options.rate_hz`. A
        clip's key is its path below the root without suffix (and the array's name, for npz); a clip that was
        cut has "@<first source frame>" after it.

    Raises:
        ImporterError: if there is nothing to import, or the single file cannot be read.
    """
    path = Path(path)
    options = options or ImportOptions()
    index = read_index(options.index_csv)
    root = import_root(path, options)
    total = ImportedMotion()
    for file in discover(path, options):
        try:
            with np.errstate(all="ignore"):  # what is not finite is found by cleaning, and quarantined
                found = _read_file(file, root, options, index)
        except ImporterError as error:
            if path.is_file():
                raise
            key = relative_name(file, root)
            found = ImportedMotion(
                quarantined=[QuarantinedFrames(str(file), key, -1, -1, "unreadable", str(error))]
            )
        total.clips.extend(found.clips)
        total.quarantined.extend(found.quarantined)
        total.notes.extend(found.notes)
        total = ImportedMotion(total.clips, total.quarantined, total.notes, total.counts + found.counts)
    return total


def _read_file(file: Path, root: Path, options: ImportOptions, index: ClipIndex) -> ImportedMotion:
    name = relative_name(file, root)
    reader = READERS[format_of(file)]
    result = ImportedMotion()
    counts = FrameCounts()
    # an override for the file is known before it is read, so that a header with a zero frame time does not
    # matter
    rate_hz = _override(options, _file_keys(file, name, index))
    for clip in reader(file, options, rate_hz, result.notes):
        counts += _add_clip(clip, file, name, options, index, result)
    return ImportedMotion(result.clips, result.quarantined, result.notes, counts)


def _file_keys(file: Path, name: str, index: ClipIndex) -> tuple[str, ...]:
    row = index.find(file, (name,))
    return (name,) if row is None else (name, row.key)


def _override(options: ImportOptions, keys: tuple[str, ...]) -> float | None:
    for glob, rate_hz in options.rate_overrides.items():
        if any(fnmatch.fnmatchcase(key, glob) for key in keys):
            return rate_hz
    return None


def _add_clip(
    clip: SourceClip, file: Path, name: str, options: ImportOptions, index: ClipIndex, result: ImportedMotion
) -> FrameCounts:
    """Clean and resample one clip into the result; gives back where its frames went."""
    path_key = f"{name}/{clip.name}" if clip.name else name
    row = index.find(file, (path_key, f"{file.stem}/{clip.name}" if clip.name else path_key))
    named = row or IndexRow(
        path_key, clip.subject or subject_of(path_key, options.subject_pattern), clip.action
    )
    rate_hz = _override(options, (path_key, named.key)) or clip.rate_hz
    n_frames = len(clip.joints_world_m)
    skip = min(clip.inserted_pose_frames if options.skip_frames is None else options.skip_frames, n_frames)
    usable = replace(clip, joints_world_m=clip.joints_world_m[skip:], rate_hz=rate_hz)
    check_body_size(usable.joints_world_m, clip.skeleton, f"{file}: {named.key}")
    cleaned = find_bad_frames(usable.joints_world_m, clip.skeleton, rate_hz, options)
    parts = [usable.joints_world_m[stretch.first : stretch.last + 1] for stretch in cleaned.kept]
    for doubt in (
        odd_posture(usable.joints_world_m, clip.skeleton),
        doubtful_rate(parts, clip.skeleton, rate_hz),
    ):
        result.notes.extend([f"{file}: {named.key}: {doubt}"] if doubt else [])
    dropped = [
        *cleaned.quarantined,
        *_add_stretches(usable, cleaned.kept, file, named, skip, options, result),
    ]
    for stretch in sorted(dropped, key=lambda stretch: stretch.first):
        first, last = stretch.first + skip, stretch.last + skip
        result.quarantined.append(
            QuarantinedFrames(str(file), named.key, first, last, stretch.reason, stretch.detail)
        )
    quarantined = sum(len(stretch) for stretch in dropped)
    return FrameCounts(n_frames, skip, n_frames - skip - quarantined, quarantined)


def _add_stretches(
    usable: SourceClip,
    kept: tuple[Stretch, ...],
    file: Path,
    named: IndexRow,
    skip: int,
    options: ImportOptions,
    result: ImportedMotion,
) -> list[Stretch]:
    """Resample the kept stretches into clips; gives back those in which no frame of the new rate lies."""
    empty = []
    for stretch in kept:
        frames = np.arange(stretch.first, stretch.last + 1)
        joints_m = usable.joints_world_m[stretch.first : stretch.last + 1]
        positions_m, source = resample(joints_m, frames, usable.rate_hz, options.rate_hz)
        if not len(positions_m):
            detail = f"no frame of {options.rate_hz:g} Hz falls into its {len(stretch)} frames"
            empty.append(Stretch(stretch.first, stretch.last, "too_short", detail))
            continue
        result.clips.append(
            MotionClip(
                key=named.key if len(kept) == 1 else f"{named.key}@{stretch.first + skip:06d}",
                subject=named.subject or "unknown",
                action=named.action or "unknown",
                rate_hz=options.rate_hz,
                joints_world_m=positions_m.astype(np.float32),
                skeleton=usable.skeleton,
                source_file=str(file),
                source_frame=(source + skip).astype(np.int32),
            )
        )
    return empty
