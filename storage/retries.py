"""Trying a store again when its answer was a passing one, for a while and not for ever.

A store is asked through `call_store` only. Answers that pass (500, 503 SlowDown, 429, a cut connection, no
answer in time) are asked for again with growing, random waits; all others, and the last of these, end in a
`StoreError` that says which file, what was wanted, what came and what to do.
"""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.errors import StoreError, StoreFullError, StoreUnavailableError
from storage.store_answers import is_full, is_of_storage, is_passing, words_of

ENVIRONMENT_PREFIX = "POSEMILL_STORE_"

Answer = TypeVar("Answer")


class StoreRetries(BaseModel):
    """How long a remote store is given to answer. Every field can be set by `POSEMILL_STORE_<FIELD>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(default=12, ge=1)
    """Times that one thing is asked for, the first included."""
    deadline_s: float = Field(default=180.0, gt=0)
    """No new attempt begins later than this after the first."""
    first_wait_s: float = Field(default=0.1, gt=0)
    """Before the second attempt; doubles with each. Each wait is drawn between its half and its whole."""
    longest_wait_s: float = Field(default=15.0, gt=0)
    request_timeout_s: float = Field(default=30.0, gt=0)
    """Silence on one connection after which its answer counts as lost."""

    @staticmethod
    def from_environment() -> "StoreRetries":
        """The defaults, changed by what the environment sets.

        Raises:
            StoreError: if a variable is set to what its field does not take.
        """
        names = {name: ENVIRONMENT_PREFIX + name.upper() for name in StoreRetries.model_fields}
        given = {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}
        try:
            return StoreRetries.model_validate(given)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            variable = names[str(fault["loc"][0])]
            raise StoreError(
                f"environment: {variable}={os.environ[variable]!r}: {fault['msg']}; mend or unset it"
            ) from error

    def wait_s(self, failures: int) -> float:
        """The wait after so many failures, drawn anew at each call so that workers do not come in step."""
        whole = min(self.first_wait_s * 2.0 ** min(failures - 1, 60), self.longest_wait_s)
        return whole * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Wanted:
    """What a store is asked for, in words for an error."""

    where: str
    """URL of the file or folder."""
    verb: str
    """read, write, list, ..."""


def call_store(
    ask: Callable[[int], Answer],
    wanted: Wanted,
    retries: StoreRetries,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """What a store answers, however often it must be asked within the limits.

    Args:
        ask: Asks once; gets the number of the attempt, from 1. From 2 on an earlier one may have had its
            effect although its answer was lost.
        wanted: For the error.
        retries: The limits.
        sleep, clock: For tests.

    Raises:
        StoreUnavailableError: if passing faults outlast the limits.
        StoreFullError: if there is no room.
        StoreError: if the store says no.
    """
    start = clock()
    attempt = 0
    while True:
        attempt += 1
        try:
            return ask(attempt)
        except Exception as error:
            if isinstance(error, StoreError) or not is_of_storage(error):
                raise
            if not is_passing(error):
                raise refused(wanted, error) from error
            wait_s, passed_s = retries.wait_s(attempt), clock() - start
            if attempt >= retries.attempts or passed_s + wait_s > retries.deadline_s:
                raise _unavailable(wanted, error, attempt, passed_s) from error
        sleep(wait_s)


def refused(wanted: Wanted, error: BaseException) -> StoreError:
    """The error for an answer that asking again would not change."""
    if is_full(error):
        return StoreFullError(
            f"{wanted.where}: cannot {wanted.verb}: {words_of(error)}; nothing of this file is visible. Free"
            " space (`posemill gc` shows what no version needs) or choose another place, then run again:"
            " what is committed stays"
        )
    return StoreError(f"{wanted.where}: cannot {wanted.verb}: {words_of(error)}{_advice(error)}")


def _advice(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "; there is no such file"
    if isinstance(error, PermissionError):
        return "; check the credentials, and what they may do here"
    if isinstance(error, NotImplementedError):
        return "; this kind of storage is for reading only, use a local folder or an object store"
    return ""


def _unavailable(wanted: Wanted, error: BaseException, attempts: int, passed_s: float) -> StoreError:
    times = "once" if attempts == 1 else f"{attempts} times"
    return StoreUnavailableError(
        f"{wanted.where}: cannot {wanted.verb}: asked {times} in {passed_s:.1f} s, the last answer was:"
        f" {words_of(error)}; the store is overloaded or out of reach. Check it and the network, then run"
        f" again: what is committed stays ({ENVIRONMENT_PREFIX}ATTEMPTS and {ENVIRONMENT_PREFIX}DEADLINE_S"
        " allow for more)"
    )
