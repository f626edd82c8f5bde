"""Files of `torch.save`, read without torch: the zip container (since 1.6) and the legacy one before it.

Zip: `<name>/data.pkl` refers to storages by persistent ids, `<name>/data/<key>` holds their bytes, never compressed.
Legacy: five pickles one after the other (magic number, protocol, system, value, storage keys), then per key a
little-endian 64-bit element count and the bytes. Both were seen in the published files; `.pth.tar` is no tar.
"""

import io
import struct
import zipfile
from typing import Any

from estimators.errors import CheckpointError
from estimators.weights_import.container import FREE_BYTES, Container
from estimators.weights_import.pickle_values import read_pickle
from estimators.weights_import.stand_ins import HostileCallError, StorageRef, StorageType, is_count

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
_COUNT_BYTES = 8
_ODD_IDENTITY = "has a persistent id of an odd kind"
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    RuntimeError,
    struct.error,
)


def read_torch_zip(data: bytes, where: str) -> Container:
    """A file of `torch.save` as zip.

    Raises:
        CheckpointError: if it is damaged, compressed, big-endian, a TorchScript program, or holds code.
    """
    members = _ZipMembers(data, where)
    pickles = [name for name in members.entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(
            f"{where}: a zip with {len(pickles)} members named data.pkl, a file of torch.save has one; give the "
            "weight file itself, not an archive around it"
        )
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in members.entries:
        raise CheckpointError(
            f"{where}: a TorchScript program, wanted a state dict; save `model.state_dict()`"
        )
    if f"{prefix}byteorder" in members.entries and members.read(f"{prefix}byteorder") != b"little":
        raise CheckpointError(f"{where}: written on a big-endian machine; save it again on another one")

    def reference(identity: Any) -> StorageRef:
        if not isinstance(identity, tuple) or len(identity) != 5:
            raise HostileCallError(_ODD_IDENTITY)
        kind, storage_type, key, _, numel = identity
        return _storage(kind, storage_type, key, numel, len(data))

    tree = read_pickle(io.BytesIO(members.read(pickles[0])), where, reference)

    def storage(reference: StorageRef) -> memoryview:
        return memoryview(members.read(f"{prefix}data/{reference.key}"))

    return Container("torch zip", tree, where, storage, budget_bytes=len(data) + FREE_BYTES)


class _ZipMembers:
    """The members of an uncompressed zip, read one by one with their checksums."""

    def __init__(self, data: bytes, where: str) -> None:
        self._where = where
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except _ZIP_FAULTS as error:
            raise self._damaged(error) from error
        self.entries = {entry.filename: entry for entry in self._archive.infolist()}
        total = sum(entry.file_size for entry in self._archive.infolist())
        if total > len(data):
            raise CheckpointError(
                f"{where}: its members add up to {total:,} bytes, the file has {len(data):,}; torch.save compresses "
                "nothing, so it is cut off, re-packed or made to fill the memory; give the file as it was published"
            )

    def read(self, name: str) -> bytes:
        """The bytes of a member."""
        if name not in self.entries:
            raise CheckpointError(
                f"{self._where}: member {name!r:.60} is missing; the file is damaged, fetch it again"
            )
        entry = self.entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise CheckpointError(
                f"{self._where}: member {name!r:.60} is compressed or encrypted, torch.save never does that; give the "
                "file as it was published"
            )
        try:
            return self._archive.read(entry)
        except _ZIP_FAULTS as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"{self._where}: a zip that cannot be read ({error!s:.120}); it is cut off or damaged, fetch it again"
        )


def _storage(kind: Any, storage_type: Any, key: Any, numel: Any, size_bytes: int) -> StorageRef:
    """A storage of a file of so many bytes."""
    right = kind in ("storage", b"storage") and isinstance(storage_type, StorageType) and isinstance(key, str)
    if not right or not is_count(numel):
        raise HostileCallError(_ODD_IDENTITY)
    if numel * storage_type.dtype.itemsize > size_bytes:
        raise HostileCallError(
            f"has a storage of {numel:,} elements in a file of {size_bytes:,} bytes (cut off, or made up)"
        )
    return StorageRef(key, storage_type.dtype, numel)


def read_torch_legacy(data: bytes, where: str) -> Container:
    """A file of `torch.save` before 1.6, or with `_use_new_zipfile_serialization=False`.

    Raises:
        CheckpointError: if it is damaged, cut off, or holds code.
    """
    stream = io.BytesIO(data)
    magic = read_pickle(stream, where)
    if not isinstance(magic, int) or magic != LEGACY_MAGIC:
        raise CheckpointError(
            f"{where}: a pickle, but not of torch.save (it begins with a {type(magic).__name__} instead of torch's "
            "number); wanted a file of torch.save, safetensors, a Keras .h5 or an npz"
        )
    protocol, system = read_pickle(stream, where), read_pickle(stream, where)
    if not isinstance(protocol, int) or protocol != LEGACY_PROTOCOL:
        raise CheckpointError(
            f"{where}: an unknown version of torch's format; save it again with a newer torch"
        )
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"{where}: not written on a little-endian machine; save it again on one")
    storages = _LegacyStorages(data, where)
    tree = read_pickle(stream, where, storages.reference)
    storages.locate(read_pickle(stream, where), stream.tell())
    return Container("torch legacy", tree, where, storages.read, budget_bytes=len(data) + FREE_BYTES)


class _LegacyStorages:
    """The storages behind a legacy file's pickles; how long an element is, only the references say."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._whole: dict[str, StorageRef] = {}
        self._places: dict[str, int] = {}

    def reference(self, identity: Any) -> StorageRef:
        """What a persistent id stands for; a view begins inside another storage."""
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise HostileCallError(_ODD_IDENTITY)
        kind, storage_type, key, _, numel, *view = identity
        whole = _storage(kind, storage_type, key, numel, len(self._data))
        if self._whole.setdefault(whole.key, whole) != whole:
            raise HostileCallError("names one storage with two types or lengths")
        if not view or view[0] is None:
            return whole
        if not isinstance(view[0], tuple) or len(view[0]) != 3:
            raise HostileCallError(_ODD_IDENTITY)
        _, start, length = view[0]
        if not is_count(start) or not is_count(length) or start + length > numel:
            raise HostileCallError("has a view outside its storage")
        return StorageRef(whole.key, whole.dtype, length, start)

    def locate(self, keys: Any, position: int) -> None:
        """Find the storages from where the last pickle ends: a count of elements, then the elements, for each key."""
        if not isinstance(keys, list) or len(keys) != len(self._whole):
            raise CheckpointError(f"{self._where}: its list of storages is damaged; fetch the file again")
        for key in keys:
            whole = self._whole.get(key) if isinstance(key, str) else None
            count = int.from_bytes(self._data[position : position + _COUNT_BYTES], "little")
            position += _COUNT_BYTES
            if whole is None or position + whole.dtype.itemsize * whole.numel > len(self._data):
                raise CheckpointError(
                    f"{self._where}: its storages end behind the file, which has {len(self._data):,} bytes; it is "
                    "cut off, fetch it again"
                )
            if count != whole.numel:
                raise CheckpointError(
                    f"{self._where}: storage {key!r:.40} wants {whole.numel:,} elements, its place in the file says "
                    f"{count:,}; it is damaged, fetch it again"
                )
            self._places[key] = position
            position += whole.dtype.itemsize * count

    def read(self, reference: StorageRef) -> memoryview:
        """The bytes of a storage or of a view of one."""
        if reference.key not in self._places:
            raise CheckpointError(
                f"{self._where}: storage {reference.key!r:.40} is missing; the file is damaged"
            )
        start = self._places[reference.key] + reference.dtype.itemsize * reference.start
        return memoryview(self._data)[start : start + reference.dtype.itemsize * reference.numel]
