"""The homes of chunks, asked to keep them before any copy goes (collection.md R10)."""

from collections.abc import Sequence

from treescale.chunks.store import KeepingStore
from treescale.errors import Failed, Unsupported
from treescale.maintenance.walked import Cluster


class Homes:
    """All stores of the cluster, as homes of what lies elsewhere too."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def kept_by(self, homes: Sequence[str], chunks: Sequence[bytes]) -> set[bytes]:
        """Have every home keep these chunks; return those that each of them has."""
        kept = set(chunks)
        for name in homes:
            way = self._cluster.way_to(name)
            if not isinstance(way, KeepingStore) or not self._cluster.is_up(name):
                return set()
            wanted = sorted(kept)
            try:
                answers = await way.keep(wanted)
            except (Failed, Unsupported):  # it is away, or of a version that cannot say
                return set()
            kept = {chunk for chunk, yes in zip(wanted, answers, strict=True) if yes}
            if not kept:
                return kept
        return kept
