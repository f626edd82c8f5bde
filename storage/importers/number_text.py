"""Bulk conversion of whitespace-separated decimal text to float64, and where its tokens lie.

Motion files are mostly digits. The tokens are found with numpy, closed up into one Arrow string column
without copying them one by one, and converted by Arrow's number parser: about three times the speed of
`np.fromstring`, and unlike it, every token that is no number is named with its line.
"""

import numpy as np
import pyarrow as pa

from storage.errors import ImporterError

SPACE = 32
ASCII_END = 128
INT32_END = 2**31 - 1
MSVC_NOT_FINITE = {b"qnan": np.nan, b"snan": np.nan, b"ind": np.nan, b"inf": np.inf}


def token_spans(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last byte of every whitespace-separated token.

    Args:
        text: (N,) uint8; every byte up to 32 is white space.

    Returns:
        Two int64 arrays of one length, in text order.
    """
    solid = text > SPACE
    edges = np.flatnonzero(solid[1:] != solid[:-1]) + 1
    if len(text) and solid[0]:
        edges = np.concatenate([[0], edges])
    if len(edges) % 2:
        edges = np.concatenate([edges, [len(text)]])
    return edges[0::2], edges[1::2]


def parse_numbers(text: bytes, where: str, first_line: int = 1) -> np.ndarray:
    """All numbers of a text, (N,) float64; "nan" and "inf" in any of their spellings are kept as such.

    Args:
        text: Decimal numbers between white space.
        where: Names the source in errors.
        first_line: Line number of the text's first line in its file, for errors.

    Raises:
        ImporterError: at a token that is no number, with its line.
    """
    data = np.frombuffer(text, dtype=np.uint8)
    starts, ends = token_spans(data)
    return numbers_at(data, starts, ends, where, first_line)


def numbers_at(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, where: str, first_line: int = 1
) -> np.ndarray:
    """The numbers of the given tokens of a text, (n,) float64; see `parse_numbers`."""
    if not len(starts):
        return np.empty(0)
    lengths = ends - starts
    wanted = data > SPACE
    if np.count_nonzero(wanted) != lengths.sum():  # some tokens are left out
        # +1 at a token's start, -1 at its end: the running sum is 1 on the bytes that are wanted
        edge = np.zeros(len(data) + 1, dtype=np.int8)
        edge[starts] = 1
        edge[ends] -= 1
        wanted = np.cumsum(edge[:-1], dtype=np.int8).view(bool)
    joined = data[wanted]
    if joined.max() >= ASCII_END:
        raise ImporterError(_not_a_number(data, starts, ends, where, first_line))
    wide = len(joined) > INT32_END
    offsets = np.zeros(len(starts) + 1, dtype=np.int64 if wide else np.int32)
    np.cumsum(lengths, out=offsets[1:])
    column = pa.Array.from_buffers(
        pa.large_utf8() if wide else pa.utf8(),
        len(starts),
        [None, pa.py_buffer(offsets), pa.py_buffer(joined)],
    )
    try:
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return _parse_one_by_one(data, starts, ends, where, first_line)


def line_of(data: np.ndarray, position: int, first_line: int = 1) -> int:
    """Number of the line on which a byte lies."""
    return first_line + int(np.count_nonzero(data[:position] == ord("\n")))


def _parse_one_by_one(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, where: str, first_line: int
) -> np.ndarray:
    values = np.empty(len(starts))
    text = data.tobytes()
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        value = _number(text[start:end])
        if value is None:
            raise ImporterError(_not_a_number(data, starts[row:], ends[row:], where, first_line))
        values[row] = value
    return values


def _number(token: bytes) -> float | None:
    if b"#" in token:  # what old Microsoft C libraries print: 1.#QNAN, -1.#IND00, 1.#INF
        kind = token.split(b"#", 1)[1].lower().rstrip(b"0")
        return MSVC_NOT_FINITE.get(kind)
    if b"_" in token:  # Python reads 1_000, motion files do not
        return None
    try:
        return float(token)
    except ValueError:
        return None


def _not_a_number(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, where: str, first_line: int) -> str:
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        token = data[start:end].tobytes()
        if _number(token) is None or not token.isascii():
            shown = token[:40].decode("ascii", errors="backslashreplace")
            line = line_of(data, start, first_line)
            return f"{where}: line {line}: wanted a number, got '{shown}'; the file is damaged"
    return f"{where}: text that is no number; the file is damaged or of another format"
