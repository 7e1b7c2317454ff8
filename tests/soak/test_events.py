"""Pushes of tags while servers are killed and PostgreSQL is restarted: what the log has of them.

Each acknowledged change is in the log exactly once, in the order of its repository, and whoever
follows reads all of it. CI has a short form; `make soak-events` pushes 20,000 tags.
What happens if events are numbered as they are recorded: `tests/metadata/events/test_log.py`.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.functional.programs import wait_until
from tests.functional.receiver import Receiver, check_order, receiving
from tests.soak.changes import Changes
from tests.soak.client import Client, Told
from tests.soak.cluster import PATIENCE_SECONDS, Soaked
from tests.soak.conftest import Figures
from tests.soak.followed import Follower
from tests.soak.restarted import Restarted, restarted_postgres
from treescale.metadata.database import opened
from treescale.metadata.events.recorded import Recorded
from treescale.server.network.machine import address_for_others

PUSHES = int(os.environ.get("SOAK_PUSHES", "400"))
PAUSE_SECONDS = float(os.environ.get("SOAK_PAUSE", "0.1"))
"""From one push of a client to its next."""
SEED = int(os.environ.get("SOAK_SEED", "0"))
CLIENTS = 4
FOLLOWERS = 2
KILL_EVERY_SECONDS = 4.0
RESTARTS_OF_DATABASE = 0.2
"""So many of the kills are of the database."""
READ_AT_ONCE = 1000
CAUGHT_UP_SECONDS_MAX = 60.0
DELIVERED_SECONDS_MAX = 900.0
"""After the last refusal pauses have grown, and what waited is sent in its order."""
TROUBLES = ((503, 0.0), (500, 0.0), (429, 0.0), (200, 1.0), (503, 2.0))
"""What the receiver answers, and after how many seconds."""
SECONDS_MAX = 600 + PUSHES / 5
TIMES = 3600.0, 3600.0

pytestmark = [pytest.mark.functional, pytest.mark.early, pytest.mark.timeout(SECONDS_MAX)]


def test_what_was_acknowledged_is_in_the_log(tmp_path: Path, event_figures: Figures) -> None:
    told, chance = Told(kills=True), Random(SEED)  # noqa: S311
    with restarted_postgres() as postgres:
        asyncio.run(postgres.execute("postgres", "CREATE DATABASE soak TEMPLATE template0"))
        soaked = Soaked(tmp_path, 3, postgres.url("soak"), TIMES)
        try:
            soaked.start()
            with (
                following(soaked, chance) as followers,
                receiving(own_address()) as (receiver, origin),
            ):
                add_hook(soaked, receiver, origin)
                began = time.monotonic()
                with hurt(soaked, postgres, told, chance), troubled(receiver, told, chance):
                    changes = push(soaked, told, chance)
                seconds = time.monotonic() - began
                log = asyncio.run(read(postgres.url("soak")))
                caught_up(followers, log)
                pushed = [event for event in log if event.kind == "image.pushed"]
                wait_until(
                    "everything is delivered",
                    lambda: (
                        {got.sequence for got in receiver.taken}
                        >= {event.sequence for event in pushed}
                    ),
                    seconds=DELIVERED_SECONDS_MAX,
                )
            assert not told.faults, told.faults[:20]
            check_log(log, changes)
            for follower in followers:
                check_followed(follower, log)
            check_order(receiver)
            event_figures(told_of(seconds, told, log, followers))
            event_figures(told_of_hook(receiver, told, pushed))
            assert soaked.complaints() == []
        finally:
            soaked.crash()


def push(soaked: Soaked, told: Told, chance: Random) -> list[Changes]:
    """Have clients push; return what they were told."""
    server = soaked.servers[0]
    account = server.add_token(server.admin_account, "--allow", "pull,push,delete")
    changes = [
        Changes(
            Client(soaked.servers, account, told, Random(chance.random())),  # noqa: S311
            f"admin/events{number}",
            told,
            pause=PAUSE_SECONDS,
        )
        for number in range(CLIENTS)
    ]
    ended = threading.Event()
    each = PUSHES // CLIENTS
    threads = [threading.Thread(target=one.run, args=(ended, each)) for one in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return changes


@contextmanager
def hurt(soaked: Soaked, postgres: Restarted, told: Told, chance: Random) -> Iterator[None]:
    """Kill one server after the other within the block, or restart the database."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(KILL_EVERY_SECONDS * (0.5 + chance.random())):
            if chance.random() < RESTARTS_OF_DATABASE:
                told.count("database restarted")
                postgres.stop()
                time.sleep(chance.random())
                postgres.start()
                continue
            told.count("killed")
            server = chance.choice(soaked.servers)
            server.crash()
            time.sleep(chance.random() * 2)
            server.start(seconds=PATIENCE_SECONDS)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def following(soaked: Soaked, chance: Random) -> Iterator[list[Follower]]:
    """Follow the log within the block, from some server or other."""
    account = soaked.servers[0].admin_account
    followers = [
        Follower(soaked.servers, account, Random(chance.random()))  # noqa: S311
        for _ in range(FOLLOWERS)
    ]
    threads = [threading.Thread(target=each.run) for each in followers]
    for thread in threads:
        thread.start()
    try:
        yield followers
    finally:
        for each in followers:
            each.ended.set()
        for thread in threads:
            thread.join()


async def read(url: str) -> list[Recorded]:
    """Return the whole log, once all in it is numbered."""
    async with opened(url) as database:
        while await database.event_log.has_waiting():  # noqa: ASYNC110  others number
            await asyncio.sleep(0.05)
        found: list[Recorded] = []
        while page := await database.event_log.after(
            found[-1].sequence if found else 0, READ_AT_ONCE
        ):
            found += page
        return found


def caught_up(followers: list[Follower], log: list[Recorded]) -> None:
    """Wait until all have read to the end."""
    deadline = time.monotonic() + CAUGHT_UP_SECONDS_MAX
    for follower in followers:
        while not follower.events or follower.events[-1]["sequence"] < log[-1].sequence:
            assert time.monotonic() < deadline, "a follower does not get to the end"
            time.sleep(0.05)


def check_log(log: list[Recorded], changes: list[Changes]) -> None:
    """Assert that each change is there once, and those of a repository are in their order."""
    for one in changes:
        told = [
            (str(event.reference), str(event.digest))
            for event in log
            if event.kind == "image.pushed" and event.repository == one.repository
        ]
        assert told == one.acknowledged
    assert len({event.event_id for event in log}) == len(log)


def check_followed(follower: Follower, log: list[Recorded]) -> None:
    """Assert that it has read all of the log, each event once, in its order."""
    assert follower.gaps == 0
    seen = [event["sequence"] for event in follower.events]
    assert seen[: len(log)] == [event.sequence for event in log]


def own_address() -> str:
    """Return an address of this machine that is not its loopback."""
    address = address_for_others()
    assert address is not None, "the machine needs a network"
    return address


def add_hook(soaked: Soaked, receiver: Receiver, origin: str) -> None:
    """Have the receiver be told of each push."""
    server, place = soaked.servers[0], origin.removeprefix("http://")
    server.admin("cluster", "set", f"hook-networks={place}")
    words = ("hook", "add", "admin", f"{origin}/in", "--kind", "image.pushed", "--json")
    receiver.secret = json.loads(server.admin(*words))["secret"]


@contextmanager
def troubled(receiver: Receiver, told: Told, chance: Random) -> Iterator[None]:
    """Have the receiver be slow, and refuse, in turns within the block."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(KILL_EVERY_SECONDS * (0.5 + chance.random())):
            told.count("receiver away")
            receiver.status, receiver.seconds = chance.choice(TROUBLES)
            ended.wait(KILL_EVERY_SECONDS * chance.random())
            receiver.status, receiver.seconds = 200, 0.0

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def told_of_hook(receiver: Receiver, told: Told, pushed: list[Recorded]) -> str:
    """Return the figures of the webhook."""
    first: dict[int, float] = {}
    for got in receiver.taken:
        first.setdefault(got.sequence, got.delay)
    delays = sorted(first.values())
    middle, late = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    cells = [
        "one webhook, the same time",
        "",
        f"receiver slow or refusing {told.counts['receiver away']} times",
        f"{receiver.asked:,} requests",
        f"{len(pushed):,} events, 0 missing, {len(receiver.taken) - len(pushed):,} twice",
        "",
        f"{middle:.2f} s / {late:.1f} s / {delays[-1]:.1f} s",
    ]
    return " | ".join(cells)


def told_of(seconds: float, told: Told, log: list[Recorded], followers: list[Follower]) -> str:
    """Return the figures, as docs/reliability.md quotes them."""
    delays = sorted(delay for follower in followers for delay in follower.delays)
    middle, late = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    counts = told.counts
    cells = [
        "three servers, PostgreSQL, killed",
        f"{seconds:.0f} s",
        f"{counts['killed']} servers killed, {counts['database restarted']} times the database",
        f"{counts['pushes']:,} pushes, {counts['refused']:,} refused, {counts['cut']:,} cut",
        f"{len(log):,} events, 0 missing, 0 twice",
        f"{len(followers)} followers, joined {sum(f.joined for f in followers)} times",
        f"{middle * 1000:.0f} ms / {late:.2f} s / {delays[-1]:.1f} s",
    ]
    return " | ".join(cells)
