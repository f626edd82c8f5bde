"""Both launcher files pass Ray's own check and keep the promises that the design makes of them."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private import util

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = {"aws": REPOSITORY / "cluster.yaml", "gcp": REPOSITORY / "deploy" / "cluster.gcp.yaml"}
MARKET = "ray.io/market-type"


@pytest.fixture(params=sorted(FILES))
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One of the files."""
    return yaml.safe_load(FILES[request.param].read_text())


def test_rays_schema_check_accepts_it(cluster: dict[str, Any]) -> None:
    util.validate_config(util.prepare_config(copy.deepcopy(cluster)))


def test_rays_schema_check_would_refuse_a_wrong_key(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="max_wrokers"):
        util.validate_config({**copy.deepcopy(cluster), "max_wrokers": 3})


def test_head_is_on_demand_and_takes_no_work(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert head["labels"][MARKET] == "on-demand"
    assert not is_spot(head["node_config"])


def test_labels_tell_the_truth_about_spot(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    for node in types.values():
        assert is_spot(node["node_config"]) == (node["labels"][MARKET] == "spot")
    assert [name for name, node in types.items() if is_spot(node["node_config"])] == ["gpu_spot"]
    assert types["gpu_spot"]["resources"]["GPU"] == 1


def test_the_trainer_of_the_cluster_recipe_has_a_node_to_go_to(cluster: dict[str, Any]) -> None:
    recipe = yaml.safe_load((REPOSITORY / "jobs" / "recipes" / "gpu_cluster.yaml").read_text())
    wanted = recipe["loop"]["trainer_labels"]
    fitting = [
        node
        for node in cluster["available_node_types"].values()
        if wanted.items() <= node["labels"].items() and node["resources"]["GPU"] > 0
    ]
    assert fitting
    assert all(node["max_workers"] > 0 for node in fitting)


def is_spot(node_config: dict[str, Any]) -> bool:
    """Whether the cloud may take the node back, by either cloud's words."""
    aws = node_config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    gcp = node_config.get("scheduling", {})
    return aws or gcp.get("provisioningModel") == "SPOT" or gcp.get("preemptible", False)


def test_every_node_starts_with_token_authentication_and_a_private_dashboard(cluster: dict[str, Any]) -> None:
    commands = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_a_job_finds_the_environments_python(cluster: dict[str, Any]) -> None:
    for command in [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]:
        if "ray start" in command:
            assert "PATH=$HOME/posemill-env/bin:$PATH" in command


def test_no_key_travels_with_the_checkout(cluster: dict[str, Any]) -> None:
    assert {"**/.git", "**/.venv", "**/out", "**/data", "**/.env", "**/*.pem", "**/*.key"} <= set(
        cluster["rsync_exclude"]
    )
    assert set(cluster["file_mounts"]) == {"~/posemill", "~/.ray/auth_token"}


def test_ports_are_not_opened_to_the_world(cluster: dict[str, Any]) -> None:
    assert "0.0.0.0" not in yaml.safe_dump(cluster)
    assert "security_group" not in cluster["provider"]
