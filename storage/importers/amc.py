"""Acclaim motion (AMC) text: one line per bone and frame. Knows nothing of the skeleton but the counts per
bone.

Files repeat the layout of their first frame (names in the same order, the same counts), so the whole text is
converted in one go; a file that does not is read line by line, at a tenth of the speed.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from storage.errors import ImporterError
from storage.importers.number_text import line_of, numbers_at, token_spans

FIRST_FRAME = re.compile(rb"^[ \t]*\d+[ \t]*\r?$", re.MULTILINE)
FLAG = re.compile(rb"^[ \t]*:[ \t]*([\w-]+)", re.MULTILINE)
WHITE_SPACE = bytes(code if code in b"\n" or code > 32 else 32 for code in range(256))
ASF_COMMENT = re.compile(rb"^#!OML:ASF[ \t]+(.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class AmcMotion:
    """Values per bone, frames in file order.

    Args:
        columns: Bone -> its columns in `values`, in the order of the bone's degrees of freedom.
        values: (T, C) float64, as in the file.
        angle_scale: Radians per unit of the file's angles.
    """

    columns: Mapping[str, range]
    values: np.ndarray
    angle_scale: float


def asf_named_in(content: bytes) -> str | None:
    """File name of the ASF that an AMC's "#!OML:ASF" comment names, without its folder."""
    match = ASF_COMMENT.search(content[:10_000])
    if match is None:
        return None
    return re.split(r"[\\/]", match[1].decode("latin-1"))[-1] or None


def read_amc(content: bytes, counts: Mapping[str, int], where: str) -> AmcMotion:
    """The motion of an AMC file.

    Args:
        content: The file's bytes.
        counts: Bone -> number of degrees of freedom in the ASF; a bone with none may be absent.
        where: Names the file in errors.

    Raises:
        ImporterError: with line or frame, wanted and got.
    """
    start = FIRST_FRAME.search(content)
    if start is None:
        raise ImporterError(
            f"{where}: no frame number on a line of its own; it is no AMC file, or has no frames"
        )
    _check_head(content[: start.start()], where)
    flags = {flag.lower() for flag in FLAG.findall(content[: start.start()])}
    first_line = 1 + content.count(b"\n", 0, start.start())
    body = content[start.start() :].translate(WHITE_SPACE)
    layout = _first_frame(body, counts, where, first_line)
    columns: dict[str, range] = {}
    at = 0
    for name, count in layout:
        columns[name] = range(at, at + count)
        at += count
    values = _read_repeating(body, layout, where, first_line)
    if values is None:
        values = _read_line_by_line(body, columns, where, first_line)
    return AmcMotion(columns, values, 1.0 if b"radians" in flags else math.pi / 180.0)


def _check_head(head: bytes, where: str) -> None:
    for number, line in enumerate(head.split(b"\n"), start=1):
        text = line.strip()
        if text and not text.startswith((b"#", b":")):
            shown = text[:40].decode("latin-1")
            raise ImporterError(f"{where}: line {number}: wanted a frame number before {shown!r}")


def _first_frame(
    body: bytes, counts: Mapping[str, int], where: str, first_line: int
) -> list[tuple[str, int]]:
    lines = body.split(b"\n", len(counts) + 3)[1 : len(counts) + 3]
    layout: list[tuple[str, int]] = []
    for number, line in enumerate(lines, start=first_line + 1):
        words = line.split()
        if len(words) == 1 and words[0].isdigit():
            break
        if words:
            name = words[0].decode("latin-1")
            _check_bone(name, len(words) - 1, counts, f"{where}: line {number}")
            if name in dict(layout):
                raise ImporterError(f"{where}: line {number}: bone {name!r} comes twice in the first frame")
            layout.append((name, len(words) - 1))
    missing = [name for name, count in counts.items() if count and name not in dict(layout)]
    if missing:
        raise ImporterError(
            f"{where}: line {first_line}: the first frame lacks {', '.join(missing)}; the file is truncated, "
            "or the ASF is of another actor"
        )
    return layout


def _check_bone(name: str, got: int, counts: Mapping[str, int], at: str) -> None:
    if name not in counts:
        raise ImporterError(
            f"{at}: bone {name!r} is not in the ASF (it has {', '.join(counts)}); is it the ASF of this AMC?"
        )
    if counts[name] != got:
        raise ImporterError(
            f"{at}: bone {name!r} wants {counts[name]} numbers (its dof in the ASF), got {got}"
        )


def _read_repeating(
    body: bytes, layout: list[tuple[str, int]], where: str, first_line: int
) -> np.ndarray | None:
    """(T, C) if every frame has the first one's layout, else None."""
    data = np.frombuffer(body, dtype=np.uint8)
    starts, ends = token_spans(data)
    per_frame = 1 + sum(1 + count for _, count in layout)
    if len(starts) % per_frame:
        return None
    starts, ends = starts.reshape(-1, per_frame), ends.reshape(-1, per_frame)
    is_value = np.ones(per_frame, dtype=bool)
    is_value[0] = False  # the frame number
    at = 1
    for name, count in layout:
        is_value[at] = False
        token = np.frombuffer(name.encode("latin-1"), dtype=np.uint8)
        if (ends[:, at] - starts[:, at] != len(token)).any():
            return None
        if (data[starts[:, at, None] + np.arange(len(token))] != token).any():
            return None
        at += 1 + count
    numbers = numbers_at(data, starts[:, is_value].ravel(), ends[:, is_value].ravel(), where, first_line)
    return numbers.reshape(len(starts), -1)


def _read_line_by_line(body: bytes, columns: Mapping[str, range], where: str, first_line: int) -> np.ndarray:
    counts = {name: len(span) for name, span in columns.items()}
    frames: list[np.ndarray] = []
    seen: set[str] = set()
    for number, line in enumerate(body.split(b"\n"), start=first_line):
        words = line.split()
        at = f"{where}: line {number}"
        if not words or words[0].startswith((b"#", b":")):
            continue
        if len(words) == 1 and words[0].isdigit():
            _check_complete(seen, counts, len(frames), at)
            frames.append(np.empty(sum(counts.values())))
            seen = set()
            continue
        name = words[0].decode("latin-1")
        _check_bone(name, len(words) - 1, counts, at)
        if name in seen:
            raise ImporterError(f"{at}: bone {name!r} comes twice in this frame")
        seen.add(name)
        span = columns[name]
        row = np.frombuffer(line, dtype=np.uint8)
        starts, ends = token_spans(row)
        frames[-1][span.start : span.stop] = numbers_at(row, starts[1:], ends[1:], where, number)
    _check_complete(
        seen,
        counts,
        len(frames),
        f"{where}: line {line_of(np.frombuffer(body, np.uint8), len(body), first_line)}",
    )
    return np.array(frames)


def _check_complete(seen: set[str], counts: Mapping[str, int], n_frames: int, at: str) -> None:
    missing = [name for name in counts if name not in seen]
    if n_frames and missing:
        raise ImporterError(
            f"{at}: frame {n_frames} of the file lacks {', '.join(missing)}; the file is truncated or damaged"
        )
