"""Workers, nodes and drivers of a Ray cluster of three nodes that are killed; rows that crash or hang a worker."""

import os
import random
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.context import RunContext
from pipelines.executor import RetryPolicy
from pipelines.import_motion import plan_import, run_import
from pipelines.mass_augment import plan_augment, run_augment
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from tests.faults.campaign.bad_rows import keys_of, lost_rows
from tests.faults.campaign.cases import Case, Verdict, start_child, wait_for
from tests.faults.campaign.chain_job import run_chain_job
from tests.faults.campaign.judge import same_rows
from tests.faults.campaign.planted import CRASH, HANG, Disturbed, Planted
from tests.faults.campaign.workbench import JOBS, OUT, SEED, Workbench, augment_settings, import_settings

AT_A_WRITE, AT_RANDOM = "worker killed: at a write", "worker killed: at random"
NODE, DRIVER = "node removed", "driver of a Ray pool killed"
CRASHING, HANGING = "row that crashes the worker", "row that hangs the worker"
_ROWS_PER_UNIT = 40
_PATIENCE_S = 240.0
_LISTEN = "dashboard_agent_listen_port"
_STORE = {"object_store_memory": 100 * 2**20}
_RETRY = RetryPolicy(backoff_s=0.05)
_HANGING = RetryPolicy(backoff_s=0.05, deaths_before_suspect=1, unit_timeout_s=30.0)
_IMPORT_POINTS, _AUGMENT_POINTS = 6, 4
"""Writes of a unit, before and after: no fewer in any unit."""


def ray_workers(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """One cluster for all: to start it and its workers costs more than the faults do."""
    scenarios: list[Scenario] = [partial(_kill_at_writes, job="augment", count=1 if short else 8)]
    if not short:
        scenarios += [partial(_kill_at_writes, job="import", count=4), partial(_kill_at_random, count=6)]
        scenarios.append(_crash_and_hang)
    yield _on_one_cluster(bench, draw, "workers", scenarios)


def ray_nodes(bench: Workbench, draw: random.Random, short: bool) -> Iterator[Case]:
    """As above, with drivers on the cluster that are killed."""
    jobs = ("augment",) if short else ("augment", "chain", "import")
    scenarios: list[Scenario] = [partial(_lose_node, job=job) for job in jobs]
    n_drivers = 0 if short else 2
    scenarios += [partial(_kill_driver, number=number) for number in range(n_drivers)]
    yield _on_one_cluster(bench, draw, "nodes", scenarios, n_drivers)


def _on_one_cluster(
    bench: Workbench, draw: random.Random, what: str, scenarios: "list[Scenario]", n_drivers: int = 0
) -> Case:
    work = partial(_on_cluster, bench, draw.getrandbits(32), scenarios, n_drivers)
    return Case("Ray", what, work, injected=len(scenarios), timeout_s=1500.0)


@dataclass
class Stand:
    """A running cluster, and what is done on it."""

    bench: Workbench
    folder: Path
    cluster: Any
    draw: random.Random
    drivers: list["_WaitingDriver"] = field(default_factory=list)

    def place(self, name: str) -> Path:
        """A new folder with one for marks and one for process ids."""
        folder = self.folder / name
        for below in ("marks", "pids"):
            (folder / below).mkdir(parents=True)
        return folder


Scenario = Callable[[Stand], Sequence[Verdict]]


def pool(planted: Planted | None = None, address: str | None = None, retry: RetryPolicy = _RETRY) -> Any:
    """Two workers, with what goes wrong in them."""
    made = RayPoolExecutor(RayPoolSettings(workers=2, retry=retry, ray=RaySettings(address=address)))
    return made if planted is None else Disturbed(made, planted)


def settings_of(bench: Workbench) -> Any:
    """Augmentation in small units."""
    return augment_settings(str(bench.reference("import")), rows_per_unit=_ROWS_PER_UNIT)


def augment(bench: Workbench, out: Path, executor: Any) -> None:
    """All rows, none of them poisoned."""
    run_augment(settings_of(bench), RunContext(str(out), executor, SEED))


def everything(bench: Workbench, out: Path, job: str) -> list[str]:
    """Whether all rows are there."""
    return same_rows(out, bench.reference("import" if job == "import" else "retry"))


def _on_cluster(
    bench: Workbench, seed: int, scenarios: "Sequence[Scenario]", n_drivers: int, folder: Path
) -> Sequence[Verdict]:
    """One after the other; a scenario that breaks costs its own faults only."""
    drivers = [_WaitingDriver(bench, folder / f"driver{number}") for number in range(n_drivers)]
    verdicts: list[Verdict] = []
    with _cluster() as cluster:
        stand = Stand(bench, folder, cluster, random.Random(seed), drivers)
        for scenario in scenarios:
            start_s = time.monotonic()
            try:
                made = scenario(stand)
            except Exception:
                name = getattr(scenario, "func", scenario).__name__
                made = [Verdict("Ray", name, 1, 0, traceback.format_exc()[-1500:])]
            each_s = (time.monotonic() - start_s) / len(made)
            verdicts += [Verdict(**(vars(one) | {"seconds": each_s})) for one in made]
    return verdicts


@contextmanager
def _cluster() -> Iterator[Any]:
    """A head without CPUs, where the driver is, and two nodes for one worker each."""
    import ray

    made = _started_head()
    try:
        for _ in range(2):
            _add_node(made)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        ray.init(address=made.address, **quiet)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def _started_head() -> Any:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, **_STORE}
    return _patiently(lambda: Cluster(initialize_head=True, head_node_args={**head, **_agent_ports()}))


def _add_node(cluster: Any) -> None:
    _patiently(lambda: cluster.add_node(num_cpus=1, **_STORE, **_agent_ports()))


def _agent_ports() -> dict[str, int]:
    """Ports for a node's agents. Where these choose their own, the node waits 15 s for them to tell, and then gives up,
    which a machine under load does not forgive. The last of them Ray does not hand on, so that is done here."""
    names = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", _LISTEN)
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}
    _hand_on(ports[_LISTEN])
    return ports


def _hand_on(port: int) -> None:
    """Gives the next node that this process starts one more option."""
    from ray._private import services

    start = getattr(services.start_ray_process, "inner", services.start_ray_process)

    def start_ray_process(command: list[str], process_type: str, *args: Any, **named: Any) -> Any:
        more = [f"--{_LISTEN}={port}"] if process_type == "raylet" else []
        return start([*command, *more], process_type, *args, **named)

    start_ray_process.inner = start  # pyright: ignore[reportFunctionMemberAccess]
    services.start_ray_process = start_ray_process


def _patiently(start: Callable[[], Any]) -> Any:
    for attempts_left in reversed(range(4)):
        try:
            return start()
        except Exception as error:
            if attempts_left == 0 or "timed out during startup" not in str(error):
                raise
    raise AssertionError("not reached")


def _kill_at_writes(stand: Stand, job: str, count: int) -> Sequence[Verdict]:
    """Workers that die before or after a write of their unit, once each."""
    place, bench = stand.place(f"writes-{job}"), stand.bench
    if job == "import":
        units, points = plan_import(import_settings(bench.motion), SEED).units, _IMPORT_POINTS
    else:
        units, points = plan_augment(settings_of(bench), SEED)[0].units, _AUGMENT_POINTS
    chosen = stand.draw.sample([unit.unit_id for unit in units], min(count, len(units)))
    kills = {unit: stand.draw.randrange(points) for unit in chosen}
    executor = pool(Planted(marks=str(place / "marks"), kills=kills))
    out = place / OUT
    if job == "import":
        run_import(import_settings(bench.motion), RunContext(str(out), executor, SEED))
    else:
        augment(bench, out, executor)
    fired = len(list((place / "marks").glob("kill-*")))
    problems = everything(bench, out, job)
    return [Verdict(AT_A_WRITE, f"{job}: {kills}", len(kills), fired, "; ".join(problems))]


class _Killer(threading.Thread):
    """Kills the worker of some units, a drawn time after it has begun them."""

    def __init__(self, pids: Path, count: int, draw: random.Random, longest_s: float) -> None:
        super().__init__(daemon=True)
        self._pids, self._longest_s = pids, longest_s
        self._delays = [draw.uniform(0.0, longest_s) for _ in range(count)]
        self.killed = 0

    def run(self) -> None:
        seen: set[str] = set()
        deadline_s = time.monotonic() + _PATIENCE_S
        while self._delays and time.monotonic() < deadline_s:
            new = [path.name for path in self._pids.iterdir() if path.name.split(".")[0] not in seen]
            if not new:
                time.sleep(0.01)
                continue
            unit, pid = new[0].split(".")
            seen.add(unit)
            time.sleep(self._delays.pop())
            try:
                os.kill(int(pid), signal.SIGKILL)
                self.killed += 1
            except ProcessLookupError:
                continue


def _kill_at_random(stand: Stand, count: int) -> Sequence[Verdict]:
    place = stand.place("random")
    killer = _Killer(place / "pids", count, stand.draw, 0.8)
    killer.start()
    augment(stand.bench, place / OUT, pool(Planted(pids=str(place / "pids"), slow_s=0.8)))
    killer.join(5.0)
    problems = everything(stand.bench, place / OUT, "augment")
    return [Verdict(AT_RANDOM, "augment", count, killer.killed, "; ".join(problems))]


def _crash_and_hang(stand: Stand) -> Sequence[Verdict]:
    """Two motion files that end the worker's process and one on which it sleeps for an hour."""
    place, bench = stand.place("crash"), stand.bench
    files = stand.draw.sample(keys_of(bench, JOBS["import"]), 3)
    rows = dict(zip(files, (CRASH, CRASH, HANG), strict=True))
    planted = Planted(rows, str(place / "marks"))
    out = place / OUT
    run_import(import_settings(bench.motion), RunContext(str(out), pool(planted, retry=_HANGING), SEED))
    gone, quarantined = lost_rows(bench, JOBS["import"], files)
    problem = "; ".join(same_rows(out, bench.reference("import"), gone, quarantined))
    fired = {what: Planted(_only(rows, what), planted.marks).fired() for what in (CRASH, HANG)}
    return [
        Verdict(CRASHING, f"import: {files[:2]}", 2, fired[CRASH], problem),
        Verdict(HANGING, f"import: {files[2]}", 1, fired[HANG], problem),
    ]


def _only(rows: dict[str, str], what: str) -> dict[str, str]:
    return {key: found for key, found in rows.items() if found == what}


def _lose_node(stand: Stand, job: str) -> Sequence[Verdict]:
    """A node goes away in the middle; the other one does the rest. Then a new one comes for the next scenario."""
    place, bench = stand.place(f"node-{job}"), stand.bench
    out, events = place / OUT, {"removed": False, "ended": False}

    def remove() -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while len(list(out.glob("commits/*/*.json"))) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        node = stand.draw.choice(sorted(stand.cluster.worker_nodes, key=lambda node: node.node_id))
        events["removed"] = not events["ended"]
        stand.cluster.remove_node(node, allow_graceful=False)

    remover = threading.Thread(target=remove, daemon=True)
    remover.start()
    slow = Planted(slow_s=0.4)
    if job == "import":
        run_import(import_settings(bench.motion), RunContext(str(out), pool(slow), SEED))
    elif job == "chain":
        run_chain_job(settings_of(bench), RunContext(str(out), pool(), SEED), workers=2)
    else:
        augment(bench, out, pool(slow))
    events["ended"] = True
    remover.join()
    _add_node(stand.cluster)
    problems = everything(bench, out, job)
    return [Verdict(NODE, job, 1, int(events["removed"]), "; ".join(problems))]


class _WaitingDriver:
    """A driver that begins once it is told where the cluster is: forked before Ray starts threads."""

    def __init__(self, bench: Workbench, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        reader, self._writer = os.pipe()

        def driver() -> None:
            os.close(self._writer)
            with os.fdopen(reader) as orders:
                address = orders.readline().strip()  # not until its end: the next driver holds it open too
            if address:
                augment(bench, folder / OUT, Disturbed(pool(address=address), Planted(slow_s=0.5)))

        self.pid = start_child(driver, folder / "driver.txt")
        os.close(reader)

    def begin(self, address: str) -> None:
        """Go."""
        with os.fdopen(self._writer, "w") as orders:
            orders.write(f"{address}\n")


def _kill_driver(stand: Stand, number: int) -> Sequence[Verdict]:
    """A driver with units in flight; another goes on from what is committed."""
    driver = stand.drivers[number]
    driver.begin(stand.cluster.address)
    out, deadline_s = driver.folder / OUT, time.monotonic() + _PATIENCE_S
    while len(list(out.glob("commits/*/*.json"))) <= 2 * number and time.monotonic() < deadline_s:
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    fired = wait_for(driver.pid) == -signal.SIGKILL and any(out.glob("runs/*/plan.json"))
    augment(stand.bench, out, pool())
    problems = everything(stand.bench, out, "augment")
    return [Verdict(DRIVER, f"augment: after {2 * number + 1} commits", 1, int(fired), "; ".join(problems))]
