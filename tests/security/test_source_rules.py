"""Calls that turn a file into code, or a name into a shell's word: in none of our packages."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("poses", "estimators", "augment", "storage", "pipelines", "jobs")
FORBIDDEN = {
    "pickle.load", "pickle.loads", "cPickle.load", "dill.load", "joblib.load", "shelve.open", "marshal.loads",
    "pandas.read_pickle", "pd.read_pickle", "torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "yaml.safe_load_all", "yaml.load_all", "eval", "exec", "compile", "__import__", "os.system", "os.popen",
    "tarfile.open", "shutil.unpack_archive", "tempfile.mktemp", "xml.etree.ElementTree.parse",
}  # fmt: skip
ALLOWED_SAFE_LOAD = {  # our own data files
    "storage/bone_ranges.py", "augment/motion/postures.py", "augment/motion/anthropometry.py",
    "augment/motion/gait.py", "augment/motion/channels.py",
}  # fmt: skip


def calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name, call) of every call whose function is a plain name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def faults(source: str, where: str) -> list[str]:
    """What is wrong in a module."""
    found = []
    for name, call in calls(source):
        keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name in FORBIDDEN or name.endswith((".extractall", ".extract")):
            found.append(f"{where}:{call.lineno}: {name}")
        if keywords.get("shell") == "True" or keywords.get("verify") == "False":
            found.append(f"{where}:{call.lineno}: {name} with {keywords}")
        if keywords.get("allow_pickle", "False") != "False" and "exporters" not in where:
            found.append(f"{where}:{call.lineno}: {name} allows pickles")
        if name == "yaml.safe_load" and where not in ALLOWED_SAFE_LOAD:
            found.append(f"{where}:{call.lineno}: {name}; use poses.safe_yaml.load_plain_yaml")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_runs_what_it_reads(package: str) -> None:
    modules = sorted((REPOSITORY / package).rglob("*.py"))
    assert modules
    found = [
        fault
        for path in modules
        for fault in faults(path.read_text(), path.relative_to(REPOSITORY).as_posix())
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["pickle.loads(x)", "torch.load(p)", "np.load(p, allow_pickle=True)", "archive.extractall(p)", "yaml.safe_load(t)",
     "subprocess.run(c, shell=True)", "requests.get(u, verify=False)", "eval(x)"],
)  # fmt: skip
def test_the_rule_finds_what_it_forbids(line: str) -> None:
    assert faults(line, "x.py")
