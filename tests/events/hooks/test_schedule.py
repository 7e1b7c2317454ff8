"""When a delivery is sent again, when it is over, and when its hook is."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.events.hooks.told import DELIVERY, hook
from tests.tables import each_row
from treescale.events.hooks.schedule import (
    AT_ONCE_OF_A_FAILING_HOOK,
    AT_ONCE_OF_A_HOOK,
    FAILING_SECONDS_MAX,
    JITTER,
    PAUSES_SECONDS,
    RETRY_AFTER_SECONDS_MAX,
    TRIED_SECONDS_MAX,
    Tried,
    at_once,
    outcome,
    retry_seconds,
    secrets_of,
    settle_wait,
)
from treescale.metadata.events.hook_records import DeliveryState, Outcome

NOW = 1_750_000_000.0
WAITING, DELIVERED, FAILED = (
    DeliveryState.WAITING,
    DeliveryState.DELIVERED,
    DeliveryState.FAILED,
)


def after(
    status: int | None,
    attempt: int = 1,
    *,
    waited: float = 0.0,
    retry_after: str = "",
    failing: float | None = None,
    chance: float = 0.0,
    kind: str = "image.pushed",
) -> Outcome:
    tried = Tried(status, 0.1, "text", retry_after)
    since = None if failing is None else NOW - failing
    delivery = replace(DELIVERY, attempt=attempt - 1, kind=kind)
    return outcome(tried, delivery, waited, hook(failing_since=since), NOW, lambda: chance)


@each_row(
    "status, state",
    [
        (200, DELIVERED),
        (204, DELIVERED),
        (299, DELIVERED),
        (None, WAITING),
        (101, WAITING),
        (301, WAITING),
        (302, WAITING),
        (400, FAILED),
        (401, FAILED),
        (404, FAILED),
        (408, WAITING),
        (410, FAILED),
        (422, FAILED),
        (425, WAITING),
        (429, WAITING),
        (500, WAITING),
        (503, WAITING),
        (599, WAITING),
    ],
)
def test_2xx_alone_is_success_and_most_of_4xx_is_final(
    status: int | None, state: DeliveryState
) -> None:
    assert after(status).state is state


@each_row("status", [None, 404, 410, 500, 503])
def test_a_ping_is_sent_once_and_says_nothing_of_its_hook(status: int | None) -> None:
    found = after(status, kind="ping", failing=FAILING_SECONDS_MAX)
    assert (found.state, found.disable) == (FAILED, "")
    assert after(200, kind="ping").state is DELIVERED


def test_pauses_grow_for_a_day() -> None:
    waited, attempt, pauses = 0.0, 0, list[float]()
    while True:
        attempt += 1
        came = after(500, attempt, waited=waited)
        if came.state is FAILED:
            break
        pauses.append(came.pause)
        waited += came.pause
    assert pauses[:4] == [5.0, 10.0, 20.0, 40.0]
    assert pauses[9:12] == [2560.0, 3600.0, 3600.0]
    assert TRIED_SECONDS_MAX - 3600 < waited <= TRIED_SECONDS_MAX
    assert attempt < 40


@given(st.integers(1, 1000), st.floats(0, 1))
def test_a_pause_is_longer_by_chance_and_never_shorter(attempt: int, chance: float) -> None:
    pause = after(None, attempt, chance=chance).pause
    least = PAUSES_SECONDS[min(attempt, len(PAUSES_SECONDS)) - 1]
    assert least <= pause <= least * (1 + JITTER)


@each_row(
    "text, seconds",
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Sun, 15 Jun 2025 15:07:40 GMT", 60.0),
        ("Sun, 15 Jun 2025 15:00:00 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("1e9", 0.0),
        ("٣", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float) -> None:
    assert retry_seconds(text, NOW) == seconds


@given(st.text())
def test_no_retry_after_breaks_anything(text: str) -> None:
    assert retry_seconds(text, NOW) >= 0


def test_a_receiver_is_left_alone_for_as_long_as_it_asks_within_reason() -> None:
    assert after(429, retry_after="300").pause == 300
    assert after(503, retry_after="999999999999").pause == RETRY_AFTER_SECONDS_MAX
    assert after(503, retry_after="1").pause == PAUSES_SECONDS[0]
    assert after(429, retry_after="300").leave_alone == 300
    assert after(503, retry_after="999999999999").leave_alone == RETRY_AFTER_SECONDS_MAX
    assert after(429).leave_alone == after(404, retry_after="300").leave_alone == 0


def test_a_hook_is_disabled_when_its_receiver_is_gone_or_took_nothing_for_days() -> None:
    assert after(410).disable
    assert after(404, failing=FAILING_SECONDS_MAX).disable
    assert not after(404, failing=FAILING_SECONDS_MAX - 1).disable
    assert not after(404).disable
    # One that heard of nothing for long gets the day that each delivery has.
    assert not after(500, failing=FAILING_SECONDS_MAX).disable
    assert after(500, waited=TRIED_SECONDS_MAX, failing=FAILING_SECONDS_MAX).disable


def test_a_burst_waits_for_what_follows_but_not_for_ever() -> None:
    assert settle_wait(0.0, 0.0) == 0.0
    assert settle_wait(2.0, 0.0) == 2.0
    assert settle_wait(2.0, 9.0) == 1.0
    assert settle_wait(2.0, 99.0) == 0.0


def test_a_hook_that_fails_gets_less_room() -> None:
    assert at_once(hook()) == AT_ONCE_OF_A_HOOK
    assert at_once(hook(failing_since=NOW)) == AT_ONCE_OF_A_FAILING_HOOK


def test_secrets_are_the_new_and_for_a_while_the_old_one() -> None:
    both = hook(secret="n", old_secret="o", old_secret_until=NOW)
    assert secrets_of(both, NOW - 1) == ("n", "o")
    assert secrets_of(both, NOW) == ("n",)
    assert secrets_of(hook(secret=""), NOW) == ()
