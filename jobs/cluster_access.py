"""Reaching a cluster's job API: which address, with which token, and whether it would take jobs from anyone.

Only the environment gives the token (RAY_AUTH_TOKEN, or the file that RAY_AUTH_TOKEN_PATH names, as for Ray itself).
It is sent to the given address and nowhere else: not over plain HTTP to another machine, and not after a redirect.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobs.errors import ClusterError, RecipeError
from jobs.redaction import redacted_text

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_JOBS, _VERSION = "/api/jobs/", "/api/version"
_TIMEOUT_S = 20.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAX_TOKEN_BYTES = 64 * 1024
_HOW_TO_FORWARD = "forward it to this machine (`ray dashboard cluster.yaml`, `kubectl port-forward`)"


@dataclass(frozen=True)
class Cluster:
    """A job API and the token for it; the token stays out of every text that is made of this."""

    address: str
    token: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True)
class Access:
    """What a cluster answered to a request with our token, and to one without any."""

    accepted: bool
    """Our request was answered."""
    open_to_all: bool
    """So was one without a token."""
    ray_version: str = ""


def cluster_at(
    address: str | None, plain_http: bool = False, environment: Mapping[str, str] = os.environ
) -> Cluster:
    """The cluster at an address, with the environment's token.

    Args:
        address: `http://HOST:PORT` of the dashboard; RAY_API_SERVER_ADDRESS without.
        plain_http: Allow `http://` to another machine, where everyone on the way can read the token.

    Raises:
        RecipeError: if the address cannot be used, or the token's file cannot be read.
    """
    given = address or environment.get(ADDRESS_VARIABLE)
    if not given:
        raise RecipeError(
            f"no cluster: wanted --address http://HOST:8265 or {ADDRESS_VARIABLE}; `ray dashboard cluster.yaml` "
            "brings a cluster's job API to http://127.0.0.1:8265"
        )
    return Cluster(_checked_address(given, plain_http), token_of(environment))


def token_of(environment: Mapping[str, str]) -> str | None:
    """The token, or None.

    Raises:
        RecipeError: if RAY_AUTH_TOKEN_PATH names no readable file, or what was found is no token.
    """
    token, where = environment.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE
    named = environment.get(TOKEN_FILE_VARIABLE, "").strip()
    if not token and named:
        path, where = Path(named).expanduser(), f"the file of {TOKEN_FILE_VARIABLE}"
        try:
            with path.open("rb") as file:
                token = file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"{TOKEN_FILE_VARIABLE}: {named}: cannot be read as a token ({type(error).__name__}); "
                "`ray get-auth-token --generate` makes one"
            ) from error
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise RecipeError(
            f"{where}: wanted one line of letters and digits, got something else; check the token"
        )
    return token or None


def probe(cluster: Cluster) -> Access:
    """Ask the job API with our token and without.

    Raises:
        ClusterError: if nothing answers there, or something that is no Ray dashboard.
    """
    bare = Cluster(cluster.address)
    open_to_all = _answer(bare, _JOBS)[0] == 200
    status, content = _answer(cluster, _VERSION) if cluster.token else ((200 if open_to_all else 401), None)
    if status == 200 and content is None:
        status, content = _answer(bare, _VERSION)
    if status in (401, 403):
        return Access(False, open_to_all)
    version = content.get("ray_version") if isinstance(content, dict) else None
    if status != 200 or not isinstance(version, str):
        raise ClusterError(
            f"{cluster.address}: wanted Ray's job API, got an answer with status {status}; give the address of the "
            "cluster's dashboard, http://HOST:8265"
        )
    return Access(True, open_to_all, version)


def require_access(cluster: Cluster, open_cluster: bool = False) -> Access:
    """What `probe` found, if jobs can be submitted safely.

    Args:
        open_cluster: Accept a cluster that takes jobs without a token.

    Raises:
        ClusterError: if the cluster refuses the token, wants one that was not given, or wants none at all.
    """
    access = probe(cluster)
    if not access.accepted and cluster.token is None:
        raise ClusterError(
            f"{cluster.address}: the cluster wants a token and there is none; set {TOKEN_VARIABLE}, or "
            f"{TOKEN_FILE_VARIABLE} to its file"
        )
    if not access.accepted:
        raise ClusterError(
            f"{cluster.address}: the cluster refused the token of {TOKEN_VARIABLE}; was it made for another cluster? "
            "`ray get-auth-token` on the head shows the right one"
        )
    if access.open_to_all and not open_cluster:
        raise ClusterError(
            f"{cluster.address}: this cluster takes jobs from anyone who reaches it, without a token; start it with "
            "RAY_AUTH_MODE=token (as cluster.yaml does), or say --open-cluster if its network is closed"
        )
    return access


def is_loopback(address: str) -> bool:
    """Whether an address is on this machine."""
    return (urlsplit(address).hostname or "") in _LOOPBACK


def _checked_address(given: str, plain_http: bool) -> str:
    """`scheme://host:port` and nothing else."""
    shown = redacted_text(given)
    address = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise RecipeError(f"--address {shown}: not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise RecipeError(
            f"--address {shown}: wanted http://HOST:PORT or https://HOST:PORT of the dashboard (Ray's job API), got "
            f"{parts.scheme or 'no'} scheme"
        )
    if parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"):
        raise RecipeError(
            f"--address {shown}: wanted http://HOST:PORT and nothing more; the token comes from {TOKEN_VARIABLE}"
        )
    if parts.scheme == "http" and not plain_http and host not in _LOOPBACK:
        raise RecipeError(
            f"--address {shown}: over plain HTTP to another machine, everyone on the way can read the token; "
            f"{_HOW_TO_FORWARD}, use https://, or say --plain-http if the network is closed"
        )
    at = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{at}" + (f":{port}" if port else "")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: the token does not follow it."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


def _answer(cluster: Cluster, path: str) -> tuple[int, Any]:
    """Status and JSON content (None where it is none) of one request."""
    handlers: list[Any] = [_NoRedirect()]
    if is_loopback(cluster.address):
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(cluster.address + path, headers=cluster.headers)
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_S) as answer:
            status, body = answer.status, answer.read(2**20)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ClusterError(
            f"{cluster.address}: no answer from Ray's job API: {reason}; is the cluster up, and "
            "its port forwarded (`ray up cluster.yaml`, `ray dashboard cluster.yaml`)?"
        ) from error
    try:
        return status, json.loads(body)
    except (ValueError, RecursionError):
        return status, None
