"""What a job that counts steps keeps: checkpoints, the newest of which it goes on from, and its metrics for readers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from estimators.checkpoints import Checkpoint, checkpoint_from_bytes, checkpoint_to_bytes
from storage.object_store import ObjectStore

KEPT = 2
"""Checkpoints that are kept: the newest, and one more in case that it is damaged."""


class StepCheckpoints:
    """Writes and finds the checkpoints of one run.

    Args:
        store: Where the job writes.
        run_id: Of its plan; everything stands below `runs/RUN_ID/`.
    """

    def __init__(self, store: ObjectStore, run_id: str) -> None:
        self._store, self._folder = store, f"runs/{run_id}"

    def newest(self) -> Checkpoint | None:
        """The one to go on from; None at the beginning.

        Raises:
            CheckpointError: if it is damaged.
        """
        paths = self._paths()
        if not paths:
            return None
        return checkpoint_from_bytes(self._store.read_bytes(paths[-1]), f"{self._store.url}/{paths[-1]}")

    def save(
        self, step: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], **lines: Sequence[Any]
    ) -> None:
        """Keep the state after a step, and then what readers look at; older checkpoints are forgotten.

        Args:
            step: How many were done.
            tensors, metadata: Everything that the next step depends on.
            lines: Files of JSON lines by name, such as `metrics`.
        """
        path = f"{self._folder}/checkpoints/step-{step:09d}.safetensors"
        self._store.write_bytes(path, checkpoint_to_bytes(tensors, metadata))
        for name, values in lines.items():
            text = "".join(json.dumps(value, sort_keys=True) + "\n" for value in values)
            self._store.write_bytes(f"{self._folder}/{name}.jsonl", text.encode())
        for old in self._paths()[:-KEPT]:
            self._store.delete(old)

    def _paths(self) -> list[str]:
        paths = self._store.list(f"{self._folder}/checkpoints")
        return [path for path in paths if path.endswith(".safetensors")]
