"""Loop checkpoints: the whole state of a closed loop, made visible at once and read back bit for bit.

A checkpoint is one safetensors file per member of the crew, named by its content, and one JSON record that names them
with their digests. The record is put last and only if absent: a loop that is killed while it writes leaves files that
nobody reads, never half a checkpoint. Nothing in it is pickled.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
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
    """The state of a loop after `rounds_done` rounds: every member's state, by the member's name.

    `attempt` counts the restarts after collapses that the loop had behind it. One that is saved `between` the regular
    ones, because the loop was asked to stop, only serves to go on from: how far a restart goes back does not count it.
    """

    rounds_done: int
    members: dict[str, MemberState]
    attempt: int = 0
    between: bool = False


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
            "attempt": state.attempt,
            "between": state.between,
            "members": files,
        }
        self._store.put_if_absent(self._record_path(state.rounds_done), json.dumps(record, indent=1).encode())
        self._forget_old()

    def load_latest(self) -> LoopState | None:
        """The newest state, or None where the loop has not saved one.

        Raises:
            LoopStateError: if the record was made with other settings, or one of its files is damaged.
        """
        rounds = self.saved_rounds()
        return self._load(rounds[-1]) if rounds else None

    def saved_rounds(self) -> list[int]:
        """How many rounds were done at each saved state, fewest first."""
        names = [path.rsplit("/", 1)[-1] for path in self._store.list(self._prefix)]
        return sorted(
            int(name[6:-5]) for name in names if re.fullmatch(r"round-\d{6,}\.json", name, re.ASCII)
        )

    def regular_rounds(self) -> list[int]:
        """`saved_rounds` without those that were saved between the regular ones."""
        return [saved for saved in self.saved_rounds() if not self._record(saved).get("between")]

    def forget_after(self, rounds_done: int, before_attempt: int) -> None:
        """Drop the states of more than `rounds_done` rounds that were saved before the `before_attempt`-th restart."""
        for saved in reversed(self.saved_rounds()):
            if saved > rounds_done and self._record(saved)["attempt"] < before_attempt:
                self._store.delete(self._record_path(saved))

    def read_note(self, name: str) -> Any:
        """A JSON value that was written beside the checkpoints of this loop; None where there is none."""
        path = f"{self._prefix}/{name}.json"
        return self._read_json(path).get("note") if self._store.exists(path) else None

    def write_note(self, name: str, value: Any) -> None:
        """Keep a JSON value beside the checkpoints; it takes the place of the one before."""
        note = {"settings": self._settings_digest, "note": value}
        self._store.write_bytes(f"{self._prefix}/{name}.json", json.dumps(note, indent=1).encode())

    def _load(self, rounds_done: int) -> LoopState:
        record = self._record(rounds_done)
        members = {name: self._load_member(entry) for name, entry in record["members"].items()}
        return LoopState(record["rounds_done"], members, record["attempt"], record.get("between") is True)

    def _record(self, rounds_done: int) -> dict[str, Any]:
        """The record of a checkpoint, with all that a reader looks for in it."""
        path = self._record_path(rounds_done)
        record = self._read_json(path)
        entries = record.get("members")
        sound = (
            isinstance(entries, dict)
            and all(isinstance(record.get(key), int) for key in ("rounds_done", "attempt"))
            and all(
                isinstance(entry, dict)
                and isinstance(entry.get("scalars"), dict)
                and all(isinstance(entry.get(key), str) for key in ("path", "sha256"))
                for entry in entries.values()
            )
        )
        if not sound:
            raise LoopStateError(
                f"{path}: wanted members with path, sha256 and scalars, got something else; the file is damaged, delete"
                " it to resume from the checkpoint before"
            )
        return record

    def _read_json(self, path: str) -> dict[str, Any]:
        try:
            record = json.loads(self._store.read_bytes(path))
            settings = str(record["settings"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LoopStateError(
                f"{path}: wanted the JSON record of a loop's checkpoint, got something else ({error}); the file is"
                " damaged, delete it to resume from the checkpoint before"
            ) from error
        if settings != self._settings_digest:
            raise LoopStateError(
                f"{path}: made with other settings (digest {settings[:12]}, now {self._settings_digest[:12]});"
                " choose another `out` or give back the old settings"
            )
        return record

    def _load_member(self, entry: dict[str, Any]) -> MemberState:
        data = self._store.read_bytes(entry["path"])
        found = hashlib.sha256(data).hexdigest()
        if found != entry["sha256"]:
            raise LoopStateError(
                f"{entry['path']}: sha256 {entry['sha256'][:12]} in the checkpoint's record, {found[:12]} in the file;"
                " the file is damaged, delete this checkpoint's record to resume from the one before"
            )
        try:
            return MemberState(safetensors.torch.load(data), entry["scalars"])
        except (SafetensorError, ValueError, KeyError) as error:
            raise LoopStateError(
                f"{entry['path']}: wanted a safetensors file, got something else ({error}); the file is damaged, delete"
                " this checkpoint's record to resume from the one before"
            ) from error

    def _record_path(self, rounds_done: int) -> str:
        return f"{self._prefix}/round-{rounds_done:06d}.json"

    def _forget_old(self) -> None:
        """Drop the records past the newest `keep`, and those between them that are not the newest; then the data that
        no record names; records go first."""
        rounds, regular = self.saved_rounds(), self.regular_rounds()
        keep = {*regular[-self._keep :], rounds[-1]}
        for old in rounds:
            if old not in keep:
                self._store.delete(self._record_path(old))
        named: set[str] = set()
        for kept in sorted(keep):
            named.update(entry["path"] for entry in self._record(kept)["members"].values())
        for path in self._store.list(f"{self._prefix}/data"):
            if path not in named:
                self._store.delete(path)
