"""Takes secrets out of what is written down: recipes, reports, logs."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

HIDDEN = "***"
_SECRET_WORDS = {
    "secret", "secrets", "token", "password", "passwd", "passphrase", "credential", "credentials", "apikey", "auth",
    "authorization", "signature", "cookie", "sas",
}  # fmt: skip
_KEYED_BY = {"api", "access", "secret", "private", "account", "shared", "storage"}
_USER_INFO = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]{0,30}://)[^/\s@?#]*@")
_QUERY = re.compile(r"(?P<url>[a-zA-Z][\w+.-]{0,30}://[^\s?#]*)\?[^\s#]*")
_KNOWN_TOKENS = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\b(?:gh[opsu]_|hf_|sk-)[0-9A-Za-z_-]{16,}\b")


def redacted(value: Any) -> Any:
    """A copy in which values of secret-looking keys, and credentials inside URLs, are `***`."""
    if isinstance(value, Mapping):
        return {key: HIDDEN if _is_secret(str(key), item) else redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redacted_text(value) if isinstance(value, str) else value


def redacted_text(text: str) -> str:
    """The text with user names, passwords and queries of URLs, and well-known access keys, as `***`."""
    text = _USER_INFO.sub(lambda found: f"{found['scheme']}{HIDDEN}@", text)
    text = _QUERY.sub(lambda found: f"{found['url']}?{HIDDEN}", text)
    return _KNOWN_TOKENS.sub(HIDDEN, text)


def _is_secret(key: str, value: Any) -> bool:
    if value is None or isinstance(value, bool | Mapping | list | tuple):
        return False
    words = [
        word for word in re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()) if word
    ]
    if any(word in _SECRET_WORDS for word in words):
        return True
    return words == ["key"] or any(a in _KEYED_BY and b == "key" for a, b in pairwise(words))
