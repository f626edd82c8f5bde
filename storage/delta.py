"""The Parquet side of a dataset as a Delta Lake table: a log beside the files, no data copied.

The table is the folder `pairs/`, its log `pairs/_delta_log/`. It names committed files only: what a manifest
names. Every published version of the dataset becomes one version of the table (Delta counts from 0), and
registering again adds what is new. The log is written by put-if-absent, as Delta asks for and as our own
manifests are, so registering is safe against crashes and races; the `deltalake` package is not needed to
write it, and checks it where it is installed.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from poses.identity import stable_id
from storage.commit import FileEntry
from storage.delta_schema import DeltaFields, delta_fields, delta_statistics
from storage.errors import DAMAGED, CommitConflictError, DatasetError, ShardError
from storage.manifest import Manifest, manifest_versions, read_manifest
from storage.object_store import ObjectStore

TABLE_FOLDER = "pairs"
LOG_FOLDER = "_delta_log"
APPLICATION = "posemill"
"""Name under which the log keeps the last registered version (a `txn` action)."""

READER_VERSION, WRITER_VERSION = 1, 2
CONFIGURATION = {
    "delta.deletedFileRetentionDuration": "interval 5200 weeks",
    "delta.enableExpiredLogCleanup": "false",
}
"""Table properties: nobody's VACUUM takes files that a manifest names, nor a clean-up the log that we read."""

MAX_ATTEMPTS = 100
_LOG_NAME = re.compile(r"(\d{20})\.json")


class TableFile(Protocol):
    """One Parquet file of a table, its path below the root."""

    @property
    def path(self) -> str: ...

    @property
    def rows(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class DeltaState:
    """What the log of a table says.

    Attributes:
        version: Newest version of the table; -1 for no table.
        registered: Newest dataset version in it; 0 for none.
        fields: Columns.
        metadata: The `metaData` action, if there is one.
    """

    version: int = -1
    registered: int = 0
    fields: DeltaFields = field(default_factory=lambda: DeltaFields({}))
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def after(self, actions: Sequence[Mapping[str, Any]]) -> "DeltaState":
        """The state when these actions are the next version."""
        found: dict[str, Any] = {}
        for action in actions:
            _note(action, found)
        metadata = found.get("metaData", self.metadata)
        fields = DeltaFields.parse(metadata["schemaString"])
        return DeltaState(self.version + 1, int(found.get("txn", self.registered)), fields, metadata)


@dataclass(frozen=True)
class DeltaRegistration:
    """What registering did.

    Attributes:
        table_url: What Delta readers open.
        table_version: The table's newest version.
        dataset_version: The dataset version that it shows.
        added_versions, added_files: What is new; 0 when the table was up to date.
    """

    table_url: str
    table_version: int
    dataset_version: int
    added_versions: int
    added_files: int


def register_delta(store: ObjectStore) -> DeltaRegistration:
    """Brings the Delta table of a dataset up to its newest version.

    Args:
        store: The dataset's root.

    Raises:
        DatasetError: if there is no dataset, or the log is not one that this posemill can continue.
        ShardError: if a file is not what its manifest says.
        CommitConflictError: if others keep writing to the table.
    """
    read_manifest(store)  # there is a dataset, and it can be trusted
    versions = files = lost = 0
    state = read_delta_log(store, TABLE_FOLDER)
    while lost < MAX_ATTEMPTS:
        pending = [version for version in manifest_versions(store) if version > state.registered]
        if not pending:
            return DeltaRegistration(
                store.url_of(TABLE_FOLDER), state.version, state.registered, versions, files
            )
        before = _pairs_of(read_manifest(store, state.registered)) if state.registered else {}
        manifest = read_manifest(store, pending[0])
        after = _pairs_of(manifest)
        new = [entry for path, entry in after.items() if path not in before]
        gone = [entry for path, entry in before.items() if path not in after]
        actions = delta_actions(store, TABLE_FOLDER, state, new, gone, manifest.version)
        if put_delta_version(store, TABLE_FOLDER, state.version + 1, actions):
            versions, files = versions + 1, files + len(new)
            state = state.after(actions)
        else:
            state, lost = read_delta_log(store, TABLE_FOLDER), lost + 1
    raise CommitConflictError(
        f"{store.url}/{TABLE_FOLDER}: other writers won {MAX_ATTEMPTS} times in a row; let one process register"
    )


def delta_actions(
    store: ObjectStore,
    table: str,
    state: DeltaState,
    new: Sequence[TableFile],
    gone: Sequence[TableFile],
    dataset_version: int,
) -> list[dict[str, Any]]:
    """The actions of one table version: new files in, dropped ones out, the schema where it grows.

    Args:
        store, table: Root, and the table's folder below it ("" for the root itself).
        state: The table so far.
        new, gone: Files; their paths are below the root.
        dataset_version: Goes into the log, so that registering again knows where to go on.
    """
    now_ms = int(time.time() * 1000)
    footers = [_footer(store, entry) for entry in new]
    fields = state.fields.widened(delta_fields(footer.schema.to_arrow_schema()) for footer in footers)
    actions: list[dict[str, Any]] = []
    if state.version < 0:
        actions.append({"protocol": {"minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION}})
    if state.version < 0 or fields != state.fields:
        actions.append({"metaData": _metadata(store, state, fields, now_ms)})
    for entry in gone:
        removed = {"path": _relative(entry.path, table), "deletionTimestamp": now_ms, "dataChange": True}
        actions.append({"remove": {**removed, "partitionValues": {}, "size": entry.bytes}})
    for entry, footer in zip(new, footers, strict=True):
        actions.append({"add": _add_action(entry, table, footer, fields, now_ms)})
    actions.append({"txn": {"appId": APPLICATION, "version": dataset_version, "lastUpdated": now_ms}})
    operation = {"timestamp": now_ms, "operation": "WRITE", "operationParameters": {"mode": "Append"}}
    told = {"engineInfo": APPLICATION, "posemillVersion": dataset_version, "isBlindAppend": not gone}
    actions.append({"commitInfo": {**operation, **told}})
    return actions


def put_delta_version(
    store: ObjectStore, table: str, version: int, actions: Sequence[Mapping[str, Any]]
) -> bool:
    """Makes a table version visible; False when somebody else made that version first."""
    text, path = log_text(actions), _joined(table, log_path(version))
    return store.put_if_absent(path, text) or store.read_bytes(path) == text


def log_path(version: int) -> str:
    """Where a version stands below the table's root."""
    return f"{LOG_FOLDER}/{version:020d}.json"


def log_text(actions: Sequence[Mapping[str, Any]]) -> bytes:
    """The actions of a version, one a line."""
    return "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions).encode()


def read_delta_log(store: ObjectStore, table: str) -> DeltaState:
    """The state of a table, newest entry first until everything is known.

    Raises:
        DatasetError: if the log is damaged, was cut, or asks for more than this posemill can write.
    """
    prefix = _joined(table, LOG_FOLDER)
    names = (_LOG_NAME.fullmatch(path.rpartition("/")[2]) for path in store.list(prefix))
    versions = sorted(int(match.group(1)) for match in names if match)
    if not versions:
        return DeltaState()
    found: dict[str, Any] = {}
    for version in reversed(versions):
        for action in _read_actions(store, f"{prefix}/{version:020d}.json"):
            _note(action, found)
        if {"metaData", "protocol", "txn"} <= found.keys():
            break
    if not {"metaData", "protocol"} <= found.keys():
        raise DatasetError(
            f"{store.url}/{prefix}: wanted a log back to version 0, got {versions[0]} to {versions[-1]}; its"
            f" beginning was cleaned away: delete {LOG_FOLDER} (the data stays) and register again"
        )
    if found["protocol"].get("minWriterVersion", 99) > WRITER_VERSION:
        raise DatasetError(
            f"{store.url}/{prefix}: the table asks for Delta writer version"
            f" {found['protocol'].get('minWriterVersion')}, posemill writes {WRITER_VERSION}; somebody switched"
            f" on a table feature: delete {LOG_FOLDER} (the data stays) and register again"
        )
    fields = DeltaFields.parse(found["metaData"]["schemaString"])
    return DeltaState(versions[-1], int(found.get("txn", 0)), fields, found["metaData"])


def _note(action: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Keeps what an action tells, unless a newer one told it already."""
    for kind in ("metaData", "protocol"):
        if kind in action:
            found.setdefault(kind, action[kind])
    if action.get("txn", {}).get("appId") == APPLICATION:
        found.setdefault("txn", action["txn"]["version"])


def _read_actions(store: ObjectStore, path: str) -> list[dict[str, Any]]:
    try:
        actions = [json.loads(line) for line in store.read_bytes(path).splitlines() if line.strip()]
    except ValueError as error:
        raise DatasetError(f"{store.url}/{path}: wanted a JSON object a line, got: {error}") from error
    if not all(isinstance(action, dict) for action in actions):
        raise DatasetError(f"{store.url}/{path}: wanted a JSON object a line, got other values")
    return actions


def _metadata(store: ObjectStore, state: DeltaState, fields: DeltaFields, now_ms: int) -> dict[str, Any]:
    """The table's `metaData` with these columns; everything else as it was."""
    if state.metadata:
        return {**state.metadata, "schemaString": fields.schema_string}
    number = f"{stable_id('delta table', store.url):032x}"
    return {
        "id": f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:]}",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": fields.schema_string,
        "partitionColumns": [],
        "configuration": CONFIGURATION,
        "createdTime": now_ms,
    }


def _add_action(
    entry: TableFile, table: str, footer: pq.FileMetaData, fields: DeltaFields, now_ms: int
) -> dict[str, Any]:
    return {
        "path": _relative(entry.path, table),
        "partitionValues": {},
        "size": entry.bytes,
        "modificationTime": now_ms,
        "dataChange": True,
        "stats": delta_statistics(footer, fields),
        "tags": {"sha256": entry.sha256},
    }


def _footer(store: ObjectStore, entry: TableFile) -> pq.FileMetaData:
    """The footer of a file. Raises ShardError if it is not the file that its manifest names."""
    where, size_bytes = f"{store.url}/{entry.path}", store.size_bytes(entry.path)
    if size_bytes != entry.bytes:
        raise ShardError(
            f"{where}: {entry.bytes:,} bytes in the manifest, {size_bytes:,} in the file; {DAMAGED}"
        )
    try:
        with store.open_input(entry.path) as source:
            footer = pq.read_metadata(source)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{where}: wanted a Parquet footer, got: {error}; {DAMAGED}") from error
    if footer.num_rows != entry.rows:
        raise ShardError(
            f"{where}: {entry.rows:,} rows in the manifest, {footer.num_rows:,} in the file; {DAMAGED}"
        )
    return footer


def _pairs_of(manifest: Manifest) -> dict[str, FileEntry]:
    return {entry.path: entry for entry in manifest.files_of("pairs")}


def _relative(path: str, table: str) -> str:
    """A file's path from the table's root, quoted as in a URL, as Delta wants it."""
    if table and not path.startswith(f"{table}/"):
        raise DatasetError(
            f"{path}: wanted pairs files below {table}/, as posemill writes them; a Delta table cannot hold"
            " others"
        )
    return quote(path.removeprefix(f"{table}/") if table else path)


def _joined(table: str, path: str) -> str:
    return f"{table}/{path}" if table else path
