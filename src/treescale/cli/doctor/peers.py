"""The servers of the cluster, as this machine reaches them."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import DBAPIError

from treescale.cli.doctor.database import only_read
from treescale.cli.doctor.finding import Finding, failure, fine, warning
from treescale.cli.terminal.options import require_database
from treescale.clock import DatabaseClock, SystemClock
from treescale.cluster.advice import CERTIFICATE_SECONDS, CLOCK_SECONDS_MAX
from treescale.cluster.liveness import is_live
from treescale.cluster.status import in_words
from treescale.config import Settings
from treescale.errors import DatabaseUnavailable, SettingInvalid
from treescale.metadata.database import opened
from treescale.metadata.records import ServerRecord
from treescale.peer.connection import encrypting
from treescale.peer.health import why_unreachable
from treescale.peer.keyring import signing_key
from treescale.peer.signing import PeerKeys
from treescale.server.network.certificates import peer_authorities

_CLOCK: Final = SystemClock()


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """A server, and whether it is reached from here."""

    server: ServerRecord
    now: float
    """By the database's clock."""
    unreached: str | None = None
    """Why it is not reached; None when it is, or when nobody expects it to be."""

    @property
    def is_live(self) -> bool:
        """Say whether it was heard of lately."""
        return is_live(self.server.seen, self.now)


def peers(settings: Settings) -> Iterator[Finding]:
    """Say how the servers of the cluster are; nothing while there are none."""
    try:
        require_database(settings.database)
        facts = asyncio.run(_read(settings))
    except SettingInvalid:
        return  # no database yet, or no certificates in peer_ca: told of elsewhere
    except DatabaseUnavailable:
        yield warning("servers", "not looked at", "the database says who they are; see there")
        return
    if facts is None:
        yield warning("servers", "not looked at", "the tables are not there, or older: see schema")
        return
    for each in facts:
        yield peer(each)
    if found := versions([each.server for each in facts if each.is_live]):
        yield found


async def _read(settings: Settings) -> list[PeerFacts] | None:
    """Return what is to be known; None when the tables are none, or of an older version."""
    async with opened(settings.database, file=only_read(settings.database)) as database:
        time = DatabaseClock(_CLOCK)
        await time.read(database.servers.now)
        now = time.now()
        try:
            servers = await database.servers.list()
            keys = await database.peer_keys.list()
        except DBAPIError:
            return None
    if not keys:
        return []
    known = PeerKeys(signing_key(keys, now).secret, tuple(key.secret for key in keys))
    authorities = peer_authorities(settings)

    async def look(server: ServerRecord) -> PeerFacts:
        if not is_live(server.seen, now):
            return PeerFacts(server, now)
        tls = encrypting(authorities)
        why = await why_unreachable(server.server_id, server.address, known, time, tls)
        return PeerFacts(server, now, why)

    return await asyncio.gather(*(look(each) for each in servers))


def peer(facts: PeerFacts) -> Finding:
    """Say how a server is."""
    server = facts.server
    name = f"server {server.name} ({server.address})"
    forget = f"`treescale cluster forget {server.server_id}`"
    if not server.seen:
        return warning(name, "it was stopped", f"start it; if it will not come back, say {forget}")
    if not facts.is_live:
        silent = in_words(facts.now - server.seen)
        advice = f"see whether it runs, and reaches the database; if it is gone, say {forget}"
        return failure(name, f"silent for {silent}", advice)
    if facts.unreached is not None:
        advice = (
            "correct its --advertise, let its port through the firewall, or see why it hangs: "
            "others do not read or write what it holds"
        )
        return failure(name, f"up, but not reached from here: {facts.unreached}", advice)
    if abs(server.clock_error or 0.0) >= CLOCK_SECONDS_MAX:
        told = f"its clock is {server.clock_error:+.1f} s from the database's"
        return warning(name, told, "let NTP set its clock")
    ends = server.certificate_expires
    if ends is not None and ends - facts.now < CERTIFICATE_SECONDS:
        left = ends - facts.now
        told = f"its certificate {'ends in' if left > 0 else 'ended'} {in_words(abs(left))}"
        told = told if left > 0 else f"{told} ago"
        return warning(name, told, "renew it: new files are taken into use without a restart")
    return fine(name, f"reached, version {server.version or '0.1.0'}")


def versions(servers: Sequence[ServerRecord]) -> Finding | None:
    """Say whether the servers that are up have one version; None when there are not several."""
    if len(servers) < 2:  # noqa: PLR2004  one has no other
        return None
    found = sorted({server.version or "0.1.0" for server in servers})
    if len(found) > 1:
        advice = "bring all to the newest, one at a time, before anything else is changed"
        return warning("versions", ", ".join(found), advice)
    return fine("versions", f"all {found[0]}")
