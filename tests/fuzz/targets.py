"""What is fuzzed: readers of bytes from outside, and seeds for each, made by our own generators.

A target returns, or raises one of our errors. Any other exception, a crash or a hang is a defect.
"""

import atexit
import io
import json
import pickle
import shutil
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as safetensors_bytes

from estimators.checkpoints import checkpoint_from_bytes, checkpoint_to_bytes
from estimators.lifters.settings import build_lifter
from estimators.lifters.simple_baseline import SimpleBaselineSettings
from estimators.weights_import.importer import import_weights
from estimators.weights_import.pickle_values import read_pickle
from jobs.recipe import recipe_from_text
from pipelines.plan import Plan, Unit, plan_from_json, plan_to_json
from poses.errors import PosemillError
from poses.skeleton import load_skeleton
from storage.commit import FileEntry, UnitCommit, canonical_json, read_commit
from storage.images import decode_image
from storage.importers.options import ImportOptions
from storage.importers.read_motion import read_motion
from storage.importers.safe_pickle import unpickle_arrays
from storage.manifest import manifest_skeleton, publish_manifest, read_manifest
from storage.object_store import open_store
from tests.unit.estimators.weights_import import official_files
from tests.unit.storage.importers.motion_files import ASF_COUNTS, amc_text, asf_text, bvh_text, smooth_values

SPLIT = b"\n=====\n"
"""Between the two files of a seed that is a pair (ASF and AMC, character and clip)."""
RUN, UNIT = "run-1", "unit-1"


@dataclass(frozen=True)
class Target:
    """A reader, and examples of what it reads."""

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]


def survives(target: Target, data: bytes) -> bool:
    """Whether the input was read; False where it was refused by one of our errors. Anything else is raised."""
    try:
        target.read(data)
    except PosemillError as error:
        if not str(error):
            raise RuntimeError("an error without words") from error
        return False
    return True


@cache
def _folder() -> Path:
    """One scratch folder per process, in memory where there is such a place."""
    memory = Path("/dev/shm")
    root = tempfile.mkdtemp(prefix="pm_fuzz_", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return Path(root)


def _motion(files: Mapping[str, bytes], name: str) -> object:
    folder = _folder()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return read_motion(folder / name, ImportOptions(joint_map=None))


def _pair(first: str, second: str) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        head, _, tail = data.partition(SPLIT)
        return _motion({first: head, second: tail}, second)

    return read


def _single(name: str) -> Callable[[bytes], object]:
    return lambda data: _motion({name: data}, name)


def _stored(path: str, read: Callable[[Any], object]) -> Callable[[bytes], object]:
    def target(data: bytes) -> object:
        file = _folder() / "dataset" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return read(open_store(_folder() / "dataset"))

    return target


def _manifest(store: Any) -> object:
    manifest = read_manifest(store)
    return manifest_skeleton(store, manifest), manifest.files_of("pairs")


def _bvh_seeds() -> list[bytes]:
    return [bvh_text(smooth_values(count)).encode() for count in (2, 12)]


def _amc_seeds() -> list[bytes]:
    values = smooth_values(4, 1, sum(ASF_COUNTS.values()))
    amc = amc_text(values).encode("latin-1", errors="surrogateescape")
    return [asf_text().encode() + SPLIT + amc]


def _clip() -> np.ndarray:
    """(6, 17, 3) metres: a figure that stands and sways."""
    rest = np.linspace(0, 1.6, 17)[None, :, None] * np.array([0.1, 1.0, 0.05])
    return (rest + 0.01 * np.sin(np.arange(6))[:, None, None]).astype(np.float32)


def _npz(members: Mapping[str, np.ndarray], compressed: bool = False) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, allow_pickle=True, **members)
    return stream.getvalue()


def _npz_seeds() -> list[bytes]:
    members = {"s1/take": _clip(), "s2/other": _clip().astype(np.float64)}
    return [_npz(members), _npz(members, compressed=True)]


def _nested(protocol_free: bool = False) -> dict[str, dict[str, np.ndarray]]:
    return {"S1": {"Walking": _clip(), "Sitting 1": _clip() + 1}, "S5": {"Eating": _clip()}}


def _h36m_seeds() -> list[bytes]:
    holder = np.empty((), dtype=object)
    holder[()] = _nested()
    return [_npz({"positions_3d": holder}), _npz({"positions_3d": holder}, compressed=True)]


def _pickle_seeds() -> list[bytes]:
    holder = np.empty((), dtype=object)
    holder[()] = _nested()
    values: list[Any] = [_nested(), holder, [np.float64(1.5), b"x", "y", None, 3, (1, 2)]]
    return [pickle.dumps(value, protocol=protocol) for value in values for protocol in (0, 2, 4, 5)]


def _deepmimic_seeds() -> list[bytes]:
    attach = {"AttachX": 0, "AttachY": 0.4, "AttachZ": 0}
    kinds = [("root", "none"), ("chest", "spherical"), ("neck", "spherical"), ("right_knee", "revolute")]
    joints = [
        {"ID": i, "Name": name, "Type": kind, "Parent": i - 1, **attach}
        for i, (name, kind) in enumerate(kinds)
    ]
    frames = [[0.03, 0, 0.9, 0, *[1, 0, 0, 0] * 3, 0.1]] * 3
    clip = {"Loop": "wrap", "Frames": frames}
    return [json.dumps({"Skeleton": {"Joints": joints}}).encode() + SPLIT + json.dumps(clip).encode()]


def _commit() -> UnitCommit:
    file = FileEntry(path="pairs/0a.parquet", kind="pairs", rows=3, bytes=10, sha256="0" * 64)
    return UnitCommit(run_id=RUN, unit_id=UNIT, writer_id="w", files=(file,), rows=3, rejected={"far": 2})


def _manifest_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        publish_manifest(store, RUN, [_commit()], load_skeleton("h36m_16"), {"job": "import"})
        return [store.read_bytes("manifests/v000001.json")]


def _plan_seeds() -> list[bytes]:
    units = (Unit("a", "import", {"file": "x.bvh"}, 3), Unit("b", "import", {}, 0))
    plan = Plan("import-1", "import", units, {"seed": 1}, {"x": "0" * 64}, {}, "code")
    return [plan_to_json(plan)]


def _checkpoint_seeds() -> list[bytes]:
    tensors = {"weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)}
    return [checkpoint_to_bytes(tensors, {"kind": "lifter", "width": 3, "names": ["a"]})]


def _published_state() -> dict[str, torch.Tensor]:
    lifter = build_lifter(SimpleBaselineSettings(width=2, stages=1), load_skeleton("h36m_16"), seed=0)
    return lifter.to_published_state()


def _weight_seeds() -> list[bytes]:
    """Every container, small; h5 is left out: its library's own holes are found by its makers."""
    state = _published_state()
    wrapped = official_files.semgcn_wrapper(state)
    return [
        official_files.torch_file(wrapped),
        official_files.torch_file(official_files.videopose3d_wrapper(state), legacy=True),
        official_files.python2_torch_file({**wrapped, "error": 1.5}),
        safetensors_bytes({key: value.contiguous() for key, value in state.items()}),
        official_files.npz_file(state),
    ]


def _weight_pickle_seeds() -> list[bytes]:
    """The pickles in those files, without the container's checksums around them."""
    values: list[Any] = [
        {
            "epoch": 3,
            "error": np.float64(1.5),
            "state": np.random.RandomState(0),
            "names": ["a", ("b", None, True)],
        },
        OrderedDict(a=2**40, b=b"bytes", c=-1.5),
    ]
    dumped = [pickle.dumps(value, protocol=protocol) for value in values for protocol in (0, 2, 4, 5)]
    return [*dumped, official_files.Python2Pickle().dump({"epoch": 3, "step": 2**40, "error": 1.5})]


def _recipe(data: bytes) -> object:
    text = data.decode("utf-8", errors="replace")
    return recipe_from_text(text, "fuzzed", ["out=x"])


def _recipe_seeds() -> list[bytes]:
    folder = Path(__file__).resolve().parents[2] / "jobs" / "recipes"
    return [(folder / f"{name}.yaml").read_bytes() for name in ("import", "augment")]


def _zip_member(data: bytes) -> object:
    """The bytes as the npy member of a sound zip: what is mutated is then read, not refused by a checksum."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("positions_3d.npy", data)
    return _motion({"member.npz": stream.getvalue()}, "member.npz")


def _member_seeds() -> list[bytes]:
    found = []
    for data in (*_npz_seeds()[:1], *_h36m_seeds()[:1]):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found += [archive.read(name) for name in archive.namelist()]
    return found


def _image_seeds() -> list[bytes]:
    """Every format and kind of pixel that is read, some hundred bytes each."""
    colours = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    pictures = [
        ("PNG", Image.fromarray(colours)),
        ("PNG", Image.fromarray(colours[..., 0].astype(np.uint16) * 257)),
        ("PNG", Image.fromarray(colours).quantize(8)),
        ("PNG", Image.fromarray(np.concatenate([colours, colours[..., :1]], axis=-1))),
        ("JPEG", Image.fromarray(colours)),
        ("WEBP", Image.fromarray(colours)),
        ("BMP", Image.fromarray(colours)),
    ]
    found = []
    for kind, picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, kind)
        found.append(stream.getvalue())
    return found


TARGETS: dict[str, Target] = {
    "bvh": Target(_single("a.bvh"), _bvh_seeds),
    "asf_amc": Target(_pair("01.asf", "01_01.amc"), _amc_seeds),
    "clips_npz": Target(_single("clips.npz"), _npz_seeds),
    "h36m_npz": Target(_single("h36m.npz"), _h36m_seeds),
    "npz_member": Target(_zip_member, _member_seeds),
    "pickle": Target(lambda data: unpickle_arrays(data, "fuzzed"), _pickle_seeds),
    "deepmimic": Target(_pair("character.txt", "clip.txt"), _deepmimic_seeds),
    "manifest": Target(_stored("manifests/v000001.json", _manifest), _manifest_seeds),
    "commit": Target(
        _stored(f"commits/{RUN}/{UNIT}.json", lambda store: read_commit(store, RUN, UNIT)),
        lambda: [canonical_json(_commit())],
    ),
    "plan": Target(lambda data: plan_from_json(data, "fuzzed"), _plan_seeds),
    "checkpoint": Target(lambda data: checkpoint_from_bytes(data, "fuzzed"), _checkpoint_seeds),
    "weights": Target(lambda data: import_weights(data, "fuzzed"), _weight_seeds),
    "weight_pickle": Target(lambda data: read_pickle(io.BytesIO(data), "fuzzed"), _weight_pickle_seeds),
    "image": Target(lambda data: decode_image(data, "fuzzed"), _image_seeds),
    "recipe": Target(_recipe, _recipe_seeds),
}
