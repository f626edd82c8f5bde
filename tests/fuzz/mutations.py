"""Damage to a seed: what truncation, bit rot, editors and ill will do to files."""

from hypothesis import strategies as st

WORDS = (
    b"nan", b"inf", b"-1", b"0", b"1e999", b"99999999999999999999", b"-0", b"1_000", b"\x00", b"\xff\xfe", b"{", b"}",
    b"[", b"]", b'"', b"null", b"true", b"..", b"../../etc/passwd", b"/", b"\n", b"\r", b"\n\n", b" ", b"\t", b":",
    b"#", b"\xe2\x80\xa8", b"9" * 5000, b"[" * 2000, b'{"a":' * 1500, b"&a ", b"*a", b"!!python/name:os.system ",
    b"cos\nsystem\n", b"\x80\x04", b"r\xff\xff\xff\x7f", b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", b"CHANNELS 0\n",
    b"CHANNELS 6 Xposition Xposition Xposition Zrotation Zrotation Zrotation\n", b"End Site\n", b"Frames: 0\n",
    b"(1000000000, 17, 3)", b"|O", b"<f8", b"units\n", b"angle\n", b"length\n", b"begin\n", b"end\n", b"order\n",
)  # fmt: skip
_KINDS = ("cut", "drop", "put", "replace", "flip", "double", "number")


def mutated(data: bytes, steps: list[tuple[str, float, float, int]]) -> bytes:
    """The seed after some steps of (kind, position, length, choice); positions and lengths are shares of the file."""
    for kind, position, length, choice in steps:
        at = int(position * len(data))
        until = min(len(data), at + 1 + int(length * length * len(data) * 0.3))
        word = WORDS[choice % len(WORDS)]
        match kind:
            case "cut":
                data = data[:at]
            case "drop":
                data = data[:at] + data[until:]
            case "put":
                data = data[:at] + word + data[at:]
            case "replace":
                data = data[:at] + word + data[at + len(word) :]
            case "flip":
                data = data[:at] + bytes([choice & 255]) + data[at + 1 :]
            case "double":
                data = data[:until] + data[at:until] + data[until:]
            case _:
                data = _with_number_replaced(data, at, word)
    return data


def _with_number_replaced(data: bytes, at: int, word: bytes) -> bytes:
    """The first run of digits after a position, replaced."""
    start = next((i for i in range(at, len(data)) if 48 <= data[i] <= 57), None)
    if start is None:
        return data
    end = next((i for i in range(start, len(data)) if not 48 <= data[i] <= 57), len(data))
    return data[:start] + word + data[end:]


def damage() -> st.SearchStrategy[list[tuple[str, float, float, int]]]:
    """One to four steps of damage."""
    share = st.floats(0.0, 1.0, exclude_max=True)
    step = st.tuples(st.sampled_from(_KINDS), share, share, st.integers(0, 1023))
    return st.lists(step, min_size=1, max_size=4)
