"""`make bench`: a whole table beside other registries, in one run.

Of one server; with `--network`, of several behind narrow wires. With `--repair`, `--walk`,
`--collect`, `--backup`, `--metrics` and `--events` what goes on beside clients is measured, by
itself; with `--accounts` logins among many accounts. Written to bench/results/: Markdown, JSON with
every round, and a picture. `--only` runs parts of it and prints them without keeping them, and
`--push` is that for pushes of one server.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from bench import backup, placement, report
from bench.accounts import beside as accounts
from bench.collect import beside as collecting
from bench.collect import idle, taking
from bench.events import followers, recording
from bench.machine import use_memory
from bench.metrics import counting
from bench.network import balanced, gateway, killed, relay, repair
from bench.peers import CLIENT_TLS
from bench.registries import KNOWN
from bench.rows import Effort, Part, Row
from bench.walk import beside as walking
from bench.walk import names, verify
from bench.work import (
    console,
    large,
    layers,
    lists,
    manifests,
    memory,
    ranges,
    start,
    tiny,
    tls,
    watched,
)

RESULTS: Final = Path(__file__).parent / "results"
PARTS: Final[dict[str, Part]] = {
    "push": layers.measure_pushes,
    "pull": layers.measure_pulls,
    "tls": tls.measure,
    "manifests": manifests.measure,
    "ranges": ranges.measure,
    "tiny": tiny.measure,
    "memory": memory.measure,
    "start": start.measure,
    "large": large.measure,
    "lists": lists.measure,
}
NETWORK: Final[dict[str, Part]] = {
    "four": gateway.measure_four,
    "eight": gateway.measure_eight,
    "crowd": gateway.measure_crowd,
    "balanced": balanced.measure,
    "killed": killed.measure,
    "relay": relay.measure,
    "relay-wires": relay.measure_wired,
}
REPAIR: Final[dict[str, Part]] = {"idle-loss": repair.measure_idle, "loss": repair.measure_load}
WALK: Final[dict[str, Part]] = {
    "verify": verify.measure,
    "beside": walking.measure,
    "names": names.measure,
}
COLLECT: Final[dict[str, Part]] = {
    "taking": taking.measure,
    "collecting": collecting.measure,
    "idle": idle.measure,
}
METRICS: Final[dict[str, Part]] = {"counting": counting.measure}
EVENTS: Final[dict[str, Part]] = {
    "recording": recording.measure,
    "followers": followers.measure,
}
ACCOUNTS: Final[dict[str, Part]] = {
    "accounts-sqlite": accounts.measure_sqlite,
    "accounts-postgresql": accounts.measure_postgres,
}
BACKUP: Final[dict[str, Part]] = {"backup": backup.measure}
CONSOLE: Final[dict[str, Part]] = {"console": console.measure, "watched": watched.measure}


@dataclass(frozen=True, slots=True)
class Page:
    """What is measured together, and where it is written."""

    published: report.Publication
    parts: Mapping[str, Part]
    rounds: int
    fills_memory: bool = False


PAGES: Final = {
    "one-server": Page(report.ONE_SERVER, PARTS, 3, fills_memory=True),
    "network": Page(report.NETWORK, NETWORK, 3),
    "repair": Page(report.REPAIR, REPAIR, 1),
    "walk": Page(report.WALK, WALK, 3),
    "collect": Page(report.COLLECT, COLLECT, 3),
    "metrics": Page(report.METRICS, METRICS, 20),
    "events": Page(report.EVENTS, EVENTS, 20),
    "backup": Page(report.BACKUP, BACKUP, 1),
    "accounts": Page(report.ACCOUNTS, ACCOUNTS, 3),
    "console": Page(report.CONSOLE, CONSOLE, 1),
}
PLACEMENT: Final = "placement"
PUSH: Final = "push"
ALL: Final = [name for page in PAGES.values() for name in page.parts]


@click.command()
@click.option("--push", "page", flag_value=PUSH, help="Pushes to one server, for a quick turn.")
@click.option("--network", "page", flag_value="network", help="Servers behind narrow wires; root.")
@click.option("--repair", "page", flag_value="repair", help="One of four stores is lost; root.")
@click.option("--walk", "page", flag_value="walk", help="Reading back, and looking; needs root.")
@click.option("--collect", "page", flag_value="collect", help="What collection costs.")
@click.option("--metrics", "page", flag_value="metrics", help="What counting for /metrics costs.")
@click.option("--events", "page", flag_value="events", help="What events cost.")
@click.option("--console", "page", flag_value="console", help="Pages of the console.")
@click.option("--backup", "page", flag_value="backup", help="Backup and restore.")
@click.option("--accounts", "page", flag_value="accounts", help="Logins among many accounts.")
@click.option("--placement", "page", flag_value=PLACEMENT, help="Placement, by simulation.")
@click.option("--rounds", type=int, help="That count; each kind has its own.")
@click.option("--megabytes", default=300, help="Size of a large layer.")
@click.option("--gigabytes", default=1.0, help="What a store holds that is lost, or read back.")
@click.option(
    "--chunks", default=1_000_000, help="Names that --walk, rows that --collect and --backup have."
)
@click.option("--scale", default=1.0, help="Below 1: less of everything else, for a quick look.")
@click.option("--mbit", default=200, help="What a narrow wire carries, in Mbit/s.")
@click.option("--large-gigabytes", default=1.0, help="Size of the layer that no cache has.")
@click.option(
    "--beside", multiple=True, type=click.Choice(list(KNOWN)), help="Else all; repeatable."
)
@click.option("--only", multiple=True, type=click.Choice(ALL), help="Parts; repeatable.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where the data lies.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="What is kept.")
def main(  # noqa: PLR0913, PLR0917  one for each option
    page: str | None,
    rounds: int | None,
    megabytes: int,
    gigabytes: float,
    chunks: int,
    scale: float,
    mbit: int,
    large_gigabytes: float,
    beside: tuple[str, ...],
    only: tuple[str, ...],
    directory: Path | None,
    results: Path,
) -> None:
    """Measure TreeScale beside other registries, or what --repair, --walk … say."""
    if page == PLACEMENT:
        for line in placement.lines():
            click.echo(line)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # the servers end, too
    if page == PUSH:
        page, only = None, only or (PUSH,)
    measured = PAGES[page or "one-server"]
    effort = Effort(
        rounds or measured.rounds,
        megabytes * 1_000_000,
        scale,
        mbit,
        gigabytes,
        chunks,
        int(large_gigabytes * 1e9),
        beside,
    )
    rows: list[Row] = []
    for name in only or measured.parts:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=directory) as place:
            if measured.fills_memory:
                use_memory(Path(place))
            found = measured.parts[name](Path(place), effort)
        rows += found
        click.echo(report.tables(found))
        click.echo(report.judged(found))
        click.echo(f"{name}: {time.perf_counter() - began:.0f} s\n", err=True)
        if not only:
            report.write(results, measured.published, rows, effort)


if __name__ == "__main__":
    if os.environ.get(CLIENT_TLS) != str(tls.CONFIGURATION):
        variables = {**os.environ, CLIENT_TLS: str(tls.CONFIGURATION)}
        os.execve(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]], variables)  # noqa: S606
    main()
