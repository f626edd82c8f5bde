"""Who is hired and who is let go while the stages of a run stream into each other.

Rules:
- No stage gets a second actor before every stage has its first; a stage that has none and finds no room takes it from
  the stage with the most.
- A stage grows, up to its workers, while work waits for it and the cluster has room: nodes that join are used.
- Actors that the rest of the work has no use for are given back at once, a stage's last when nothing can come back.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.placement import Demand, Room, allocate, chain_error, needs_of
from pipelines.ray_members import Member, StagePool
from pipelines.ray_session import living_nodes, node_resources, total_resources, workers_that_fit
from pipelines.supervision import Supervisor

_NODE_GRACE_S = 10.0
"""A node that was lost may come back, or its replacement be slow to join: wait at least this long."""
_LOOK_S = 1.0
"""Between looks at what the cluster offers: Ray's view of it is about as old."""


@dataclass
class Staffing:
    """Hires and lets go for one run.

    Args:
        name: Of the run.
        pools: Its stages, in order.
        supervisor: Knows what is left to do.
        wait_for_nodes_s: Above 0, nodes may come and go: actors without a node wait for one, so that an autoscaler sees
            them.
    """

    name: str
    pools: Sequence[StagePool]
    supervisor: Supervisor
    wait_for_nodes_s: float = 0.0
    next_look_s: float = 0.0

    def open(self, counts: Sequence[int]) -> list[Member]:
        """The first actors: one of each stage, the largest first, then the others."""
        by_size = sorted(
            zip(self.pools, counts, strict=True),
            key=lambda item: (item[0].spec.resources.num_gpus, item[0].spec.resources.num_cpus),
            reverse=True,
        )
        hired = [member for pool, _ in by_size for member in pool.hire(1)]
        hired += [member for pool, count in by_size for member in pool.hire(count - 1)]
        self.next_look_s = time.monotonic() + _LOOK_S
        return hired

    def step(self, now_s: float) -> list[Member]:
        """Let go, then hire. Returns the new members.

        Raises:
            PoolError: if a stage has no actor and the nodes for one stay away.
        """
        wanted = self._wanted()
        self._let_go(wanted)
        homeless = [
            pool for pool, count in zip(self.pools, wanted, strict=True) if count and not pool.has_place
        ]
        self._refuse_to_wait_forever(now_s)
        if homeless:
            return self._hire_first(homeless, now_s)
        return self._grow(wanted, now_s)

    def _wanted(self) -> list[int]:
        """How many actors each stage has a use for."""
        counts: list[int] = []
        to_come = self.supervisor.n_queued
        for pool in self.pools:
            to_come += len(pool.queue) + pool.in_flight
            counts.append(min(pool.spec.workers, to_come))
        return counts

    def _let_go(self, wanted: Sequence[int]) -> None:
        for pool, count in zip(self.pools, wanted, strict=True):
            for member in [member for member in pool.idle if member.leaving]:
                pool.dismiss(member, "another stage needs its room")
            if len(pool.members) > count:
                keep = max(count, int(count == 0 and self.supervisor.troubled))
                pool.dismiss_idle(len(pool.members) - keep, "no work is left for it")

    def _hire_first(self, homeless: Sequence[StagePool], now_s: float) -> list[Member]:
        """The first actor of every stage that has none; all others wait, or give room."""
        hired: list[Member] = []
        looking = now_s >= self.next_look_s
        for pool in homeless:
            may_hire = not pool.members and now_s >= pool.hold_until_s
            if may_hire and (self.wait_for_nodes_s > 0 or self._own_room(pool) > 0):
                hired += pool.hire(1)
            elif looking and len(self.pools) > 1 and self._own_room(pool) <= 0:
                self._make_room(pool)
        if looking:
            self.next_look_s = now_s + _LOOK_S
        return hired

    def _grow(self, wanted: Sequence[int], now_s: float) -> list[Member]:
        """More actors where work waits, downstream first."""
        hired: list[Member] = []
        lacking = [
            (pool, count - len(pool.members))
            for pool, count in reversed(list(zip(self.pools, wanted, strict=True)))
            if count > len(pool.members) and now_s >= pool.hold_until_s
        ]
        if not lacking or now_s < self.next_look_s:
            return hired
        self.next_look_s = now_s + _LOOK_S
        for pool, count in lacking:
            useful = min(count, self._backlog(pool))
            if useful > 0 and self.wait_for_nodes_s == 0:
                useful = min(useful, self._own_room(pool) - pool.n_unplaced, self._free_room(pool))
            hired += pool.hire(max(0, useful))
        return hired

    def _backlog(self, pool: StagePool) -> int:
        """Jobs that another actor of the stage could begin now."""
        index = list(self.pools).index(pool)
        waiting = len(pool.queue) if index else self.supervisor.n_queued
        if index + 1 < len(self.pools):
            waiting = min(waiting, pool.spec.output_bound - pool.in_flight - len(self.pools[index + 1].queue))
        return waiting - len(pool.idle) - sum(not member.ready for member in pool.members)

    def _own_room(self, pool: StagePool) -> int:
        """How many actors of a stage, those that wait for a place included, the living nodes can hold beside the others
        of this run. What other jobs hold is not known."""
        nodes = living_nodes()
        for each in self.pools:
            needs = needs_of(each.spec.resources)
            for node_id in (member.node_id for member in each.members if member.node_id in nodes):
                for name, amount in needs.items():
                    nodes[node_id][name] = nodes[node_id].get(name, 0.0) - amount
        left = list(nodes.values())
        room = Room(left, total_resources(left))
        for each in self.pools:
            for _ in range(each.n_unplaced if each is not pool else 0):
                room.take(each.spec.resources)
        return workers_that_fit(pool.spec.resources, room.nodes, room.available)

    def _free_room(self, pool: StagePool) -> int:
        """How many actors Ray has room for, other jobs' included in what is taken."""
        return workers_that_fit(pool.spec.resources, *node_resources())

    def _make_room(self, needy: StagePool) -> None:
        """Take one actor from the stage with the most, if that may help."""
        nodes, _ = node_resources()
        if not workers_that_fit(needy.spec.resources, nodes, total_resources(nodes)):
            return
        if any(member.leaving for pool in self.pools for member in pool.members):
            return
        rich = max(self.pools, key=lambda pool: len(pool.members))
        if len(rich.members) < 2:
            return
        victim = min(rich.members, key=lambda member: (bool(member.node_id), member not in rich.idle))
        self.supervisor.progress.log(f"{self.name}: {rich.name} gives room to {needy.name}")
        if victim.job is None:
            rich.dismiss(victim, f"{needy.name} needs its room")
        else:
            victim.leaving = True

    def _refuse_to_wait_forever(self, now_s: float) -> None:
        """Stop in words when a stage has nobody ready and the nodes, even if all were free, have no room for it."""
        lonely = [pool for pool in self.pools if not any(member.ready for member in pool.members)]
        for pool in self.pools:
            if pool not in lonely:
                pool.homeless_since_s = None
        if not lonely or now_s < self.next_look_s:
            return
        nodes, available = node_resources()
        demands = [Demand(pool.name, pool.spec.resources, 1) for pool in self.pools]
        counts = allocate(demands, nodes, total_resources(nodes))
        patience_s = self.wait_for_nodes_s or _NODE_GRACE_S
        for pool, count in zip(self.pools, counts, strict=True):
            if pool not in lonely or count:
                pool.homeless_since_s = None
                continue
            pool.homeless_since_s = pool.homeless_since_s or now_s
            if now_s - pool.homeless_since_s > patience_s:
                raise chain_error(self.name, [each.demand for each in self.pools], counts, nodes, available)
