"""`make bench`: one layer pushed and pulled, beside docker-registry 2.8.2 in the same run.

Rounds are interleaved and the order within a round alternates, because machines drift; the result
is the median of the rounds' ratios. Written to bench/results/: JSON and a Markdown table.
"""

import hashlib
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from bench import manifests
from bench.peers import docker_registry, treescale
from bench.wire import Target, pull, push, token_for

RESULTS: Final = Path(__file__).parent / "results"
STREAMS: Final = (1, 3, 8)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work: median MB/s of both and the median of the rounds' ratios."""

    work: str
    treescale_mb_s: float
    docker_registry_mb_s: float
    ratio: float
    ratio_min: float
    ratio_max: float


@click.command()
@click.option("--rounds", default=7, help="Interleaved rounds.")
@click.option("--megabytes", default=300, help="Size of the layer.")
@click.option("--only", type=click.Choice(["layers", "manifests"]), help="One part of the table.")
@click.option("--seconds", default=3, help="Length of each manifest measurement.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where the data lies.")
def main(
    rounds: int, megabytes: int, only: str | None, seconds: int, directory: Path | None
) -> None:
    """Measure push and pull of one layer of random bytes, and GET of a manifest by tag."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=directory) as place:
        root = Path(place)
        with (
            treescale(root / "treescale", os.cpu_count() or 1) as ours,
            docker_registry(root / "peer") as peer,
        ):
            if only != "manifests":
                rows = _measure(ours, peer, rounds, megabytes * 1_000_000)
            if only != "layers":
                click.echo(_manifest_table(ours, peer, rounds, seconds))
    if only is not None:
        if rows:
            click.echo(_table(rows, rounds, megabytes))
        return
    table = _table(rows, rounds, megabytes)
    click.echo(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "one-server.md").write_text(table)
    content = {"machine": _machine(), "rounds": rounds, "rows": [asdict(row) for row in rows]}
    (RESULTS / "one-server.json").write_text(json.dumps(content, indent=2) + "\n")


def _measure(ours: Target, peer: Target, rounds: int, size: int) -> list[Row]:
    tokens = {ours.name: token_for(ours), peer.name: ""}
    speeds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        pair = (ours, peer) if number % 2 else (peer, ours)
        data = os.urandom(size)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        tokens[ours.name] = token_for(ours)
        for target in pair:
            began = time.perf_counter()
            push(target, tokens[target.name], data, digest)
            speed = size / (time.perf_counter() - began) / 1e6
            speeds.setdefault(("push", target.name), []).append(speed)
        for streams in STREAMS:
            for target in pair:
                seconds = _timed_pulls(target, tokens[target.name], digest, streams)
                speed = streams * size / seconds / 1e6
                speeds.setdefault((f"pull, {streams} at once", target.name), []).append(speed)
    works = ["push", *(f"pull, {streams} at once" for streams in STREAMS)]
    return [_row(work, speeds[work, ours.name], speeds[work, peer.name]) for work in works]


def _manifest_table(ours: Target, peer: Target, rounds: int, seconds: int) -> str:
    """Measure manifests by tag; the first round warms up and is not counted."""
    published = {
        target.name: manifests.publish(target, token_for(target)) for target in (ours, peer)
    }
    lines = [
        "| manifest by tag | ours/s | peer/s | ratio (range) | p99 ms | peer's | share (range) |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in manifests.METHODS:
        for connections in manifests.CONNECTIONS:
            loads: dict[str, list[manifests.Load]] = {ours.name: [], peer.name: []}
            for number in range(rounds + 1):
                for target in (ours, peer) if number % 2 else (peer, ours):
                    load = manifests.load(
                        target,
                        token_for(target),
                        published[target.name],
                        method,
                        connections,
                        seconds if number else 1,
                    )
                    if number:
                        loads[target.name].append(load)
            lines.append(_manifest_line(method, connections, loads[ours.name], loads[peer.name]))
    return "\n".join(lines)


def _manifest_line(
    method: str, connections: int, ours: list[manifests.Load], peer: list[manifests.Load]
) -> str:
    median = statistics.median
    ratios = [one.per_second / other.per_second for one, other in zip(ours, peer, strict=True)]
    shares = [one.p99_ms / other.p99_ms for one, other in zip(ours, peer, strict=True)]
    return (
        f"| {method}, {connections} connections "
        f"| {median(o.per_second for o in ours):.0f} | {median(p.per_second for p in peer):.0f} "
        f"| **{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) "
        f"| {median(o.p99_ms for o in ours):.2f} | {median(p.p99_ms for p in peer):.2f} "
        f"| {median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) |"
    )


def _timed_pulls(target: Target, token: str, digest: str, streams: int) -> float:
    began = time.perf_counter()
    _in_parallel(lambda: pull(target, token, digest), streams)
    return time.perf_counter() - began


def _in_parallel(work: Callable[[], object], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _row(work: str, ours: list[float], peer: list[float]) -> Row:
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    return Row(
        work,
        round(statistics.median(ours), 1),
        round(statistics.median(peer), 1),
        round(statistics.median(ratios), 2),
        round(min(ratios), 2),
        round(max(ratios), 2),
    )


def _table(rows: list[Row], rounds: int, megabytes: int) -> str:
    setting = (
        f"One server, one layer of {megabytes} MB of random bytes, {rounds} interleaved rounds; "
        f"{_machine()}. docker-registry 2.8.2: filesystem driver, no login; TreeScale: login, "
        "SQLite, every chunk fsynced before 201."
    )
    head = "| work | TreeScale MB/s | docker-registry MB/s | ratio (range) |\n|---|---|---|---|"
    lines = [
        f"| {row.work} | {row.treescale_mb_s:.0f} | {row.docker_registry_mb_s:.0f} "
        f"| **{row.ratio:.2f}** ({row.ratio_min:.2f} to {row.ratio_max:.2f}) |"
        for row in rows
    ]
    return "\n".join([setting, "", head, *lines, ""])


def _machine() -> str:
    return f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, Python " + (
        platform.python_version()
    )


if __name__ == "__main__":
    main()
