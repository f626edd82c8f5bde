"""One private Ray for a module of tests; modules that kill nodes or set Ray up otherwise start their own."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def ray_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """On this machine and seen by nobody else, as `RAY` of the module says."""
    from pipelines.ray_session import connect, disconnect

    connect(request.module.RAY)
    yield
    disconnect()
