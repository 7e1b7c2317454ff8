"""The subject of an event's message, and what a stream must be like to keep all of them. Pure.

    treescale.image.pushed.acme.team.app          the repository acme/team/app
    treescale.user.created.acme                   what has no repository, but a namespace
    treescale.layout.changed                      what is the cluster's

The kind comes first, as it always has as many words: `treescale.image.>` is all that happens to
images, `treescale.*.*.acme.>` all of a namespace. Dots of a name are written `%2E`, as a dot parts
the words of a subject.
"""

from dataclasses import dataclass
from typing import Final

PREFIX: Final = "treescale"
DUPLICATE_SECONDS_MIN: Final = 120.0
"""NATS's own default. What is sent again after longer is found by the stream's last message."""
MESSAGE_BYTES_MIN: Final = 64 * 1024
"""No event is larger."""
_ALL: Final = ">"
_ONE: Final = "*"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, as far as it matters here."""

    name: str
    subjects: tuple[str, ...]
    no_ack: bool = False
    sealed: bool = False
    copied: bool = False
    """It has what other streams have, and takes no messages."""
    duplicate_seconds: float = DUPLICATE_SECONDS_MIN
    message_bytes_max: int = -1
    """-1: as many as the server takes."""


def subject_of(prefix: str, kind: str, namespace: str | None, repository: str | None) -> str:
    """Return where the message of such an event goes."""
    words = [prefix, kind]
    name = repository or namespace
    if name:
        words += [part.replace("%", "%25").replace(".", "%2E") for part in name.split("/")]
    return ".".join(words)


def is_prefix(text: str) -> bool:
    """Return whether all subjects may begin so: words of letters, digits, - and _."""
    words = text.split(".")
    return all(w.isascii() and w.replace("-", "").replace("_", "").isalnum() for w in words)


def everything(prefix: str) -> str:
    """Return the pattern of all our subjects."""
    return f"{prefix}.{_ALL}"


def covers(pattern: str, other: str) -> bool:
    """Return whether each subject that matches `other` matches `pattern`."""
    mine, theirs = pattern.split("."), other.split(".")
    for place, word in enumerate(mine):
        if word == _ALL:
            return place < len(theirs)
        if place >= len(theirs) or theirs[place] == _ALL:
            return False
        if word not in (_ONE, theirs[place]):
            return False
    return len(mine) == len(theirs)


def refusal(stream: Stream, prefix: str) -> str:
    """Return why this stream will not do, and what to do; "" when it will."""
    wanted = everything(prefix)
    size, seconds, wait = (
        stream.message_bytes_max,
        stream.duplicate_seconds,
        DUPLICATE_SECONDS_MIN,
    )
    asked = (
        (
            not any(covers(pattern, wanted) for pattern in stream.subjects),
            f"has not all of {wanted} among its subjects: add that",
        ),
        (stream.copied, "is a mirror, or filled from other streams: name a stream of its own"),
        (stream.sealed, "is sealed and takes nothing more: make another one"),
        (stream.no_ack, "acknowledges nothing (no_ack), so nobody knows what it has: edit it"),
        (
            seconds < wait,
            f"forgets duplicates after {seconds:g} s: have it remember them for {wait:g} s or more",
        ),
        (
            0 <= size < MESSAGE_BYTES_MIN,
            f"takes messages of {size} bytes at most: allow {MESSAGE_BYTES_MIN}",
        ),
    )
    return next((what for is_so, what in asked if is_so), "")
