"""What each format says, what it cannot say, and that every body has the sequence."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.events.hooks.told import EVENT, PUBLIC_URL, told
from tests.tables import each_row
from treescale.events.hooks.formats import message, said_kinds
from treescale.events.hooks.message import Message
from treescale.events.kinds import KINDS
from treescale.metadata.events.hook_records import HookFormat
from treescale.metadata.events.recording import Kind

TEMPLATE = '{"text": "{image} by {actor}", "n": {sequence}}'
CARRIES_ALL = {HookFormat.TREESCALE, HookFormat.TEXT, HookFormat.TEMPLATE}
CARRIED = {
    HookFormat.HARBOR: {
        "image.pushed",
        "tag.moved",
        "image.pulled",
        "tag.deleted",
        "image.deleted",
    },
    HookFormat.QUAY: {"image.pushed", "tag.moved"},
    HookFormat.CLASSIC: {"image.pushed", "tag.moved"},
}
CARRIED[HookFormat.DISTRIBUTION] = CARRIED[HookFormat.HARBOR]


def of(form: HookFormat, **changes: Any) -> Message | None:
    return message(form, told(**changes), TEMPLATE)


def body(form: HookFormat, **changes: Any) -> Any:
    found = of(form, **changes)
    assert found is not None
    return json.loads(found.body)


@each_row("form", [*HookFormat])
def test_a_format_carries_the_kinds_it_has_words_for(form: HookFormat) -> None:
    for kind in {*(kind.value for kind in Kind), "image.pulled", "tag.moved"}:
        carries = form in CARRIES_ALL or kind in CARRIED[form]
        assert (of(form, kind=kind) is not None) is carries, kind


@each_row("form", [HookFormat.HARBOR, HookFormat.QUAY, HookFormat.CLASSIC])
def test_what_is_for_tags_carries_no_push_of_a_digest_alone(form: HookFormat) -> None:
    assert of(form, reference=None) is None


@each_row("form", [*HookFormat])
def test_every_body_says_which_event_came_first(form: HookFormat) -> None:
    assert str(EVENT.sequence) in str(body(form))


@each_row("form", [*HookFormat])
def test_a_ping_is_in_each_format_and_names_no_image(form: HookFormat) -> None:
    nothing: dict[str, Any] = {"repository": None, "reference": None, "digest": None, "payload": {}}
    found = of(form, kind="ping", **nothing)
    assert found is not None
    text = found.body.decode()
    json.loads(text)
    assert "PUSH" not in text
    assert '"push"' not in text
    assert "alice/tools" not in text


def test_a_cloudevent_has_its_attributes() -> None:
    found = body(HookFormat.TREESCALE)
    assert found["specversion"] == "1.0"
    assert found["id"] == EVENT.event_id
    assert found["source"] == PUBLIC_URL
    assert found["type"] == "io.treescale.image.pushed"
    assert found["subject"] == "alice/tools/app:1.2"
    assert found["data"]["mediaType"]
    assert found["data"]["sequence"] == 42
    assert found["sequence"] == "42"
    assert "previousDigest" not in found["data"]


@each_row("kind, word", [("tag.deleted", "DELETE_ARTIFACT"), ("image.pulled", "PULL_ARTIFACT")])
def test_harbor_has_other_words_for_the_rest(kind: str, word: str) -> None:
    assert body(HookFormat.HARBOR, kind=kind)["type"] == word


@each_row("form", [HookFormat.HARBOR, HookFormat.DISTRIBUTION])
def test_pulls_that_are_summed_are_of_no_image(form: HookFormat) -> None:
    """What registries' formats say of an image they say of each that is named, and no more."""
    assert of(form, kind="image.pulled", reference=None) is not None
    assert of(form, kind="image.pulled", reference=None, digest=None) is None


def test_the_request_is_named_where_there_is_one() -> None:
    told_of = {"request_id": "r-1"}
    assert body(HookFormat.TREESCALE, **told_of)["data"]["requestId"] == "r-1"
    assert "requestId" not in body(HookFormat.TREESCALE)["data"]
    (one,) = body(HookFormat.DISTRIBUTION, **told_of)["events"]
    assert one["request"]["id"] == "r-1"


@each_row(
    "changes, said",
    [
        (
            {"kind": "member.granted", "repository": None, "payload": {"user": "bob", "role": "r"}},
            "member.granted registry.example.com alice (user bob, role r) by alice",
        ),
        (
            {"kind": "server.down", "namespace": None, "repository": None, "actor": "server:s1"}
            | {"payload": {"server_id": "s2", "name": "two"}},
            "server.down registry.example.com (server id s2, name two) by server:s1",
        ),
        (
            {"kind": "repository.read_only", "payload": {"read_only": True}},
            "repository.read_only registry.example.com/alice/tools/app (read only yes) by alice",
        ),
        (
            {"kind": "token.created", "repository": None, "payload": {"label": "<!all>\n"}},
            "token.created registry.example.com alice (label ?!all??) by alice",
        ),
        (
            {"kind": "chunk.lost", "namespace": None, "repository": None}
            | {"payload": {"among": [1], "left": {"a": 1}}},
            "chunk.lost registry.example.com by alice",
        ),
    ],
)
def test_a_chat_is_told_of_whom_it_is_and_what(changes: dict[str, Any], said: str) -> None:
    """A line, in which nothing calls everybody."""
    changes = {"reference": None, "digest": None, **changes}
    assert body(HookFormat.TEXT, **changes)["text"] == said


@each_row("form", sorted(HookFormat))
def test_what_a_format_says_it_says(form: HookFormat) -> None:
    """Of each kind that there is: `said_kinds` is what hooks are refused by."""
    said = said_kinds(form, KINDS)
    assert said <= {*KINDS}
    for kind in KINDS:
        assert (of(form, kind=kind) is not None) is (kind in said), kind


def test_a_deleted_manifest_has_no_url() -> None:
    (one,) = body(HookFormat.DISTRIBUTION, kind="image.deleted", reference=None)["events"]
    assert one["action"] == "delete"
    assert "url" not in one["target"]


@given(
    st.builds(
        dict,
        kind=st.text(),
        actor=st.text(),
        repository=st.none() | st.text(min_size=1),
        namespace=st.none() | st.text(),
        reference=st.none() | st.text(),
        digest=st.none() | st.text(),
        payload=st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=3),
    ),
    st.sampled_from(HookFormat),
)
def test_whatever_an_event_has_a_body_is_json_and_headers_are_one_line(
    changes: dict[str, Any], form: HookFormat
) -> None:
    found = of(form, **changes)
    if found is not None:
        json.loads(found.body)
