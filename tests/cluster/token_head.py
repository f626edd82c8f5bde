"""A Ray head of its own with token authentication: other ports, another temporary folder, ended by its process ids.

`ray stop` would end every Ray on the machine, so it is never used here.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOKEN = "0123456789abcdef0123456789abcdef"
_START_S = 90.0


@dataclass(frozen=True)
class TokenHead:
    """Where a running head is."""

    address: str
    agent_port: int
    folder: Path


@contextmanager
def token_head(mode: str = "token") -> Iterator[TokenHead]:
    """Starts a head on loopback; ends all of its processes afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pm_head_"))  # short: Ray's sockets have at most 107 characters
    dashboard, agent, *others = free_ports(8)
    command = _command(folder, dashboard, agent, others)
    with (folder / "start.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=_environment(folder, mode), stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_until_it_answers(dashboard, process, folder)
        yield TokenHead(f"http://127.0.0.1:{dashboard}", agent, folder)
    finally:
        _end(process, folder)
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _command(folder: Path, dashboard: int, agent: int, others: list[int]) -> list[str]:
    named = dict(
        zip(
            ("port", "ray-client-server-port", "dashboard-agent-grpc-port", "metrics-export-port",
             "node-manager-port", "object-manager-port"),
            others,
            strict=True,
        )
    )  # fmt: skip
    return [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        *(f"--{name}={port}" for name, port in named.items()),
        "--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000", f"--temp-dir={folder}",
        "--disable-usage-stats",
    ]  # fmt: skip


def _environment(folder: Path, mode: str) -> dict[str, str]:
    """Of the head: without this process's Ray settings, and with a home of its own for Ray's token file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    binaries = str(Path(sys.executable).parent)
    token = {"RAY_AUTH_TOKEN": TOKEN} if mode == "token" else {}
    return {
        **kept, **token, "RAY_AUTH_MODE": mode, "HOME": str(folder), "OMP_NUM_THREADS": "1",
        "RAY_raylet_start_wait_time_s": "120",
        "PATH": f"{binaries}{os.pathsep}{kept.get('PATH', '')}",
    }  # fmt: skip


def _wait_until_it_answers(dashboard: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    """The dashboard answers before the head takes jobs: wait for the end of `ray start`'s own words too."""
    deadline_s = time.monotonic() + _START_S
    started = folder / "start.log"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            break
        if "Ray runtime started" in started.read_text(errors="replace"):
            try:
                opener.open(f"http://127.0.0.1:{dashboard}/api/version", timeout=2.0).close()
                return
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 401:
                    return
            except OSError:
                pass
        time.sleep(0.2)
    raise RuntimeError(f"the head did not start: {started.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Ends the head and everything that carries its folder in the command line or environment."""
    for pid in _processes_of(folder):
        _kill(pid)
    process.kill()
    process.wait()
    deadline_s = time.monotonic() + 10.0
    while _processes_of(folder) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    for pid in _processes_of(folder):
        _kill(pid)


def _kill(pid: int) -> None:
    """SIGKILL, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _processes_of(folder: Path) -> list[int]:
    """Ids of this user's processes that were started with the folder, which no other process knows."""
    marker = str(folder).encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                content = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if marker in content:
                found.append(int(entry.name))
    return found
