"""A repository's page, and an image's: what is shown, in which order, and that text stays text."""

import re

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.web.browser import Browser
from tests.console.web.content.pushed import HOSTILE, Pushed
from tests.contracts.metadata_values import ACTOR
from tests.oci.documents import OCI_CONFIG, descriptor, encoded, image

APP = "/alice/app"


def tags_of(text: str) -> list[str]:
    """Return the tags of a page, in its order."""
    return re.findall(r'<th scope="row"><a href="/alice/app:([^"]+)"', text)


@pytest.mark.usefixtures("pushed")
async def test_tags_are_by_version_first(signed_in: Browser) -> None:
    page = (await signed_in.get(APP)).expect(200)
    assert tags_of(page.text) == ["latest", "2.0", "1.10", "1.9", "chart"]
    by_time = (await signed_in.get(f"{APP}?order=pushed")).expect(200)
    assert tags_of(by_time.text)[0] == "chart"
    by_name = (await signed_in.get(f"{APP}?order=name")).expect(200)
    assert tags_of(by_name.text) == ["1.10", "1.9", "2.0", "chart", "latest"]
    some = (await signed_in.get(f"{APP}?filter=1.&order=name")).expect(200)
    assert tags_of(some.text) == ["1.10", "1.9"]
    assert "No tag fits." in (await signed_in.get(f"{APP}?filter=%25")).expect(200).words
    (await signed_in.get(f"{APP}?after=x&order=pushed")).expect(400)


async def test_a_row_tells_of_platforms_and_signatures(signed_in: Browser, pushed: Pushed) -> None:
    page = (await signed_in.get(APP)).expect(200)
    row = page.text.partition('<th scope="row"><a href="/alice/app:2.0">')[2].partition("</tr>")[0]
    for said in ("signed", "SBOM", "provenance", "linux/amd64", "linux/arm64/v8", ">latest</a>"):
        assert said in row, said
    assert "unknown" not in page.words
    assert pushed.index[7:19] in row
    assert "docker pull 127.0.0.1" in row
    chart = page.text.partition('<a href="/alice/app:chart">')[2].partition("</tr>")[0]
    assert "Helm chart" in chart


async def test_an_image_is_shown_whole(signed_in: Browser, pushed: Pushed) -> None:
    page = (await signed_in.get(f"{APP}:2.0")).expect(200)
    for said in ("linux/amd64", "linux/arm64/v8", "Attestation", "docker pull", "skopeo copy"):
        assert said in page.words, said
    assert f'href="/alice/app@{pushed.arm64}"' in page.text
    assert pushed.index in page.words
    part = (await signed_in.get(f"{APP}@{pushed.amd64}")).expect(200)
    for said in ("A=b", "/run", "1000", "Steps of the build", "Layers"):
        assert said in part.words, said
    chart = (await signed_in.get(f"{APP}:chart")).expect(200)
    assert "helm pull --plain-http oci://" in chart.words
    assert "docker pull" not in chart.words


async def test_hostile_words_stay_words(signed_in: Browser, pushed: Pushed) -> None:
    for path in (APP, f"{APP}:2.0", f"{APP}:1.10", f"{APP}@{pushed.hostile}"):
        page = (await signed_in.get(path)).expect(200)
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "49" not in re.findall(r"'(\d+)&lt;img", page.text)
    assert HOSTILE.replace("\n", " ") in (await signed_in.get(f"{APP}:1.10")).words


async def test_what_is_not_there_is_not_found(signed_in: Browser, pushed: Pushed) -> None:
    digest = pushed.index[:-1] + ("0" if pushed.index[-1] != "0" else "1")
    for path in (f"{APP}:nothing", f"{APP}@{digest}", f"{APP}@sha256:12", f"{APP}:{'x' * 300}"):
        assert (await signed_in.get(path)).status == 404, path


async def test_who_may_not_see_it_is_told_the_same_as_of_nothing(
    registry: Running, browser: Browser, pushed: Pushed, bob: Client
) -> None:
    await browser.sign_in("bob", bob.password)
    for path in (APP, f"{APP}:2.0", f"{APP}@{pushed.index}"):
        hidden = await browser.get(path)
        absent = await browser.get(path.replace("/app", "/none"))
        assert hidden.status == absent.status == 404
        assert hidden.text.replace("app", "none") == absent.text
    database = registry.parts.database
    await database.organisations.grant("alice", "bob", role="reader", repository="*", actor=ACTOR)
    page = (await browser.get(APP)).expect(200)
    assert 'type="checkbox"' not in page.text
    assert "Delete" not in page.words
    assert "/-/tags/" not in (await browser.get(f"{APP}:2.0")).expect(200).text


async def test_what_is_public_is_for_all_and_the_rest_for_who_is_signed_in(
    registry: Running, browser: Browser, pushed: Pushed
) -> None:
    paths = (APP, f"{APP}:2.0", f"{APP}@{pushed.index}", "/alice")
    for path in (*paths, "/alice/none", "/nobody", "/nobody/none:1"):
        moved = (await browser.get(path)).expect(303)
        assert moved.location.startswith("/-/sign-in?next=/"), path
    database = registry.parts.database
    await database.repositories.set_public("alice/app", public=True, now=1.0, actor=ACTOR)
    for path in paths:
        page = (await browser.get(path)).expect(200)
        assert "What 2.0 pointed at" not in page.words
        assert 'class="muted">alice</span>' not in page.text, "who pushed is for who is signed in"
    (await browser.get("/alice/none")).expect(303)
    await database.settings.put("anonymous", "off")
    await registry.parts.tokens.refresh()
    for path in paths:
        (await browser.get(path)).expect(303)


async def test_pages_follow_one_another(signed_in: Browser, alice: Client) -> None:
    repository = alice.repository("alice/app")
    document = await repository.push_image("1.0", b"a layer")
    for number in range(1, 61):
        (await repository.put_manifest(document, f"1.{number}")).expect(201)
    for order in ("version", "pushed", "name"):
        path, seen = f"{APP}?order={order}", list[str]()
        while path:
            page = (await signed_in.get(path)).expect(200)
            seen += tags_of(page.text)
            found = re.search(r'rel="next" href="([^"]+)"', page.text)
            path = found[1].replace("&amp;", "&") if found else ""
        assert len(seen) == len(set(seen)) == 61, order
        if order == "version":
            assert seen == [f"1.{number}" for number in range(60, -1, -1)]


async def test_layers_tell_who_else_has_them(
    registry: Running, signed_in: Browser, alice: Client, bob: Client
) -> None:
    for who, name in ((alice, "alice/one"), (alice, "alice/two"), (bob, "bob/three")):
        await who.repository(name).push_image("1", b"a layer of all")
    page = (await signed_in.get("/alice/one:1")).expect(200)
    assert 'href="/alice/two"' in page.text
    assert "bob/three" not in page.text
    await registry.parts.database.repositories.set_public(
        "bob/three", public=True, now=1.0, actor=ACTOR
    )
    assert 'href="/bob/three"' in (await signed_in.get("/alice/one:1")).text


@pytest.mark.usefixtures("pushed")
async def test_the_api_says_the_same(alice: Client) -> None:
    path = "/api/v1/repositories/alice%2Fapp/images"
    page = (await alice.raw("GET", f"{path}?n=2", alice.basic())).expect(200)
    rows = page.json["images"]
    assert [one["tag"] for one in rows] == ["latest", "2.0"]
    assert rows[0]["platforms"] == ["linux/amd64", "linux/arm64/v8"]
    assert rows[0]["has"] == ["signature", "sbom", "provenance"]
    assert 0 < rows[0]["size"] < rows[0]["size_all"]
    assert 'rel="next"' in page.headers["Link"]
    second = (await alice.raw("GET", f"{path}?after={page.json['next'].replace(' ', '%20')}")).json
    assert second["type"].endswith("credentials")
    one = (await alice.raw("GET", f"{path}/2.0", alice.basic())).expect(200).json
    assert one["rights"] == ["delete", "pull", "push"]
    assert one["referrers"][0]["what"] == "signature"
    (await alice.raw("GET", f"{path}?order=size", alice.basic())).expect(400)


async def test_a_deep_manifest_makes_no_large_page(signed_in: Browser, alice: Client) -> None:
    app = alice.repository("alice/app")
    for blob in (b"{}", b"layer"):
        await app.push_blob(blob)
    plain = encoded(image(descriptor(b"layer"), config=descriptor(b"{}", OCI_CONFIG)))
    deep = b"[" * 400 + b",".join([b"1"] * 30_000) + b"]" * 400
    manifest = plain[:-1] + b', "x": ' + deep + b"}"
    (await app.put_manifest(manifest, "deep")).expect(201)
    page = (await signed_in.get(f"{APP}:deep")).expect(200)
    assert len(page.text) < 4 * len(manifest)
    assert deep.decode() in page.text
    (await app.put_manifest(plain, "plain")).expect(201)
    assert "\n  &#34;config&#34;: {\n" in (await signed_in.get(f"{APP}:plain")).text
