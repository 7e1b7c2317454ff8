"""Robots: made, used, rotated, trusted, removed; the secret is shown once."""

import re

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.web.browser import Shown
from tests.console.web.settings.conftest import At

HERE = "/acme/-/robots"
CI = {"name": "ci", "allow": "push", "repository": "acme/*", "expires": "90d"}
GITHUB = "https://token.actions.githubusercontent.com"


def secret_of(shown: Shown) -> str:
    found = re.search(r'<p class="secret"><code data-copy>([^<]+)</code>', shown.expect(200).text)
    assert found is not None
    return found[1]


async def test_a_robot_is_made_and_pushes(at: At, acme: Running, alice: Client) -> None:
    owner = await at("alice")
    shown = await owner.post(HERE, **CI)
    secret = secret_of(shown)
    host = acme.url.partition("://")[2]
    assert f"docker login {host} -u acme+ci" in shown.words
    assert f"podman login --tls-verify=false {host} -u acme+ci" in shown.words
    robot = Client(alice.session, alice.url, "acme+ci", secret)
    await robot.repository("acme/app").push_image("2", b"another layer")
    page = await owner.get(HERE)
    assert secret not in page.text
    assert "acme+ci" in page.words
    assert "pull, push" in page.words
    again = (await owner.post(HERE, **CI)).expect(409)
    assert "acme+ci" in again.words
    assert 'value="acme/*"' in again.text


async def test_two_secrets_are_valid_for_a_while(at: At, alice: Client, acme: Running) -> None:
    owner = await at("alice")
    first = secret_of(await owner.post(HERE, **CI))
    assert "two are valid for a while" in (await owner.get(f"{HERE}/ci")).words
    shown = await owner.post(f"{HERE}/ci/rotate")
    second = secret_of(shown)
    assert "24 hours" in shown.words
    third = secret_of(await owner.post(f"{HERE}/ci/rotate", now="1"))
    await acme.parts.tokens.refresh()
    assert len({first, second, third}) == 3
    scope = "repository:acme/app:pull"
    robots = [Client(alice.session, alice.url, "acme+ci", one) for one in (first, second, third)]
    assert [(await one.ask_token(scope)).status for one in robots] == [401, 401, 200]
    assert "made" in (await owner.get(f"{HERE}/ci")).words
    moved = (await owner.post(f"{HERE}/ci/remove")).expect(303)
    assert "The robot is removed." in (await owner.get(moved.location)).words
    (await owner.get(f"{HERE}/ci")).expect(404)


async def test_nobody_gives_what_they_have_not(at: At) -> None:
    root = await at("root")
    shown = (await root.post(HERE, **CI)).expect(403)
    assert "you cannot give a robot p" in shown.words
    maintainer = await at("maintainer")
    for changed, said in (
        ({"name": "C I"}, "name"),
        ({"allow": "everything"}, "say"),
        ({"repository": "else/*"}, "matches no repository"),
        ({"expires": "soon"}, "is not a time"),
    ):
        shown = (await maintainer.post(HERE, **(CI | changed))).expect(400)
        assert said in shown.words, changed


async def test_ci_is_trusted_by_its_claims(at: At, root: Client) -> None:
    for issuer in (GITHUB, "https://gitlab.com", "https://k8s.example"):
        (await ask(root, "POST", "/issuers", {"issuer": issuer})).expect(200)
    owner = await at("alice")
    secret_of(await owner.post(HERE, **CI))
    one = f"{HERE}/ci"
    for fields, claim in (
        ({"preset": "github", "repository": "acme/app"}, "repository=acme/app"),
        ({"preset": "gitlab", "project_path": "acme/app"}, "project_path=acme/app"),
        (
            {
                "preset": "kubernetes",
                "namespace": "prod",
                "service_account": "pull",
                "issuer": "https://k8s.example",
            },
            "sub=system:serviceaccount:prod:pull",
        ),
    ):
        moved = (await owner.post(f"{one}/trust", **fields)).expect(303)
        assert claim in (await owner.get(moved.location)).words
        assert moved.location.endswith("by_name") is (fields["preset"] == "github")
    by_name = await owner.get(f"{one}?done=robots_trusted_by_name")
    assert "named, and not numbered" in by_name.words
    for fields, said in (
        ({"preset": "github", "repository": "*"}, "repository"),
        ({"preset": "github"}, "claims"),
        ({"preset": "else"}, "preset"),
        ({"preset": "kubernetes", "namespace": "prod"}, "say"),
    ):
        shown = (await owner.post(f"{one}/trust", **fields)).expect(400)
        assert said in shown.words
    page = await owner.get(one)
    rules = re.findall(r'name="rule" value="([^"]+)"', page.text)
    assert len(rules) == 3
    (await owner.post(f"{one}/distrust", rule=rules[0])).expect(303)
    assert len(re.findall(r'name="rule"', (await owner.get(one)).text)) == 2
    (await owner.post(f"{one}/distrust", rule="none")).expect(404)
