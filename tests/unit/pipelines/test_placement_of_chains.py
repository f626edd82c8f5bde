"""Who gets room beside whom: every stage its first worker before any its second."""

import pytest

from pipelines.executor import WorkerResources
from pipelines.placement import Demand, allocate, chain_error

CPU, BIG = WorkerResources(num_cpus=1.0), WorkerResources(num_cpus=2.0)
HALF_GPU = WorkerResources(num_cpus=1.0, num_gpus=0.5)
NODES = [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}]


def free(nodes: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}


@pytest.mark.parametrize(
    ("demands", "counts"),
    [
        ([Demand("decode", CPU, 100), Demand("detect", HALF_GPU, 2)], [4, 2]),
        ([Demand("decode", CPU, 2), Demand("detect", HALF_GPU, 8)], [2, 2]),
        ([Demand("decode", CPU, 100), Demand("write", CPU, 100)], [3, 3]),
        ([Demand("decode", BIG, 100), Demand("write", CPU, 1)], [2, 1]),
        ([Demand("decode", CPU, 100), Demand("detect", WorkerResources(1.0, 2.0), 1)], [6, 0]),
        ([Demand("decode", WorkerResources(4.0), 1), Demand("write", BIG, 2)], [1, 1]),
    ],
)
def test_stages_take_turns_and_cpu_work_leaves_the_gpu_node_alone(
    demands: list[Demand], counts: list[int]
) -> None:
    assert allocate(demands, NODES, free(NODES)) == counts


def test_what_other_jobs_hold_is_not_given_away() -> None:
    assert allocate([Demand("a", CPU, 9), Demand("b", CPU, 9)], NODES, {"CPU": 3.0, "GPU": 0.0}) == [2, 1]


@pytest.mark.parametrize(
    ("second", "available", "words"),
    [
        (
            WorkerResources(1.0, 2.0),
            free(NODES),
            "'detect' beside one.*no single node can hold such a worker",
        ),
        (
            CPU,
            {"CPU": 0.0, "GPU": 0.0},
            "'decode' and 'detect'.*0 CPU and 0 GPU are free; wait for the other",
        ),
        (WorkerResources(4.0), free(NODES), "every stage needs one worker at the same time"),
    ],
)
def test_advice_fits_the_reason(second: WorkerResources, available: dict[str, float], words: str) -> None:
    demands = [Demand("decode", WorkerResources(3.0), 4), Demand("detect", second, 1)]
    error = chain_error("label", demands, allocate(demands, NODES, available), NODES, available)
    with pytest.raises(type(error), match=words):
        raise error
