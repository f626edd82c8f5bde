"""Reading whole input files, with errors that say what is wrong."""

from pathlib import Path

from storage.errors import ImporterError

MAX_TEXT_BYTES = 4 * 2**30


def read_file(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        ImporterError: if it is missing, unreadable, empty, or larger than any motion capture text file.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise ImporterError(
                f"{path}: {size:,} bytes, more than the {MAX_TEXT_BYTES:,} that are read as one file"
            )
        content = path.read_bytes()
    except OSError as error:
        raise ImporterError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not content.strip():
        raise ImporterError(f"{path}: the file is empty")
    return content


def decode_text(content: bytes) -> str:
    """UTF-8 text where it is that, else Latin-1, which every byte is (HDM05's comments are)."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
