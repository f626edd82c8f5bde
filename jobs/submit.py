"""`posemill submit`: a recipe to a Ray cluster, over Ray's job API.

The checkout travels with the job, so that the cluster runs the code that is here. The driver (the coordinator of the
pools) runs on the head node, which the cluster files keep on demand; `coordinator_labels` puts it elsewhere.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

import yaml

from jobs.cluster_access import ADDRESS_VARIABLE, Cluster, is_loopback, require_access
from jobs.errors import ClusterError, RecipeError
from jobs.executors import executor_settings
from jobs.recipe import Recipe, load_recipe, secret_keys
from jobs.redaction import HIDDEN, redacted_text
from jobs.submit_package import checkout_folder, pack, recipe_path
from jobs.verbs import settings_of

_USER_INPUT = 2
CONTACT_PATIENCE_S = 300.0
"""A forwarded port or a head that restarts comes back within this."""
_POLL_S = 1.0
_OVERRIDES = (ADDRESS_VARIABLE, "RAY_ADDRESS")
"""Ray's client prefers these to the address that it is given, and would send the token there."""


@dataclass(frozen=True)
class SubmitOptions:
    """How to submit."""

    wait: bool = True
    open_cluster: bool = False
    """Accept a cluster that asks for no token."""
    working_dir: str | None = None
    """The checkout to send; that of the running code without."""
    add: bool = False
    """Add to an output that holds another plan."""
    coordinator_labels: dict[str, str] = field(default_factory=dict)
    """Labels of the node for the driver; the head node without."""


@dataclass(frozen=True)
class SubmitOutcome:
    """What became of a submitted job."""

    job_id: str
    status: str
    """Ray's word for it: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED."""
    exit_code: int
    out: str
    address: str
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ok": self.exit_code == 0, **asdict(self)}

    def lines(self) -> list[str]:
        """For a reader."""
        if self.status == "SUCCEEDED":
            return [f"job {self.job_id} done; `posemill report {self.out}` shows it"]
        if self.exit_code == 0:
            return [
                f"job {self.job_id} is {self.status.lower()} at {self.address}",
                f"  posemill status {self.out}     how far it is",
                f"  ray job logs --follow {self.job_id} --address {self.address}",
                f"  ray job stop {self.job_id} --address {self.address}",
            ]
        return [f"job {self.job_id} {self.status.lower()}: {self.message or 'see its log above'}"]


class JobClient(Protocol):
    """What is used of Ray's job client."""

    def submit_job(self, **request: Any) -> str: ...
    def get_job_info(self, job_id: str) -> Any: ...
    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]: ...


def submit_recipe(
    name_or_path: str,
    changes: Sequence[str],
    cluster: Cluster,
    options: SubmitOptions,
    log: TextIO | None = None,
) -> SubmitOutcome:
    """Check a recipe here, send it with the code, and wait for its end.

    Args:
        log: Where the job's own output goes while it is waited for; stdout without.

    Raises:
        RecipeError: if the recipe cannot be used on a cluster; before anything is sent.
        ClusterError: if the cluster cannot be reached, refuses the token, or wants none.
    """
    recipe = cluster_recipe(load_recipe(name_or_path, changes))
    require_access(cluster, options.open_cluster)
    client = _client(cluster)
    with tempfile.TemporaryDirectory(prefix="posemill_submit_") as scratch:
        package = Path(scratch) / "working_dir.zip"
        folder = Path(options.working_dir).expanduser() if options.working_dir else checkout_folder()
        packed = pack(folder, recipe.where, _yaml(recipe), package)
        for name in packed.secrets_left_out:
            print(f"left out of the working directory: {name} (it looks like a secret)", file=sys.stderr)
        job_id = _submit(client, cluster, recipe, package, options)
    if not options.wait:
        return SubmitOutcome(job_id, "PENDING", 0, recipe.head.out, cluster.address)
    print(f"job {job_id} at {cluster.address}; Ctrl-C stops the waiting, not the job", file=sys.stderr)
    return _follow(client, cluster, job_id, recipe.head.out, log or sys.stdout)


def cluster_recipe(recipe: Recipe) -> Recipe:
    """The recipe as a cluster runs it: checked, without secrets, writing to a place that outlives the job.

    Raises:
        RecipeError: if it holds a secret, writes into the job's own folder, or has a setting that is wrong.
    """
    settings_of(recipe)
    executor_settings(recipe.head.executor, recipe.where)
    if secrets := secret_keys(recipe.values):
        raise RecipeError(
            f"{recipe.where}: '{secrets[0]}' holds a secret, and a submitted recipe is stored on the cluster; give the "
            "nodes a role that may read the data (or an environment variable there), and take it out"
        )
    out = recipe.head.out
    if "://" not in out and not out.startswith("/"):
        raise RecipeError(
            f"{recipe.where}: out is {out!r}; on a cluster that is a folder of the job, which ends with it; give a URL "
            "(s3://..., gs://...) or an absolute path on storage that all nodes share: --out"
        )
    executor = dict(recipe.head.executor)
    if executor.get("kind") == "ray" or "pool" in executor:
        pool = dict(executor.get("pool") or {})
        ray = dict(pool.get("ray") or {})
        ray["address"] = ray.get("address") or "auto"
        executor["pool"] = {**pool, "ray": ray}
    return Recipe(recipe.where, recipe.head.model_copy(update={"executor": executor}), recipe.settings)


def labels_of(pairs: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` words as a label selector.

    Raises:
        RecipeError: if one is not of that form.
    """
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise RecipeError(
                f"--coordinator-label {pair}: wanted KEY=VALUE, such as ray.io/market-type=on-demand"
            )
        labels[key.strip()] = value.strip()
    return labels


def entrypoint(recipe: Recipe, add: bool = False) -> str:
    """The command that the cluster runs."""
    words = ["python", "-m", "jobs.cli", "run", recipe_path(recipe.where), *(["--add"] if add else [])]
    return shlex.join(words)


def _yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.values, sort_keys=False, allow_unicode=True, width=110)


def _client(cluster: Cluster) -> JobClient:
    """Ray's client, held to the given address."""
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard_sdk", "job.sdk"):
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
    with _contact(cluster), _without_overrides():
        if is_loopback(cluster.address):
            os.environ["NO_PROXY"] = ",".join(
                filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost,::1"])
            )
        client: Any = JobSubmissionClient(cluster.address, headers=cluster.headers)
        return client


def _submit(
    client: JobClient, cluster: Cluster, recipe: Recipe, package: Path, options: SubmitOptions
) -> str:
    request: dict[str, Any] = {
        "entrypoint": entrypoint(recipe, options.add),
        "runtime_env": {"working_dir": str(package)},
        "metadata": {"posemill_recipe": recipe.where, "posemill_out": redacted_text(recipe.head.out)},
    }
    if options.coordinator_labels:
        request["entrypoint_label_selector"] = options.coordinator_labels
    with _contact(cluster):
        return client.submit_job(**request)


def _follow(client: JobClient, cluster: Cluster, job_id: str, out: str, log: TextIO) -> SubmitOutcome:
    """Show the job's log until it ends; a connection that breaks is made again."""
    from aiohttp import ClientError

    printer = _LogPrinter(log, cluster)
    lost_since_s: float | None = None
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of Ray's use of aiohttp
                asyncio.run(printer.show(client.tail_job_logs(job_id)))
            info = client.get_job_info(job_id)
        except KeyboardInterrupt:
            print(f"\njob {job_id} goes on; `posemill status {out}` tells how far it is", file=sys.stderr)
            raise
        except (OSError, RuntimeError, ClientError) as error:
            lost_since_s = _note_loss(lost_since_s, error, cluster, job_id, out)
            time.sleep(_POLL_S)
            continue
        lost_since_s = None
        if info.status.is_terminal():
            printer.finish()
            return _outcome(info, cluster, job_id, out)
        time.sleep(_POLL_S)


def _note_loss(since_s: float | None, error: Exception, cluster: Cluster, job_id: str, out: str) -> float:
    """When contact was lost; says so once, and gives up after a while.

    Raises:
        ClusterError: if it is lost for too long.
    """
    reason = _safe_text(f"{type(error).__name__}: {' '.join(str(error).split())}", cluster)
    now_s = time.monotonic()
    if since_s is None:
        print(f"lost contact with {cluster.address} ({reason}); trying again", file=sys.stderr)
        return now_s
    if now_s - since_s > CONTACT_PATIENCE_S:
        raise ClusterError(
            f"{cluster.address}: no contact for {CONTACT_PATIENCE_S:g} s ({reason}); job {job_id} may go on there: "
            f"`posemill status {out}`"
        ) from error
    return since_s


def _outcome(info: Any, cluster: Cluster, job_id: str, out: str) -> SubmitOutcome:
    status = str(info.status.value)
    code = 0
    if status != "SUCCEEDED":
        code = _USER_INPUT if info.driver_exit_code == _USER_INPUT else 1
    words = (info.message or "").partition(", last available logs")[0]
    message = " ".join(_safe_text(words, cluster).split())
    return SubmitOutcome(job_id, status, code, out, cluster.address, message)


class _LogPrinter:
    """Prints whole lines of a log without secrets; a log that starts again from its beginning goes on where it was."""

    def __init__(self, log: TextIO, cluster: Cluster) -> None:
        self._log, self._cluster = log, cluster
        self._shown = 0
        self._rest = ""

    async def show(self, chunks: AsyncIterator[str]) -> None:
        """Print what is new."""
        seen = 0
        async for chunk in chunks:
            seen += len(chunk)
            new = chunk[max(0, len(chunk) - (seen - self._shown)) :] if seen > self._shown else ""
            self._shown = max(self._shown, seen)
            *lines, self._rest = (self._rest + new).split("\n")
            for line in lines:
                self._print(line)

    def finish(self) -> None:
        """Print a last line that has no end."""
        if self._rest:
            self._print(self._rest)
            self._rest = ""

    def _print(self, line: str) -> None:
        print(_safe_text(line, self._cluster), file=self._log, flush=True)


def _safe_text(text: str, cluster: Cluster) -> str:
    hidden = text.replace(cluster.token, HIDDEN) if cluster.token else text
    return redacted_text(hidden)


@contextlib.contextmanager
def _contact(cluster: Cluster) -> Iterator[None]:
    """What Ray's client raises, as one sentence."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:  # AuthenticationError is a RuntimeError
        message = " ".join(_safe_text(str(error), cluster).split())
        raise ClusterError(f"{cluster.address}: the cluster did not take the job: {message}") from error


@contextlib.contextmanager
def _without_overrides() -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in _OVERRIDES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
