"""HDF5 files that point out of themselves, or ask for more than their size."""

import io
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimators.errors import CheckpointError
from estimators.weights_import import keras_child, keras_h5
from estimators.weights_import.read_weights import read_weights

h5py = pytest.importorskip("h5py", reason="h5py is an extra (posemill[keras])")


def h5_file(fill: Callable[[Any], object]) -> bytes:
    """An HDF5 file that a function fills."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def secret(folder: Path) -> Path:
    """A file that no weight file may show."""
    path = folder / "secret.h5"
    path.write_bytes(h5_file(lambda file: file.create_dataset("kernel", data=np.ones((2, 2)))))
    return path


def virtual(file: Any, source: Path) -> None:
    layout = h5py.VirtualLayout(shape=(2, 2), dtype="f8")
    layout[:] = h5py.VirtualSource(str(source), "kernel", shape=(2, 2))
    file.create_virtual_dataset("dense/kernel", layout)


def test_nothing_outside_the_file_is_read(tmp_path: Path) -> None:
    other = secret(tmp_path)
    cases: dict[str, Callable[[Any], object]] = {
        "is a link to another place or file": lambda f: f.__setitem__(
            "dense", h5py.ExternalLink(str(other), "/")
        ),
        "is a link": lambda f: f.__setitem__("dense", h5py.SoftLink("/elsewhere")),
        "another file, which is never read": lambda f: virtual(f, other),
        "in another file": lambda f: f.create_dataset(
            "dense/kernel", shape=(2, 2), dtype="f4", external=[(str(other), 0, 16)]
        ),
    }
    for words, fill in cases.items():
        with pytest.raises(CheckpointError, match=words):
            read_weights(h5_file(fill), "x.h5")


def test_what_asks_for_more_than_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_h5, "FREE_BYTES", 2**16)
    bomb = h5_file(
        lambda f: f.create_dataset("dense/kernel", data=np.zeros((2000, 2000), "f4"), compression="gzip")
    )
    with pytest.raises(CheckpointError, match="asks for more than the file can hold"):
        read_weights(bomb, "x.h5")
    never_written = h5_file(lambda f: f.create_dataset("dense/kernel", shape=(2**20, 2**20), dtype="f4"))
    with pytest.raises(CheckpointError, match="asks for more than the file can hold"):
        read_weights(never_written, "x.h5")


def test_groups_without_end() -> None:
    def circle(file: Any) -> None:
        file.create_group("a")["again"] = file["/"]

    with pytest.raises(CheckpointError, match=r"10,000 objects or 8 levels"):
        read_weights(h5_file(circle), "x.h5")


def test_other_types_and_filters() -> None:
    cases: dict[str, Callable[[Any], object]] = {
        "wanted floating point": lambda f: f.create_dataset(
            "dense/kernel", data=np.array([b"x"], dtype=object)
        ),
        "packed by filter": lambda f: f.create_dataset(
            "dense/kernel", data=np.ones((9, 9)), compression="lzf"
        ),
        "without a kernel": lambda f: f.create_dataset("something", data=np.ones(2)),
        "twice with different": lambda f: [
            f.create_dataset(f"{group}/dense/kernel", data=np.full(3, float(index)))
            for index, group in enumerate("ab")
        ],
    }
    for words, fill in cases.items():
        with pytest.raises(CheckpointError, match=words):
            read_weights(h5_file(fill), "x.h5")


def test_code_in_the_models_configuration_is_not_looked_at() -> None:
    """Lambda layers keep marshalled Python code there, which Keras runs on loading."""
    config = {
        "class_name": "Lambda",
        "config": {"function": ["4wEAAAAAAAAA", None, None], "function_type": "lambda"},
    }

    def fill(file: Any) -> None:
        file.attrs["model_config"] = json.dumps(config)
        file["model_weights/dense/dense/kernel:0"] = np.ones((2, 3), "f4")

    assert list(read_weights(h5_file(fill), "x.h5").tree) == ["dense/kernel"]


def test_a_file_cut_off_or_damaged() -> None:
    data = h5_file(lambda f: f.create_dataset("dense/kernel", data=np.ones((20, 30), "f4")))
    for length in range(8, len(data) - 8, 1499):
        with pytest.raises(CheckpointError, match=r"^cut\.h5"):
            read_weights(data[:length], "cut.h5")


def test_a_chunk_that_would_fill_the_memory() -> None:
    """Found by fuzzing: the library allocates what a damaged chunk size says; its process may not."""
    data = h5_file(
        lambda f: f.create_dataset(
            "dense/kernel", data=np.ones((4, 5), "f4"), chunks=(4, 5), compression="gzip"
        )
    )
    sizes = struct.pack("<III", 4, 5, 4)
    assert data.count(sizes) == 1
    with pytest.raises(CheckpointError, match=r"^big\.h5: .*cannot be read"):
        read_weights(data.replace(sizes, struct.pack("<III", 50_000, 50_000, 4)), "big.h5")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os.abort()", "broke down on it (ended with code -6"),
        ("import time; time.sleep(60)", "broke down on it (took more than 1 s"),
        ("import sys; sys.stdout.write('PK nonsense')", "cannot be read"),
        ("import sys; sys.exit(4)", "pip install 'posemill[keras]'"),
    ],
)
def test_a_child_that_breaks_down(
    program: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text(program)
    monkeypatch.setattr(keras_h5, "_CHILD", tmp_path / "child.py")
    monkeypatch.setattr(keras_h5, "WALL_S", 1 if "sleep" in program else 60)
    with pytest.raises(CheckpointError, match=re.escape(words)):
        read_weights(b"\x89HDF\r\n\x1a\n", "x.h5")


def test_the_library_has_limits_of_its_own() -> None:
    """The child's limits hold: more memory or time than allowed ends it, and it cannot write files."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(keras_child.__file__).parent)!r})\n"
        "import keras_child\nkeras_child.limit(1, 2**31)\n"
    )
    for body in ("bytearray(2**32)", "while True: pass", "open('x', 'wb', 0).write(b'x')"):
        ended = subprocess.run([sys.executable, "-I", "-c", code + body], capture_output=True, timeout=60)
        assert ended.returncode != 0
