"""skopeo's command line as one user of one registry."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.functional.programs import refused, run
from tests.functional.server import Account


class Addressed(Protocol):
    """A registry, whatever runs it or stands before it."""

    @property
    def address(self) -> str:
        """Return host and port, as they stand before a repository's name."""


class Skopeo:
    """skopeo with its own login; repositories are named without the registry's address."""

    def __init__(self, server: Addressed, account: Account | None, home: Path) -> None:
        self._server = server
        self._auth = home / "auth.json"
        self._auth.write_text("{}")
        if account is not None:
            words = ("--username", account.name, "--password-stdin", "--tls-verify=false")
            self._run("login", *words, server.address, text_in=account.password)

    def at(self, repository: str) -> str:
        """Return how skopeo calls a repository of the server."""
        return f"docker://{self._server.address}/{repository}"

    def _run(self, verb: str, *words: str, text_in: str = "") -> str:
        argv = ("skopeo", verb, f"--authfile={self._auth}", *words)
        return run(*argv, text_in=text_in, seconds=120)

    def copy(self, source: str, target: str, *flags: str) -> str:
        """Copy an image; what a plain registry needs is said for both ends."""
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        return self._run("copy", *plain, *flags, source, target)

    def copy_refused(self, source: str, target: str) -> str:
        """Copy an image, which must not be allowed."""
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        return refused("skopeo", "copy", f"--authfile={self._auth}", *plain, source, target)

    def inspect_raw(self, repository: str) -> Any:
        """Return the manifest as it is stored."""
        return json.loads(self._run("inspect", "--tls-verify=false", "--raw", self.at(repository)))

    def inspect(self, repository: str) -> Any:
        """Return skopeo's summary of an image."""
        return json.loads(self._run("inspect", "--tls-verify=false", self.at(repository)))

    def tags(self, repository: str) -> Sequence[str]:
        """Return the tags of a repository."""
        listed = json.loads(self._run("list-tags", "--tls-verify=false", self.at(repository)))
        tags: Sequence[str] = listed["Tags"]
        return tags

    def delete(self, repository: str) -> str:
        """Delete a tag's image."""
        return self._run("delete", "--tls-verify=false", self.at(repository))

    def delete_refused(self, repository: str) -> str:
        """Delete a tag's image, which must not be allowed."""
        argv = ("delete", f"--authfile={self._auth}", "--tls-verify=false", self.at(repository))
        return refused("skopeo", *argv)

    def sync(self, repository: str, directory: Path) -> str:
        """Copy every tag of a repository into a directory."""
        source = f"{self._server.address}/{repository}"
        words = ("--src=docker", "--dest=dir", "--src-tls-verify=false", source, str(directory))
        return self._run("sync", *words)
