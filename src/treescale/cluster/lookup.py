"""Which server or store an administrator means by a word. Pure.

A server is called by its name, its address or its id, a store by its id, its path or
`SERVER:PATH`; the beginning of an id does. A word that means several things means none.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from treescale.errors import ServerUnknown
from treescale.metadata.records import ServerRecord, StoreRecord

_SHOWN_MAX: Final = 12
"""Candidates named in an error."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is meant: a server with all its stores, or one store."""

    label: str
    """What people call it; `resolve` understands it."""
    server: ServerRecord | None
    """None for a store, and for a server that only its stores' rows know of."""
    stores: tuple[StoreRecord, ...]
    forgotten: str = ""
    """The id of a store that has no row any more, but is owed copies still."""

    @property
    def store_ids(self) -> tuple[str, ...]:
        """Return the ids of its stores."""
        if self.forgotten:
            return (self.forgotten,)
        return tuple(store.store_id for store in self.stores)


def resolve(
    word: str,
    servers: Sequence[ServerRecord],
    stores: Sequence[StoreRecord],
    creditors: Iterable[str] = (),
) -> Target:
    """Return what the word means; raises ServerUnknown, naming the candidates.

    What fits exactly wins over an id that only begins so. `creditors` are the ids of all stores
    that are owed something, whether they exist or not.
    """
    there = {store.store_id for store in stores}
    gone = [
        (
            Target(f"{store_id} (forgotten)", None, (), store_id),
            frozenset[str](),
            frozenset({store_id}),
        )
        for store_id in creditors
        if store_id not in there
    ]
    everything = [*_servers(servers, stores), *_stores(servers, stores), *gone]
    for fits in (_is, _begins):
        found = [target for target, names, ids in everything if fits(word, names, ids)]
        if len(found) == 1:
            return found[0]
        if found:
            named = _listed([_with_id(target) for target in found])
            raise ServerUnknown(f"{word!r} may be {named}: say which, by its id")
    known = [target.label for target, _, _ in everything]
    raise ServerUnknown(f"no server or store is called {word!r}: there are {_listed(known)}")


_Entry = tuple[Target, frozenset[str], frozenset[str]]
"""A target, the names that must fit whole, and the ids of which the beginning does."""


def _servers(servers: Iterable[ServerRecord], stores: Sequence[StoreRecord]) -> Iterator[_Entry]:
    known = set()
    for server in servers:
        known.add(server.server_id)
        own = tuple(store for store in stores if store.server_id == server.server_id)
        host = server.address.partition("://")[2].rstrip("/")
        names = {server.name, server.address, host} - {""}
        target = Target(f"{server.name} ({server.address})", server, own)
        yield target, frozenset(names), frozenset({server.server_id})
    nameless: dict[str, list[StoreRecord]] = {}
    for store in stores:
        if store.server_id not in known:
            nameless.setdefault(store.server, []).append(store)
    for name, own_stores in nameless.items():
        yield Target(name, None, tuple(own_stores)), frozenset({name}), frozenset()


def _stores(servers: Iterable[ServerRecord], stores: Iterable[StoreRecord]) -> Iterator[_Entry]:
    addresses = {server.server_id: server.address for server in servers}
    for store in stores:
        label = f"{store.server}:{store.path}"
        names = {store.path, label, f"{addresses.get(store.server_id, '')}:{store.path}"}
        target = Target(f"{label} ({store.store_id})", None, (store,))
        yield target, frozenset(names), frozenset({store.store_id})


def _is(word: str, names: frozenset[str], ids: frozenset[str]) -> bool:
    return word in names or word in ids


def _begins(word: str, names: frozenset[str], ids: frozenset[str]) -> bool:
    del names
    return bool(word) and any(each.startswith(word) for each in ids)


def _with_id(target: Target) -> str:
    """Return its label and id: a server that lost its disks comes back with the same name."""
    return target.label if target.server is None else f"{target.label} {target.server.server_id}"


def _listed(labels: Sequence[str]) -> str:
    """Return the labels, and how many more there are."""
    if not labels:
        return "none yet"
    named = ", ".join(labels[:_SHOWN_MAX])
    more = len(labels) - _SHOWN_MAX
    return f"{named} and {more} more" if more > 0 else named
