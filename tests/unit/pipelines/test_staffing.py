"""Who is hired and let go, on a cluster on paper: growth, release, and room for a stage that has none."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pipelines import ray_staffing
from pipelines.errors import PoolError
from pipelines.executor import BadRowPolicy, Failure, RetryPolicy, WorkerResources
from pipelines.observer import SilentObserver
from pipelines.plan import Unit
from pipelines.progress import RecordingProgress
from pipelines.ray_members import Job, Member, StagePool
from pipelines.ray_staffing import Staffing
from pipelines.stage_chain import StageSpec
from pipelines.supervision import Supervisor

CPU, GPU = WorkerResources(num_cpus=1.0), WorkerResources(num_cpus=0.0, num_gpus=0.5)


@dataclass
class Cluster:
    """Nodes, and actors that get a place as soon as a node has room."""

    nodes: dict[str, dict[str, float]]
    pools: list["PaperPool"] = field(default_factory=list)

    def living(self) -> dict[str, dict[str, float]]:
        return {name: dict(node) for name, node in self.nodes.items()}

    def free(self) -> dict[str, dict[str, float]]:
        left = self.living()
        for pool in self.pools:
            for member in pool.members:
                if member.node_id in left:
                    left[member.node_id]["CPU"] -= pool.spec.resources.num_cpus
                    left[member.node_id]["GPU"] -= pool.spec.resources.num_gpus
        return left

    def resources(self) -> tuple[list[dict[str, float]], dict[str, float]]:
        free = self.free().values()
        return list(self.living().values()), {
            name: sum(node[name] for node in free) for name in ("CPU", "GPU")
        }

    def settle(self) -> None:
        """Everyone who can gets a place and is set up; members of lost nodes are gone."""
        for pool in self.pools:
            for member in [one for one in pool.members if one.node_id and one.node_id not in self.nodes]:
                pool.dismiss(member, "lost")
            for member in [one for one in pool.members if not one.node_id]:
                needs = pool.spec.resources
                for name, node in self.free().items():
                    if node["CPU"] >= needs.num_cpus and node["GPU"] >= needs.num_gpus:
                        member.node_id = name
                        pool.welcome(member)
                        break


class PaperPool(StagePool):
    """A pool whose actors are only counted."""

    def hire(self, count: int) -> list[Member]:
        hired = [Member(None, "", None, None) for _ in range(count)]
        self.members.update(dict.fromkeys(hired))
        return hired

    def dismiss(self, member: Member, why: str) -> None:
        del self.members[member]
        if member in self.idle:
            self.idle.remove(member)


Crew = Callable[..., tuple[Cluster, Staffing]]


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Crew:
    def make(
        nodes: dict[str, dict[str, float]], *specs: StageSpec, n_units: int = 100
    ) -> tuple[Cluster, Staffing]:
        cluster, retry, progress = Cluster(nodes), RetryPolicy(), RecordingProgress()
        supervisor = Supervisor(
            [Unit(f"u{i}", "x") for i in range(n_units)], retry, BadRowPolicy(), True, progress
        )
        cluster.pools = [
            PaperPool(spec, retry, progress, SilentObserver(), spec is specs[-1], len(specs) == 1)
            for spec in specs
        ]
        monkeypatch.setattr(ray_staffing, "living_nodes", cluster.living)
        monkeypatch.setattr(ray_staffing, "node_resources", cluster.resources)
        monkeypatch.setattr(ray_staffing.time, "monotonic", lambda: 0.0)
        return cluster, Staffing("test", cluster.pools, supervisor)

    return make


def sizes(cluster: Cluster) -> list[int]:
    return [len(pool.members) for pool in cluster.pools]


def play(cluster: Cluster, staffing: Staffing, seconds: int, start_s: int = 0) -> list[int]:
    """Steps of a second each, in which whoever finds room is set up."""
    for now_s in range(start_s, start_s + seconds):
        staffing.step(float(now_s) + 1.5)
        cluster.settle()
    return sizes(cluster)


def make_busy(staffing: Staffing, pool: StagePool) -> None:
    """Every idle member gets a unit."""
    while pool.idle:
        task = staffing.supervisor.next_task(0.0)
        assert task is not None
        pool.idle.pop().job = Job(task)
        pool.in_flight += 1


def node(cpus: float, gpus: float = 0.0) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus}


def test_a_pool_grows_when_nodes_join_and_not_beyond_its_size(crew: Crew) -> None:
    cluster, staffing = crew({"a": node(2)}, StageSpec("work", str, CPU, workers=5))
    staffing.open([2])
    cluster.settle()
    make_busy(staffing, cluster.pools[0])
    assert play(cluster, staffing, 3) == [2], "the only node is full"
    cluster.nodes["b"] = node(8)
    assert play(cluster, staffing, 3, start_s=3) == [5]


def test_surplus_actors_go_as_the_queue_drains(crew: Crew) -> None:
    cluster, staffing = crew({"a": node(8)}, StageSpec("work", str, CPU, workers=4), n_units=6)
    staffing.open([4])
    cluster.settle()
    damaged = Failure("whole_unit", "UnitError", "damaged")
    staffing.supervisor.retry = staffing.supervisor.retry.model_copy(update={"max_failed_units_at_start": 9})
    for _ in range(4):
        task = staffing.supervisor.next_task(0.0)
        assert task is not None
        staffing.supervisor.record_failure(task, damaged, 0.0)
    assert play(cluster, staffing, 1) == [2], "two units are left"
    make_busy(staffing, cluster.pools[0])
    assert play(cluster, staffing, 1) == [2]


def test_no_stage_grows_before_every_stage_has_its_first(crew: Crew) -> None:
    decode, detect = StageSpec("decode", str, CPU, workers=9), StageSpec("detect", str, GPU, workers=1)
    cluster, staffing = crew({"a": node(4)}, decode, detect)
    staffing.open([1, 1])
    cluster.settle()
    assert play(cluster, staffing, 5) == [1, 1], "the GPU's actor has no place yet"
    cluster.nodes["b"] = node(1, 1)
    assert play(cluster, staffing, 3, start_s=5) == [5, 1]


def test_a_stage_that_lost_its_node_takes_room_from_the_one_with_the_most(crew: Crew) -> None:
    decode, write = StageSpec("decode", str, CPU, workers=9), StageSpec("write", str, CPU, workers=1)
    cluster, staffing = crew({"a": node(3), "b": node(1)}, decode, write)
    staffing.open([3, 1])
    for pool, home in zip(cluster.pools, ("a", "b"), strict=True):
        for member in pool.members:
            member.node_id = home
            pool.welcome(member)
    make_busy(staffing, cluster.pools[0])
    del cluster.nodes["b"]
    cluster.settle()
    assert play(cluster, staffing, 2) == [3, 0], "all decoders are at work: one may finish its unit first"
    leaving = [member for member in cluster.pools[0].members if member.leaving]
    assert len(leaving) == 1
    cluster.pools[0].land(leaving[0])
    cluster.pools[0].rest(leaving[0])
    assert play(cluster, staffing, 3, start_s=2) == [2, 1]


def test_the_last_actor_of_a_stage_goes_when_no_unit_can_come_back(crew: Crew) -> None:
    decode, write = StageSpec("decode", str, CPU, workers=2), StageSpec("write", str, CPU, workers=1)
    cluster, staffing = crew({"a": node(4)}, decode, write, n_units=1)
    staffing.open([2, 1])
    cluster.settle()
    task = staffing.supervisor.next_task(0.0)
    assert task is not None
    cluster.pools[1].queue.append(Job(task))
    assert play(cluster, staffing, 1) == [0, 1]


def test_a_stage_without_a_node_stops_the_run_in_words(crew: Crew) -> None:
    decode, detect = StageSpec("decode", str, CPU, workers=1), StageSpec("detect", str, GPU, workers=1)
    cluster, staffing = crew({"a": node(2), "b": node(1, 1)}, decode, detect)
    staffing.open([1, 1])
    cluster.settle()
    del cluster.nodes["b"]
    cluster.settle()
    with pytest.raises(PoolError, match="no room for a worker of 'detect' beside one of every other stage"):
        play(cluster, staffing, 20)
