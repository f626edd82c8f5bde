"""Which clips a run took in, and their parts: one small JSON file a unit, beside the plan."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipelines.errors import PlanError
from storage.manifest import manifest_versions, read_manifest
from storage.object_store import ObjectStore


@dataclass(frozen=True)
class TakenClip:
    """One clip of the dataset."""

    key: str
    subject: str
    action: str
    part: str
    rate_hz: float
    n_frames: int
    source_file: str


def write_clip_table(store: ObjectStore, run_id: str, unit_id: str, clips: Sequence[TakenClip]) -> None:
    """Write the clips of one unit; equal bytes for equal clips."""
    rows = [asdict(clip) for clip in clips]
    store.write_bytes(f"runs/{run_id}/clips/{unit_id}.json", json.dumps(rows, indent=1).encode())


def read_clip_table(store: ObjectStore, run_id: str) -> list[TakenClip]:
    """The clips of all units of a run, in the units' order."""
    clips: list[TakenClip] = []
    for path in store.list(f"runs/{run_id}/clips"):
        clips += [TakenClip(**row) for row in json.loads(store.read_bytes(path))]
    return clips


def refuse_repeated_clips(store: ObjectStore, run_id: str) -> None:
    """Raise PlanError if two clips share a key, in this run or with those that are published: rows would share ids."""
    first_file: dict[str, str] = {}
    published = read_manifest(store).run_ids if manifest_versions(store) else ()
    for clip in (clip for run in dict.fromkeys((*published, run_id)) for clip in read_clip_table(store, run)):
        if clip.key in first_file:
            way = "leave one out with options.exclude, or give other keys with options.index_csv"
            if clip.source_file.startswith("embedded:"):
                way = "clips of the embedded source share keys whatever the seed; write to another output (--out)"
            raise PlanError(
                f"clip {clip.key!r} comes from {first_file[clip.key]} and from {clip.source_file}; "
                f"keys must be unique: {way}"
            )
        first_file[clip.key] = clip.source_file
