"""Wrong passwords, many a second: `python -m tests.functional.flood HOST:PORT HOW SECONDS`.

HOW is `address` (one, over made-up users), `spread` (200 addresses, over made-up users) or
`account=NAME` (200 addresses, all at one account). A process of its own, so that it slows down
nobody who measures. Prints how many answers had which status, as JSON.
"""

import asyncio
import base64
import contextlib
import json
import sys
from collections import Counter
from typing import Final

PER_SECOND: Final = 200
ADDRESSES: Final = 200
LOOK_SECONDS: Final = 0.005
ANSWER_SECONDS_MAX: Final = 15


async def guess(host: str, port: int, source: str, user: str) -> str:
    """Try one wrong password; return the status of the answer, or what went wrong."""
    basic = base64.b64encode(f"{user}:this is quite wrong".encode()).decode()
    head = f"GET /token?service=x HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n"
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
            with contextlib.closing(writer):
                writer.write(f"{head}Connection: close\r\n\r\n".encode())
                answer = await reader.read()
    except (OSError, TimeoutError) as error:
        return type(error).__name__
    return answer[9:12].decode()


async def flood(host: str, port: int, how: str, seconds: float) -> Counter[str]:
    """Guess `PER_SECOND` times a second, whether answers come or not."""
    counts: Counter[str] = Counter()
    began = asyncio.get_running_loop().time()
    name, _, account = how.partition("=")
    number = 0

    async def one(source: str, user: str) -> None:
        counts[await guess(host, port, source, user)] += 1

    async with asyncio.TaskGroup() as group:
        while (passed := asyncio.get_running_loop().time() - began) < seconds:
            while number < passed * PER_SECOND:
                number += 1
                source = "127.0.0.1" if name == "address" else f"127.0.0.{3 + number % ADDRESSES}"
                group.create_task(one(source, account or f"nobody{number}"))
            await asyncio.sleep(LOOK_SECONDS)
    return counts


if __name__ == "__main__":
    where, how, seconds = sys.argv[1:]
    host, _, port = where.rpartition(":")
    print(json.dumps(asyncio.run(flood(host, int(port), how, float(seconds)))))  # noqa: T201
