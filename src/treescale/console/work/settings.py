"""`/cluster/settings`: what all servers go by. A row for each, with what is said of a change."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treescale.clock import Clock
from treescale.cluster import admin
from treescale.cluster.layout import COPIES_SETTING
from treescale.cluster.queries import read_status
from treescale.cluster.status import ClusterStatus
from treescale.console.etags import etag_headers, if_match
from treescale.console.route import Answered, Asked
from treescale.errors import FieldInvalid, NameUnknown, SettingInvalid
from treescale.events.retention import AUDIT_SETTING
from treescale.events.retention import SETTING as EVENTS_SETTING
from treescale.lease_times import (
    COLLECTION_SETTING,
    LEASE_SETTING,
    OFF,
    ON,
    READ_ONLY_SETTING,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
)
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import HOOKS_SETTING, NETWORKS_SETTING
from treescale.metadata.events.recording import actor_of
from treescale.metadata.identity.records import ISSUER_NETWORKS_SETTING
from treescale.metadata.organisations import ANONYMOUS_SETTING, PASSWORDS_SETTING
from treescale.metadata.settings.settings import Check
from treescale.metadata.usage.pull_counts import SETTING as PULLS_SETTING
from treescale.registry.counted.quotas import CLUSTER_SETTINGS, QuotaService

_READ_ONLY: Final = (
    "The registry is read-only from now on: pulls go on, pushes and deletions are refused, nothing "
    "is collected. `treescale cluster set read_only=off` ends it."
)


class NewSetting(msgspec.Struct, forbid_unknown_fields=True):
    """The value, as `treescale cluster set NAME=VALUE` has it."""

    value: str


class SettingList(msgspec.Struct):
    """All that can be set, by name; null: nobody has, and the default counts."""

    settings: dict[str, str | None]


class SettingState(msgspec.Struct):
    """A setting; null: nobody has set it, and the default counts."""

    name: str
    value: str | None


class SettingChanged(msgspec.Struct):
    """What a change means: for people, and for scripts."""

    name: str
    value: str
    told: str
    result: dict[str, Any]
    notes: list[str] = []


@dataclass(frozen=True, slots=True)
class Editor:
    """Who changes a setting, and what that has seen."""

    actor: str
    check: Check | None
    """Whether it is still as it was seen."""


Change = Callable[["SettingDesk", str, str, Editor], Awaitable[SettingChanged]]
"""Takes the name, the value and who changes it."""


class SettingDesk:
    """What answers for the cluster's settings."""

    def __init__(self, database: Database, clock: Clock, *, unsafe_leases: bool) -> None:
        """With `unsafe_leases` a lease may be seconds: where nothing is worth keeping."""
        self._database = database
        self._clock = clock
        self._unsafe = unsafe_leases

    async def list(self, _: Asked) -> Answered:
        """Say what is set."""
        there = await self._database.settings.several(CHANGES)
        return Answered(SettingList({name: there.get(name) for name in sorted(CHANGES)}))

    async def show(self, asked: Asked) -> Answered:
        """Say what one is."""
        state = await self._state(asked)
        return Answered(state, etag_headers(state))

    async def change(self, asked: Asked) -> Answered:
        """Set one, for all servers."""
        wanted: NewSetting = asked.body
        name = (await self._state(asked)).name

        def shown(value: str | None) -> SettingState:
            return SettingState(name, value)

        by = Editor(actor_of(asked.principal.user), if_match(asked, shown))
        try:
            done = await CHANGES[name](self, name, wanted.value, by)
        except SettingInvalid as error:
            raise FieldInvalid(str(error), "value") from error
        return Answered(done, etag_headers(await self._state(asked)))

    async def _state(self, asked: Asked) -> SettingState:
        name = asked.parameters["setting"]
        if name not in CHANGES:
            raise NameUnknown(f"{name!r} is nothing to set: there are {', '.join(sorted(CHANGES))}")
        return SettingState(name, await self._database.settings.get(name))

    async def read_only(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Have all stay as it is, or end that."""
        older = await admin.set_read_only(self._database, value, actor=by.actor, check=by.check)
        told = _READ_ONLY if value == ON else "Pushes and deletions are taken again."
        notes = [
            f"{', '.join(older)} runs 0.1.0, which knows no such setting and takes pushes: stop it."
        ]
        result = {name: value == ON, "not_heeded_by": older}
        return SettingChanged(name, value, told, result, notes if older else [])

    async def collection(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Stop all collection, or have it go on."""
        await admin.set_collection(self._database, value, actor=by.actor, check=by.check)
        return SettingChanged(name, value, f"{name} is {value} from now on.", {name: value})

    async def hooks(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Set what is of webhooks and pulls."""
        await admin.set_hooks(self._database, name, value, actor=by.actor, check=by.check)
        told = f"{name} is {value or 'none'} from now on."
        return SettingChanged(name, value, told, {name: value})

    async def anonymous(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Have what is public be for all, or for whoever logs in."""
        await admin.set_anonymous(self._database, value, actor=by.actor, check=by.check)
        told = (
            "Within seconds nobody pulls without logging in: "
            "what is public is for whoever is signed in."
            if value == OFF
            else "Within seconds anybody pulls what is public."
        )
        return SettingChanged(name, value, told, {name: value})

    async def events(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Set which events are kept."""
        kept = await admin.set_events(self._database, value, actor=by.actor, check=by.check)
        result = {f"{name}_seconds": kept.seconds, f"{name}_count": kept.count}
        return SettingChanged(name, value, f"{name} is {value} from now on.", result)

    async def audit(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Set for how long the audit log is kept."""
        seconds = await admin.set_audit(self._database, value, actor=by.actor, check=by.check)
        result = {f"{name}_seconds": seconds}
        return SettingChanged(name, value, f"{name} is {value} from now on.", result)

    async def passwords(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Have everybody's passwords count, or those of administrators alone."""
        await admin.set_passwords(self._database, value, actor=by.actor, check=by.check)
        whose = "everybody" if value == ON else "administrators alone"
        return SettingChanged(
            name, value, f"Passwords are for {whose}, within seconds.", {name: value}
        )

    async def limit(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Set what holds for those without a limit of their own."""
        quotas = QuotaService(self._database)
        await quotas.set_defaults({name: value}, actor=by.actor, check=by.check)
        told = f"{name} is {value} from now on, on all servers within a minute."
        return SettingChanged(name, value, told, {name: (await quotas.defaults())[name]})

    async def time(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Set the lease, or for how long something is kept."""
        seconds = await admin.set_time(
            self._database, name, value, unsafe=self._unsafe, actor=by.actor, check=by.check
        )
        return SettingChanged(name, value, f"{name} is {value} from now on.", {name: seconds})

    async def copies(self, name: str, value: str, by: Editor) -> SettingChanged:
        """Ask for so many copies."""
        copies = await admin.set_copies(self._database, value, actor=by.actor, check=by.check)
        seen = (await read_status(self._database, self._clock)).status
        return SettingChanged(name, value, _copies_told(copies, seen), {name: copies})


CHANGES: Final[Mapping[str, Change]] = {
    COPIES_SETTING: SettingDesk.copies,
    UNDELETE_SETTING: SettingDesk.time,
    UNTAGGED_SETTING: SettingDesk.time,
    LEASE_SETTING: SettingDesk.time,
    COLLECTION_SETTING: SettingDesk.collection,
    EVENTS_SETTING: SettingDesk.events,
    PULLS_SETTING: SettingDesk.hooks,
    READ_ONLY_SETTING: SettingDesk.read_only,
    HOOKS_SETTING: SettingDesk.hooks,
    NETWORKS_SETTING: SettingDesk.hooks,
    ANONYMOUS_SETTING: SettingDesk.anonymous,
    PASSWORDS_SETTING: SettingDesk.passwords,
    AUDIT_SETTING: SettingDesk.audit,
    ISSUER_NETWORKS_SETTING: SettingDesk.hooks,
    **dict.fromkeys(CLUSTER_SETTINGS, SettingDesk.limit),
}
"""What can be set, and what sets it."""


def _copies_told(copies: int, seen: ClusterStatus) -> str:
    """Return what happens now."""
    now = "no layout yet" if seen.layout is None else f"{seen.layout.copies} in the present layout"
    told = [f"{copies} copies of each chunk are asked for ({now})."]
    if seen.layout_due:
        told.append("The layout follows within seconds, or when the first server starts.")
    told.append(
        "What is there follows: `treescale cluster status` shows the copies missing and misplaced."
    )
    return " ".join(told)
