"""Does this machine go away soon? A file that somebody touches, or the notice that AWS gives a spot instance.

A check is a function that gives the reason in words, or None. All are off by default.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

StopNotice = Callable[[], str | None]
_TOKEN_TTL_S = 21_600
_TIMEOUT_S = 1.0
_MAX_ANSWER_BYTES = 65_536


class AwsSpotSettings(BaseModel):
    """The instance metadata service, version 2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(default="http://169.254.169.254", pattern=r"^http://[^/]+$")
    """Only tests and IPv6 machines (http://[fd00:ec2::254]) have another."""


class NoticeSettings(BaseModel):
    """Which notices are looked for. All of it is run-time knobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | None = None
    """A path; the job stops when a file appears there, such as one that a node's termination handler writes."""
    aws_spot: AwsSpotSettings | None = None
    """`{}` asks AWS whether this spot instance is about to be taken back."""
    every_s: float = Field(default=5.0, gt=0)


def notices_of(settings: NoticeSettings) -> list[StopNotice]:
    """The checks that the settings ask for."""
    found: list[StopNotice] = []
    if settings.file is not None:
        found.append(FileNotice(Path(settings.file)))
    if settings.aws_spot is not None:
        found.append(AwsSpotNotice(settings.aws_spot.endpoint))
    return found


class FileNotice:
    """A file that appears."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> str | None:
        return f"notice {self._path}" if self._path.exists() else None


class AwsSpotNotice:
    """`spot/instance-action` of the metadata service, which is "not found" until the instance is to go.

    A service that cannot be reached, or answers something else, is no notice: the next look may tell. Proxies are never
    used, and redirects are not followed.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._token: str | None = None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def __call__(self) -> str | None:
        try:
            return self._look()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                self._token = None  # it has expired
            return None
        except (OSError, ValueError):
            return None

    def _look(self) -> str | None:
        if self._token is None:
            seconds = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)}
            self._token = self._ask("PUT", "/latest/api/token", seconds).decode("ascii")
        wanted = {"X-aws-ec2-metadata-token": self._token}
        action = json.loads(self._ask("GET", "/latest/meta-data/spot/instance-action", wanted))
        if not isinstance(action, dict) or "action" not in action:
            return None
        return f"AWS spot notice ({action['action']} at {action.get('time', 'an unknown time')})"

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        request = urllib.request.Request(self._endpoint + path, headers=headers, method=method)
        with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
            return answer.read(_MAX_ANSWER_BYTES)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token must not travel elsewhere."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None
