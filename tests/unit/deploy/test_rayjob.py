import copy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr as autoscaling_config,
)

from jobs.executors import executor_settings
from jobs.recipe import builtin_recipes, load_recipe
from jobs.verbs import settings_of
from tests.unit.deploy.rayjob_schema import complaints

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
MARKET = "ray.io/market-type"


@pytest.fixture
def job() -> dict[str, Any]:
    """The manifest."""
    return yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())


@pytest.fixture
def patched(job: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the patch of deletion rules, merged as Kubernetes merges: null takes a field away."""
    patch = yaml.safe_load((DEPLOY / "rayjob.deletion-rules.yaml").read_text())
    spec = {**job["spec"], **patch["spec"]}
    return {**job, "spec": {key: value for key, value in spec.items() if value is not None}}


def pods(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return {
        "submitter": job["spec"]["submitterPodTemplate"]["spec"],
        "head": cluster["headGroupSpec"]["template"]["spec"],
        **{group["groupName"]: group["template"]["spec"] for group in cluster["workerGroupSpecs"]},
    }


def test_nothing_known_of_the_crd_speaks_against_it(job: dict[str, Any], patched: dict[str, Any]) -> None:
    assert complaints(job) == []
    assert complaints(patched) == []


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("ttlSecondsAfterFinish", 3, "unknown field 'ttlSecondsAfterFinish'"),
        ("shutdownAfterJobFinishes", False, "does nothing without"),
        ("deletionStrategy", {"deletionRules": []}, "at least one"),
        (
            "deletionStrategy",
            {"deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "STOPPED"}}]},
            "wanted one of",
        ),
        (
            "deletionStrategy",
            {
                "deletionRules": [
                    {
                        "policy": "DeleteSelf",
                        "condition": {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed"},
                    }
                ]
            },
            "wanted one of",
        ),
        (
            "deletionStrategy",
            {"deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]},
            "exclude each other",
        ),
    ],
)
def test_the_check_finds_what_is_wrong(job: dict[str, Any], place: str, value: Any, words: str) -> None:
    job["spec"][place] = value
    assert any(words in complaint for complaint in complaints(job))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("rayVersion", "2.51.1", "wants rayVersion 2.52.0"),
        ("authOptions", {"mode": "tokens"}, "authOptions.mode 'tokens'"),
        ("authOptions", {"mode": "token", "secret": "x"}, "unknown field 'secret'"),
        ("authOptions", {"enableK8sTokenAuth": True}, "not for RayJobs"),
    ],
)
def test_the_check_knows_what_tokens_want(job: dict[str, Any], place: str, value: Any, words: str) -> None:
    job["spec"]["rayClusterSpec"][place] = value
    assert any(words in complaint for complaint in complaints(job))


def test_no_failure_keeps_the_cluster(patched: dict[str, Any]) -> None:
    """A failed submission or a passed deadline sets jobDeploymentStatus only."""
    rules = patched["spec"]["deletionStrategy"]["deletionRules"]
    deleted = [rule["condition"] for rule in rules if rule["policy"] == "DeleteCluster"]
    assert any(condition.get("jobDeploymentStatus") == "Failed" for condition in deleted)
    assert any(condition.get("jobStatus") == "SUCCEEDED" for condition in deleted)


def test_rays_autoscaler_reads_the_groups(job: dict[str, Any]) -> None:
    resource = {
        "metadata": {"name": "p", "namespace": "n"},
        "spec": copy.deepcopy(job["spec"]["rayClusterSpec"]),
    }
    types = autoscaling_config(resource)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["headgroup"]["labels"][MARKET] == "on-demand"
    assert types["gpu-spot"]["resources"]["GPU"] == 1
    assert (types["gpu-spot"]["labels"][MARKET], types["gpu-spot"]["max_workers"]) == ("spot", 16)
    wanted = load_recipe("gpu_cluster").settings["loop"]["trainer_labels"]
    assert [name for name, kind in types.items() if wanted.items() <= kind["labels"].items()] == [
        "headgroup", "gpu-on-demand",
    ]  # fmt: skip


def test_a_token_is_asked_for_everywhere_and_stands_nowhere(job: dict[str, Any]) -> None:
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    for pod in pods(job).values():
        for container in pod["containers"]:
            assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
            assert all(variable["name"] != "RAY_AUTH_TOKEN" for variable in container["env"])
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_pods_run_without_rights(job: dict[str, Any]) -> None:
    for name, pod in pods(job).items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
        assert pod["containers"][0]["resources"].keys() == {"requests", "limits"}
        if name != "head":  # the autoscaler beside the head asks Kubernetes for pods
            assert pod["automountServiceAccountToken"] is False


def test_only_the_spot_group_goes_to_spot_nodes(job: dict[str, Any]) -> None:
    by_name = pods(job)
    tolerated = {toleration["key"] for toleration in by_name["gpu-spot"]["tolerations"]}
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot", "karpenter.sh/capacity-type"} <= tolerated
    assert {toleration["key"] for toleration in by_name["gpu-on-demand"]["tolerations"]} == {"nvidia.com/gpu"}
    for name in ("head", "gpu-on-demand"):
        required = by_name[name]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        [term] = required["nodeSelectorTerms"]
        assert {rule["operator"] for rule in term["matchExpressions"]} == {"DoesNotExist", "NotIn"}


def test_the_head_has_no_gpu(job: dict[str, Any]) -> None:
    assert "nvidia.com/gpu" not in pods(job)["head"]["containers"][0]["resources"]["limits"]


def test_the_entrypoint_is_a_recipe_that_is_valid(job: dict[str, Any]) -> None:
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "jobs.cli", "run"]
    assert words[4] in builtin_recipes()
    changes = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    recipe = load_recipe(words[4], changes)
    settings_of(recipe)
    assert executor_settings(recipe.head.executor, "x").kind == "ray"
    assert recipe.head.out.startswith("s3://")


def test_the_image_is_no_moving_tag(job: dict[str, Any]) -> None:
    for pod in pods(job).values():
        name, _, tag = pod["containers"][0]["image"].rpartition(":")
        assert name
        assert tag != "latest"
    ray = job["spec"]["rayClusterSpec"]["rayVersion"]
    assert f'"ray[default]=={ray}"' in (DEPLOY.parent / "pyproject.toml").read_text()
