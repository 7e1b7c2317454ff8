"""Manifests, tags and referrers: what is published under names, and what refers to it."""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final

from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable, DigestInvalid
from treescale.log import get_logger
from treescale.metadata.manifests import Manifests
from treescale.metadata.records import Manifest, ReferrerDescriptor, Repository, WrongSize
from treescale.metadata.repositories import Repositories
from treescale.oci.conditions import Condition
from treescale.oci.digest import Digest, digest_of
from treescale.oci.manifests import ParsedManifest, parse_manifest
from treescale.registry.counted.pulled import PullCounter

REFERRERS_ANNOTATION_BYTES_MAX: Final = 2 * 1024 * 1024
"""A page of referrers stays under 4 MiB, which is what clients read."""

PARSED_AT_ONCE_BYTES: Final = 64 * 1024
"""Some milliseconds, whatever is in it. A longer manifest is read in a thread."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a manifest PUT did."""

    digest: Digest
    subject: str | None
    wrong_sizes: tuple[WrongSize, ...] = ()
    """What it says of the length of things that are here, and is not so."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of names, and where the next one starts; None at the end."""

    names: Sequence[str]
    last: str | None


@dataclass(frozen=True, slots=True)
class RepositoriesPage:
    """A page of repositories, and the name the next one starts after; None at the end."""

    repositories: Sequence[Repository]
    last: str | None


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """A page of referrers, and the digest the next one starts after; None at the end."""

    descriptors: Sequence[ReferrerDescriptor]
    last: str | None


class ManifestService:
    """Everything that has a name: manifests by digest and tag, and the lists of them."""

    def __init__(
        self,
        *,
        manifests: Manifests,
        repositories: Repositories,
        threads: Executor,
        clock: Clock,
        counter: PullCounter,
    ) -> None:
        self._manifests = manifests
        self._repositories = repositories
        self._threads = threads
        self._clock = clock
        self.counter = counter
        self._long = asyncio.Lock()

    async def put(
        self,
        repository: str,
        payload: bytes,
        content_type: str | None,
        *,
        digest: Digest | None,
        tags: Sequence[str],
        actor: str,
        condition: Condition | None = None,
    ) -> Published:
        """Keep the exact bytes and point the tags at them, in one transaction.

        With `digest` the bytes must have it (its algorithm then names the manifest). Raises
        ManifestInvalid, DigestInvalid, TooLarge, ManifestBlobUnknown, PreconditionFailed. The
        condition must hold of every tag; without tags, of the manifest by its digest.
        """
        parsed = await self._parsed(payload, content_type)
        actual = digest_of(payload, digest.algorithm if digest else "sha256")
        if digest is not None and actual != digest:
            raise DigestInvalid(f"the manifest's digest is {actual}")
        manifest = Manifest(
            digest=str(actual),
            media_type=parsed.media_type,
            payload=payload,
            subject=parsed.subject,
            artifact_type=parsed.artifact_type,
            annotations=parsed.annotations,
        )
        wrong = await self._manifests.put(
            repository,
            manifest,
            parsed.references,
            tags,
            now=self._clock.now(),
            actor=actor,
            condition=condition,
        )
        if wrong:
            get_logger().warning(
                "manifest.sizes",
                repository=repository,
                manifest=str(actual),
                wrong=[f"{one.digest} is {one.has} bytes, not {one.said}" for one in wrong[:20]],
            )
        return Published(actual, parsed.subject, wrong)

    async def _parsed(self, payload: bytes, content_type: str | None) -> ParsedManifest:
        """Return what the manifest says; of long ones one at a time, as they may fill the memory.

        4 MiB made for that take 3 seconds and 200 MB.
        """
        if len(payload) <= PARSED_AT_ONCE_BYTES:
            return parse_manifest(payload, content_type)
        async with self._long:
            read = partial(parse_manifest, payload, content_type)
            return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    async def get(self, repository: str, reference: str, *, certain: bool = False) -> Manifest:
        """Return a manifest by tag or digest; raises ManifestUnknown.

        While the database is away, what was so lately, or with `certain` DatabaseUnavailable.
        """
        get = self._manifests.get if ":" in reference else self._manifests.resolve
        return await get(repository, reference, certain=certain)

    def currency(self, repository: str, reference: str, manifest: Manifest) -> Callable[[], bool]:
        """Return what says whether `get` would return this very manifest, and not to be renewed.

        From memory, at once. It keeps no manifest there.
        """
        known = weakref.ref(manifest)

        def is_current() -> bool:
            current = self._manifests.current(repository, reference)
            return current is not None and current is known() and not self.is_to_renew(current)

        return is_current

    def is_to_renew(self, manifest: Manifest) -> bool:
        """Say whether who is told of it must have its lease renewed first (`renew`)."""
        until = manifest.promised_until
        return until is not None and until <= self._clock.now()

    async def renew(self, repository: str, manifest: Manifest, *, promise: bool) -> None:
        """Have it stay for a lease from now on, for who was told of it.

        While the database is away that cannot be said: DatabaseUnavailable, if it is a promise to
        who would build on it. Raises ManifestUnknown when it has gone.
        """
        try:
            await self._manifests.renew(repository, manifest.digest)
        except DatabaseUnavailable:
            if promise:
                raise

    async def delete(
        self, repository: str, reference: str, condition: Condition | None = None, *, actor: str
    ) -> None:
        """Remove a tag alone, or by digest a manifest with all its tags; visible at once.

        Raises ManifestUnknown, or PreconditionFailed when the condition does not hold of it.
        """
        if ":" in reference:
            await self._manifests.delete(repository, reference, condition, actor=actor)
        else:
            await self._manifests.delete_tag(repository, reference, condition, actor=actor)

    async def list_tags(self, repository: str, after: str, limit: int) -> Page:
        """Return a page of tags; raises NameUnknown."""
        names = await self._manifests.list_tags(repository, after, limit + 1)
        return _page(names, limit)

    async def list_repositories(
        self, namespace: str | None, after: str, limit: int
    ) -> RepositoriesPage:
        """Return a page of the repositories visible to `namespace`'s user (None: anybody)."""
        found = await self._repositories.list_visible(namespace, after, limit + 1)
        more = len(found) > limit > 0
        return RepositoriesPage(found[:limit], found[limit - 1].name if more else None)

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> ReferrersPage:
        """Return a page of what refers to `subject`; empty when nothing does, or it is unknown."""
        if limit == 0:
            return ReferrersPage([], None)
        found = await self._manifests.referrers(
            repository,
            str(subject),
            artifact_type,
            after,
            limit,
            REFERRERS_ANNOTATION_BYTES_MAX,
        )
        more = bool(found) and await self._manifests.referrers(
            repository, str(subject), artifact_type, found[-1].digest, 1, 0
        )
        return ReferrersPage(found, found[-1].digest if more else None)


def _page(names: Sequence[str], limit: int) -> Page:
    shown = names[:limit]
    more = len(names) > limit > 0
    return Page(shown, shown[-1] if more else None)
