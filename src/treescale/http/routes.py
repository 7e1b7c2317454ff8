"""What a room that serves is made of: one table, which the guard and the docs' test read."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from treescale.auth.scopes import Action
from treescale.errors import TreeScaleError
from treescale.http.call import Call
from treescale.oci.paths import ResourceKind

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a method of a resource, and the right it needs on the resource's repository."""

    handler: Handler
    action: Action | None


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Every route there is."""

    routes: Mapping[tuple[ResourceKind, str], Route]
    pages: Mapping[str, Handler] = field(default_factory=dict)
    """What answers at exactly this path, whatever the method; nobody is asked who they are."""
    scopes: Mapping[ResourceKind, Callable[[Call, Action], str]] = field(default_factory=dict)
    """What a challenge names for a resource that needs more than a right on its repository."""
    refusals: Mapping[ResourceKind, Callable[[Call, TreeScaleError], Awaitable[dict[str, str]]]] = (
        field(default_factory=dict)
    )
    """The headers that a refusal carries beside its error, for somebody who is known.

    They may raise one of ours: that is then what the request is refused with, unless it is Failed.
    """

    def find(self, kind: ResourceKind, method: str) -> Route | None:
        """Return the route; None when the resource has no such method."""
        return self.routes.get((kind, method))

    def methods(self, kind: ResourceKind) -> tuple[str, ...]:
        """Return the methods that the resource has."""
        return tuple(method for of, method in self.routes if of is kind)
