"""cluster.yaml passes Ray's own check and keeps the promises that the design makes of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER_YAML = Path(__file__).resolve().parents[2] / "cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER_YAML.read_text())


def test_rays_schema_check_accepts_it(cluster: dict[str, Any]) -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(util.prepare_config(copy.deepcopy(cluster)))


def test_rays_schema_check_would_refuse_a_wrong_key(cluster: dict[str, Any]) -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    with pytest.raises(Exception, match="max_wrokers"):
        util.validate_config({**copy.deepcopy(cluster), "max_wrokers": 3})


def test_head_is_on_demand_and_takes_no_work(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]


def test_workers_are_spot_gpus(cluster: dict[str, Any]) -> None:
    worker = cluster["available_node_types"]["gpu_spot"]
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert worker["resources"]["GPU"] == 1


def test_every_node_starts_with_token_authentication_and_a_private_dashboard(cluster: dict[str, Any]) -> None:
    for command in [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]:
        if "ray start" in command:
            assert "RAY_AUTH_MODE=token" in command
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])
    assert "~/.ray/auth_token" in cluster["file_mounts"]
