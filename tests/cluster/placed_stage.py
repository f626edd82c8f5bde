"""Stages that commit the id of the node where they ran; a module, because Ray's workers import them."""

from collections.abc import Sequence
from typing import Any

from pipelines.executor import BadRow
from pipelines.plan import Unit
from storage.commit import UnitCommit


def node_id() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()


class PlacedStage:
    """A stage on its own."""

    def setup(self) -> None: ...

    def run(self, unit: Unit, bad_rows: Sequence[BadRow] = ()) -> UnitCommit:
        return UnitCommit(run_id="run", unit_id=unit.unit_id, writer_id=node_id(), files=(), rows=0)


class PlacedLink:
    """The first of a chain: gives its node on."""

    def setup(self) -> None: ...

    def transform(self, unit: Unit, rows: Any, value: Any) -> str:
        return node_id()


class PlacedSink:
    """The last of a chain: commits both nodes."""

    def setup(self) -> None: ...

    def commit(self, unit: Unit, value: str, bad_rows: Sequence[BadRow]) -> UnitCommit:
        nodes = f"{value} {node_id()}"
        return UnitCommit(run_id="run", unit_id=unit.unit_id, writer_id=nodes, files=(), rows=0)

    def check(self, unit: Unit, rows: Any, value: str) -> None: ...
