"""What a delivery says, in each of the formats that receivers read. Pure.

Each format is a function from an event to a message, and the kinds that it can carry: an event of
another kind is not sent. Those of other registries have their names and their fields, none of them
of our making but `sequence`, by which a receiver can tell which of two came first. A ping says in
each of them that it is one, and names no image.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treescale.events.hooks.message import JSON, Message, Told
from treescale.events.hooks.template import fill, for_json
from treescale.metadata.events.hook_records import PING, HookFormat

CLOUDEVENTS: Final = "application/cloudevents+json"
TYPE: Final = "io.treescale."
DISTRIBUTION: Final = "application/vnd.docker.distribution.events.v2+json"
CLASSIC_HEADER: Final = "x-treescale-webhook"
CLASSIC_AGENT: Final = "TreeScale.com WebHook Handler"
PUSHED: Final = "image.pushed"
MOVED: Final = "tag.moved"
PULLED: Final = "image.pulled"
TAG_DELETED: Final = "tag.deleted"
IMAGE_DELETED: Final = "image.deleted"
PUSHES: Final = frozenset({PUSHED, MOVED})
_DELETES: Final = frozenset({TAG_DELETED, IMAGE_DELETED})


@dataclass(frozen=True, slots=True)
class Form:
    """A format: what writes it, and of what."""

    write: Callable[[Told], Message]
    kinds: frozenset[str] | None = None
    """None: all there are."""
    needs_tag: bool = False
    """Whether a push of a digest alone is not sent, because its receivers take tags only."""

    def carries(self, told: Told) -> bool:
        """Return whether it has words for this event."""
        if told.event.kind == PING or self.kinds is None:
            return True
        named = told.tag or not self.needs_tag or told.event.kind not in PUSHES
        if told.event.kind == PULLED:  # the rest of a repository's pulls are of no image
            named = told.tag or told.digest
        return told.event.kind in self.kinds and bool(named)


def message(form: HookFormat, told: Told, template: str = "") -> Message | None:
    """Return what is sent for an event; None when the format cannot carry it."""
    if form is HookFormat.TEMPLATE:
        return Message(fill(template, told, for_json).encode())
    found = FORMS[form]
    return found.write(told) if found.carries(told) else None


def said_kinds(form: HookFormat, kinds: Iterable[str]) -> frozenset[str]:
    """Return those of the kinds that the format has words for."""
    known = None if form is HookFormat.TEMPLATE else FORMS[form].kinds
    return frozenset(kinds) if known is None else known & {*kinds}


def treescale(told: Told) -> Message:
    """Return a CloudEvent in structured JSON (CloudEvents 1.0, JSON event format 1.0)."""
    event = told.event
    data: dict[str, object] = {
        "sequence": event.sequence,
        "kind": event.kind,
        "registryUrl": told.registry,
        "namespace": event.namespace,
        "repository": event.repository,
        "tag": event.reference,
        "digest": event.digest,
        "previousDigest": event.previous_digest,
        "actor": event.actor,
        "requestId": event.request_id,
    }
    data |= {_CAMEL.get(name, name): value for name, value in event.payload.items()}
    document = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": told.public_url,
        "type": TYPE + event.kind,
        "time": told.time,
        "sequence": str(event.sequence),  # the extension of this name is a string
        "datacontenttype": JSON,
        "data": {name: value for name, value in data.items() if value is not None},
    }
    if subject := _subject(told):
        document["subject"] = subject
    return _json(document, CLOUDEVENTS)


def harbor(told: Told) -> Message:
    """Return what Harbor sends by default (payload format `Default`)."""
    event = told.event
    resource: dict[str, object] = {"tag": told.tag or told.digest, "resource_url": told.image}
    if told.digest:
        resource["digest"] = told.digest
    data: dict[str, object] = {"resources": [], "custom_attributes": {}}
    if told.repository:
        data |= {
            "resources": [resource],
            "repository": {
                "name": told.name,
                "namespace": told.namespace,
                "repo_full_name": told.repository,
                "repo_type": "public" if event.payload.get("public") else "private",
            },
        }
    return _json(
        {
            "type": _HARBOR_TYPES.get(event.kind, event.kind.upper()),
            "occur_at": int(event.at),
            "operator": event.actor,
            "event_data": data,
            "sequence": event.sequence,
        }
    )


def distribution(told: Told) -> Message:
    """Return the envelope of CNCF Distribution's notifications."""
    event = told.event
    if event.kind == PING:
        return _json({"events": []}, DISTRIBUTION)
    target: dict[str, object] = {"repository": told.repository}
    url = f"{told.public_url}/v2/{told.repository}/manifests/{told.digest or told.tag}"
    optional = {
        "mediaType": told.media_type,
        "digest": told.digest,
        "size": told.size,
        "length": told.size,
        "tag": told.tag,
        "url": url if event.kind not in _DELETES else "",
    }
    target |= {name: value for name, value in optional.items() if value}
    one = {
        "id": event.event_id,
        "timestamp": told.time,
        "action": _ACTIONS[event.kind],
        "target": target,
        "request": {"id": event.request_id or event.event_id, "host": told.registry},
        "actor": {"name": event.actor},
        "source": {"addr": told.registry},
        "sequence": event.sequence,
    }
    return _json({"events": [one]}, DISTRIBUTION)


def quay(told: Told) -> Message:
    """Return what Quay sends for `repo_push`."""
    if told.event.kind == PING:
        return _json({"ping": told.event.event_id, "homepage": told.public_url})
    return _json(
        {
            "repository": told.repository,
            "namespace": told.namespace,
            "name": told.name,
            "docker_url": told.place,
            "homepage": f"{told.public_url}/{told.repository}",
            "updated_tags": [told.tag],
            "sequence": told.event.sequence,
        }
    )


def classic(told: Told) -> Message:
    """Return what TreeScale.com sent; what it knew of sizes is as far as the event says."""
    event = told.event
    if event.kind == PING:
        body: dict[str, object] = {"event": PING, "timestamp": told.time}
        return Message(_encoded(body), headers={"User-Agent": CLASSIC_AGENT})
    body = {
        "image": told.image,
        "image_size": told.image_size,
        "layers": event.payload.get("layers", []),
        "repository": told.place,
        "repository_size": event.payload.get("repository_size", 0),
        "event": "push",
        "timestamp": told.time,
        "sequence": event.sequence,
    }
    headers = {CLASSIC_HEADER: f"{told.repository}:{told.tag}", "User-Agent": CLASSIC_AGENT}
    return Message(_encoded(body), headers=headers)


def text(told: Told) -> Message:
    """Return a sentence, for a chat."""
    event = told.event
    what = _SENTENCES.get(event.kind)
    said = _said(told) if what is None else what.format(image=told.image)
    by = "" if event.kind == PING else f" by {event.actor}"
    plain = "".join(each if each.isprintable() and each not in "<>" else "?" for each in said + by)
    return _json({"text": plain, "sequence": event.sequence})


def _said(told: Told) -> str:
    """Return what happened to whom, and what the event has of it that is short."""
    event = told.event
    whom = told.image if told.repository else f"{told.registry} {told.namespace}".rstrip()
    short = (
        f"{name.replace('_', ' ')} {_word(value)}"
        for name, value in event.payload.items()
        if isinstance(value, str | int | float) and value != ""
    )
    told_of = ", ".join(itertools.islice(short, _MEMBERS_MAX))
    return f"{event.kind} {whom} ({told_of})" if told_of else f"{event.kind} {whom}"


def _word(value: str | float) -> str:
    """Return a value as a line of chat has it; bool is a number to Python."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)[:_WORDS_MAX]


def _subject(told: Told) -> str:
    """Return `repository:tag`, or the repository alone.

    Never with a digest: receivers cut at the first colon, and take the rest for a tag.
    """
    return f"{told.repository}:{told.tag}" if told.tag else told.repository or told.namespace


def _json(document: Mapping[str, Any], content_type: str = JSON) -> Message:
    return Message(_encoded(document), content_type)


def _encoded(document: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(document)


_CAMEL: Final = {
    "media_type": "mediaType",
    "artifact_type": "artifactType",
    "image_size": "imageSize",
}
"""Of an event's payload what CloudEvents' data have by another name."""
_HARBOR_TYPES: Final = {
    PUSHED: "PUSH_ARTIFACT",
    MOVED: "PUSH_ARTIFACT",
    PULLED: "PULL_ARTIFACT",
    TAG_DELETED: "DELETE_ARTIFACT",
    IMAGE_DELETED: "DELETE_ARTIFACT",
}
_ACTIONS: Final = {
    PUSHED: "push",
    MOVED: "push",
    PULLED: "pull",
    TAG_DELETED: "delete",
    IMAGE_DELETED: "delete",
}
_SENTENCES: Final = {
    PING: "TreeScale tries this webhook: all is well",
    PUSHED: "{image} was pushed",
    MOVED: "{image} was moved",
    PULLED: "{image} was pulled",
    TAG_DELETED: "{image} was deleted",
    IMAGE_DELETED: "{image} was deleted",
}
_MEMBERS_MAX: Final = 8
_WORDS_MAX: Final = 100
"""Characters of each: a chat shows a line."""
_IMAGES: Final = PUSHES | _DELETES | {PULLED}
FORMS: Final[Mapping[HookFormat, Form]] = {
    HookFormat.TREESCALE: Form(treescale),
    HookFormat.HARBOR: Form(harbor, _IMAGES, needs_tag=True),
    HookFormat.DISTRIBUTION: Form(distribution, _IMAGES),
    HookFormat.QUAY: Form(quay, PUSHES, needs_tag=True),
    HookFormat.CLASSIC: Form(classic, PUSHES, needs_tag=True),
    HookFormat.TEXT: Form(text),
}
"""All but the template, which carries everything."""
