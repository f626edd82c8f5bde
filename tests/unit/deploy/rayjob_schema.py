"""What is known of KubeRay's ray.io/v1 RayJob (1.5) without its CRD at hand: fields by place, and rules between them.

From knowledge, not from a copy of the CRD: an unknown field is a typo or something to look up, never silently pruned.
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
DELETION_RULE = {"policy", "condition"}
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
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        yield "ttlSecondsAfterFinished does nothing without shutdownAfterJobFinishes"
    if rules and (spec.get("shutdownAfterJobFinishes") or spec.get("ttlSecondsAfterFinished")):
        yield "deletionRules and shutdownAfterJobFinishes exclude each other"
    seen: set[tuple[str, str]] = set()
    for rule in rules:
        yield from _unknown("deletionRules", rule, DELETION_RULE)
        yield from _unknown("condition", rule["condition"], {"jobStatus", "ttlSeconds"})
        if rule["policy"] not in POLICIES or rule["condition"]["jobStatus"] not in ("SUCCEEDED", "FAILED"):
            yield f"deletion rule {rule}"
        if rule["condition"].get("ttlSeconds", 0) < 0:
            yield f"deletion rule {rule}: negative ttlSeconds"
        key = (rule["policy"], rule["condition"]["jobStatus"])
        if key in seen:
            yield f"two deletion rules {key}"
        seen.add(key)


def _cluster(cluster: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown("rayClusterSpec", cluster, RAY_CLUSTER)
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
