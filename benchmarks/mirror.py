"""The cheap transform that both write in `bench_pool`, and our stage around it.

A module of its own, and a light one: actors and Ray Data's workers import it, and neither shall pay for torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.executor import BadRow
from pipelines.plan import Unit
from storage.commit import UnitCommit
from storage.object_store import open_store
from storage.reader import Dataset
from storage.writer import UnitWriter

COLUMNS = ("joints_camera_m", "keypoints_px")


@dataclass
class MirrorStage:
    """Reads one file, mirrors its poses, writes and commits."""

    source_url: str
    out_url: str

    def setup(self) -> None:
        self._source, self._store = Dataset.open(self.source_url), open_store(self.out_url)

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        pairs = self._source.read_rows(unit.payload["file"], 0, unit.rows)
        changed = mirrored({name: getattr(pairs, name) for name in COLUMNS})
        with UnitWriter(self._store, "run", unit.unit_id, self._source.skeleton) as writer:
            writer.add_pairs(replace(pairs, **changed))
            return writer.commit()


def mirrored(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The cheap transform, the same for both: left becomes right in 3D and 2D."""
    return {
        **columns,
        "joints_camera_m": columns["joints_camera_m"] * np.float32([-1, 1, 1]),
        "keypoints_px": np.float32([1000, 0]) - columns["keypoints_px"] * np.float32([1, -1]),
    }
