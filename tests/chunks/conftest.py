"""What the tests of chunks share: threads that end, and a clock that a test moves."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from tests.fakes_disk import JumpingClock


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()
