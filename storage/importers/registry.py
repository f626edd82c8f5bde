"""The formats that can be imported: a name, and a function that gives the clips of one file."""

from collections.abc import Callable, Iterator
from pathlib import Path

from storage.importers.asf_amc import read_asf_amc
from storage.importers.bvh import read_bvh
from storage.importers.clip_source import SourceClip
from storage.importers.clips_npz import read_clips_npz
from storage.importers.deepmimic import read_deepmimic
from storage.importers.h36m_npz import read_h36m_npz
from storage.importers.options import ImportOptions
from storage.importers.skeletal_clip import clip_of_skeleton

Notes = list[str]
Reader = Callable[[Path, ImportOptions, float | None, Notes], Iterator[SourceClip]]


def _bvh(path: Path, options: ImportOptions, rate_hz: float | None, notes: Notes) -> Iterator[SourceClip]:
    yield clip_of_skeleton(read_bvh(path, rate_hz), options, notes)


def _asf_amc(path: Path, options: ImportOptions, rate_hz: float | None, notes: Notes) -> Iterator[SourceClip]:
    yield clip_of_skeleton(read_asf_amc(path, options.asf, rate_hz), options, notes)


def _deepmimic(
    path: Path, options: ImportOptions, rate_hz: float | None, notes: Notes
) -> Iterator[SourceClip]:
    yield clip_of_skeleton(read_deepmimic(path, rate_hz), options, notes)


def _h36m_npz(
    path: Path, options: ImportOptions, rate_hz: float | None, notes: Notes
) -> Iterator[SourceClip]:
    return read_h36m_npz(path, rate_hz, options.unit_m, options.up_axis)


def _clips_npz(
    path: Path, options: ImportOptions, rate_hz: float | None, notes: Notes
) -> Iterator[SourceClip]:
    return read_clips_npz(path, rate_hz, options.unit_m, options.up_axis)


READERS: dict[str, Reader] = {
    "bvh": _bvh,
    "asf_amc": _asf_amc,
    "deepmimic": _deepmimic,
    "h36m_npz": _h36m_npz,
    "clips_npz": _clips_npz,
}
