"""Sends what is due: one process of the cluster does it, as background work.

It reads the log from each hook's place, stores what each is told of, and sends what is due. Of a
hook and a repository one is in flight at a time, of a hook a few, of one that fails a single one,
of a namespace some, and who has the least comes first: so no receiver takes the room of another,
nor do all of a namespace's. What was stored outlives this process: whoever comes after it sends
again what was in flight, with the same `webhook-id`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import msgspec

from treescale.clock import Clock
from treescale.errors import (
    AddressForbidden,
    OutboundFailed,
    RequestInvalid,
    TreeScaleError,
)
from treescale.events.hooks import schedule
from treescale.events.hooks.formats import message
from treescale.events.hooks.message import Told
from treescale.events.hooks.planner import plan, stored_event
from treescale.events.hooks.request import Request, hidden, request_of, secret_words
from treescale.events.hooks.schedule import Tried
from treescale.log import get_logger
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import (
    HOOKS_SETTING,
    PAUSED,
    PING,
    Delivery,
    DeliveryState,
    Hook,
    HookFormat,
    Outcome,
)
from treescale.metadata.events.log import following
from treescale.metadata.events.recorded import Place, Recorded
from treescale.metrics.meters import Sent
from treescale.outbound.answers import Answer

LOOK_SECONDS: Final = 0.5
"""How often the log is looked at, and what is due."""
IDLE_SECONDS: Final = 2.0
"""The same while there is no hook at all."""
READ_AT_ONCE: Final = 500
_SENT: Final = {
    DeliveryState.DELIVERED: Sent.DELIVERED,
    DeliveryState.WAITING: Sent.RETRIED,
    DeliveryState.FAILED: Sent.FAILED,
}
HOOKS_FEW: Final = 200
"""So many are read each time."""
HOOKS_READ_SHARE: Final = 20
"""Of more, so many times as long as it took to read them passes before they are read anew: where
there are thousands that is seconds, and a new one begins so much later."""
HOOKS_READ_SECONDS_MAX: Final = 30.0
NOTED_SECONDS: Final = 1200.0
"""How often the places of hooks are written that are told of nothing: before the log is pruned up
to them, which seems to be a gap."""
NOTED_AT_ONCE: Final = 500
FULL_SECONDS: Final = 10.0
"""For so long nothing more is planned of a hook for which too much waits; the log keeps it."""
ANSWER_BYTES_MAX: Final = 2048
"""So much of an answer is kept, of one from a public address."""


class Asking(Protocol):
    """What sends: `outbound.client.OutboundClient`."""

    async def ask(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request and return its answer."""
        ...


@dataclass(slots=True)
class _Flight:
    """A delivery that is being sent."""

    hook: Hook
    repository: str


class Deliverer:
    """Plans and sends, until it is cancelled.

    `client` gives what sends, with the networks that may be asked by then. `chance` gives 0 to 1.
    """

    def __init__(
        self,
        database: Database,
        *,
        client: Callable[[], Awaitable[Asking]],
        actor: str,
        clock: Clock,
        chance: Callable[[], float],
        on_sent: Callable[[Sent], None] = lambda _: None,
    ) -> None:
        self._hooks = database.hooks
        self._log = database.event_log
        self._settings = database.settings
        self._client = client
        self._actor = actor
        self._clock = clock
        self._chance = chance
        self._on_sent = on_sent
        self._flights: dict[int, _Flight] = {}
        self._known: dict[str, Hook] = {}
        """The hooks as they were read last, by their ids."""
        self._read_at = float("-inf")
        """When they are to be read anew."""
        self._passed: dict[str, Place] = {}
        """Up to where a hook, by its id, was told of nothing since its place was written."""
        self._noted = clock.monotonic()
        """When the places of these were written last."""
        self._noted_end = 0
        """The farthest of those."""
        self._full_until: dict[str, float] = {}
        """Until when, in monotonic seconds, nothing is planned of a hook, by its id."""
        self._alone_until: dict[str, float] = {}
        """Until when its receiver wants to be sent nothing, likewise: pings it gets."""
        self._served: dict[str, int] = {}
        """When something of a hook was last begun to be sent, counted from the first."""
        self._landed = asyncio.Event()
        self._lines = get_logger()

    async def run(self) -> None:
        """Go on until cancelled; raises what the database raises."""
        for kept in (self._flights, self._passed, self._served, self._known):
            kept.clear()
        self._read_at, self._noted, self._noted_end = float("-inf"), self._clock.monotonic(), 0
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    there_are_hooks = await self.turn(group)
                    await self._wait(LOOK_SECONDS if there_are_hooks else IDLE_SECONDS)
        except ExceptionGroup as several:
            if len(several.exceptions) > 1:
                raise
            raise several.exceptions[0] from None

    async def turn(self, group: asyncio.TaskGroup) -> bool:
        """Plan what is new and begin to send what is due; return whether there is any hook."""
        if await self._settings.get(HOOKS_SETTING) in PAUSED:
            return False
        await self._read_hooks()
        if not self._known:
            return False
        await self._plan([*self._known.values()])
        await self._note_places()
        now = self._clock.monotonic()
        self._alone_until = {each: end for each, end in self._alone_until.items() if end > now}
        due = await self._hooks.due_hooks()
        for hook in self._fairly([self._known[each] for each in due if each in self._known]):
            await self._begin(hook, group)
        return True

    async def _read_hooks(self) -> None:
        """Read the hooks that are asked, unless they are many and were read lately."""
        begun = self._clock.monotonic()
        if begun < self._read_at:
            return
        self._known = {hook.hook_id: hook for hook in await self._hooks.enabled()}
        now = self._clock.monotonic()
        if len(self._known) > HOOKS_FEW:
            self._read_at = now + min(HOOKS_READ_SHARE * (now - begun), HOOKS_READ_SECONDS_MAX)

    async def _note_places(self) -> None:
        """Write how far hooks have come that were told of nothing for long."""
        now = self._clock.monotonic()
        end = max((place.sequence for place in self._passed.values()), default=0)
        if now - self._noted < NOTED_SECONDS and end - self._noted_end < READ_AT_ONCE:
            return
        self._noted, self._noted_end = now, end
        places: dict[int, list[str]] = {}
        for hook_id, place in self._passed.items():
            if hook_id in self._known and place.sequence > self._known[hook_id].sequence:
                places.setdefault(place.sequence, []).append(hook_id)
        for sequence, those in places.items():
            for begin in range(0, len(those), NOTED_AT_ONCE):
                some = those[begin : begin + NOTED_AT_ONCE]
                await self._hooks.pass_by(some, sequence)
                for each in {*some} & self._known.keys():  # 410 may have ended one meanwhile
                    self._known[each] = replace(self._known[each], sequence=sequence)

    def _fairly(self, hooks: Iterable[Hook]) -> list[Hook]:
        """Return hooks in the order in which they get room.

        First those of whose namespace the least is in flight, then those that waited longest.
        """
        flying = Counter(one.hook.namespace for one in self._flights.values())

        def place(hook: Hook) -> tuple[int, int]:
            return flying[hook.namespace], self._served.get(hook.hook_id, 0)

        return sorted(hooks, key=place)

    async def _wait(self, seconds: float) -> None:
        """Wait until it is time to look, or something that was sent has ended."""
        self._landed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._landed.wait()
        except TimeoutError:
            return

    async def _plan(self, hooks: Iterable[Hook]) -> None:
        """Store what hooks are told of; hooks at the same place read the log together."""
        places: dict[Place, list[Hook]] = {}
        now = self._clock.monotonic()
        self._full_until = {each: end for each, end in self._full_until.items() if end > now}
        for hook in hooks:
            if hook.hook_id in self._full_until:
                continue
            place = max(Place(hook.sequence), self._passed.get(hook.hook_id, Place(0)))
            places.setdefault(place, []).append(hook)
        for place, here in places.items():
            events = await following(self._log, place, READ_AT_ONCE)
            if events is None:  # the log went back, and the hooks' own places with it
                for hook in here:
                    del self._passed[hook.hook_id]
                continue
            after = place.sequence
            if events and events[0].sequence > after + 1 and await self._log.first() > after + 1:
                for hook in here:  # as after a long `hooks=off`
                    before = events[0].sequence
                    self._lines.error("hook.gap", hook=hook.hook_id, after=after, before=before)
            if events:
                await self._plan_here(here, events)

    async def _plan_here(self, hooks: Iterable[Hook], events: Sequence[Recorded]) -> None:
        """Store what hooks at one place are told of: each looks at its namespace's events alone."""
        of: dict[str | None, list[Recorded]] = {}
        for event in events:
            of.setdefault(event.namespace, []).append(event)
        for hook in hooks:
            its = events if hook.namespace is None else of.get(hook.namespace, ())
            await self._plan_of(hook, its, events[-1].place)

    async def _plan_of(self, hook: Hook, events: Sequence[Recorded], end: Place) -> None:
        """Store what a hook is told of; its place alone is written now and then."""
        planned, last = [*plan(hook, events)], end.sequence
        if not planned:
            self._passed[hook.hook_id] = end
            return
        if planned and await self._hooks.is_full(hook.hook_id):
            self._full_until[hook.hook_id] = self._clock.monotonic() + FULL_SECONDS
            return
        self._passed.pop(hook.hook_id, None)
        is_stored = await self._hooks.plan(
            hook, planned, last, wait=schedule.settle_wait, in_flight=self._flights
        )
        if is_stored:
            self._known[hook.hook_id] = replace(hook, sequence=last)
        else:  # it is not as it was read
            self._read_at = float("-inf")

    async def _begin(self, hook: Hook, group: asyncio.TaskGroup) -> None:
        """Send what is due of a hook, as far as there is room."""
        beside = [one for one in self._flights.values() if one.hook.namespace == hook.namespace]
        flying = [one.repository for one in beside if one.hook.hook_id == hook.hook_id]
        is_alone = self._clock.monotonic() < self._alone_until.get(hook.hook_id, 0.0)
        room = min(
            schedule.at_once(hook) - len(flying),
            schedule.AT_ONCE_OF_A_NAMESPACE - len(beside),
            schedule.AT_ONCE - len(self._flights),
        )
        if room <= 0:
            return
        busy = {*flying}
        found = await self._hooks.due(
            hook.hook_id,
            schedule.AT_ONCE,
            held_back=schedule.HELD_BACK_SECONDS_MAX,
            in_flight=self._flights,
        )
        for delivery, waited in found:
            is_ping = delivery.kind == PING
            if (delivery.repository in busy or is_alone) and not is_ping:
                continue
            if not room:
                return
            room -= 1
            busy.add(delivery.repository)
            self._flights[delivery.delivery_id] = _Flight(hook, delivery.repository)
            self._served[hook.hook_id] = max(self._served.values(), default=0) + 1
            group.create_task(self._deliver(hook, delivery, waited))

    async def _deliver(self, hook: Hook, delivery: Delivery, waited: float) -> None:
        """Send one, and note what came of it."""
        try:
            came = await self._attempt(hook, delivery, waited)
            self._on_sent(_SENT[came.state])
            if came.leave_alone:
                until = self._clock.monotonic() + came.leave_alone
                self._alone_until[hook.hook_id] = until
            await self._hooks.tried(delivery, came, actor=self._actor)
        finally:
            self._flights.pop(delivery.delivery_id, None)
            self._landed.set()
        self._learn(hook.hook_id, delivery, came)
        if came.disable:
            self._lines.warning("hook.disabled", hook=hook.hook_id, reason=came.disable)
        elif came.state is DeliveryState.FAILED:
            self._lines.warning(
                "hook.undelivered",
                hook=hook.hook_id,
                delivery=delivery.delivery_id,
                event_id=delivery.event_id,
                status=came.status,
                attempts=delivery.attempt + 1,
            )

    def _learn(self, hook_id: str, delivery: Delivery, came: Outcome) -> None:
        """Have what is known of a hook be as an attempt has left it, until it is read anew."""
        known = self._known.get(hook_id)
        if known is None:
            return
        if came.state is DeliveryState.DELIVERED:
            self._known[hook_id] = replace(known, failing_since=None)
        elif delivery.kind != PING and known.failing_since is None:
            self._known[hook_id] = replace(known, failing_since=self._clock.now())
        if came.disable:
            del self._known[hook_id]

    async def _attempt(self, hook: Hook, delivery: Delivery, waited: float) -> Outcome:
        now = self._clock.now()
        try:
            request = _request(hook, delivery, int(now), schedule.secrets_of(hook, now))
        except (RequestInvalid, msgspec.DecodeError) as error:  # a row of another version
            return Outcome(DeliveryState.FAILED, answer=str(error))
        tried = await self._send(request, hook.hook_id)
        tried = replace(tried, answer=hidden(tried.answer, secret_words(hook, request)))
        return schedule.outcome(tried, delivery, waited, hook, now, self._chance)

    async def _send(self, request: Request, hook_id: str) -> Tried:
        begun = self._clock.monotonic()
        try:
            client = await self._client()
            answer = await client.ask(
                request.method, request.url, headers=request.headers, body=request.body
            )
        except (AddressForbidden, OutboundFailed) as error:
            return Tried(None, self._clock.monotonic() - begun, str(error))
        except TreeScaleError:  # of ours: the database is away
            raise
        except Exception as error:  # noqa: BLE001  an answer must end no delivery but its own
            self._lines.error("hook.failed", hook=hook_id, exc_info=error)
            return Tried(None, self._clock.monotonic() - begun, "the answer cannot be read")
        seconds = self._clock.monotonic() - begun
        # Of what lies in a private network nobody reads anything through us.
        shown = answer.body[:ANSWER_BYTES_MAX] if answer.is_public else b""
        return Tried(
            answer.status,
            seconds,
            printable(shown),
            answer.headers.get("Retry-After", ""),
        )


def printable(body: bytes) -> str:
    """Return an answer's body as text that databases, logs and terminals take."""
    text = body.decode("utf-8", errors="replace")
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)


def _request(hook: Hook, delivery: Delivery, now: int, secrets: tuple[str, ...]) -> Request:
    told = Told(stored_event(delivery.event), hook.public_url)
    content = message(HookFormat(hook.format), told, hook.template)
    if content is None:
        raise RequestInvalid("the hook's format has no words for this event")
    return request_of(hook, told, content, now, secrets)
