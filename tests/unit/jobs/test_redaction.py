import time

import pytest

from jobs.redaction import HIDDEN, redacted, redacted_text


@pytest.mark.parametrize(
    "key", ["password", "api_key", "apiKey", "AWS_SECRET_ACCESS_KEY", "key", "auth_token", "secret"]
)
def test_values_of_secret_keys_are_hidden(key: str) -> None:
    assert redacted({"storage": [{key: "abc"}]}) == {"storage": [{key: HIDDEN}]}


@pytest.mark.parametrize(
    "key", ["keypoints", "key_frames", "max_tokens", "tokens", "monkey", "seed", "clip_key"]
)
def test_other_keys_stay(key: str) -> None:
    assert redacted({key: "abc"}) == {key: "abc"}


def test_switches_and_nothing_are_no_secrets() -> None:
    assert redacted({"token": True, "password": None}) == {"token": True, "password": None}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("s3://me:pw@bucket/a", "s3://***@bucket/a"),
        ("https://h/x?sig=abc&y=1 failed", "https://h/x?*** failed"),
        ("s3://bucket/a/b.parquet", "s3://bucket/a/b.parquet"),
        ("mail me@example.org", "mail me@example.org"),
        ("key AKIAABCDEFGHIJKLMNOP!", "key ***!"),
    ],
)
def test_credentials_inside_text_are_hidden(text: str, wanted: str) -> None:
    assert redacted_text(text) == wanted


def test_the_argument_is_not_changed() -> None:
    values = {"a": {"token": "x"}}
    redacted(values)
    assert values == {"a": {"token": "x"}}


def test_a_long_text_takes_no_long_time() -> None:
    started = time.perf_counter()
    assert redacted_text("x" * 200_000).startswith("xxx")
    assert time.perf_counter() - started < 2.0
