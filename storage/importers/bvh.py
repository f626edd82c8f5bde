"""Biovision hierarchy (BVH) files: any joint names, channels in any order, any Euler order, positions on any
joint.

Conventions read here: a joint's matrix is the product of its rotation channels in the order listed; a
position channel replaces that component of the joint's OFFSET (root and other joints alike); an End Site is a
joint named after its parent, with `_end` appended.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from storage.errors import ImporterError
from storage.importers.files import decode_text, read_file
from storage.importers.number_text import line_of, parse_numbers
from storage.importers.skeletal_motion import NO_PARENT, JointChannels, SkeletalMotion

MAX_JOINTS = 2_000
CHANNEL_NAME = re.compile(r"([xyz])(rotation|position)", re.IGNORECASE)
MOTION_LINE = re.compile(rb"^[ \t]*MOTION[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
FRAMES_LINE = re.compile(rb"\s*Frames[ \t]*:[ \t]*(\S+)[ \t]*\r?\n", re.IGNORECASE)
FRAME_TIME_LINE = re.compile(rb"\s*Frame[ \t]+Time[ \t]*:[ \t]*(\S+)[ \t]*(?:\r?\n|$)", re.IGNORECASE)
RATE_SNAP = 5e-4  # headers round: .0083333 is 120 Hz; 29.97 (1e-3 away from 30) stays 29.97


@dataclass
class _Node:
    name: str
    parent: int
    line: int
    is_end: bool = False
    offset: list[float] | None = None
    channels: list[tuple[str, str]] = field(default_factory=list)  # (axis, "rotation" | "position")


def read_bvh(source: Path | bytes, rate_hz: float | None = None, name: str | None = None) -> SkeletalMotion:
    """A BVH file's hierarchy and motion.

    Args:
        source: A path, or the file's bytes.
        rate_hz: Frames per second to take instead of what the header's Frame Time says.
        name: Names the source in errors; the path if not given.

    Returns:
        Angles in radians, positions in the file's own unit, frame 0 included as it stands.

    Raises:
        ImporterError: with file, line, what was wanted and what was found.
    """
    where = name or (str(source) if isinstance(source, Path) else "BVH bytes")
    content = read_file(source) if isinstance(source, Path) else source
    split = MOTION_LINE.search(content)
    if split is None:
        raise ImporterError(f"{where}: no MOTION line; it is no BVH file, or cut off within its hierarchy")
    nodes = _read_hierarchy(decode_text(content[: split.start()]), where)
    n_frames, header_rate_hz, body = _read_motion_header(content, split.end(), where, rate_hz)
    values = _read_values(content, body, n_frames, sum(len(node.channels) for node in nodes), where)
    return _assemble(nodes, values, header_rate_hz if rate_hz is None else rate_hz, where)


def snap_rate_hz(frame_time_s: float) -> float:
    """Frames per second of a rounded frame time: the next whole number if it is within 0.05 %."""
    rate_hz = 1.0 / frame_time_s
    whole = float(round(rate_hz))
    return whole if whole > 0 and abs(rate_hz - whole) <= RATE_SNAP * whole else rate_hz


def _read_hierarchy(text: str, where: str) -> list[_Node]:
    nodes: list[_Node] = []
    open_nodes: list[int] = []
    pending = False  # a joint was named and its '{' is still to come
    seen_hierarchy = False
    for line, statement in _statements(text):
        word, _, rest = statement.partition(" ")
        keyword = word.upper()
        if not seen_hierarchy:
            if keyword != "HIERARCHY":
                raise ImporterError(
                    f"{where}: line {line}: wanted HIERARCHY, got {statement[:40]!r}; it is no BVH file"
                )
            seen_hierarchy = True
        elif keyword in ("ROOT", "JOINT", "END"):
            if pending:
                raise ImporterError(
                    f"{where}: line {line}: wanted '{{' after joint {nodes[-1].name!r}, got {word!r}"
                )
            nodes.append(_new_node(keyword, rest.strip(), nodes, open_nodes, line, where))
            pending = True
        elif keyword == "{":
            if not pending:
                raise ImporterError(f"{where}: line {line}: '{{' without a joint before it")
            open_nodes.append(len(nodes) - 1)
            pending = False
        elif keyword == "}":
            if pending or not open_nodes:
                raise ImporterError(f"{where}: line {line}: '}}' closes no joint; the hierarchy is damaged")
            open_nodes.pop()
        elif keyword in ("OFFSET", "CHANNELS") and open_nodes and not pending:
            _read_statement(keyword, rest.split(), nodes[open_nodes[-1]], line, where)
        else:
            raise ImporterError(
                f"{where}: line {line}: {statement[:40]!r} has no place in a BVH hierarchy here"
            )
    _check_hierarchy(nodes, open_nodes, pending, where)
    return nodes


def _statements(text: str) -> list[tuple[int, str]]:
    """(line number, statement): braces stand alone, white space is single, empty lines are left out."""
    statements = []
    for number, line in enumerate(text.splitlines(), start=1):
        for piece in re.split(r"([{}])", line):
            words = piece.split()
            if words:
                statements.append((number, " ".join(words)))
    return statements


def _new_node(
    keyword: str, name: str, nodes: list[_Node], open_nodes: list[int], line: int, where: str
) -> _Node:
    if len(nodes) >= MAX_JOINTS:
        raise ImporterError(f"{where}: line {line}: more than {MAX_JOINTS} joints; that is no human skeleton")
    if keyword == "ROOT":
        if nodes:
            raise ImporterError(
                f"{where}: line {line}: a second ROOT {name!r}; one file per person is wanted, split it"
            )
        return _Node(name or "root", NO_PARENT, line)
    if not open_nodes:
        raise ImporterError(f"{where}: line {line}: {keyword} {name!r} stands outside of the ROOT's braces")
    parent = open_nodes[-1]
    if nodes[parent].is_end:
        raise ImporterError(f"{where}: line {line}: an End Site cannot have the child {name!r}")
    if keyword == "END":
        return _Node(f"{nodes[parent].name}_end", parent, line, is_end=True)
    return _Node(name or f"joint_{len(nodes)}", parent, line)


def _read_statement(keyword: str, words: list[str], node: _Node, line: int, where: str) -> None:
    if keyword == "OFFSET":
        try:
            offset = [float(word) for word in words]
        except ValueError:
            offset = []
        if len(offset) != 3 or not all(math.isfinite(value) for value in offset):
            raise ImporterError(
                f"{where}: line {line}: OFFSET of {node.name!r} wants 3 numbers, got {' '.join(words)[:60]!r}"
            )
        node.offset = offset
        return
    if node.is_end:
        raise ImporterError(f"{where}: line {line}: the End Site {node.name!r} cannot have CHANNELS")
    names = [CHANNEL_NAME.fullmatch(word) for word in words[1:]]
    if not words or words[0] != str(len(names)) or not all(names) or len(names) > 6:
        raise ImporterError(
            f"{where}: line {line}: CHANNELS of {node.name!r} wants a count of at most 6 and as many names "
            f"like Xrotation or Yposition, got {' '.join(words)[:80]!r}"
        )
    node.channels = [(match[1].lower(), match[2].lower()) for match in names if match]


def _check_hierarchy(nodes: list[_Node], open_nodes: list[int], pending: bool, where: str) -> None:
    if not nodes:
        raise ImporterError(f"{where}: the hierarchy has no ROOT")
    if open_nodes or pending:
        raise ImporterError(
            f"{where}: joint {nodes[open_nodes[-1] if open_nodes else -1].name!r} is not closed before "
            "MOTION; the hierarchy is damaged"
        )
    missing = [node for node in nodes if node.offset is None]
    if missing:
        raise ImporterError(f"{where}: line {missing[0].line}: joint {missing[0].name!r} has no OFFSET")
    names = [node.name for node in nodes if not node.is_end]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ImporterError(
            f"{where}: joint names must be unique, {', '.join(map(repr, repeated))} come twice"
        )
    if not any(node.channels for node in nodes):
        raise ImporterError(f"{where}: no joint has CHANNELS; there is no motion to read")


def _read_motion_header(content: bytes, at: int, where: str, rate_hz: float | None) -> tuple[int, float, int]:
    frames = FRAMES_LINE.match(content, at)
    if frames is None:
        raise ImporterError(f"{where}: wanted 'Frames: <count>' after MOTION")
    if not frames[1].isdigit() or int(frames[1][:20]) < 1:
        raise ImporterError(
            f"{where}: Frames wants a whole number of at least 1, got {decode_text(frames[1])[:40]!r}"
        )
    timing = FRAME_TIME_LINE.match(content, frames.end())
    if timing is None:
        raise ImporterError(f"{where}: wanted 'Frame Time: <seconds>' after Frames")
    try:
        frame_time_s = float(timing[1])
    except ValueError:
        frame_time_s = math.nan
    if not 1e-5 <= frame_time_s <= 10.0:
        if rate_hz is None:
            raise ImporterError(
                f"{where}: Frame Time wants seconds between 0.00001 and 10, got "
                f"{decode_text(timing[1])[:40]!r}; give the true rate in rate_overrides"
            )
        return int(frames[1][:20]), rate_hz, timing.end()
    return int(frames[1][:20]), snap_rate_hz(frame_time_s), timing.end()


def _read_values(content: bytes, body: int, n_frames: int, n_channels: int, where: str) -> np.ndarray:
    first_line = 1 + content.count(b"\n", 0, body)
    numbers = parse_numbers(content[body:], where, first_line)
    if len(numbers) == n_frames * n_channels:
        return numbers.reshape(n_frames, n_channels)
    whole, rest = divmod(len(numbers), n_channels)
    detail = _first_ragged_line(content[body:], n_channels, first_line)
    raise ImporterError(
        f"{where}: the header promises {n_frames} frames of {n_channels} numbers, the file holds {whole} "
        f"whole frames and {rest} numbers{detail}; the file is truncated or its header is wrong"
    )


def _first_ragged_line(body: bytes, n_channels: int, first_line: int) -> str:
    data = np.frombuffer(body, dtype=np.uint8)
    for start, line in zip(_line_starts(data), body.split(b"\n"), strict=False):
        count = len(line.split())
        if count not in (0, n_channels):
            return f" (line {line_of(data, int(start), first_line)} has {count} numbers)"
    return ""


def _line_starts(data: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.flatnonzero(data == ord("\n")) + 1])


def _assemble(nodes: list[_Node], values: np.ndarray, rate_hz: float, where: str) -> SkeletalMotion:
    channels = []
    scale = np.ones(values.shape[1])
    column = 0
    for node in nodes:
        rotations, translations = [], []
        for axis, kind in node.channels:
            (rotations if kind == "rotation" else translations).append((axis, column))
            if kind == "rotation":
                scale[column] = math.pi / 180.0
            column += 1
        channels.append(JointChannels(tuple(rotations), tuple(translations)))
    return SkeletalMotion(
        joints=tuple(node.name for node in nodes),
        parents=tuple(node.parent for node in nodes),
        offsets=np.array([node.offset for node in nodes], dtype=np.float64),
        offset_moves_with=tuple(node.parent for node in nodes),
        channels=tuple(channels),
        values=values * scale,
        rate_hz=rate_hz,
        source_file=where,
    )
