"""What fsspec's clients are told when they are made: our time limits, and no repeats of their own."""

import os
from typing import Any

from storage.retries import StoreRetries

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def client_options(protocol: str, retries: StoreRetries) -> dict[str, Any]:
    """Options of a protocol's file system. fsspec keeps one client per set of options and process."""
    timeout_s = retries.request_timeout_s
    if protocol in ("s3", "s3a"):
        config = {
            "connect_timeout": timeout_s,
            "read_timeout": timeout_s,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        }
        endpoint = next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), None)
        return {"config_kwargs": config, **({"endpoint_url": endpoint} if endpoint else {})}
    if protocol in ("gs", "gcs"):
        return {"requests_timeout": timeout_s}
    if protocol in ("abfs", "abfss", "az"):
        return {"connection_timeout": int(timeout_s) or 1, "read_timeout": int(timeout_s) or 1}
    return {}


def quieten(client: Any) -> None:
    """Switches off a client's own repeats, where it has a switch for them (s3fs)."""
    if isinstance(getattr(client, "retries", None), int):
        client.retries = 1
