"""`make bench`: a whole table beside docker-registry 2.8.2, in one run.

Of one server; with `--network`, of several behind narrow wires. Written to bench/results/:
Markdown, JSON with every round, and a picture. `--only` runs parts of it and prints them without
keeping them.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from bench import placement, report
from bench.machine import use_memory
from bench.network import balanced, gateway, killed, relay
from bench.peers import CLIENT_TLS
from bench.rows import Effort, Part, Row
from bench.work import layers, lists, manifests, memory, ranges, start, tiny, tls

RESULTS: Final = Path(__file__).parent / "results"
PARTS: Final[dict[str, Part]] = {
    "layers": layers.measure,
    "tls": tls.measure,
    "manifests": manifests.measure,
    "ranges": ranges.measure,
    "tiny": tiny.measure,
    "memory": memory.measure,
    "start": start.measure,
    "lists": lists.measure,
}
NETWORK: Final[dict[str, Part]] = {
    "four": gateway.measure_four,
    "eight": gateway.measure_eight,
    "crowd": gateway.measure_crowd,
    "balanced": balanced.measure,
    "killed": killed.measure,
    "relay": relay.measure,
}


@click.command()
@click.option("--network", is_flag=True, help="Several servers behind narrow wires; needs root.")
@click.option("--placement", "simulated", is_flag=True, help="Placement at scale, by simulation.")
@click.option("--rounds", type=int, help="Interleaved rounds that count: 7, with --network 3.")
@click.option("--megabytes", default=300, help="Size of a large layer.")
@click.option("--scale", default=1.0, help="Below 1: less of everything else, for a quick look.")
@click.option("--mbit", default=200, help="What a narrow wire carries, in Mbit/s.")
@click.option(
    "--only", multiple=True, type=click.Choice([*PARTS, *NETWORK]), help="Parts; repeatable."
)
@click.option("--directory", type=click.Path(path_type=Path), help="Where the data lies.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="What is kept.")
def main(  # noqa: PLR0913, PLR0917  one for each option
    network: bool,  # noqa: FBT001  likewise
    simulated: bool,  # noqa: FBT001  likewise
    rounds: int | None,
    megabytes: int,
    scale: float,
    mbit: int,
    only: tuple[str, ...],
    directory: Path | None,
    results: Path,
) -> None:
    """Measure TreeScale beside docker-registry."""
    if simulated:
        click.echo(placement.LINES)
        for stores in placement.SIZES:
            click.echo(placement.measure(stores, placement.chunks))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # the servers end, too
    effort = Effort(rounds or (3 if network else 7), megabytes * 1_000_000, scale, mbit)
    parts = NETWORK if network else PARTS
    rows: list[Row] = []
    for name in only or parts:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=directory) as place:
            if not network:
                use_memory(Path(place))
            measured = parts[name](Path(place), effort)
        rows += measured
        click.echo(report.tables(measured))
        click.echo(f"{name}: {time.perf_counter() - began:.0f} s\n", err=True)
        if not only:
            report.write(results, report.NETWORK if network else report.ONE_SERVER, rows, effort)


if __name__ == "__main__":
    if os.environ.get(CLIENT_TLS) != str(tls.CONFIGURATION):
        variables = {**os.environ, CLIENT_TLS: str(tls.CONFIGURATION)}
        os.execve(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]], variables)  # noqa: S606
    main()
