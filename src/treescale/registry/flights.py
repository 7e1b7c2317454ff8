"""Callers of the same thing at the same time: one of them asks, and all get what comes of it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Flights(Generic[Key, Result]):
    """The calls under way, by what they are for."""

    def __init__(self) -> None:
        self._flying: dict[Key, asyncio.Future[Result]] = {}

    async def join(self, key: Key, call: Callable[[], Awaitable[Result]]) -> Result:
        """Return what `call` returns, or raise what it raises; another's, when one is under way.

        When the one who asked is cancelled, another asks in their place.
        """
        while (flying := self._flying.get(key)) is not None:
            await asyncio.wait([flying])
            if not flying.cancelled():
                return flying.result()
        flying = asyncio.get_running_loop().create_future()
        self._flying[key] = flying
        try:
            result = await call()
        except Exception as error:
            flying.set_exception(error)
            flying.exception()  # perhaps nobody waits for it
            raise
        except BaseException:
            flying.cancel()
            raise
        finally:
            del self._flying[key]
        flying.set_result(result)
        return result
