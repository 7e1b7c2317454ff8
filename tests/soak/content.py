"""What the soak pushes: layers made from a seed, small and large, that share parts with each other.

A layer is some of a few dozen parts, one after the other, so different layers have chunks in
common: a chunk is pushed again while the last blob that had it is being taken away.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random  # noqa: TID251  a seeded source: the same seed pushes the same bytes

from tests.images import sha256_of
from treescale.chunks.format.split import Splitter
from treescale.chunks.store import chunk_id_of
from treescale.registry.push import INLINE_BYTES_MAX

PARTS = 40
FEW = 24
"""Layers that everybody pushes, and deletes, again and again."""
KIB = 1024


@dataclass(frozen=True, slots=True, order=True)
class Layer:
    """A blob by what it is made of."""

    seed: int
    parts: tuple[int, ...]
    """Empty: the two bytes that are every image's configuration."""
    mark: int = 0
    """Bytes before the parts, that no other layer has: so many, or none."""

    @property
    def data(self) -> bytes:
        """Return its bytes."""
        return _layer(self)

    @property
    def digest(self) -> str:
        """Return its name."""
        return digest_of(self)

    @property
    def chunks(self) -> dict[str, int]:
        """Return the chunks that it is cut into, with their lengths; none of what is small."""
        return _chunks(self)


@lru_cache(maxsize=PARTS)
def _part(seed: int, number: int) -> bytes:
    chance = Random(f"{seed}/part/{number}")  # noqa: S311  not a secret
    return chance.randbytes(chance.choice((9, 90, 300, 700, 1500)) * KIB)


@lru_cache(maxsize=32)
def _layer(layer: Layer) -> bytes:
    if not layer.parts:
        return b"{}"
    mark = Random(f"{layer.seed}/{layer.mark}").randbytes(99 if layer.mark else 0)  # noqa: S311
    return b"".join((mark, *(_part(layer.seed, number) for number in layer.parts)))


@lru_cache(maxsize=100_000)
def digest_of(layer: Layer) -> str:
    """Return the digest of a layer."""
    return sha256_of(layer.data)


@lru_cache(maxsize=100_000)
def _chunks(layer: Layer) -> dict[str, int]:
    data = layer.data
    if len(data) <= INLINE_BYTES_MAX:
        return {}
    splitter = Splitter()
    cut = [*splitter.cut(memoryview(data)), memoryview(data)[splitter.start :]]
    return {chunk_id_of(each).hex(): len(each) for each in cut if len(each)}


class Layers:
    """Layers to push: some new, some that were pushed before, by whomever."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._numbers = iter(range(1, 1 << 60))
        self.config = Layer(seed, ())

    def some(self, chance: Random) -> Layer:
        """Return a layer: of the few that are pushed again and again, or one that is new."""
        parts = tuple(chance.randrange(PARTS) for _ in range(chance.choice((1, 1, 1, 2, 3))))
        if chance.random() < 0.6:
            few = Random(f"{self._seed}/few/{chance.randrange(FEW)}")  # noqa: S311
            return Layer(self._seed, tuple(few.randrange(PARTS) for _ in range(few.choice((1, 2)))))
        return Layer(self._seed, parts, next(self._numbers))
