"""Tags and the catalog: sorted, in pages, and only what the caller may see."""

import pytest

from tests.api.client import CATALOG, Client, MakePublic, Repository
from tests.oci.documents import OCI_CONFIG, descriptor, digest, encoded, image

PLAIN = image(config=descriptor(b"{}", OCI_CONFIG))
NOT_NUMBERS = ["-1", "1_0", "%D9%A3", "%2B5", "+5", "5&n=5", "&n=5", "a", "5.0", "0x5", "%205"]


@pytest.fixture
async def repository(alice: Client) -> Repository:
    found = alice.repository("alice/app")
    await found.push_blob(b"{}")
    return found


async def tag(repository: Repository, *tags: str) -> None:
    query = "&".join(f"tag={one}" for one in tags)
    reference = f"{digest(encoded(PLAIN))}?{query}"
    (await repository.put_manifest(PLAIN, reference)).expect(201)


async def pages(client: Client, url: str, key: str) -> list[list[str]]:
    """Follow the Links to the end."""
    found = []
    while url:
        answer = (await client.request("GET", url)).expect(200)
        assert answer.headers["Content-Type"] == "application/json"
        found.append(answer.json[key])
        link = answer.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        url = link[1:].partition(">")[0]
        assert len(found) < 100
    return found


class TestTags:
    async def test_sorted_whatever_the_order_of_pushing(self, repository: Repository) -> None:
        await tag(repository, "v2", "latest", "_x", "v10", "A", "v1.0-rc.1", "0")
        answer = (await repository.get("tags/list")).expect(200)
        expected = sorted(["v2", "latest", "_x", "v10", "A", "v1.0-rc.1", "0"])
        assert answer.json == {"name": "alice/app", "tags": expected}
        assert "Link" not in answer.headers

    async def test_a_repository_without_tags(self, repository: Repository) -> None:
        assert (await repository.get("tags/list")).expect(200).json["tags"] == []

    async def test_no_repository(self, alice: Client) -> None:
        answer = await alice.repository("alice/absent").get("tags/list")
        answer.expect(404, "NAME_UNKNOWN")

    @pytest.mark.parametrize(("size", "lengths"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7])])
    async def test_pages(self, repository: Repository, size: int, lengths: list[int]) -> None:
        tags = sorted(["v2", "latest", "_x", "v10", "A", "v1.0-rc.1", "0"])
        await tag(repository, *tags)
        found = await pages(repository.client, f"/v2/alice/app/tags/list?n={size}", "tags")
        assert [len(page) for page in found] == lengths
        assert [name for page in found for name in page] == tags

    async def test_last_need_not_exist(self, repository: Repository) -> None:
        await tag(repository, "a", "c", "e")
        for last, expected in (("b", ["c", "e"]), ("c", ["e"]), ("z", []), ("", ["a", "c", "e"])):
            answer = (await repository.get(f"tags/list?last={last}")).expect(200)
            assert answer.json["tags"] == expected
            assert "Link" not in answer.headers
        answer = (await repository.get("tags/list?last=a&n=1")).expect(200)
        assert answer.json["tags"] == ["c"]
        assert answer.headers["Link"] == '</v2/alice/app/tags/list?n=1&last=c>; rel="next"'

    async def test_a_page_of_nothing(self, repository: Repository) -> None:
        await tag(repository, "a")
        answer = (await repository.get("tags/list?n=0")).expect(200)
        assert answer.json["tags"] == []
        assert "Link" not in answer.headers

    async def test_a_page_of_everything_is_bounded(
        self, repository: Repository, subtests: pytest.Subtests
    ) -> None:
        for size in ("1000000000", str(2**63), str(2**64), "9" * 40):
            with subtests.test(size=size):
                await tag(repository, "a", "b")
                answer = (await repository.get(f"tags/list?n={size}")).expect(200)
                assert answer.json["tags"] == ["a", "b"]

    async def test_what_says_nothing(
        self, repository: Repository, subtests: pytest.Subtests
    ) -> None:
        """A parameter without a value, and one of somebody else's, however it is written."""
        for query in ("n=", "last=", "n=&last=", "n", "", "&", "n=2&x=%"):
            with subtests.test(query=query):
                await tag(repository, "a", "b")
                answer = (await repository.get(f"tags/list?{query}")).expect(200)
                assert answer.json["tags"] == ["a", "b"]
                assert "Link" not in answer.headers

    async def test_what_is_no_number(
        self, repository: Repository, subtests: pytest.Subtests
    ) -> None:
        for size in NOT_NUMBERS:
            with subtests.test(size=size):
                answer = await repository.get(f"tags/list?n={size}")
                answer.expect(400, "PAGINATION_NUMBER_INVALID")


class TestCatalog:
    @pytest.fixture(autouse=True)
    async def repositories(self, alice: Client, bob: Client) -> None:
        for client, names in ((alice, "abc"), (bob, "xy")):
            for name in names:
                await client.repository(f"{client.user}/{name}").push_blob(b"{}")

    async def test_ones_own(self, alice: Client, bob: Client) -> None:
        for client, names in ((alice, "abc"), (bob, "xy")):
            answer = await client.request("GET", "/v2/_catalog")
            expected = [f"{client.user}/{name}" for name in names]
            assert answer.expect(200).json == {"repositories": expected}

    async def test_the_public_ones_of_others(
        self, alice: Client, bob: Client, make_public: MakePublic
    ) -> None:
        await make_public("alice/b")
        answer = await bob.request("GET", "/v2/_catalog")
        assert answer.json["repositories"] == ["alice/b", "bob/x", "bob/y"]
        assert alice.user == "alice"

    async def test_a_name_that_begins_alike_is_another(self, alice: Client, bob: Client) -> None:
        """Quay matched `_` in names as a wildcard (CVE-2026-110697)."""
        names = (await bob.raw("GET", "/v2/_catalog", bob.basic())).json["repositories"]
        assert not [name for name in names if not name.startswith("bob/")]
        answer = await alice.request("GET", "/v2/_catalog?last=alice%25")
        assert all(name > "alice%" for name in answer.expect(200).json["repositories"])

    async def test_pages(self, alice: Client) -> None:
        found = await pages(alice, "/v2/_catalog?n=2", "repositories")
        assert found == [["alice/a", "alice/b"], ["alice/c"]]

    async def test_who_comes_without_a_token_is_told_which_to_get(self, alice: Client) -> None:
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic !"}):
            answer = await alice.raw("GET", "/v2/_catalog", headers)
            answer.expect(401, "UNAUTHORIZED")
            assert f'scope="{CATALOG}"' in answer.headers["WWW-Authenticate"]

    @pytest.mark.parametrize(
        "scopes",
        [(), ("repository:alice/a:pull",), ("repository:alice/a:*", "registry:catalog:pull")],
    )
    async def test_a_token_for_something_else_lists_nothing(
        self, alice: Client, scopes: tuple[str, ...]
    ) -> None:
        """Whoever was handed a token for one repository does not learn of the others."""
        answer = await alice.request("GET", "/v2/_catalog", scopes=scopes)
        answer.expect(401, "UNAUTHORIZED")
        challenge = answer.headers["WWW-Authenticate"]
        assert f'scope="{CATALOG}",error="insufficient_scope"' in challenge
        asked = challenge.partition('scope="')[2].partition('"')[0]
        answer = await alice.request("GET", "/v2/_catalog", scopes=(*scopes, asked))
        assert answer.expect(200).json["repositories"] == ["alice/a", "alice/b", "alice/c"]

    async def test_the_anonymous_see_what_is_public(
        self, anybody: Client, make_public: MakePublic
    ) -> None:
        answer = await anybody.request("GET", "/v2/_catalog")
        assert answer.expect(200).json["repositories"] == []
        await make_public("alice/b")
        answer = await anybody.request("GET", "/v2/_catalog")
        assert answer.expect(200).json["repositories"] == ["alice/b"]
        (await anybody.request("GET", "/v2/_catalog", scopes=())).expect(401, "UNAUTHORIZED")

    async def test_what_is_no_number(self, alice: Client, subtests: pytest.Subtests) -> None:
        for size in NOT_NUMBERS:
            with subtests.test(size=size):
                answer = await alice.request("GET", f"/v2/_catalog?n={size}")
                answer.expect(400, "PAGINATION_NUMBER_INVALID")

    async def test_a_page_of_nothing(self, alice: Client) -> None:
        answer = await alice.request("GET", "/v2/_catalog?n=0")
        assert answer.expect(200).json == {"repositories": []}
        assert "Link" not in answer.headers
