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
_SCHEME = (
    r"(?<![\w+.-])[a-zA-Z][\w+.-]{1,30}:/{1,2}"  # one slash: what a URL becomes when it is taken for a path
)
_USER_INFO = re.compile(rf"(?P<scheme>{_SCHEME})[^/\s@?#]{{1,2000}}@")
_QUERY = re.compile(rf"(?P<url>{_SCHEME}[^\s?#]{{0,2000}})\?[^\s#]+")
_KNOWN_TOKENS = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\b(?:gh[opsu]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-)[0-9A-Za-z_-]{16,}"
    r"|\bAIza[0-9A-Za-z_-]{35}|(?<![\w-])eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)?"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}-----)?"
)
_ASSIGNED = re.compile(
    r"(?i)(?<![\w-])(?P<name>[\w-]{0,60}(?:secret|token|passwo?r?d|passphrase|api_?key|access_?key|account_?key|credential"
    r"|signature)[\w-]{0,40}[\"']?=)[\"']?[^\s\"',;&]+"
)
_HEADER = re.compile(
    r"(?i)(?P<name>\b(?:proxy-)?authorization[\"']?: ?[\"']?(?:(?:bearer|basic|token) )?|\bbearer )"
    r"(?!(?:bearer|basic|token)\b)[\w.~+/=-]{6,}"
)


def redacted(value: Any) -> Any:
    """A copy in which values of secret-looking keys, and credentials inside URLs, are `***`."""
    if isinstance(value, Mapping):
        return {key: _hidden(item) if _is_secret(str(key)) else redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redacted_text(value) if isinstance(value, str) else value


def redacted_text(text: str) -> str:
    """The text with user names, passwords and queries of URLs, and well-known access keys, as `***`."""
    text = _USER_INFO.sub(lambda found: f"{found['scheme']}{HIDDEN}@", text)
    text = _QUERY.sub(lambda found: f"{found['url']}?{HIDDEN}", text)
    for pattern in (_HEADER, _ASSIGNED):
        text = pattern.sub(lambda found: f"{found['name']}{HIDDEN}", text)
    return _KNOWN_TOKENS.sub(HIDDEN, text)


def _hidden(value: Any) -> Any:
    """What stands under a secret's name: every text and number in it, but no switch and not its shape."""
    if isinstance(value, Mapping):
        return {key: _hidden(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(item) for item in value]
    return value if value is None or isinstance(value, bool) else HIDDEN


def _is_secret(key: str) -> bool:
    words = [
        word for word in re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()) if word
    ]
    if any(word in _SECRET_WORDS for word in words):
        return True
    return words == ["key"] or any(a in _KEYED_BY and b == "key" for a, b in pairwise(words))
