"""Input files that are cut off or changed: named, never half read; once they are whole again, nothing is missing."""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pipelines.context import RunContext
from pipelines.import_motion import run_import
from pipelines.import_pairs import ImportPairsSettings, run_import_pairs
from pipelines.in_process import InProcessExecutor
from pipelines.mass_augment import run_augment
from pipelines.retry_quarantine import retry_quarantine
from poses.errors import PosemillError
from storage.reader import Dataset
from tests.faults.campaign.bad_rows import lost_rows
from tests.faults.campaign.cases import Case, Verdict
from tests.faults.campaign.judge import same_dataset, same_rows
from tests.faults.campaign.planted import plant
from tests.faults.campaign.workbench import (
    BROKEN,
    JOBS,
    OUT,
    QUICK,
    SEED,
    Workbench,
    augment_settings,
    import_settings,
)

TRUNCATED, FLIPPED = "truncated input shard", "changed byte in an input shard"
Damage = Callable[[bytes], bytes]
CUTS: dict[str, Damage] = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "without its footer": lambda data: data[:-8],
    "one byte short": lambda data: data[:-1],
}
BVH_CUTS: dict[str, Damage] = {
    "empty": lambda data: b"",
    "in the hierarchy": lambda data: data[: len(data) // 50],
    "in the motion": lambda data: data[: len(data) // 2],
}


def damaged_inputs(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Pairs files of a dataset, files of an export, motion files."""
    cuts = {"half": CUTS["half"]} if short else CUTS
    for name, cut in cuts.items():
        yield Case(TRUNCATED, f"augment: {name}", partial(_shard, bench, TRUNCATED, name, cut, draw.random()))
    if short:
        return
    for name in ("half", "empty", "one byte short"):
        yield Case(TRUNCATED, f"import pairs: {name}", partial(_export, bench, name, CUTS[name]))
    for name, cut in BVH_CUTS.items():
        yield Case(TRUNCATED, f"import: {name}", partial(_motion, bench, name, cut))
    for where in (0.3, 0.6):
        work = partial(_shard, bench, FLIPPED, f"at {where:.0%}", partial(_flipped, where), draw.random())
        yield Case(FLIPPED, f"augment: at {where:.0%}", work)


def _flipped(where: float, data: bytes) -> bytes:
    place = int(len(data) * where)
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


def _refusal(work: Callable[[], object]) -> str:
    """What a job says that must not end well."""
    try:
        work()
    except PosemillError as error:
        return str(error)
    return ""


def _shard(
    bench: Workbench, kind: str, name: str, cut: Damage, drawn: float, folder: Path
) -> Sequence[Verdict]:
    """A file of the augmented dataset: the run names it, does the rest, and goes on when it is restored."""
    source, out = folder / "source", folder / OUT
    shutil.copytree(bench.reference("import"), source)
    job, files = JOBS["augment"], [entry.path for entry in Dataset.open(source).pair_files]
    path = source / files[int(drawn * len(files))]
    whole = path.read_bytes()
    path.write_bytes(cut(whole))
    plant(bench.planted(job, folder / "marks"))

    def augment() -> object:
        settings = augment_settings(str(source))
        return run_augment(settings, RunContext(str(out), InProcessExecutor(retry=QUICK), SEED))

    told = _refusal(augment)
    problems = [] if path.name in told else [f"the file is not named: {told!r}"]
    path.write_bytes(whole)
    augment()
    problems += same_dataset(out, bench.reference("augment"))
    return [Verdict(kind, f"augment: {name}", 1, int(bool(told)), "; ".join(problems))]


def _export(bench: Workbench, name: str, cut: Damage, folder: Path) -> Sequence[Verdict]:
    source, out = folder / "export", folder / OUT
    shutil.copytree(bench.export, source)
    path = sorted(source.rglob("*.tar"))[1]
    whole = path.read_bytes()
    path.write_bytes(cut(whole))

    def read() -> object:
        context = RunContext(str(out), InProcessExecutor(retry=QUICK), SEED)
        return run_import_pairs(ImportPairsSettings(source=str(source)), context)

    told = _refusal(read)
    problems = [] if path.name in told else [f"the file is not named: {told!r}"]
    path.write_bytes(whole)
    read()
    problems += same_dataset(out, bench.reference("import pairs"))
    return [Verdict(TRUNCATED, f"import pairs: {name}", 1, int(bool(told)), "; ".join(problems))]


def _motion(bench: Workbench, name: str, cut: Damage, folder: Path) -> Sequence[Verdict]:
    """A motion file: in quarantine under its name, the others imported; once it is whole, a retry brings it back."""
    source, out = folder / "motion", folder / OUT
    shutil.copytree(bench.motion, source)
    path = sorted(path for path in source.rglob("*.bvh") if path.name != BROKEN)[2]
    whole = path.read_bytes()
    path.write_bytes(cut(whole))
    context = RunContext(str(out), InProcessExecutor(retry=QUICK), SEED)
    run_import(import_settings(source), context)
    gone, quarantined = lost_rows(bench, JOBS["import"], [path.name])
    named = any(Path(row.source).name == path.name for row in Dataset.open(out).quarantined_rows())
    problems = same_rows(out, bench.reference("import"), gone, quarantined)
    path.write_bytes(whole)
    retry_quarantine(context)
    problems += same_rows(out, bench.reference("import"), (), [(BROKEN, None)])
    return [Verdict(TRUNCATED, f"import: {name}", 1, int(named), "; ".join(problems))]
