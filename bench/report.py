"""The results as a Markdown table and as JSON, with every round's figures."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.accounts.asking import ASKED as ACCOUNTS_ASKED
from bench.accounts.asking import LISTED as ACCOUNTS_LISTED
from bench.plot import drawn
from bench.registries import NAMED
from bench.rows import MET, OPEN, SHORT, Effort, Row

FIGURES: Final = "| TreeScale alone | bar | measured (range) | |\n|---|---|---|---|"
NONE: Final = "not measured"


def tables(rows: Sequence[Row]) -> str:
    """Return the ratios to the best peer, and what is ours alone, as Markdown tables."""
    ratios = [row for row in rows if row.peers]
    figures = [_figure_line(row) for row in rows if not row.peers]
    peers = peers_of(rows)
    compared = [*_heading(peers), *(_ratio_line(row, peers) for row in ratios)]
    parts = [[*compared, ""] if ratios else [], [FIGURES, *figures, ""] if figures else []]
    return "\n".join(line for part in parts for line in part)


def peers_of(rows: Sequence[Row]) -> list[str]:
    """Return the peers that any row has, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row.peers))


def judged(rows: Sequence[Row]) -> str:
    """Say how many bars are met, and what could not be said for want of a peer."""
    verdicts = [row.verdict for row in rows if row.bar]
    text = f"{verdicts.count(MET)} of {len(verdicts)} bars are met"
    if peers := peers_of(rows):
        text += f"; peers of this run: {', '.join(peers)}"
    missing = dict.fromkeys(name for row in rows for name in row.missing)
    if missing:
        text += f"; not measured: {', '.join(missing)} (rows open for that: {verdicts.count(OPEN)})"
    return f"{text}."


@dataclass(frozen=True, slots=True)
class Publication:
    """A page of results: the name of its files, its title, how it is made, what was done."""

    name: str
    title: str
    command: str
    method: str
    pictured: bool = True
    """Whether there are ratios to the peer to draw."""


ONE_SERVER: Final = Publication(
    "one-server",
    "One server, measured beside other registries",
    "make bench",
    """Each row measures all registries of the run in {rounds} interleaved rounds, after one that \
warmed up and is not counted; each in turn uses all cores, and so do the clients. Ratios are \
made round by round, and their median is judged: that to the best peer, the one beside which it is \
worst. Where less is better it should be small. A bar is met only if every peer that it is judged \
against was there ({named}): else it is open, or short if one that was there is ahead. Memory \
and starts have bars of their own, whatever the peers do. \
Large layers are {megabytes} MB, new in each round, of random bytes or as gzip writes them (one \
member, no sync points); pushed by a chunked PATCH in pieces of 32 KiB as dockerd does, or by one \
PUT as containerd does. All registries keep their data on the same disk. docker-registry is \
Debian's package; it and distribution have their filesystem driver and cache of blob descriptors; \
zot is built without extensions and deduplicates and collects, as it comes. None of them has a \
login, and none syncs. TreeScale: as it comes, with its login, SQLite, one worker per core, \
everything fsynced before 201. TLS clients offer AES-128 first, as dockerd does. All memory had \
been in use before (bench/machine.py), and layers are pulled soon after they were pushed, so all \
have them in the page cache, but where a row says otherwise.""",
)
NETWORK: Final = Publication(
    "network",
    "Servers behind narrow wires, measured beside docker-registry 2.8.2",
    'make bench ARGS="--network"',
    """Ratios are medians of {rounds} interleaved rounds, after one that warmed up and is not \
counted. Each server is a network namespace on a bridge. The wire of every storage server, and of \
docker-registry, carries {mbit} Mbit/s each way, headers included (`tc tbf rate {mbit}mbit burst \
256kb latency 50ms` at both ends of its veth). Gateway, haproxy, PostgreSQL and clients have no \
such limit; everything shares the cores of one machine. Large \
layers are {megabytes} MB of random bytes, new in each round; the sixteen clients pull one of a \
quarter of that. Each client hashes what it reads and fails unless it is the layer. \
docker-registry: Debian's package, filesystem driver, its cache of blob descriptors on, no login, \
nothing fsynced, one server behind one such wire. TreeScale: as it comes, with its login, \
everything fsynced before 201.""",
)

REPAIR: Final = Publication(
    "repair",
    "A store is lost: how long until all copies are there again",
    'make bench ARGS="--repair --gigabytes {gigabytes:g}"',
    """Four servers, each a network namespace on a bridge, one worker each, three copies of each \
chunk, PostgreSQL on the same machine, `grace_seconds` 15. Blobs of 4 MB of random bytes \
(seed 1) are pushed while the wires are wide. Then each server's wire carries {mbit} Mbit/s \
each way, headers included (`tc tbf rate {mbit}mbit burst 256kb latency 50ms` at both ends \
of its veth); one server is killed and its disk removed. Time is counted from the layout \
without the store to the last `store.whole` of the three others; then each chunk has been \
seen three times on their disks. The bound is the bytes of the lost store by what the three \
wires carry. Under a load blobs are pulled from the three in turn, so many a second whatever \
they answer, and hashed; the time of a pull begins when it is due. Undisturbed is the same \
load before the loss: then a quarter of what a server is asked for lies on others, as long as the \
loss is not made good; once it is, each of the three has everything. One run for each of the two, \
on servers of its own.""",
    pictured=False,
)

WALK: Final = Publication(
    "walk",
    "What the walk costs: reading back, and looking where nothing is to be done",
    'make bench ARGS="--walk --gigabytes {gigabytes:g} --chunks {chunks}"',
    """Read back: {gigabytes:g} GB of random bytes (seed 1), cut as a blob is, on the disk of the \
machine, read back by the walk on one core after all caches were dropped; in the same \
process, on the same core, the same files are then read alone (`O_DIRECT`, as the walk does) \
and hashed alone. Medians of {rounds} rounds, after one that is not counted. Pulls beside \
it: one server as it comes, SQLite, two workers, blobs of 4 MB, so many a second whatever it \
answers, hashed; first undisturbed, then while `treescale verify` runs. Of its own accord a \
server reads nothing back while clients are at work. A walk that finds nothing: an ext4 of \
names alone, in 65,536 directories, those of a directory links to one file, since no file is \
opened; SQLite names them all; all caches dropped. Memory is the most that the whole process \
has held, Python and SQLite included; it is told once.""",
    pictured=False,
)


METRICS: Final = Publication(
    "metrics",
    "What counting for /metrics costs",
    'make bench ARGS="--metrics"',
    """A server of one worker, SQLite, that counts and does not count in 40 short turns each, as \
signals tell it. Two clients ask for a manifest by tag, each on a kept connection; CPU is all that \
the worker took. {rounds} alternations, each with a server of its own that was warm. The interval \
is that of the mean of their ratios, resampled 10,000 times (seed 1).""",
    pictured=False,
)

EVENTS: Final = Publication(
    "events",
    "What events cost",
    'make bench ARGS="--events"',
    """A server of one worker, SQLite, whose pushes record events and do not in 40 short turns \
each, as signals tell it. Four clients push tiny images, each with a tag of its own; CPU is all \
that the worker took. {rounds} alternations, each with a server of its own that was warm. The \
interval is that of the mean of their ratios, resampled 10,000 times (seed 1).""",
    pictured=False,
)
BACKUP: Final = Publication(
    "backup",
    "A backup and a restore of many blobs on SQLite",
    'make bench ARGS="--backup --chunks {chunks}"',
    """{chunks} chunk rows, ten for each blob, each blob with a manifest and a link. The commands \
as they are typed, each a process of its own; a backup is read back before it ends. Memory is the \
most that the process had (`ru_maxrss`); with a passphrase scrypt takes 134 MB of it.""",
    pictured=False,
)
ACCOUNTS: Final = Publication(
    "accounts",
    "Logins, policy and lists among many accounts",
    'make bench ARGS="--accounts"',
    """Two servers of one worker on the same machine, asked in turn, request by request: one with \
100,000 users, 1,000,000 access tokens, 10,000 organisations and 100,000 robots, the other with as \
few as it takes for somebody else to ask each time (2,000 users, 20,000 access tokens, 200 \
organisations, 8,000 robots), so that no answer that is kept hides the database. Of each user \
there is as much in both. In the large one the rights of all users were changed a moment ago. \
Everything lies in memory: no disk that others use is measured. Both servers run on one core, \
clients and PostgreSQL on the others. p50 and p99 are those of {asked} \
requests of a kind ({listed} of lists, half as many of pages as of `/token`), in {rounds} rounds \
after one that is not counted. CPU is that of the server's processes, without PostgreSQL's.""",
    pictured=False,
)
CONSOLE: Final = Publication(
    "console",
    "Pages of the console with 1,000,000 tags and 100,000 repositories on SQLite",
    'make bench ARGS="--console"',
    """One server with one worker, one browser that asks for a page 200 times on one connection, \
signed in as an administrator. A repository has a million tags of 50,000 indexes, each of two \
platforms with an attestation, and signed. Times are from the request to the last byte; CPU is \
that of all processes of the server for a page, on average. Pages are not compressed. Live pages: \
another server of one worker, 20 alternations of 4 pulls of a layer of 100 MB.""",
    pictured=False,
)
COLLECT: Final = Publication(
    "collect",
    "What collection costs: taking away, and looking where nothing is to go",
    'make bench ARGS="--collect --rounds {rounds} --chunks {chunks}"',
    """Taking away: 8,000 files of 4 KiB on the disk of the machine, two days old and in no row of \
a SQLite beside them, are moved to the trash in one cycle of one store, and dropped from it in \
another; all of the process's CPU. They lie in as many directories as there are: one for each \
65,536th of the ids. Clients: one server, SQLite, leases of 6 seconds; one client pushes blobs \
that end after two leases, another pulls; 10 seconds without collection and 10 seconds with it, in \
turns. Medians of {rounds} rounds. Looking: {chunks} chunk rows, ten for each blob, \
each blob with a manifest and a link, all of them needed. A cycle of rows comes once a minute, \
the pass over all of them once a day.""",
    pictured=False,
)


def page(published: Publication, rows: Sequence[Row], effort: Effort) -> str:
    """Return the whole page: the tables, with what they were measured on and how."""
    picture = f"![ratios]({published.name}.svg)\n\n" if published.pictured else ""
    return f"""# {published.title}

On {machine()}; written by `{_filled(published.command, effort)}`. {judged(rows)}

{_filled(published.method, effort)}

{picture}{tables(rows)}"""


def _filled(text: str, effort: Effort) -> str:
    return text.format(
        named=", ".join(NAMED),
        rounds=effort.rounds,
        megabytes=effort.layer_bytes // 1_000_000,
        mbit=effort.mbit,
        gigabytes=effort.gigabytes,
        chunks=effort.chunks,
        asked=effort.rounds * effort.of(ACCOUNTS_ASKED),
        listed=effort.rounds * effort.of(ACCOUNTS_LISTED),
    )


def write(directory: Path, published: Publication, rows: Sequence[Row], effort: Effort) -> None:
    """Write the page as .md, its rows as .json, and its picture as .svg."""
    directory.mkdir(exist_ok=True)
    (directory / f"{published.name}.md").write_text(page(published, rows, effort))
    content = {
        "machine": machine(),
        "rounds": effort.rounds,
        "layer_bytes": effort.layer_bytes,
        "mbit": effort.mbit,
        "gigabytes": effort.gigabytes,
        "chunks": effort.chunks,
        "rows": [_record(row) for row in rows],
    }
    (directory / f"{published.name}.json").write_text(json.dumps(content, indent=1) + "\n")
    if published.pictured:
        (directory / f"{published.name}.svg").write_text(drawn(rows))


def machine() -> str:
    """Name what the figures were measured on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    system = f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), {system}"


def _heading(peers: Sequence[str]) -> list[str]:
    names = ["work", "bar", "TreeScale", *peers, "best peer", "ratio to it (range)", ""]
    return [f"| {' | '.join(names)} |".replace("|  |", "| |"), "|---" * len(names) + "|"]


def _ratio_line(row: Row, peers: Sequence[str]) -> str:
    bar = _bar(row)
    if row.bar and row.bar.own:
        bar += f" {row.unit}"
    measured = [_median(row.peers[name], row) if name in row.peers else NONE for name in peers]
    ratio = f"**{statistics.median(row.ratios):.2f}**{_range(row.ratios, 2)}"
    cells = [row.work, bar, _median(row.ours, row), *measured, row.against, ratio, _verdict(row)]
    return f"| {' | '.join(cells)} |"


def _figure_line(row: Row) -> str:
    bar = _bar(row)
    if not row.other:
        bar += f" {row.unit}"
        measured = f"**{_median(row.ours, row)}**{_range(row.ours, row.digits)}"
    else:
        bar += f" times {row.against}"
        measured = (
            f"{_median(row.ours, row)}, {row.against} {_median(row.other, row)}: "
            f"**{row.value:.2f}**{_range(row.judged, 2)}"
        )
    return f"| {row.work} | {bar} | {measured} | {_verdict(row)} |"


def _bar(row: Row) -> str:
    if row.bar is None:
        return "none"
    return f"{'≥' if row.bar.at_least else '≤'} {row.bar.limit:g}"


def _verdict(row: Row) -> str:
    return f"**{SHORT}**" if row.verdict == SHORT else row.verdict


def _median(figures: Sequence[float], row: Row) -> str:
    return f"{statistics.median(figures):.{row.digits}f} {row.unit}"


def _range(figures: Sequence[float], digits: int) -> str:
    if len(figures) == 1:
        return ""
    return f" ({min(figures):.{digits}f} to {max(figures):.{digits}f})"


def _record(row: Row) -> dict[str, object]:
    return {
        "work": row.work,
        "unit": row.unit,
        "bar": row.bar and row.bar.limit,
        "at_least": row.bar and row.bar.at_least,
        "judged": round(row.value, 3),
        "verdict": row.verdict,
        "ours": _rounded(row.ours),
        "against": row.against if row.other else None,
        "other": _rounded(row.other),
        "peers": {name: _rounded(figures) for name, figures in row.peers.items()},
    }


def _rounded(figures: Sequence[float]) -> list[float]:
    return [round(figure, 4) for figure in figures]
