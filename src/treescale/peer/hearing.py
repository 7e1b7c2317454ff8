"""One question to several processes of the cluster at once, and the answers that came in time."""

import asyncio
from collections.abc import Iterable

from treescale.errors import Failed
from treescale.peer.client import PeerChannel
from treescale.peer.wire import Action, Target

_KNOWN = Target(Action.KNOWN)


async def answers(
    channels: Iterable[PeerChannel], question: bytes, seconds: float, *, anyway: bool = False
) -> list[bytes]:
    """Return what they say within so many seconds; who says nothing, or an error, is left out.

    `anyway`: also those that are held to be down. See `metadata.hearsay`.
    """
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(_answer(channel, question, seconds, anyway=anyway))
            for channel in channels
        ]
    return [answer for task in asked if (answer := task.result()) is not None]


async def _answer(
    channel: PeerChannel, question: bytes, seconds: float, *, anyway: bool
) -> bytes | None:
    try:
        async with asyncio.timeout(seconds):
            return await channel.ask(_KNOWN, seconds, question, anyway=anyway)
    except (Failed, TimeoutError):
        return None
