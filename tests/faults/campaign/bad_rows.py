"""Rows that raise and rows that hang, in this process: quarantine names exactly them, and a retry brings them back."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipelines.context import RunContext
from pipelines.executor import RetryPolicy
from pipelines.in_process import InProcessExecutor
from pipelines.retry_quarantine import retry_quarantine
from poses.batch import PoseBatch
from storage.reader import Dataset
from tests.faults.campaign.cases import Case, Verdict, in_child
from tests.faults.campaign.judge import Names, same_rows
from tests.faults.campaign.planted import HANG, RAISE, Planted, plant
from tests.faults.campaign.workbench import BROKEN, JOBS, OUT, SEED, Job, Workbench

KINDS = {RAISE: "row that raises", HANG: "row that hangs"}
HANGING = RetryPolicy(backoff_s=0.01, deaths_before_suspect=1, unit_timeout_s=8.0)
RAISING = RetryPolicy(backoff_s=0.01)


def raising_rows(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """Several rows of a run, in several units."""
    for name, count in (("import", 3), ("augment", 5), ("chain", 5), ("import", 2), ("augment", 9)):
        if not short or name != "augment" or count == 5:
            yield bad_case(bench, JOBS[name], RAISE, 1 if short else count, draw)
        if short and name == "augment":
            return


def hanging_rows(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """One at a time: the search for each waits for the deadline several times."""
    for name in ("import",) if short else ("import", "import", "import", "import", "augment", "augment"):
        yield bad_case(bench, JOBS[name], HANG, 1, draw)


def bad_case(bench: Workbench, job: Job, what: str, count: int, draw: random.Random) -> Case:
    """A run with so many planted rows."""
    keys = draw.sample(keys_of(bench, job), count)
    work = partial(_planted, bench, job, dict.fromkeys(keys, what))
    return Case(KINDS[what], f"{job.name}: {', '.join(keys)}", work, injected=count)


def keys_of(bench: Workbench, job: Job) -> list[str]:
    """What can be planted: names of good motion files, or sample ids. Called where nothing but names is read."""
    if job.name == "import":
        files = [path.name for path in bench.motion.rglob("*.bvh") if path.name != BROKEN]
        return sorted(files)
    return bench.ids()


def lost_rows(bench: Workbench, job: Job, rows: Iterable[str]) -> tuple[list[int], Names]:
    """Source ids that planted rows cost, and what must be in quarantine beside what always is."""
    keys = set(rows)
    source = Dataset.open(bench.reference("import"))
    if job.name == "import":
        names = [str(path.relative_to(bench.motion)) for path in bench.motion.rglob("*.bvh")]
        lost = [name for name in names if Path(name).name in keys]
        pairs = source.read_pairs()
        gone = np.isin([f"{clip}.bvh" for clip in pairs.clip], lost)
        return pairs.sample_id[gone].tolist(), [(name, None) for name in [*lost, BROKEN]]
    found: list[tuple[str, int | None]] = []
    for entry in source.pair_files:
        rows_of_file = source.read_rows(entry.path, 0, entry.rows)
        found += [(entry.path, int(row)) for row in np.flatnonzero(_planted_in(rows_of_file, keys))]
    return [int(key) for key in keys], found


def _planted_in(pairs: PoseBatch, keys: set[str]) -> np.ndarray:
    return np.isin(pairs.sample_id, np.asarray([int(key) for key in keys], np.int64))


def _planted(bench: Workbench, job: Job, rows: Mapping[str, str], folder: Path) -> Sequence[Verdict]:
    """The run in a child that plants the rows; then, without them, a retry."""
    out, marks = folder / OUT, folder / "marks"
    marks.mkdir()
    what = next(iter(rows.values()))
    planted = Planted(rows, str(marks))

    def disturbed() -> None:
        plant(planted)
        job.run(bench, str(out), InProcessExecutor(retry=HANGING if what == HANG else RAISING))

    status = in_child(disturbed, folder / "driver.txt")
    problems = [f"the run ended with {status}: {_tail(folder)}"] if status else []
    if not problems:
        gone, quarantined = lost_rows(bench, job, rows)
        problems += same_rows(out, reference_of(bench, job), gone, quarantined)
        if job.name != "chain":
            retry_quarantine(RunContext(str(out), InProcessExecutor(retry=RAISING), SEED))
            problems += [
                f"retried: {one}" for one in same_rows(out, reference_of(bench, job), (), _left(job))
            ]
    named = f"{job.name}: {', '.join(rows)}"
    return [Verdict(KINDS[what], named, len(rows), planted.fired(), "; ".join(problems))]


def reference_of(bench: Workbench, job: Job) -> Path:
    """The run without planted rows; the retry's is the augmentation of everything."""
    return bench.reference("import" if job.name == "import" else "retry")


def _left(job: Job) -> Names:
    """What stays in quarantine after a retry."""
    return [(BROKEN, None)] if job.name == "import" else []


def _tail(folder: Path) -> str:
    return (folder / "driver.txt").read_text(errors="replace")[-1500:]
