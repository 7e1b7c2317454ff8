"""Home, search and namespaces: what is found, and for whom."""

import re
from urllib.parse import quote

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.web.browser import Browser
from tests.console.web.content.pushed import HOSTILE, Pushed
from tests.contracts.metadata_values import ACTOR


async def test_who_is_not_signed_in_signs_in(browser: Browser, alice: Client) -> None:
    assert (await browser.get("/")).expect(303).location == "/-/sign-in?next=/"
    assert (await browser.get("/-/")).expect(303).location == "/"
    assert (await browser.get("/-/search?q=app")).expect(303).location == (
        "/-/sign-in?next=/-/search"
    )
    moved = await browser.post("/-/sign-in", name="alice", password=alice.password)
    assert moved.expect(303).location == "/"


async def test_the_first_push_is_explained_and_then_listed(
    signed_in: Browser, alice: Client
) -> None:
    host = signed_in.url.partition("://")[2]
    empty = (await signed_in.get("/")).expect(200)
    for said in (
        f"docker push {host}/alice/hello:1",
        f"podman push --tls-verify=false alpine {host}/alice/hello:1",
        f"oci://{host}/alice",
        f"oras push --plain-http {host}/alice/notes:1",
        "make an access token",
    ):
        assert said in empty.words, said
    for name in ("alice/old", "alice/new"):
        await alice.repository(name).push_image("1", b"a layer")
    page = (await signed_in.get("/")).expect(200)
    assert re.findall(r'<td><a href="/(alice/\w+)">', page.text) == ["alice/new", "alice/old"]


async def test_organisations_are_listed_with_roles(
    registry: Running, signed_in: Browser, bob: Client
) -> None:
    database = registry.parts.database
    await database.organisations.add("acme", "bob", actor=ACTOR)
    await bob.repository("acme/app").push_image("1", b"a layer")
    assert "acme" not in (await signed_in.get("/")).words
    await database.organisations.grant("acme", "alice", role="writer", repository="*", actor=ACTOR)
    page = (await signed_in.get("/")).expect(200)
    assert 'href="/acme"' in page.text
    assert "writer" in page.words
    assert 'href="/acme/app"' in page.text


async def test_search_finds_what_one_may_see(
    registry: Running, signed_in: Browser, bob: Client, pushed: Pushed
) -> None:
    for name in ("bob/application", "bob/private-app"):
        await bob.repository(name).push_image("1.10", b"a layer")
    await registry.parts.database.repositories.set_public(
        "bob/application", public=True, now=1.0, actor=ACTOR
    )
    page = (await signed_in.get("/-/search?q=app")).expect(200)
    assert 'href="/alice/app"' in page.text
    assert 'href="/bob/application"' in page.text
    assert "private-app" not in page.text
    tags = (await signed_in.get("/-/search?q=1.1")).expect(200)
    assert 'href="/alice/app:1.10"' in tags.text
    assert 'href="/bob/application:1.10"' in tags.text
    assert "private-app" not in tags.text
    begun = (await signed_in.get("/-/search?q=alice/")).expect(200)
    assert 'href="/alice/app"' in begun.text
    for wanted in (pushed.index, pushed.index[:20], pushed.index[7:13]):
        found = (await signed_in.get(f"/-/search?q={wanted}")).expect(200)
        assert f'href="/alice/app@{pushed.index}"' in found.text, wanted
    one = (await signed_in.get("/-/search?q=alice/app:2")).expect(200)
    assert 'href="/alice/app:2.0"' in one.text
    (await signed_in.get("/-/search")).expect(200)
    wild = (await signed_in.get("/-/search?q=%25")).expect(200)
    assert 'href="/alice/app"' not in wild.text


@pytest.mark.parametrize("wanted", [HOSTILE, "ü", "x" * 256, "\x7f"])
async def test_what_no_name_has_is_refused_in_words(signed_in: Browser, wanted: str) -> None:
    page = await signed_in.get(f"/-/search?q={quote(wanted)}")
    assert page.status in (200, 400)
    assert "<script>" not in page.text
    assert "<img" not in page.text


async def test_search_goes_on_page_by_page(signed_in: Browser, alice: Client) -> None:
    document = await alice.repository("alice/x0").push_image("1", b"a layer")
    assert document
    for number in range(1, 35):
        await alice.repository(f"alice/x{number}").push_image("1", b"a layer")
    for wanted in ("x", "alice/x"):
        path, seen = f"/-/search?q={wanted}", list[str]()
        while path:
            page = (await signed_in.get(path)).expect(200)
            seen += re.findall(r'<td><a href="/(alice/x\d+)">', page.text)
            found = re.search(r'rel="next" href="([^"]+)"', page.text)
            path = found[1].replace("&amp;", "&") if found else ""
        assert len(seen) == len(set(seen)) == 35, wanted


async def test_a_namespace_shows_what_one_may_see(
    registry: Running, browser: Browser, alice: Client, bob: Client
) -> None:
    for name in ("alice/app", "alice/base", "alice/secret"):
        await alice.repository(name).push_image("1", b"a layer")
    await browser.sign_in("bob", bob.password)
    hidden, absent = await browser.get("/alice"), await browser.get("/nobody")
    assert hidden.status == absent.status == 404
    assert hidden.text.replace("alice", "nobody") == absent.text
    database = registry.parts.database
    await database.repositories.set_public("alice/app", public=True, now=1.0, actor=ACTOR)
    page = (await browser.get("/alice")).expect(200)
    assert re.findall(r'<td><a href="/(alice/\w+)">', page.text) == ["alice/app"]
    await database.organisations.grant(
        "alice", "bob", role="reader", repository="alice/b*", actor=ACTOR
    )
    page = (await browser.get("/alice")).expect(200)
    assert re.findall(r'<td><a href="/(alice/\w+)">', page.text) == ["alice/app", "alice/base"]
    page = (await browser.get("/alice?filter=b")).expect(200)
    assert re.findall(r'<td><a href="/(alice/\w+)">', page.text) == ["alice/base"]
    (await browser.get("/alice/-/deleted")).expect(403)


async def test_ones_own_namespace_begins_with_the_first_push(signed_in: Browser) -> None:
    page = (await signed_in.get("/alice")).expect(200)
    assert "docker push" in page.words
    assert 'href="/alice/-/deleted"' in page.text


async def test_pages_count_among_the_requests_of_an_account(
    registry: Running, signed_in: Browser, browser: Browser
) -> None:
    registry.parts.rates.limit(3, None)
    assert browser is signed_in
    for _ in range(3):
        (await signed_in.get("/")).expect(200)
    refused = (await signed_in.get("/")).expect(429)
    assert "requests in a minute" in refused.words
    assert int(refused.headers["Retry-After"]) > 0
    registry.parts.rates.limit(None, None)
    (await signed_in.get("/")).expect(200)


async def test_an_administrator_without_a_role_finds_what_there_is_to_manage(
    browser: Browser, root: Client, pushed: Pushed
) -> None:
    await browser.sign_in("root", root.password)
    listed = (await browser.get("/alice")).expect(200)
    assert 'href="/alice/app"' in listed.text
    page = (await browser.get("/alice/app")).expect(200)
    assert "you have no role here" in page.words
    assert pushed.index[7:19] not in page.text
    assert "1.10" not in page.words
    for tab in ("deleted", "hooks", "rules", "settings"):
        assert f'href="/alice/app/-/{tab}"' in page.text
        (await browser.get(f"/alice/app/-/{tab}")).expect(200)
    (await browser.get("/alice/app:1.10")).expect(404)


async def test_a_name_as_clients_have_it_is_found(signed_in: Browser, alice: Client) -> None:
    await alice.repository("alice/app").push_image("1", b"a layer")
    host = signed_in.url.partition("://")[2]
    for begin in ("", f"{host}/", f"{signed_in.url}/"):
        for rest in ("alice/app", "alice/app:1"):
            page = (await signed_in.get(f"/-/search?q={quote(begin + rest, safe='')}")).expect(200)
            assert f'href="/{rest}"' in page.text, begin + rest


async def test_a_new_organisation_says_how_to_push_to_who_may(
    signed_in: Browser, root: Client, bob: Client
) -> None:
    made = await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})
    made.expect(200)
    host = signed_in.url.partition("://")[2]
    shown = (await signed_in.get("/acme")).expect(200)
    assert f"docker push {host}/acme/hello:1" in shown.words
    assert f"docker login {host} -u alice" in shown.words
    path = "/organisations/acme/members/bob"
    (await ask(root, "PUT", path, {"role": "reader"})).expect(200)
    reader = Browser(signed_in.session, signed_in.url)
    await reader.sign_in("bob", bob.password)
    shown = (await reader.get("/acme")).expect(200)
    assert "No repositories yet." in shown.words
    assert "docker push" not in shown.words
    assert 'href="/acme/-/members"' in shown.text  # where a reader leaves
