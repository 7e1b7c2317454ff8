"""`/events/groups`: consumers that share the work; each event is given to one of them.

A group belongs to a namespace: whoever owns or maintains that, or an administrator, asks for its
events, does what they are about, and acknowledges them. What nobody acknowledges is given again. A
group that a maintainer has made is given what maintainers are shown.
"""

import asyncio
import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from treescale.auth.policy import Standing, may
from treescale.auth.roles import NO_MEMBER, Permission
from treescale.console.route import Answered, Asked
from treescale.errors import FieldInvalid, Forbidden, NameInvalid, RequestInvalid
from treescale.events.live import LiveLog
from treescale.events.rights import EVERYWHERE
from treescale.events.rows import NEWEST, OLDEST, EventRow, row_of
from treescale.metadata.database import Database
from treescale.metadata.events.groups import GIVEN_AT_ONCE_MAX, LEASE_SECONDS, Audience
from treescale.oci.names import check_namespace

WAIT_SECONDS_MAX: Final = 30
_DIGITS_MAX: Final = 9
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_BEGIN: Final = (OLDEST, NEWEST)


class GivenEvents(msgspec.Struct):
    """What a consumer has to acknowledge in `lease_seconds`, or it is given again."""

    events: list[EventRow]
    lease_seconds: float
    gap: bool
    """Whether events that the group was not given are kept no more."""


class Acknowledgement(msgspec.Struct, forbid_unknown_fields=True):
    """The events that are done with: by their sequences, or by their ids."""

    sequences: list[int] | None = None
    ids: list[str] | None = None


class Acknowledged(msgspec.Struct):
    """How many of these the group had still to acknowledge."""

    acknowledged: int


class GroupRow(msgspec.Struct):
    """A group; times are UTC."""

    name: str
    position: int
    """The sequence up to which events were given out."""
    created: datetime
    seen: datetime
    """When one was last given something."""
    audience: str
    """`owner`, or `maintainer`: given what maintainers are shown."""


class GroupList(msgspec.Struct):
    """The groups of a namespace."""

    groups: list[GroupRow]


class GroupRemoved(msgspec.Struct):
    """The group that is no more."""

    removed: str


class EventGroupDesk:
    """What answers for groups."""

    def __init__(self, database: Database, live: LiveLog) -> None:
        self._groups = database.event_groups
        self._log = database.event_log
        self._live = live

    async def next(self, asked: Asked) -> Answered:
        """Give what comes next, or wait for it for a while."""
        (namespace, audience), name = _whose(asked), _name(asked)
        limit = _number(asked, "n", GIVEN_AT_ONCE_MAX, 1, GIVEN_AT_ONCE_MAX)
        wait = _number(asked, "wait", 0, 0, WAIT_SECONDS_MAX)
        begin = asked.query.get("begin", NEWEST)
        if begin not in _BEGIN:
            raise RequestInvalid(f"begin is {OLDEST} or {NEWEST}")
        position = 0 if begin == OLDEST else await self._log.last()
        group_id = await self._groups.ensure(namespace, name, position=position, audience=audience)
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            given = await self._groups.give(group_id, namespace, limit)
            left = until - loop.time()
            if given.events or given.gap or left <= 0:
                break
            if not await self._live.wait_for_more(left, asked.principal.user):
                break
        rows = [row_of(event) for event in given.events]
        return Answered(GivenEvents(rows, LEASE_SECONDS, given.gap))

    async def acknowledge(self, asked: Asked) -> Answered:
        """Note that these are done with."""
        body: Acknowledgement = asked.body
        if body.sequences is None and body.ids is None:
            raise FieldInvalid("name events, in sequences or in ids", field="sequences")
        sequences, ids = body.sequences or [], body.ids or []
        if max(len(sequences), len(ids)) > GIVEN_AT_ONCE_MAX:
            raise FieldInvalid(f"sequences: at most {GIVEN_AT_ONCE_MAX} at once", field="sequences")
        if any(not 0 < each < 2**63 for each in sequences):
            raise FieldInvalid("sequences: these are of no events", field="sequences")
        namespace, audience = _whose(asked)
        done = await self._groups.acknowledge(
            namespace, _name(asked), sequences, ids=ids, audience=audience
        )
        return Answered(Acknowledged(done))

    async def list(self, asked: Asked) -> Answered:
        """List the groups of a namespace."""
        namespace, audience = _whose(asked)
        rows = [
            GroupRow(
                each.name,
                each.position,
                _time(each.created),
                _time(each.seen),
                each.audience.value,
            )
            for each in await self._groups.list(namespace)
            if audience in (Audience.OWNER, each.audience)
        ]
        return Answered(GroupList(rows))

    async def remove(self, asked: Asked) -> Answered:
        """Remove a group."""
        namespace, audience = _whose(asked)
        await self._groups.remove(namespace, _name(asked), audience)
        return Answered(GroupRemoved(_name(asked)))


def _whose(asked: Asked) -> tuple[str, Audience]:
    """Return of which namespace the group is, the caller's without a name, and who she is there."""
    if asked.principal.repository_glob != EVERYWHERE:
        raise Forbidden("groups are for access tokens that are not for certain repositories")
    namespace = check_namespace(asked.query.get("namespace", asked.principal.user))
    person = asked.principal.person  # a credential for events narrows nothing here
    grants = asked.held.get(namespace, NO_MEMBER).grants
    standing = Standing(grants=grants, is_administrator=asked.is_administrator)
    if may(person, namespace, Permission.MEMBERS, standing):
        return namespace, Audience.OWNER
    if may(person, namespace, Permission.HISTORY, standing):
        return namespace, Audience.MAINTAINER
    raise Forbidden(
        "a group is for the owners and maintainers of its namespace, and for administrators"
    )


def _name(asked: Asked) -> str:
    if _NAME.fullmatch(asked.name) is None:
        raise NameInvalid(
            "a group's name is lower-case letters and digits, and . _ - between them, "
            "at most 64 characters"
        )
    return asked.name


def _number(asked: Asked, name: str, default: int, least: int, most: int) -> int:
    text = asked.query.get(name)
    if text is None:
        return default
    is_short = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
    if not (is_short and least <= int(text) <= most):
        raise RequestInvalid(f"{name} is a number from {least} to {most}")
    return int(text)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
