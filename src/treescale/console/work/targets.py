"""`/cluster/targets`: one server or store, by any word for it: looked at, drained, forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from treescale.clock import Clock
from treescale.cluster import admin
from treescale.cluster.layout import Blocked, wanted_copies
from treescale.cluster.lookup import Target, resolve
from treescale.cluster.queries import StatusReading, read_status
from treescale.cluster.status import ClusterStatus
from treescale.console.route import Answered, Asked
from treescale.errors import LastCopies, NameUnknown, Refused, ServerUnknown, Unsupported
from treescale.metadata.database import Database
from treescale.metadata.events.recording import actor_of
from treescale.metadata.records import StoreState

_DRAINED = (
    "What it holds moves to the others, and is read the whole time: keep it in service until "
    "`treescale cluster status` has it with 0 misplaced copies, or use --wait."
)


class TargetRow(msgspec.Struct):
    """A server or a store, and what a drain of it would mean."""

    target: str
    stores: list[str]
    fewer_copies: str | None
    """What is to be said before it is drained, if fewer copies are made then."""
    draining: list[str]
    """Those of the stores that are drained already."""


class Draining(msgspec.Struct):
    """What is drained, whether it is in the layout still, and what holds it there."""

    target: str
    stores: list[str]
    state: str
    in_layout: bool
    held: list[str]
    told: str


class Waiting(msgspec.Struct):
    """What is to be waited for until it is empty; nothing: it is."""

    waiting: list[str]


class Forgetting(msgspec.Struct, forbid_unknown_fields=True):
    """Whether what had no other copy is lost anyway."""

    lost: bool = False


class Forgotten(msgspec.Struct):
    """What was struck off."""

    forgotten: str
    stores: list[str]
    debts_struck: int


class TargetDesk:
    """What answers for servers and stores."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def show(self, asked: Asked) -> Answered:
        """Say what a word means, and what a drain of it would."""
        found, reading = await self._find(asked), await self._status()
        stores = [one.record for one in reading.status.stores]
        draining = {one.store_id for one in stores if one.state is StoreState.DRAINING}
        return Answered(
            TargetRow(
                found.label,
                [*found.store_ids],
                _fewer_asked(found, reading),
                [each for each in found.store_ids if each in draining],
            )
        )

    async def drain(self, asked: Asked) -> Answered:
        """Have it moved to the others; twice is once."""
        found = await self._set(asked, StoreState.DRAINING)
        seen = (await self._status()).status
        inside = _inside(found, seen)
        held = sorted({why for name, why in seen.held.items() if name in inside})
        told = [
            f"{found.label} is draining.",
            *_layout_told(inside, held),
            *_fewer(seen),
            _DRAINED,
        ]
        return Answered(
            Draining(
                found.label,
                [*found.store_ids],
                StoreState.DRAINING.value,
                in_layout=bool(inside),
                held=[str(one) for one in held],
                told=" ".join(told),
            )
        )

    async def waiting(self, asked: Asked) -> Answered:
        """Say what is to be waited for until a drained one is empty."""
        found = await self._find(asked)
        with _as_refused():
            left = await admin.left_to_move(self._database, found.store_ids, self._clock)
        return Answered(Waiting(left))

    async def undrain(self, asked: Asked) -> Answered:
        """Take a drain back."""
        found = await self._set(asked, StoreState.ACTIVE)
        told = f"{found.label} is active: it is in the layout again seconds after it is heard of."
        state = StoreState.ACTIVE.value
        return Answered(
            Draining(found.label, [*found.store_ids], state, in_layout=False, held=[], told=told)
        )

    async def forget(self, asked: Asked) -> Answered:
        """Strike it off, and what it was owed."""
        wanted: Forgetting = asked.body
        found, actor = await self._find(asked), actor_of(asked.principal.user)
        with _as_refused():
            struck = await admin.forget(self._database, found, lost=wanted.lost, actor=actor)
        return Answered(Forgotten(found.label, [*found.store_ids], struck))

    async def _set(self, asked: Asked, state: StoreState) -> Target:
        found, actor = await self._find(asked), actor_of(asked.principal.user)
        with _as_refused():
            await admin.set_state(self._database, found, state, actor=actor)
        return found

    async def _find(self, asked: Asked) -> Target:
        word = asked.parameters["target"]
        servers, stores = await self._database.servers.list(), await self._database.stores.list()
        creditors = [debt.store_id for debt in await self._database.under_replicated.summary()]
        try:
            return resolve(word, servers, stores, creditors)
        except ServerUnknown as error:
            raise NameUnknown(str(error)) from error

    async def _status(self) -> StatusReading:
        return await read_status(self._database, self._clock)


@contextmanager
def _as_refused() -> Iterator[None]:
    """Tell what cannot be done as what the caller asked for in vain."""
    try:
        yield
    except (LastCopies, Unsupported) as error:
        raise Refused(str(error)) from error


def _layout_told(inside: set[str], held: list[Blocked]) -> list[str]:
    if held:
        return [f"It is in the layout still: {'; '.join(held)}."]
    if inside:
        return ["It leaves the layout within seconds, or when the first server starts."]
    return ["It is not in the layout."]


def _fewer_asked(target: Target, reading: StatusReading) -> str | None:
    """Return what to ask before a drain that leaves fewer copies, if nobody said how many."""
    seen = reading.status
    if seen.layout is None or seen.copies_asked is not None:
        return None
    left = [store.record for store in seen.stores if store.record.store_id not in target.store_ids]
    copies = wanted_copies(None, left)
    if copies >= seen.layout.copies:
        return None
    return (
        f"Without {target.label} each chunk has {copies} copies instead of "
        f"{seen.layout.copies}, for fewer servers are left. Drain it?"
    )


def _fewer(seen: ClusterStatus) -> list[str]:
    """Return what must be known when draining leaves fewer servers than there were copies."""
    if seen.layout is None or seen.copies_wanted >= seen.layout.copies:
        return []
    now, then = seen.layout.copies, seen.copies_wanted
    told = (
        f"Of each chunk there are {then} copies then instead of {now}, for fewer servers are left: "
        f"`treescale cluster set copies={now}` keeps it in the layout until others take its part."
    )
    return [told]


def _inside(target: Target, seen: ClusterStatus) -> set[str]:
    """Return which of its stores are in the layout in force."""
    if seen.layout is None:
        return set()
    return {label.store_id for label in seen.layout.stores}.intersection(target.store_ids)
