"""YAML that costs more than it looks, asks for other types, or lies about what it is."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import RecipeError
from jobs.recipe import apply_change, load_recipe, read_yaml
from poses.errors import CameraError, PosemillError, SkeletonError
from poses.rigs import load_rig
from poses.skeleton import load_skeleton
from storage.errors import ImporterError
from storage.importers.joint_map import load_joint_map

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join(['*' + before] * 20)}], {name}: 1}}\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
HOSTILE = {
    "a bomb of aliases": BOMB,
    "a bomb of merge keys": MERGE_BOMB,
    "a list that holds itself": "job: &a [*a]\n",
    "a mapping that holds itself": "&a job: import\nx: &b {y: *b}\n",
    "deep nesting": "job: " + "[" * 400,
    "deep nesting by indentation": "".join(f"{' ' * i}a:\n" for i in range(400)),
    "python objects": "job: !!python/object/apply:os.system [echo]\n",
    "python names": "job: !!python/name:os.system\n",
    "own tags": "job: !include /etc/passwd\n",
    "too large": "job: import\n#" + "x" * 300_000,
    "an endless number": "job: " + "9" * 6000 + "\n",
    "no day": "job: 2001-99-99\n",
    "a key twice": "job: import\njob: build\n",
    "control characters": "job: \x01\n",
    "two documents": "job: import\n---\njob: build\n",
    "no mapping": "- job\n",
    "nothing": "",
    "keys that are lists": "? [a, b]\n: 1\n",
    "an alias of nothing": "job: *nobody\n",
}
READERS: list[tuple[Callable[[str], object], type[PosemillError]]] = [
    (load_recipe, RecipeError),
    (load_skeleton, SkeletonError),
    (load_rig, CameraError),
    (load_joint_map, ImporterError),
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(("read", "wanted"), READERS, ids=["recipe", "skeleton", "rig", "joint_map"])
def test_every_reader_of_yaml_refuses_it_at_once(
    tmp_path: Path, name: str, read: Callable[[str], object], wanted: type[PosemillError]
) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(HOSTILE[name])
    started_s = time.process_time()
    with pytest.raises(wanted, match=r"hostile\.yaml"):
        read(str(path))
    assert time.process_time() - started_s < 5.0


@pytest.mark.parametrize(
    "value", [BOMB.replace("\n", ", ").join("{}"), "[" * 5000, "!!python/name:os.system", "9" * 6000]
)
def test_a_change_on_the_command_line_is_read_the_same_way(value: str) -> None:
    with pytest.raises(RecipeError, match="is not a YAML value"):
        apply_change({}, f"a={value}")


def test_ordinary_aliases_and_merge_keys_are_read() -> None:
    text = "base: &base {a: 1, b: [1, 2]}\njob: {<<: *base, a: 2}\nlist: [*base, *base]\n"
    values = read_yaml(text, "x")
    assert values["job"] == {"a": 2, "b": [1, 2]}
    assert values["list"] == [{"a": 1, "b": [1, 2]}] * 2


def test_a_recipe_is_no_device_and_no_folder(tmp_path: Path) -> None:
    for path in ("/dev/zero", str(tmp_path)):
        with pytest.raises(RecipeError):
            load_recipe(path)
