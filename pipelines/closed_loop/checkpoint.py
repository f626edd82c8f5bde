"""Loop checkpoints: the whole state of a closed loop, made visible at once and read back bit for bit.

A checkpoint is one safetensors file per member of the crew, named by its content, and one JSON record that names them
with their digests. The record is put last and only if absent: a loop that is killed while it writes leaves files that
nobody reads, never half a checkpoint. Nothing in it is pickled.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
from torch import Tensor

from pipelines.closed_loop.errors import LoopStateError
from storage.object_store import ObjectStore

CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class MemberState:
    """What one member of the crew needs to go on: tensors, and everything else as JSON."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    scalars: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoopState:
    """The state of a loop after `rounds_done` rounds: every member's state, by the member's name."""

    rounds_done: int
    members: dict[str, MemberState]


class LoopCheckpoints:
    """The checkpoints of one loop, below `prefix` in a store."""

    def __init__(self, store: ObjectStore, prefix: str, settings_digest: str, keep: int = 3) -> None:
        self._store = store
        self._prefix = prefix.rstrip("/")
        self._settings_digest = settings_digest
        self._keep = keep

    def save(self, state: LoopState) -> None:
        """Write the state; saving the same round again leaves the first record standing."""
        files: dict[str, dict[str, Any]] = {}
        for name, member in state.members.items():
            data = safetensors.torch.save({key: value.contiguous() for key, value in member.tensors.items()})
            digest = hashlib.sha256(data).hexdigest()
            path = f"{self._prefix}/data/{name}-{digest[:16]}.safetensors"
            self._store.write_bytes(path, data)
            files[name] = {"path": path, "sha256": digest, "scalars": member.scalars}
        record = {
            "format": CHECKPOINT_FORMAT,
            "settings": self._settings_digest,
            "rounds_done": state.rounds_done,
            "members": files,
        }
        self._store.put_if_absent(self._record_path(state.rounds_done), json.dumps(record, indent=1).encode())
        self._forget_old()

    def load_latest(self) -> LoopState | None:
        """The newest state, or None where the loop has not saved one.

        Raises:
            LoopStateError: if the record was made with other settings, or one of its files is damaged.
        """
        rounds = self._saved_rounds()
        return self._load(rounds[-1]) if rounds else None

    def _load(self, rounds_done: int) -> LoopState:
        path = self._record_path(rounds_done)
        record = json.loads(self._store.read_bytes(path))
        if record["settings"] != self._settings_digest:
            raise LoopStateError(
                f"{path}: made with other settings ( {record['settings'][:12]}, now {self._settings_digest[:12]});"
                " choose another `out` or give back the old settings"
            )
        members = {name: self._load_member(entry) for name, entry in record["members"].items()}
        return LoopState(record["rounds_done"], members)

    def _load_member(self, entry: dict[str, Any]) -> MemberState:
        data = self._store.read_bytes(entry["path"])
        found = hashlib.sha256(data).hexdigest()
        if found != entry["sha256"]:
            raise LoopStateError(
                f"{entry['path']}: sha256 {entry['sha256'][:12]} in the checkpoint's record, {found[:12]} in the file;"
                " the file is damaged, delete this checkpoint's record to resume from the one before"
            )
        return MemberState(safetensors.torch.load(data), entry["scalars"])

    def _record_path(self, rounds_done: int) -> str:
        return f"{self._prefix}/round-{rounds_done:06d}.json"

    def _saved_rounds(self) -> list[int]:
        names = [path.rsplit("/", 1)[-1] for path in self._store.list(self._prefix)]
        return sorted(
            int(name[6:12]) for name in names if name.startswith("round-") and name.endswith(".json")
        )

    def _forget_old(self) -> None:
        """Drop the records past the newest `keep`, then the data that no record names; records go first."""
        rounds = self._saved_rounds()
        for old in rounds[: -self._keep]:
            self._store.delete(self._record_path(old))
        named: set[str] = set()
        for kept in rounds[-self._keep :]:
            record = json.loads(self._store.read_bytes(self._record_path(kept)))
            named.update(entry["path"] for entry in record["members"].values())
        for path in self._store.list(f"{self._prefix}/data"):
            if path not in named:
                self._store.delete(path)
