"""What is counted is told, under labels of closed lists, whatever was asked."""

from bisect import bisect_left

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from treescale.metrics import catalog
from treescale.metrics.catalog import Metric
from treescale.metrics.meters import (
    CALL_BOUNDS,
    CUT,
    JOBS,
    LEFT,
    METHODS,
    REQUEST_BOUNDS,
    STATUSES,
    Call,
    Meters,
    Refusal,
    Route,
    Sent,
)
from treescale.metrics.page import Histogram

STORES = ("a" * 32, "b" * 32)
ROUTES = {route.name.lower() for route in Route}


def told(meters: Meters, metric: Metric) -> dict[tuple[str, ...], float | Histogram]:
    """Return the values of a metric by its labels, without those that are 0."""
    (found,) = [family for family in meters.families() if family.metric is metric]
    return {
        sample.labels: sample.value
        for sample in found.samples
        if sample.value and (not isinstance(sample.value, Histogram) or any(sample.value.counts))
    }


def test_a_request_is_counted_once_with_what_it_was_and_how_long_it_took() -> None:
    meters = Meters()
    meters.request(Route.BLOB, "GET", 206, 0.3)
    meters.request(Route.BLOB, "GET", 206, 0.0)
    meters.request(Route.METRICS, "OPTIONS", 507, 1000.0)
    assert told(meters, catalog.REQUESTS) == {
        ("blob", "GET", "206"): 2,
        ("metrics", "OPTIONS", "507"): 1,
    }
    times = told(meters, catalog.REQUEST_SECONDS)
    blob, page = times["blob", "GET"], times["metrics", "OPTIONS"]
    assert isinstance(blob, Histogram)
    assert isinstance(page, Histogram)
    assert blob.counts[bisect_left(REQUEST_BOUNDS, 0.3)] == blob.counts[0] == 1
    assert blob.sum == 0.3
    assert page.counts[-1] == 1, "past the last bound"


def test_what_is_told_of_events_is_counted() -> None:
    """Deliveries add up; followers, and whether NATS is connected, are as they are now."""
    meters = Meters()
    meters.sent(Sent.DELIVERED)
    meters.sent(Sent.DELIVERED)
    meters.sent(Sent.FAILED)
    meters.followers(7)
    meters.followers(3)
    meters.nats(connected=True)
    assert told(meters, catalog.DELIVERIES) == {("delivered",): 2, ("failed",): 1}
    assert told(meters, catalog.FOLLOWERS) == {(): 3}
    assert told(meters, catalog.NATS_CONNECTED) == {(): 1}
    meters.nats(connected=False)
    assert told(meters, catalog.NATS_CONNECTED) == {}


def test_how_a_body_ended_is_told_in_the_place_of_a_status() -> None:
    meters = Meters()
    for status in (LEFT, CUT, 200):
        meters.request(Route.BLOB, "GET", status, 1.0)
    assert {labels[2] for labels in told(meters, catalog.REQUESTS)} == {"left", "cut", "200"}


@settings(deadline=None, max_examples=examples(50))
@given(st.text(max_size=20), st.integers(-2, 1000), st.sampled_from(Route))
def test_whatever_is_asked_has_labels_of_the_lists(method: str, status: int, route: Route) -> None:
    meters = Meters()
    meters.request(route, method, status, 1.0)
    ((labels, value),) = told(meters, catalog.REQUESTS).items()
    assert value == 1
    assert (labels[0], labels[1], labels[2]) == (
        route.name.lower(),
        method if method in METHODS else "other",
        labels[2] if labels[2] in STATUSES else None,
    )


def test_each_number_has_a_place_of_its_own() -> None:
    """What is counted in one block must show in no other."""
    meters = Meters(1, STORES)
    meters.begin()
    meters.refused(Refusal.THROTTLED)
    meters.database_call(Call.WRITE, 99.0)
    meters.database_failed(Call.WRITE)
    meters.store_call(1, Call.WRITE, 99.0)
    meters.background_failed(f"store.walk/{STORES[0]}")
    meters.background_failed("somebody's own")
    meters.lines_dropped(7)
    meters.in_flight(Route.METRICS, 1)
    meters.in_flight(Route.BLOB, 1)
    meters.in_flight(Route.BLOB, -1)
    found = {family.metric: told(meters, family.metric) for family in meters.families()}
    late = Histogram(CALL_BOUNDS, [0] * len(CALL_BOUNDS) + [1], 99.0)
    assert {metric: values for metric, values in found.items() if values} == {
        catalog.PROCESSES_STARTED: {(): 1},
        catalog.PROCESSES: {(): 1},
        catalog.LOGINS_REFUSED: {("throttled",): 1},
        catalog.DATABASE_SECONDS: {("write",): late},
        catalog.DATABASE_FAILURES: {("write",): 1},
        catalog.STORE_SECONDS: {(STORES[1], "write"): late},
        catalog.BACKGROUND_FAILURES: {("store.walk",): 1, ("other",): 1},
        catalog.LINES_DROPPED: {(): 7},
        catalog.IN_FLIGHT: {("metrics",): 1},
    }


def test_what_never_occurs_together_is_not_told_and_all_else_is_from_the_start() -> None:
    """A rate that begins with the first failure would miss it."""
    counts = {family.metric: len(family.samples) for family in Meters(1, STORES).families()}
    assert counts[catalog.REQUESTS] == counts[catalog.REQUEST_SECONDS] == 0
    assert counts[catalog.BACKGROUND_FAILURES] == len(JOBS)
    assert counts[catalog.STORE_SECONDS] == 2 * len(STORES)
    assert counts[catalog.IN_FLIGHT] == len(ROUTES)


def test_a_server_without_stores_has_none_to_tell_of() -> None:
    assert told(Meters(), catalog.STORE_SECONDS) == {}
