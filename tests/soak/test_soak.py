"""Hours of everything at once, with leases of seconds: nothing in use goes, all else does.

Pushes, mounts, pulls, deletions and undeletions by several clients, while collection runs every
second, on one server, and on three that are killed, stopped and put to sleep. CI has a short form;
`make soak` goes on for an hour: SOAK_SECONDS=600 SOAK_SEED=7 for another length and other chance.
SOAK_WITHOUT=promise-nothing has servers without that protection, and must fail.
"""

import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.postgres import Postgres
from tests.soak.client import Client, Told
from tests.soak.cluster import HURTS, Soaked
from tests.soak.conftest import Figures
from tests.soak.content import Layers
from tests.soak.ending import Expected, expected, files, wait_for_the_end
from tests.soak.lanes import Worker, pull
from tests.soak.model import Lane

SECONDS = float(os.environ.get("SOAK_SECONDS", "18"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
LEASE = float(os.environ.get("SOAK_LEASE", "5"))
UNDELETE = LEASE * 0.6
ALL = "pull,push,delete"
LANES = 4
HURT_EVERY_SECONDS = 4.0
END_SECONDS_MAX = 12 * LEASE + 90
FAULTS_SHOWN = 20

pytestmark = [
    pytest.mark.functional,
    pytest.mark.early,
    pytest.mark.timeout(SECONDS + END_SECONDS_MAX + 120),
]


def test_one_server(tmp_path: Path, figures: Figures) -> None:
    database = f"sqlite:///{tmp_path / 'treescale.db'}"
    soak(Soaked(tmp_path, 1, database, (LEASE, UNDELETE)), "one server, SQLite", figures)


async def new_database(postgres: Postgres) -> str:
    name = f"soak_{next(postgres.numbers)}"
    await postgres.execute("postgres", f"CREATE DATABASE {name} TEMPLATE template0")
    return postgres.url(name)


@pytest.fixture
async def database(postgres: Postgres) -> str:
    return await new_database(postgres)


def test_three_servers(database: str, tmp_path: Path, figures: Figures) -> None:
    soaked = Soaked(tmp_path, 3, database, (LEASE, UNDELETE))
    soak(soaked, "three servers, PostgreSQL, killed", figures)


def soak(soaked: Soaked, name: str, figures: Figures) -> None:
    """Run it, and compare what is left with what was acknowledged."""
    told, chance = Told(kills=len(soaked.servers) > 1), Random(SEED)  # noqa: S311
    try:
        soaked.start()
        lanes = load(soaked, told, chance)
        wanted = expected(lanes)
        seconds, left = wait_for_the_end(soaked, wanted, END_SECONDS_MAX)
        read_all(soaked, lanes, told, chance)
        states = soaked.status()["collection"]
        figures(told_of(name, soaked, told, wanted, states, seconds))
        met = sum(state["met_in_trash"] for state in states)
        shown = "\n".join(told.faults[:FAULTS_SHOWN])
        assert not told.faults, f"SOAK_SEED={SEED}: {len(told.faults)} faults\n{shown}"
        assert left == []
        assert met == 0
        assert soaked.events("chunk.only_in_trash") == []
        assert soaked.complaints() == []
    finally:
        soaked.crash()


def load(soaked: Soaked, told: Told, chance: Random) -> list[Lane]:
    """Have clients at work for so long; return what they were promised."""
    server = soaked.servers[0]
    account, layers = server.add_token(server.admin_account, "--allow", ALL), Layers(SEED)
    lanes = [Lane(f"lane{number}") for number in range(LANES)]
    ended = threading.Event()

    def client() -> Client:
        return Client(soaked.servers, account, told, Random(chance.random()))  # noqa: S311

    workers = [
        Worker(
            lane,
            clients=(client(), client()),
            told=told,
            chance=Random(chance.random()),  # noqa: S311
            layers=layers,
            others=lanes,
            administer=soaked.administer,
            times=(LEASE, UNDELETE),
        )
        for lane in lanes
    ]
    threads = [threading.Thread(target=worker.run, args=(ended,)) for worker in workers]
    hurt = soaked.hurt(told, chance, HURT_EVERY_SECONDS) if told.kills else nullcontext()
    for thread in threads:
        thread.start()
    try:
        with hurt:
            time.sleep(SECONDS)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return lanes


def read_all(soaked: Soaked, lanes: list[Lane], told: Told, chance: Random) -> None:
    """Pull all that was acknowledged through each server."""
    account = soaked.servers[0].add_token(soaked.servers[0].admin_account)
    for server in soaked.servers:
        client = Client([server], account, told, chance)
        for lane in lanes:
            for repository in lane.repositories():
                for image in repository.live():
                    pull(client, told, repository, image, image.layers)


def told_of(
    name: str,
    soaked: Soaked,
    told: Told,
    wanted: Expected,
    states: list[dict[str, int]],
    seconds: float,
) -> str:
    """Return the figures, as docs/reliability.md quotes them."""
    mib, counts = 1024 * 1024, told.counts
    left = [sum(files(server.disks[0] / "chunks").values()) for server in soaked.servers]
    copies = soaked.events("collection.copies")
    cells = [
        name,
        f"{SECONDS:.0f} s",
        f"{counts['events']:,} ({sum(counts[how] for how in set(HURTS))} of them to servers)",
        f"{counts['pushes']:,} / {counts['mounts']:,} / {counts['pulls']:,}",
        f"{counts['deletes']:,} / {counts['restored']:,}",
        f"{len(soaked.events('collection.rows')):,} / {len(copies):,}",
        f"{counts['bytes pushed'] / mib:,.0f}",
        f"{sum(each['bytes'] for each in copies) / mib:,.0f}",
        f"{sum(left) / mib:,.1f} / {wanted.size * len(left) / mib:,.1f}",
        f"{seconds:.0f} s",
        f"{counts['refused']:,} / {counts['cut']:,}",
        f"{counts['broken pushes']}",
        f"{counts['unreadable'] + counts['wrong bytes']}",
        f"{sum(state['met_in_trash'] for state in states)}",
    ]
    return " | ".join(cells)
