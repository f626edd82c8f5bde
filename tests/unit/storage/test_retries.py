import errno
import http.client

import pytest

from storage.errors import StoreError, StoreFullError, StoreUnavailableError
from storage.retries import StoreRetries, Wanted, call_store
from storage.store_answers import http_status, is_passing, is_taken

WANTED = Wanted("s3://bucket/commits/u.json", "write")
PATIENT = StoreRetries(attempts=5, deadline_s=100, first_wait_s=1, longest_wait_s=4)


def client_error(status: int, code: str) -> OSError:
    """As s3fs hands on what botocore raised."""
    from botocore.exceptions import ClientError

    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = OSError(errno.EIO, "m")
    error.__cause__ = ClientError(answer, "PutObject")  # type: ignore[arg-type]
    return error


class Answers:
    """A store that gives these answers in turn, and a clock that only sleeping moves."""

    def __init__(self, *answers: object) -> None:
        self.left, self.waits, self.attempts = list(answers), [], []
        self.now = 0.0

    def ask(self, attempt: int) -> object:
        self.attempts.append(attempt)
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def call(self, retries: StoreRetries = PATIENT) -> object:
        return call_store(self.ask, WANTED, retries, sleep=self.sleep, clock=lambda: self.now)


def test_passing_answers_are_asked_for_again_with_growing_waits() -> None:
    answers = Answers(*[client_error(503, "SlowDown")] * 4, "done")
    assert answers.call() == "done"
    assert answers.attempts == [1, 2, 3, 4, 5]
    assert all(0.5 * whole <= wait <= whole for wait, whole in zip(answers.waits, (1, 2, 4, 4), strict=True))


def test_the_attempts_are_bounded() -> None:
    answers = Answers(ConnectionResetError("cut"))
    with pytest.raises(
        StoreUnavailableError, match=r"u\.json: cannot write: asked 5 times in .* cut"
    ) as caught:
        answers.call()
    assert len(answers.attempts) == 5
    assert isinstance(caught.value.__cause__, ConnectionResetError)


def test_the_deadline_is_kept() -> None:
    answers = Answers(TimeoutError())
    with pytest.raises(StoreUnavailableError, match="TimeoutError"):
        answers.call(PATIENT.model_copy(update={"attempts": 10_000, "deadline_s": 30.0}))
    assert 15 < answers.now <= 30


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError("gone"), "there is no such file"),
        (PermissionError("no"), "check the credentials"),
        (client_error(403, "AccessDenied"), "403 AccessDenied"),
        (client_error(400, "InvalidArgument"), "400 InvalidArgument"),
        (NotImplementedError("no writing"), "reading only"),
    ],
)
def test_final_answers_are_not_asked_for_again(error: BaseException, said: str) -> None:
    answers = Answers(error, "never")
    with pytest.raises(StoreError, match=said):
        answers.call()
    assert answers.attempts == [1]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_told_at_once(code: int) -> None:
    answers = Answers(OSError(code, "No space left on device"), "never")
    with pytest.raises(StoreFullError, match=r"No space left.*nothing of this file is visible.*posemill gc"):
        answers.call()
    assert answers.attempts == [1]


def test_a_fault_of_the_program_passes_untouched() -> None:
    with pytest.raises(KeyError):
        Answers(KeyError("x"), "never").call()


@pytest.mark.parametrize(
    "error",
    [
        client_error(500, "InternalError"),
        client_error(502, "Bad"),
        client_error(429, "Throttled"),
        client_error(409, "ConditionalRequestConflict"),
        client_error(400, "RequestTimeout"),
        OSError(errno.EBUSY, "SlowDown"),
        BrokenPipeError(),
        http.client.IncompleteRead(b""),
        http.client.RemoteDisconnected(),
    ],
)
def test_what_passes(error: BaseException) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        client_error(412, "PreconditionFailed"),
        client_error(404, "NoSuchKey"),
        FileExistsError(),
        OSError(errno.EIO, "x"),
    ],
)
def test_what_does_not_pass(error: BaseException) -> None:
    assert not is_passing(error)


def test_a_name_that_is_taken_is_known_from_every_library() -> None:
    assert is_taken(client_error(412, "PreconditionFailed"))
    assert is_taken(FileExistsError())
    assert not is_taken(client_error(409, "ConditionalRequestConflict"))
    assert http_status(client_error(412, "PreconditionFailed")) == 412


def test_the_environment_sets_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEMILL_STORE_ATTEMPTS", "3")
    monkeypatch.setenv("POSEMILL_STORE_DEADLINE_S", "1.5")
    found = StoreRetries.from_environment()
    assert (found.attempts, found.deadline_s, found.first_wait_s) == (3, 1.5, StoreRetries().first_wait_s)
    monkeypatch.setenv("POSEMILL_STORE_ATTEMPTS", "many")
    with pytest.raises(StoreError, match=r"POSEMILL_STORE_ATTEMPTS='many'.*mend or unset"):
        StoreRetries.from_environment()
