"""What KubeRay's ray.io/v1 RayJob takes: fields by place, and the rules between them.

From KubeRay's API types and reference (rayjob_types.go, raycluster_types.go; 1.5 to 1.7), without fields that nobody
here uses: an unknown field is a typo or something to look up, never silently pruned.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

RAY_JOB = {
    "entrypoint", "metadata", "runtimeEnvYAML", "jobId", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
    "activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "clusterSelector", "submitterPodTemplate",
    "submitterConfig", "submissionMode", "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "suspend",
    "managedBy", "deletionStrategy", "preRunningDeadlineSeconds",
}  # fmt: skip
RAY_CLUSTER = {
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
    "headServiceAnnotations", "suspend", "managedBy", "gcsFaultToleranceOptions", "upgradeStrategy",
    "networkPolicy", "tlsOptions",
}  # fmt: skip
AUTOSCALER = {
    "version", "upscalingMode", "idleTimeoutSeconds", "resources", "image", "imagePullPolicy", "env", "envFrom",
    "volumeMounts", "securityContext",
}  # fmt: skip
HEAD_GROUP = {
    "serviceType", "enableIngress", "rayStartParams", "template", "headService", "resources", "labels",
}  # fmt: skip
WORKER_GROUP = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "idleTimeoutSeconds", "rayStartParams",
    "template", "scaleStrategy", "suspend", "resources", "labels", "priority",
}  # fmt: skip
AUTH_OPTIONS = {"mode", "secretName", "enableK8sTokenAuth"}
TOKEN_AUTH_SINCE = (2, 52, 0)
"""Ray knows tokens from this version on, and the operator refuses `mode: token` with an older `rayVersion`."""
DELETION_RULE = {"policy", "condition"}
CONDITION = {"jobStatus", "jobDeploymentStatus", "ttlSeconds"}
ENDS = {("jobStatus", "SUCCEEDED"), ("jobStatus", "FAILED"), ("jobDeploymentStatus", "Failed")}
POLICIES = {"DeleteWorkers", "DeleteCluster", "DeleteSelf", "DeleteNone"}
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def complaints(job: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a RayJob; empty when nothing is known to be."""
    return list(_complaints(job))


def _complaints(job: Mapping[str, Any]) -> Iterator[str]:
    if (job.get("apiVersion"), job.get("kind")) != ("ray.io/v1", "RayJob"):
        yield "not a ray.io/v1 RayJob"
    name = job.get("metadata", {}).get("name", "")
    if not _NAME.fullmatch(name) or len(name) > 47:
        yield f"metadata.name {name!r}"
    spec = job["spec"]
    yield from _unknown("spec", spec, RAY_JOB)
    if spec.get("submissionMode", "K8sJobMode") not in (
        "K8sJobMode",
        "HTTPMode",
        "InteractiveMode",
        "SidecarMode",
    ):
        yield "spec.submissionMode"
    yield from _deletion(spec)
    yield from _cluster(spec["rayClusterSpec"])


def _deletion(spec: Mapping[str, Any]) -> Iterator[str]:
    rules = spec.get("deletionStrategy", {}).get("deletionRules", [])
    if "deletionStrategy" in spec and not rules:
        yield "deletionStrategy wants deletionRules, at least one"
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        yield "ttlSecondsAfterFinished does nothing without shutdownAfterJobFinishes"
    if rules and (spec.get("shutdownAfterJobFinishes") or spec.get("ttlSecondsAfterFinished")):
        yield "deletionRules and shutdownAfterJobFinishes exclude each other"
    seen: set[tuple[str, ...]] = set()
    for rule in rules:
        yield from _unknown("deletionRules", rule, DELETION_RULE)
        yield from _unknown("condition", rule["condition"], CONDITION)
        ends = [(name, value) for name, value in rule["condition"].items() if name != "ttlSeconds"]
        if rule["policy"] not in POLICIES or len(ends) != 1 or not ENDS.issuperset(ends):
            yield f"deletion rule {rule}: wanted one of {sorted(POLICIES)} and one of {sorted(ENDS)}"
        if rule["condition"].get("ttlSeconds", 0) < 0:
            yield f"deletion rule {rule}: negative ttlSeconds"
        key = (rule["policy"], *(word for end in ends for word in end))
        if key in seen:
            yield f"two deletion rules {key}"
        seen.add(key)


def _cluster(cluster: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown("rayClusterSpec", cluster, RAY_CLUSTER)
    auth = cluster.get("authOptions", {})
    yield from _unknown("authOptions", auth, AUTH_OPTIONS)
    if auth.get("mode", "token") not in ("disabled", "token"):
        yield f"authOptions.mode {auth['mode']!r}"
    if auth.get("enableK8sTokenAuth"):
        yield "enableK8sTokenAuth is for RayClusters that stand alone, not for RayJobs"
    version = tuple(int(part) for part in cluster.get("rayVersion", "0").split("."))
    if auth.get("mode") == "token" and version < TOKEN_AUTH_SINCE:
        yield f"authOptions.mode token wants rayVersion {'.'.join(map(str, TOKEN_AUTH_SINCE))} or newer"
    yield from _unknown("autoscalerOptions", cluster.get("autoscalerOptions", {}), AUTOSCALER)
    yield from _unknown("headGroupSpec", cluster["headGroupSpec"], HEAD_GROUP)
    groups = [("headGroupSpec", cluster["headGroupSpec"])]
    for group in cluster["workerGroupSpecs"]:
        name = group.get("groupName", "")
        yield from _unknown(name, group, WORKER_GROUP)
        if not _NAME.fullmatch(name):
            yield f"groupName {name!r}"
        if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            yield f"{name}: replicas out of bounds"
        groups.append((name, group))
    for name, group in groups:
        if not all(isinstance(value, str) for value in group["rayStartParams"].values()):
            yield f"{name}: rayStartParams are strings"
        if not group["template"]["spec"].get("containers"):
            yield f"{name}: no container"


def _unknown(where: str, values: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    yield from (f"{where}: unknown field {key!r}" for key in values if key not in known)
