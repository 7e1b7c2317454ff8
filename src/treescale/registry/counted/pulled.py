"""What clients pull, counted in memory until it is written: one write a minute, if there is any."""

from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.errors import Failed
from treescale.metadata.usage.pull_counts import ImagePulls, PullCounts, Pulled, Sent
from treescale.oci.names import namespace_of

NAMES_MAX: Final = 10_000
"""Tags and digests that are counted between two writes: some megabytes."""
TOLD_MAX: Final = 500
"""Images that are told of one by one at a write; of the rest so many repositories, with sums."""


@dataclass(slots=True)
class _Times:
    """How often an image was pulled by one name, and when last."""

    at: float = 0.0
    times: int = 0


class PullCounter:
    """The pulls that this worker has served since it wrote last. A crash loses them."""

    def __init__(self, counts: PullCounts, clock: Clock) -> None:
        self._counts = counts
        self._clock = clock
        self._noted: dict[tuple[str, str, str], _Times] = {}
        """By repository, digest and tag: to be added to the sums below."""
        self._pulled: dict[tuple[str, str], Pulled] = {}
        self._images: dict[tuple[str, str, str], int] = {}
        self._sums: dict[str, int] = {}
        self._sent: dict[str, Sent] = {}

    def note(self, repository: str, digest: str, tag: str = "") -> None:
        """Count a pull of a manifest by its digest, and by its tag if it has one. Never waits."""
        key = repository, digest, tag
        noted = self._noted.get(key)
        if noted is None:
            if len(self._noted) >= NAMES_MAX:
                self._add_noted()
            noted = self._noted[key] = _Times()
        noted.at = self._clock.now()
        noted.times += 1

    def sent(self, repository: str, size: int) -> None:
        """Count bytes of a blob that were sent of a repository. Never waits."""
        if size:
            self._add_sent(Sent(namespace_of(repository), self._clock.now(), size, 0))

    async def write(self, *, actor: str) -> None:
        """Write them down, if there are any; raises DatabaseUnavailable, and keeps them.

        `actor` is who tells of them: a minute's pulls are of many.
        """
        self._add_noted()
        pulled, images = [*self._pulled.values()], [*self._told()]
        sent = [*self._sent.values()]
        self._pulled, self._images, self._sums, self._sent = {}, {}, {}, {}
        try:
            await self._counts.add(pulled, images, sent, actor=actor)
        except Failed:
            for one in pulled:
                self._add(one)
            for each in images:
                self._add_image(each)
            for these in sent:
                self._add_sent(these)
            raise

    def _told(self) -> list[ImagePulls]:
        images = [ImagePulls(*key, times) for key, times in self._images.items()]
        return images + [ImagePulls(name, "", "", times) for name, times in self._sums.items()]

    def _add_noted(self) -> None:
        noted, self._noted = self._noted, {}
        for (repository, digest, tag), sum_of in noted.items():
            at, times = sum_of.at, sum_of.times
            for reference in (digest, tag) if tag else (digest,):
                self._add(Pulled(repository, reference, at, times))
            self._add_image(ImagePulls(repository, tag, digest, times))
            self._add_sent(Sent(namespace_of(repository), at, 0, times))

    def _add(self, one: Pulled) -> None:
        key = one.repository, one.reference
        known = self._pulled.get(key)
        if known is not None:
            at, times = max(known.at, one.at), known.times + one.times
            self._pulled[key] = Pulled(one.repository, one.reference, at, times)
        elif len(self._pulled) < NAMES_MAX:
            self._pulled[key] = one

    def _add_sent(self, one: Sent) -> None:
        known = self._sent.get(one.namespace)
        if known is not None:
            at, size = max(known.at, one.at), known.size + one.size
            self._sent[one.namespace] = Sent(one.namespace, at, size, known.times + one.times)
        elif len(self._sent) < NAMES_MAX:
            self._sent[one.namespace] = one

    def _add_image(self, one: ImagePulls) -> None:
        key = one.repository, one.tag, one.digest
        if one.digest and (key in self._images or len(self._images) < TOLD_MAX):
            self._images[key] = self._images.get(key, 0) + one.times
        elif one.repository in self._sums or len(self._sums) < TOLD_MAX:
            self._sums[one.repository] = self._sums.get(one.repository, 0) + one.times
