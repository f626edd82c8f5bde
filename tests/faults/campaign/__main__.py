"""`make faults`: hundreds of faults, each really injected, and after each everything as if nothing had happened.

    python -m tests.faults.campaign [--short] [--only GROUP] [--seed N] [--write] [--results FILE] [--jobs N] [--keep]

Exit status 1 if a planned fault did not fire, or something was lost, doubled or damaged.
"""

import argparse
import gc
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = REPOSITORY / "docs" / "reliability.md"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "POSEMILL_CODE_VERSION": "campaign",
    "PYTHONPATH": str(REPOSITORY),
    "RAY_raylet_start_wait_time_s": "60",
    "RAY_agent_register_timeout_ms": "120000",
}
IMPORTED_LATE = (
    "pandas",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
    "dateutil.tz",
    "_strptime",
    "s3fs",
    "moto.server",
)
"""By libraries, in the middle of their work: a second of every case if they were not here before."""
AT_LEAST = 300
"""Faults of a whole campaign."""


def main() -> int:
    options = _options()
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):  # before torch reads them
        command = [sys.executable, "-m", "tests.faults.campaign", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ENVIRONMENT})
    start_s = time.monotonic()
    from tests.faults.campaign.groups import GROUPS
    from tests.faults.campaign.ledger import Ledger, summed, write_table

    for module in IMPORTED_LATE:
        with suppress(ImportError):
            import_module(module)
    gc.freeze()
    print(f"imported in {time.monotonic() - start_s:.0f} s", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="campaign-", dir=options.folder or _in_memory()))
    ledger = Ledger(None if options.results is None else Path(options.results))
    _prepare(folder / "bench")
    for name, group in GROUPS.items():
        wanted = name in options.only if options.only else group.in_short or not options.short
        if wanted and name not in ledger.groups:
            ledger.close_group(_group_result(name, group, folder, options))
        if name in ledger.groups:
            print(ledger.groups[name].line(), flush=True)
    cores = os.cpu_count() or 1
    print(f"\n{ledger.table()}\n\n{ledger.words(cores)}", flush=True)
    if options.write:
        write_table(PAGE, ledger, cores)
    if ledger.bad:
        print(f"{len(ledger.bad)} cases were not survived; their folders are in {folder}")
        return 1
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    if not (options.short or options.only) and summed(ledger.rows.values()).fired < AT_LEAST:
        print(f"fewer than {AT_LEAST} faults; see what was not tried")
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="a handful of every kind")
    parser.add_argument("--only", action="append", default=[], help="this group; may be given again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument(
        "--results", help="a file that keeps what every group came to; its groups are not run again"
    )
    parser.add_argument("--keep", action="store_true", help="keep all folders")
    parser.add_argument("--folder", default=None, help="where to work")
    return parser.parse_args()


def _in_memory() -> str | None:
    """A disk in memory, where there is one: a process that is killed loses nothing that it wrote, fsync or not, and a
    real disk would spend most of the time on fsync."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _prepare(bench: Path) -> None:
    """Inputs and undisturbed runs, each made in a process of its own: this one stays as it is."""
    from tests.faults.campaign.cases import in_child
    from tests.faults.campaign.workbench import JOBS, make_inputs, make_reference

    bench.mkdir(parents=True)
    log = bench / "log.txt"
    start_s = time.monotonic()
    works = [partial(make_inputs, bench)]
    works += [partial(make_reference, bench, job) for job in JOBS.values() if job.name != "import"]
    for work in works:
        if in_child(work, log):
            raise SystemExit(f"the undisturbed run failed:\n{log.read_text()}")
    print(f"undisturbed runs made in {time.monotonic() - start_s:.0f} s", flush=True)


def _group_result(name: str, group: Any, folder: Path, options: argparse.Namespace) -> Any:
    from tests.faults.campaign.cases import run_cases
    from tests.faults.campaign.ledger import GroupResult
    from tests.faults.campaign.workbench import Workbench

    made = GroupResult(name, left_out=group.why_not())
    if made.left_out:
        return made
    start_s, start_cpu_s = time.monotonic(), _cpu_s()
    draw = random.Random(f"{options.seed} {name}")
    cases = group.cases(Workbench(folder / "bench"), draw, options.short)
    run_cases(cases, folder / name.replace(" ", "-"), group.jobs or options.jobs, made.take, options.keep)
    made.wall_s, made.cpu_s = time.monotonic() - start_s, _cpu_s() - start_cpu_s
    return made


def _cpu_s() -> float:
    """CPU time of this process's children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
