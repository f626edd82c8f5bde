"""A weight file of any known format, told apart by its first bytes; its name does not count."""

import io
import zipfile
from collections.abc import Callable

from estimators.errors import CheckpointError
from estimators.weights_import.container import Container, check_size
from estimators.weights_import.keras_h5 import read_keras_h5
from estimators.weights_import.plain_files import read_npz, read_safetensors
from estimators.weights_import.torch_files import read_torch_legacy, read_torch_zip

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_SAFETENSORS_OFFSET = 8
"""Behind the length of the header, which is JSON."""
_ZIP_MAGIC = b"PK\x03\x04"
_TAR_MAGIC, _TAR_OFFSET = b"ustar", 257
_KNOWN = "a file of torch.save (zip or legacy), safetensors, a Keras .h5 or an npz"
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"(\xb5/\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
}
_TEXTS = (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML", b"version https://git-lfs")


def read_weights(data: bytes, where: str) -> Container:
    """Read a weight file. Nothing in it is run, whatever it is.

    Args:
        data: The whole file.
        where: Its name, for error messages.

    Raises:
        CheckpointError: if it is of no known format, damaged, too large, or holds code.
    """
    check_size(len(data), where)
    return _reader(data, where)(data, where)


def _reader(data: bytes, where: str) -> Callable[[bytes, str], Container]:
    if data.startswith(_HDF5_MAGIC):
        return read_keras_h5
    if data.startswith(_ZIP_MAGIC):
        return read_npz if _holds_arrays_only(data) else read_torch_zip
    if data[_TAR_OFFSET:].startswith(_TAR_MAGIC):
        raise CheckpointError(f"{where}: a tar archive, wanted {_KNOWN}; unpack it and give the file inside")
    for magic, name in _PACKED.items():
        if data.startswith(magic):
            raise CheckpointError(f"{where}: packed by {name}, wanted {_KNOWN}; unpack it first")
    if data.lstrip()[:23].startswith(_TEXTS):
        raise CheckpointError(
            f"{where}: a web page or a Git LFS pointer instead of the weights, wanted {_KNOWN}; download the "
            "file itself"
        )
    if data[_SAFETENSORS_OFFSET : _SAFETENSORS_OFFSET + 1] == b"{":
        return read_safetensors
    if data[:1] in (b"\x80", b"(", b"L", b"I", b"c", b"]", b"}"):
        return read_torch_legacy
    raise CheckpointError(f"{where}: begins with {data[:8]!r}, which is no known format; wanted {_KNOWN}")


def _holds_arrays_only(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)
