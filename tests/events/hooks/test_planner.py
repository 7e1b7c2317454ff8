"""Which events a hook hears of."""

from dataclasses import replace
from typing import Any

from tests.events.hooks.told import EVENT, hook
from tests.tables import each_row
from treescale.events.hooks.planner import (
    is_in_scope,
    is_wanted,
    ping_of,
    plan,
    planned,
    stored_event,
)
from treescale.metadata.events.hook_records import ALL, HookFormat


@each_row(
    "namespace, scope, repository, hears",
    [
        ("alice", "alice", "alice/tools/app", True),
        ("alice", "alice/*", "alice/tools/app", True),
        ("alice", "alice/tools/app", "alice/tools/app", True),
        ("alice", "alice/tools", "alice/tools/app", False),
        ("alice", "alice/t*p", "alice/tools/app", True),
        ("alice", "alice", "alicex/app", False),
        ("bob", "bob", "alice/tools/app", False),
        ("bob", "alice/*", "alice/tools/app", False),
        ("alice", ALL, "alice/tools/app", False),
        (None, ALL, "alice/tools/app", True),
        (None, ALL, None, True),
        ("alice", "alice", None, False),
    ],
)
def test_a_hook_hears_of_its_own(
    namespace: str | None, scope: str, repository: str | None, *, hears: bool
) -> None:
    of = None if repository is None else repository.partition("/")[0]
    event = replace(EVENT, repository=repository, namespace=of)
    assert is_in_scope(hook(namespace=namespace, scope=scope), event) is hears


def test_what_happened_in_a_namespace_is_for_hooks_of_the_whole_of_it() -> None:
    event = replace(EVENT, kind="token.created", repository=None, reference=None)
    every = ("*",)
    assert is_wanted(hook(kinds=every), event)
    assert not is_wanted(hook(kinds=every, scope="alice/*"), event)
    assert not is_wanted(hook(), event)


@each_row(
    "changes, event, wanted",
    [
        ({}, {}, True),
        ({}, {"kind": "tag.moved"}, True),
        ({}, {"kind": "tag.deleted"}, False),
        ({"kinds": ("tag.*",)}, {"kind": "tag.deleted"}, True),
        ({"kinds": ("tag.*",)}, {}, False),
        ({}, {"reference": None}, False),
        ({"untagged": True}, {"reference": None}, True),
        ({"untagged": True, "format": HookFormat.HARBOR}, {"reference": None}, False),
        ({"kinds": ("*",), "format": HookFormat.QUAY}, {"kind": "tag.deleted"}, False),
    ],
)
def test_kinds_are_chosen_and_only_what_can_be_said_is_sent(
    changes: dict[str, Any], event: dict[str, Any], *, wanted: bool
) -> None:
    assert is_wanted(hook(**changes), replace(EVENT, **event)) is wanted


def test_what_is_stored_is_the_event_whole_and_in_order() -> None:
    events = [replace(EVENT, sequence=n, reference=str(n)) for n in range(5)]
    found = [*plan(hook(), events)]
    assert [stored_event(one.event) for one in found] == events
    assert not any(one.merges for one in found)


def test_bursts_of_a_repository_are_merged_when_that_was_asked_for() -> None:
    one = planned(EVENT, settle=2.0)
    assert (one.merges, one.wait) == (True, 2.0)
    assert not planned(replace(EVENT, repository=None), settle=2.0).merges


def test_a_ping_is_of_no_repository() -> None:
    event = ping_of(hook(), "id", 1.0, "alice")
    assert (event.kind, event.repository) == ("ping", None)
    assert planned(event).repository == ""
