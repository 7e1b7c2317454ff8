"""Calls for the same thing at the same time: made once, and what comes of it is everybody's."""

import asyncio

import pytest

from tests.virtualtime import virtual
from treescale.errors import CredentialsInvalid
from treescale.registry.flights import Flights


class Asked:
    """Something slow; counts how often it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times = 0
        self.error = error

    async def __call__(self) -> int:
        self.times += 1
        number = self.times
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        return number


@virtual
async def test_one_asks_for_all() -> None:
    flights: Flights[str, int] = Flights()
    asked = Asked()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.join("a", asked)) for _ in range(5)]
        other = group.create_task(flights.join("b", asked))
    assert [task.result() for task in tasks] == [1] * 5
    assert (other.result(), asked.times) == (2, 2)
    assert flights._flying == {}
    assert await flights.join("a", asked) == 3, "what is over is asked anew"


@virtual
async def test_what_goes_wrong_goes_wrong_for_all() -> None:
    flights: Flights[str, int] = Flights()
    asked = Asked(CredentialsInvalid("wrong"))

    async def refused() -> None:
        with pytest.raises(CredentialsInvalid):
            await flights.join("a", asked)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(refused())
    assert asked.times == 1
    assert flights._flying == {}


@virtual
async def test_when_the_one_who_asked_leaves_another_asks() -> None:
    flights: Flights[str, int] = Flights()
    asked = Asked()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(flights.join("a", asked))
        others = [group.create_task(flights.join("a", asked)) for _ in range(3)]
        await asyncio.sleep(0.5)
        others[0].cancel()
        first.cancel()
    assert [one.result() for one in others[1:]] == [2, 2]
    assert flights._flying == {}
