"""Who may do what with webhooks, and what no webhook can be."""

from dataclasses import replace
from typing import Any, Final

import pytest

from tests.contracts.metadata_values import ACTOR
from tests.fakes_disk import JumpingClock
from tests.tables import each_row
from treescale.errors import (
    AddressForbidden,
    Forbidden,
    HookUnknown,
    NameInvalid,
    Refused,
    RequestInvalid,
    TreeScaleError,
)
from treescale.events.hooks.planner import stored_event
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import NETWORKS_SETTING, HookFormat, HookState
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.records import User
from treescale.registry.hooks import (
    HOOKS_MAX,
    OLD_SECRET_SECONDS,
    TEMPLATE_CHARACTERS_MAX,
    Caller,
    HookTerms,
    WebhookService,
)

URL: Final = "https://hooks.example.com/in"
TERMS: Final = HookTerms("alice/*", URL)
ALICE: Final = Caller("alice", frozenset({"alice"}), frozenset({"alice"}))
BOB: Final = Caller("bob", frozenset({"bob"}), frozenset({"bob"}))
MAINTAINER: Final = Caller("carol", frozenset({"carol", "alice"}), frozenset({"carol"}))
ROOT: Final = Caller("root")
MAINTAINERS, OWNERS = "of maintainers too", "of owners alone"
TEMPLATE: Final = HookFormat.TEMPLATE
PUBLIC_URL: Final = "https://registry.example.com"
TRICKS: Final = (
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1:6379/",
    "http://127.255.255.254/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://a.localhost/",
    "http://0.0.0.0/",
    "http://0/",
    "http://[::]/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:0:0:0:0:80ff:fffe]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://[fd00::1]/",
    "http://[2600:1f00::200:5efe:7f00:1]/",
    "http://[5f00::1]/",
    "http://[3fff::1]/",
    "http://192.0.0.8/",
    "http://168.63.129.16/machine?comp=goalstate",
    "http://[fd00:ec2::23]/v1/credentials",
    "http://[fd20:ce::254]/computeMetadata/v1/",
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "https://127\u30020\u30020\u30021/",
    "http://1.1.1.1\\@127.0.0.1/",
    "https://xn--/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://user:password@example.com/",
    "http://user@example.com@127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "ftp://example.com/",
    "unix:///run/docker.sock",
    "javascript:alert(1)",
    "//example.com/",
    "example.com",
    "",
    "http://",
    "http:///x",
    "http://exa mple.com/",
    "http://example.com/\r\nHost: x",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com:x/",
    "https://example.com/" + "x" * 3000,
)
"""What leads to where nothing may be asked, or is no URL: what `127.1` is, its look-up says."""
BY_LOOK_UP: Final = {"http://127.1/", "http://0/"}


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
async def hooks(database: Database, clock: JumpingClock) -> WebhookService:
    for name in ("alice", "bob", "carol"):
        await database.users.add(User(name, "", admin=False, created=0.0), actor="test")
    return WebhookService(database, PUBLIC_URL, clock=clock)


@each_row("url", TRICKS)
async def test_no_hook_leads_where_nothing_may_be_asked(url: str, hooks: WebhookService) -> None:
    if url in BY_LOOK_UP:
        return
    for terms in (replace(TERMS, url=url), replace(TERMS, url=url, format=TEMPLATE)):
        with pytest.raises((AddressForbidden, RequestInvalid)) as error:
            await hooks.add(terms, ALICE)
        assert "password" not in str(error.value).replace("name or password", "")


async def test_private_networks_are_for_an_administrator_to_allow(
    hooks: WebhookService, database: Database
) -> None:
    inside = replace(TERMS, url="http://10.1.2.3:8080/in")
    with pytest.raises(AddressForbidden):
        await hooks.add(inside, ALICE)
    await database.settings.put(NETWORKS_SETTING, "10.0.0.0/8:8080")
    await hooks.add(inside, ALICE)
    for url in ("http://10.1.2.3:8081/in", "http://127.0.0.1:8080/"):
        with pytest.raises(AddressForbidden):
            await hooks.add(replace(TERMS, url=url), ALICE)


@each_row(
    "changes, error",
    [
        ({"scope": "alice//"}, NameInvalid),
        ({"scope": "alice//app"}, NameInvalid),
        ({"scope": "-/x"}, NameInvalid),
        ({"scope": ""}, RequestInvalid),
        ({"scope": "/app"}, NameInvalid),
        ({"scope": "a*/app"}, RequestInvalid),
        ({"scope": "*/app"}, RequestInvalid),
        ({"scope": "alice/"}, RequestInvalid),
        ({"scope": "Alice/app"}, RequestInvalid),
        ({"scope": "alice/[a]"}, RequestInvalid),
        ({"scope": "a" * 300}, RequestInvalid),
        ({"scope": "bob"}, Forbidden),
        ({"scope": "*"}, Forbidden),
        ({"kinds": ()}, RequestInvalid),
        ({"kinds": ("image.pushed,*",)}, RequestInvalid),
        ({"kinds": ("*",) * 100}, RequestInvalid),
        ({"kinds": ("image.pushed", "image.push")}, RequestInvalid),
        ({"kinds": ("images.*",)}, RequestInvalid),
        ({"format": HookFormat.HARBOR, "kinds": ("user.*",)}, RequestInvalid),
        ({"format": HookFormat.QUAY, "kinds": ("image.pushed", "tag.deleted")}, RequestInvalid),
        ({"settle": -1.0}, RequestInvalid),
        ({"settle": 1e9}, RequestInvalid),
        ({"settle": float("nan")}, RequestInvalid),
        ({"secret": "a b"}, RequestInvalid),
        ({"secret": "a\nb"}, RequestInvalid),
        ({"secret": "é"}, RequestInvalid),
        ({"secret": "x" * 5000}, RequestInvalid),
        ({"headers": (("Host", "x"),)}, RequestInvalid),
        ({"template": "{tag}"}, RequestInvalid),
        ({"format": TEMPLATE, "template": "tag {tag}"}, RequestInvalid),
        ({"format": TEMPLATE, "template": '{"a": "{nothing}"}'}, RequestInvalid),
        ({"format": TEMPLATE, "template": '{"a": {tag}}'}, RequestInvalid),
        ({"format": TEMPLATE, "template": '{"a": "{TAG}"}'}, RequestInvalid),
        ({"format": TEMPLATE, "template": '{"a": "{ tag }"}'}, RequestInvalid),
        ({"format": TEMPLATE, "template": '{"a": "{event.tag}"}'}, RequestInvalid),
        ({"format": TEMPLATE, "template": "x" * (TEMPLATE_CHARACTERS_MAX + 1)}, RequestInvalid),
        (
            {"format": TEMPLATE, "template": "\0", "headers": (("Content-Type", "text/plain"),)},
            RequestInvalid,
        ),
        ({"format": TEMPLATE, "url": "https://{tag}.example.com/"}, RequestInvalid),
        ({"format": TEMPLATE, "headers": (("X-A", "{secret}"),)}, RequestInvalid),
    ],
)
async def test_what_no_hook_can_be_is_refused(
    changes: dict[str, Any], error: type[TreeScaleError], hooks: WebhookService
) -> None:
    with pytest.raises(error):
        await hooks.add(replace(TERMS, **changes), ALICE)
    assert await hooks.page(ROOT, "", 9) == []


@each_row(
    "changes",
    [
        {"scope": "alice"},
        {"scope": "alice/tools/app"},
        {"kinds": ("tag.*", "*")},
        {"format": HookFormat.QUAY, "kinds": ("*",)},
        {"format": HookFormat.DISTRIBUTION, "kinds": ("tag.*", "image.pulled")},
        {"format": TEMPLATE, "template": '{"a": "{tag}", "n": {sequence}}'},
        {"format": TEMPLATE, "url": "https://example.com/u?image={image}"},
        {
            "format": TEMPLATE,
            "template": "{image}\n",
            "headers": (("Content-Type", "text/plain"), ("X-Tag", "{tag}")),
        },
    ],
)
async def test_what_a_hook_can_be_is_kept(changes: dict[str, Any], hooks: WebhookService) -> None:
    terms = replace(TERMS, **changes)
    hook, _ = await hooks.add(terms, ALICE)
    assert (hook.scope, hook.url, hook.kinds) == (terms.scope, terms.url, terms.kinds)
    assert hook.public_url == PUBLIC_URL


@each_row(
    "kind, meant", [("image.push", "image.pushed"), ("tags.deleted", "tag.deleted"), ("x", "tag.*")]
)
async def test_a_kind_that_there_is_not_is_said(
    kind: str, meant: str, hooks: WebhookService
) -> None:
    with pytest.raises(RequestInvalid) as error:
        await hooks.add(replace(TERMS, kinds=(kind,)), ALICE)
    assert meant in str(error.value)
    with pytest.raises(RequestInvalid, match=r"quay has no words for tag.deleted: it says image.p"):
        await hooks.add(replace(TERMS, format=HookFormat.QUAY, kinds=("tag.deleted",)), ALICE)


@each_row(
    "scope, kinds, whose",
    [
        ("alice", ("image.pushed", "tag.moved"), MAINTAINERS),
        ("alice", ("hook.*", "quota.*", "robot.created", "rule.*", "retention.ran"), MAINTAINERS),
        ("alice", ("repository.*", "referrer.added"), MAINTAINERS),
        ("alice", ("*",), OWNERS),
        ("alice", ("image.*", "token.*"), OWNERS),
        ("alice", ("member.granted",), OWNERS),
        ("alice", ("r*",), OWNERS),
        ("alice", ("?mage.*",), OWNERS),
        ("alice", ("*.pushed",), OWNERS),
        ("alice", ("upload.refused",), OWNERS),  # of what has no repository it is of the user
        ("alice", ("login.*",), OWNERS),
        ("alice/*", ("*",), MAINTAINERS),
        ("alice/app", ("upload.refused", "*"), MAINTAINERS),
        ("carol", ("*",), MAINTAINERS),
    ],
)
async def test_a_maintainer_s_hook_hears_of_what_maintainers_see(
    scope: str, kinds: tuple[str, ...], whose: str, hooks: WebhookService
) -> None:
    """Control: the owner's, and an administrator's, hear of everything."""
    terms = replace(TERMS, scope=scope, kinds=kinds)
    for caller in (ALICE, ROOT):
        if scope != "carol" or caller is ROOT:
            await hooks.add(terms, caller)
    if whose == MAINTAINERS:
        await hooks.add(terms, MAINTAINER)
    else:
        with pytest.raises(Forbidden, match="owners alone"):
            await hooks.add(terms, MAINTAINER)


async def test_who_is_led_to_a_private_network_is_told_what_allows_it(
    hooks: WebhookService,
) -> None:
    with pytest.raises(AddressForbidden, match="cluster set hook-networks=NETWORK"):
        await hooks.add(replace(TERMS, url="http://10.1.2.3/"), ALICE)
    with pytest.raises(AddressForbidden) as error:
        await hooks.add(replace(TERMS, url="http://127.0.0.1/"), ALICE)
    assert "cluster set" not in str(error.value)


async def test_without_a_public_url_there_is_no_hook(database: Database) -> None:
    with pytest.raises(Refused) as error:
        await WebhookService(database, "").add(TERMS, ALICE)
    assert "--public-url" in str(error.value)


async def test_a_secret_is_made_unless_one_is_given(hooks: WebhookService) -> None:
    made, secret = await hooks.add(TERMS, ALICE)
    assert secret.startswith("whsec_")
    assert made.secret == secret
    given, none = await hooks.add(replace(TERMS, secret="mine"), ALICE)
    assert (given.secret, none) == ("mine", "")


async def test_a_hook_is_its_namespace_s_and_the_administrators(hooks: WebhookService) -> None:
    mine, _ = await hooks.add(TERMS, ALICE)
    every, _ = await hooks.add(replace(TERMS, scope="*"), ROOT)
    assert every.namespace is None
    assert [one.hook_id for one in await hooks.page(ALICE, "", 9)] == [mine.hook_id]
    assert await hooks.page(BOB, "", 9) == []
    assert len(await hooks.page(ROOT, "", 9)) == 2
    delivery = await hooks.ping(mine.hook_id, ALICE)
    for hook_id, caller in ((mine.hook_id, BOB), (every.hook_id, ALICE), ("x", ROOT)):
        for call in (
            hooks.get(hook_id, caller),
            hooks.history(hook_id, caller),
            hooks.remove(hook_id, caller),
            hooks.enable(hook_id, caller),
            hooks.disable(hook_id, caller),
            hooks.rotate(hook_id, caller),
            hooks.ping(hook_id, caller),
        ):
            with pytest.raises(HookUnknown):
                await call
    with pytest.raises(HookUnknown):
        await hooks.redeliver(delivery, BOB)
    await hooks.remove(mine.hook_id, ROOT)
    assert await hooks.page(ALICE, "", 9) == []


async def test_a_hook_begins_where_the_log_ends(hooks: WebhookService, database: Database) -> None:
    event = Event(Kind.IMAGE_PUSHED, "alice", "alice/app", reference="1")
    await database.connections.write(lambda connection: record(connection, event))
    await database.event_log.number()
    hook, _ = await hooks.add(TERMS, ALICE)
    assert hook.sequence >= await database.event_log.last() - 1  # its own making is after it
    assert hook.sequence > 0


async def test_what_happened_while_a_hook_was_off_is_not_told(
    hooks: WebhookService, database: Database
) -> None:
    hook, _ = await hooks.add(TERMS, ALICE)
    await hooks.disable(hook.hook_id, ALICE)
    off = await hooks.get(hook.hook_id, ALICE)
    assert (off.state, off.reason) == (HookState.DISABLED, "disabled by alice")
    with pytest.raises(RequestInvalid, match="enable it first"):
        await hooks.ping(hook.hook_id, ALICE)
    last = await database.event_log.last()
    await hooks.enable(hook.hook_id, ALICE)
    on = await hooks.get(hook.hook_id, ALICE)
    assert (on.state, on.sequence) == (HookState.ENABLED, last)


async def test_a_new_secret_is_made_and_the_old_one_is_valid_for_a_day(
    hooks: WebhookService, database: Database
) -> None:
    hook, old = await hooks.add(TERMS, ALICE)
    new = await hooks.rotate(hook.hook_id, ALICE)
    found = await hooks.get(hook.hook_id, ALICE)
    assert (found.secret, found.old_secret) == (new, old)
    left = found.old_secret_until - await database.servers.now()
    assert OLD_SECRET_SECONDS - 60 < left <= OLD_SECRET_SECONDS
    assert await hooks.rotate(hook.hook_id, ALICE, "mine") == ""
    with pytest.raises(RequestInvalid):
        await hooks.rotate(hook.hook_id, ALICE, "a b")


async def test_a_ping_names_no_image(hooks: WebhookService) -> None:
    hook, _ = await hooks.add(TERMS, ALICE)
    await hooks.ping(hook.hook_id, ALICE)
    (one,) = await hooks.history(hook.hook_id, ALICE)
    event = stored_event(one.event)
    assert (one.kind, event.kind, event.repository) == ("ping", "ping", None)


async def test_what_is_sent_again_has_the_same_id(hooks: WebhookService) -> None:
    hook, _ = await hooks.add(TERMS, ALICE)
    first = await hooks.ping(hook.hook_id, ALICE)
    again = await hooks.redeliver(first, ALICE)
    assert again != first
    new, old = await hooks.history(hook.hook_id, ALICE)
    assert (new.event_id, new.event) == (old.event_id, old.event)


async def test_hooks_of_a_namespace_are_so_many_at_most(
    hooks: WebhookService, database: Database
) -> None:
    hook, _ = await hooks.add(TERMS, ALICE)
    for n in range(HOOKS_MAX - 1):
        await database.hooks.add(replace(hook, hook_id=f"{n}"), actor=ACTOR)
    with pytest.raises(RequestInvalid):
        await hooks.add(TERMS, ALICE)
