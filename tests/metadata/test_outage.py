"""Only a probe decides whether the database is away, and its first answer ends it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.metadata.engine.outage import (
    PROBE_PAUSE_SECONDS_MAX,
    PROBE_PAUSE_SECONDS_MIN,
    SILENCE_SECONDS_MAX,
    OutageDetector,
    State,
)

START = 1000.0
EVENTS = st.sampled_from(["heard", "failed", "look", "answered", "unanswered"])


@pytest.fixture
def outage() -> OutageDetector:
    outage = OutageDetector()
    outage.heard(START)
    return outage


def test_a_call_that_fails_is_a_reason_to_probe(outage: OutageDetector) -> None:
    assert not outage.is_probe_due(START, None)
    outage.failed()
    assert outage.is_probe_due(START, None)
    outage.probed(START, answered=True)
    assert outage.state is State.HERE


def test_an_answer_to_somebody_else_ends_the_doubt(outage: OutageDetector) -> None:
    outage.failed()
    outage.heard(START)
    assert outage.state is State.HERE
    assert not outage.is_probe_due(START, None)


def test_so_is_silence_while_somebody_waits(outage: OutageDetector) -> None:
    assert not outage.is_probe_due(START + 60, None)
    assert not outage.is_probe_due(START + 60, START + 60)
    assert outage.is_probe_due(START + 60 + SILENCE_SECONDS_MAX, START + 60)


def test_a_slow_call_is_none_while_others_are_answered(outage: OutageDetector) -> None:
    for second in range(1, 20):
        outage.heard(START + second)
        assert not outage.is_probe_due(START + second + SILENCE_SECONDS_MAX / 2, START)


def test_while_it_is_away_probes_are_sent_ever_more_seldom(outage: OutageDetector) -> None:
    outage.failed()
    now, pauses = START, []
    for _ in range(8):
        outage.probed(now, answered=False)
        assert outage.state is State.AWAY
        since = now
        while not outage.is_probe_due(now, None):
            now += 0.01
        pauses.append(now - since)
    assert pauses[0] == pytest.approx(PROBE_PAUSE_SECONDS_MIN, abs=0.02)
    assert pauses[-1] == pytest.approx(PROBE_PAUSE_SECONDS_MAX, abs=0.02)
    assert pauses == sorted(pauses)
    outage.probed(now, answered=True)
    assert outage.state is State.HERE
    outage.failed()
    outage.probed(now, answered=False)
    assert outage.is_probe_due(now + PROBE_PAUSE_SECONDS_MIN, None)


@given(st.lists(EVENTS))
def test_only_a_probe_leads_into_an_outage_and_out_of_it(events: list[str]) -> None:
    outage, now = OutageDetector(), START
    for event in events:
        before = outage.state
        now += 0.1
        match event:
            case "heard":
                outage.heard(now)
            case "failed":
                outage.failed()
            case "look":
                outage.is_probe_due(now, START)
            case _:
                outage.probed(now, answered=event == "answered")
                assert outage.state is (State.HERE if event == "answered" else State.AWAY)
                continue
        assert (outage.state is State.AWAY) is (before is State.AWAY)
