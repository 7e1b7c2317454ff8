"""What an event is to those who write a request of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from treescale.metadata.events.recorded import Recorded

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Message:
    """A request's body and what is said of it; headers are beside those of the hook."""

    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and the registry that tells of it."""

    event: Recorded
    public_url: str
    """Without a slash at its end."""

    @property
    def registry(self) -> str:
        """Return the registry as image names have it: HOST or HOST:PORT."""
        return urlsplit(self.public_url).netloc

    @property
    def repository(self) -> str:
        """Return the repository, "" without one."""
        return self.event.repository or ""

    @property
    def namespace(self) -> str:
        """Return the namespace, "" without one."""
        return self.event.namespace or ""

    @property
    def name(self) -> str:
        """Return the repository's name within its namespace."""
        return self.repository.partition("/")[2]

    @property
    def tag(self) -> str:
        """Return the tag, "" without one."""
        return self.event.reference or ""

    @property
    def digest(self) -> str:
        """Return the digest, "" without one."""
        return self.event.digest or ""

    @property
    def place(self) -> str:
        """Return the repository with its host."""
        return f"{self.registry}/{self.repository}" if self.repository else self.registry

    @property
    def image(self) -> str:
        """Return what `docker pull` takes: by its tag, else by its digest."""
        if self.tag:
            return f"{self.place}:{self.tag}"
        return f"{self.place}@{self.digest}" if self.digest else self.place

    @property
    def time(self) -> str:
        """Return when it happened, to a millisecond (RFC 3339)."""
        at = datetime.fromtimestamp(self.event.at, UTC)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def media_type(self) -> str:
        """Return the manifest's media type, "" when the event does not say."""
        found = self.event.payload.get("media_type")
        return found if isinstance(found, str) else ""

    @property
    def size(self) -> int:
        """Return the manifest's bytes, 0 when the event does not say."""
        return self._number("size")

    @property
    def image_size(self) -> int:
        """Return the bytes of the manifest and what it refers to, as far as the event says."""
        return self._number("image_size") or self.size

    def _number(self, name: str) -> int:
        found = self.event.payload.get(name)
        return found if isinstance(found, int) else 0
