"""What receivers ask of a delivery, each as its own source or manual says it.

The rules are written here in our words: what a receiver checks of a request before it does its
work, and what it takes out of it.
"""

import hmac
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.events.hooks.told import DIGEST, EVENT, INDEX, hook, told
from treescale.clock import SystemClock
from treescale.errors import RequestInvalid
from treescale.events.hooks.formats import message
from treescale.events.hooks.request import Request, request_of
from treescale.events.hooks.schedule import secrets_of
from treescale.metadata.events.hook_records import Hook, HookFormat

SECRET: Final = "a-shared-secret"
IMAGE: Final = "registry.example.com/alice/tools/app"


@dataclass
class Refused(Exception):
    """What a receiver answers instead of taking it."""

    status: int


def sent(of: Hook, now: float | None = None, **changes: Any) -> Request:
    """Return the request of a delivery, that of this moment if none is told.

    Their library takes the machine's clock, and refuses what is five minutes old.
    """
    now = SystemClock().now() if now is None else now
    what = told(**changes)
    content = message(of.format, what, of.template)
    assert content is not None
    return request_of(of, what, content, int(now), secrets_of(of, now))


def header(request: Request, name: str) -> str:
    """Return a header, whatever its case; "" when it is not there."""
    return next((value for key, value in request.headers.items() if key.lower() == name), "")


def argo_harbor(request: Request, secret: str) -> tuple[str, str, str, str]:
    """Be Argo CD Image Updater, `?type=harbor`."""
    if "application/json" not in header(request, "content-type"):
        raise Refused(400)
    if header(request, "authorization") != secret:
        raise Refused(401)
    body = json.loads(request.body)
    if body["type"] != "PUSH_ARTIFACT":
        raise Refused(400)
    first = body["event_data"]["resources"][0]
    assert first["tag"]
    place = urlsplit("https://" + first["resource_url"]).netloc
    return place, body["event_data"]["repository"]["repo_full_name"], first["tag"], first["digest"]


def argo_cloudevents(request: Request, secret: str) -> tuple[str, str, str, str]:
    """Be Argo CD Image Updater, `?type=cloudevents`: a structured body, and nothing else."""
    kind = header(request, "content-type")
    if "application/json" not in kind and "application/cloudevents+json" not in kind:
        raise Refused(400)
    query = parse_qs(urlsplit(request.url).query)
    if (query.get("secret") or [header(request, "x-webhook-secret")])[0] != secret:
        raise Refused(401)
    body = json.loads(request.body)
    assert body["specversion"]
    if "container" not in body["type"] and "image" not in body["type"]:
        raise Refused(400)
    subject = body.get("subject", "").split(":", 1)
    repository, tag = subject if len(subject) == 2 else ("", "")
    data = body["data"]
    found = (
        data.get("registryUrl", ""),
        data.get("repository", repository),
        data.get("tag", tag),
        data.get("digest", ""),
    )
    if not all(found[:3]):
        raise Refused(400)
    return found


def kargo_harbor(request: Request, secret: str) -> tuple[str, list[str]]:
    """Be Kargo's receiver `harbor`."""
    if header(request, "authorization") != secret:
        raise Refused(401)
    body = json.loads(request.body)
    if body["type"] != "PUSH_ARTIFACT":
        raise Refused(400)
    resources = body["event_data"]["resources"]
    return resources[0]["resource_url"].rsplit(":", 1)[0], [one["tag"] for one in resources]


def keel_image(text: str) -> tuple[str, str]:
    """Return repository and tag, as Keel reads an image; a scheme before it is none."""
    assert "://" not in text
    place, _, tag = text.rpartition(":")
    assert "/" not in tag
    return place, tag


def test_argo_cd_image_updater_takes_harbor() -> None:
    request = sent(hook(format=HookFormat.HARBOR, secret=SECRET))
    found = argo_harbor(request, SECRET)
    assert found == ("registry.example.com", "alice/tools/app", "1.2", DIGEST)


def test_argo_cd_image_updater_takes_cloudevents() -> None:
    with_header = hook(headers=(("X-Webhook-Secret", SECRET),))
    with_query = hook(url=f"https://argo.example.com/webhook?type=cloudevents&secret={SECRET}")
    for each in (with_header, with_query):
        found = argo_cloudevents(sent(each), SECRET)
        assert found == ("registry.example.com", "alice/tools/app", "1.2", DIGEST)


def test_argo_cd_image_updater_never_takes_a_digest_for_a_tag() -> None:
    of = hook(headers=(("X-Webhook-Secret", SECRET),), untagged=True)
    with pytest.raises(Refused):
        argo_cloudevents(sent(of, reference=None), SECRET)


def test_flux_takes_harbor_and_generic_hmac() -> None:
    assert header(sent(hook(format=HookFormat.HARBOR, secret=SECRET)), "authorization") == SECRET
    request = sent(hook(secret=SECRET))
    algorithm, _, found = header(request, "x-signature").partition("=")
    assert algorithm == "sha256"
    assert found == hmac.new(SECRET.encode(), request.body, sha256).hexdigest()


def test_kargo_takes_harbor_and_quay() -> None:
    found = kargo_harbor(sent(hook(format=HookFormat.HARBOR, secret=SECRET)), SECRET)
    assert found == (IMAGE, ["1.2"])
    body = json.loads(sent(hook(format=HookFormat.QUAY)).body)
    assert (body["docker_url"], body["updated_tags"]) == (IMAGE, ["1.2"])
    with pytest.raises(Refused):  # with its answer the hook's owner sees that the secret is right
        kargo_harbor(sent(hook(format=HookFormat.HARBOR, secret=SECRET), kind="ping"), SECRET)


def test_keel_takes_harbor_and_registry() -> None:
    body = json.loads(sent(hook(format=HookFormat.HARBOR)).body)
    for resource in body["event_data"]["resources"]:
        assert keel_image(resource["resource_url"]) == (IMAGE, "1.2")
    for one in json.loads(sent(hook(format=HookFormat.DISTRIBUTION)).body)["events"]:
        target = one["target"]
        assert one["action"] == "push"
        place = f"{one['request']['host']}/{target['repository']}:{target['tag']}"
        assert keel_image(place) == (IMAGE, "1.2")


def test_jenkins_takes_the_envelope_of_distribution() -> None:
    request = sent(hook(format=HookFormat.DISTRIBUTION))
    kind = "application/vnd.docker.distribution.events.v2+json"
    assert header(request, "content-type") == kind
    (one,) = json.loads(request.body)["events"]
    assert one["action"] == "push"
    assert one["target"]["repository"] == "alice/tools/app"
    assert one["target"]["tag"] == "1.2"
    assert one["target"]["mediaType"] == INDEX
    assert one["target"]["digest"] == DIGEST
    assert (one["request"]["host"], one["actor"]["name"]) == ("registry.example.com", "alice")
    assert one["timestamp"] == "2025-06-15T15:06:40.500Z"


def test_the_library_of_standard_webhooks_verifies_each_attempt() -> None:
    of = hook()
    request = sent(of)
    assert Webhook(of.secret).verify(request.body, request.headers)["id"] == EVENT.event_id
    assert request.headers["webhook-id"] == EVENT.event_id
    early = sent(of, SystemClock().now() - 86_400)
    with pytest.raises(WebhookVerificationError):  # control: a day later it is signed anew
        Webhook(of.secret).verify(early.body, early.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(of.secret).verify(request.body + b" ", request.headers)


def test_of_two_secrets_either_verifies_until_the_old_one_is_over() -> None:
    old = "whsec_" + "b2xk" * 8
    now = SystemClock().now()
    of = hook(old_secret=old, old_secret_until=now + 1)
    request = sent(of, now)
    for secret in (of.secret, old):
        Webhook(secret).verify(request.body, request.headers)
    request = sent(hook(old_secret=old, old_secret_until=now - 1), now)
    Webhook(of.secret).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(request.body, request.headers)


def test_github_s_signature_is_of_the_secret_s_text() -> None:
    request = sent(hook())
    expected = hmac.new(hook().secret.encode(), request.body, sha256).hexdigest()
    assert header(request, "x-hub-signature-256") == f"sha256={expected}"


def test_the_original_s_receivers_find_what_they_know() -> None:
    request = sent(hook(format=HookFormat.CLASSIC))
    assert header(request, "x-treescale-webhook") == "alice/tools/app:1.2"
    assert header(request, "user-agent") == "TreeScale.com WebHook Handler"
    body = json.loads(request.body)
    assert (body["image"], body["repository"]) == (f"{IMAGE}:1.2", IMAGE)
    assert (body["event"], body["timestamp"]) == ("push", "2025-06-15T15:06:40.500Z")
    assert {"image_size", "layers", "repository_size"} < body.keys()


def test_watchtower_is_asked_by_a_url_with_the_image_in_it() -> None:
    of = hook(
        format=HookFormat.TEMPLATE,
        url="https://watch.example.com/v1/update?image={registry}/{repository}",
        headers=(("Authorization", "Bearer t"),),
    )
    request = sent(of)
    assert parse_qs(urlsplit(request.url).query) == {"image": [IMAGE]}
    assert header(request, "authorization") == "Bearer t"
    assert request.body == b""


def test_a_hook_of_harbor_s_kind_may_bring_its_own_authorization() -> None:
    of = hook(format=HookFormat.HARBOR, headers=(("authorization", "Bearer mine"),))
    assert [v for k, v in sent(of).headers.items() if k.lower() == "authorization"] == [
        "Bearer mine"
    ]


def test_what_is_not_for_a_template_is_left_as_it_is() -> None:
    of = hook(url="https://hooks.example.com/{tag}", headers=(("X-Of", "{tag}"),))
    request = sent(of)
    assert request.url == "https://hooks.example.com/{tag}"
    assert request.headers["X-Of"] == "{tag}"
    with pytest.raises(RequestInvalid):
        sent(hook(format=HookFormat.TEMPLATE, template="{secret}"))
