"""A cluster's rows, made from small numbers, and what happens to them as time passes."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from treescale.chunks.format.placement import Layout
from treescale.cluster.layout import Decision, Desired, Observed, next_layout
from treescale.cluster.liveness import WATCH, SilenceWatch, watched
from treescale.metadata.records import StoreRecord, StoreState

BEGIN = 1_700_000_000.0
"""The database's time when the tests' clock says 0."""
BEAT = 5.0


def row(store: str, server: str = "", zone: str = "") -> StoreRecord:
    """Return a store; without a server it is alone on one of its own."""
    owner = server or f"on-{store}"
    return StoreRecord(store, owner, f"/{store}", zone, 1.0, BEGIN, server_id=owner, seen=BEGIN)


@dataclass
class Cluster:
    """The rows as one server sees them, which looks at every beat and does what it decides."""

    stores: dict[str, StoreRecord]
    wish: Desired = field(default_factory=Desired)
    layout: Layout | None = None
    watch: SilenceWatch = WATCH
    monotonic: float = 0.0
    skew: float = 0.0
    """How far the database's clock has been set."""
    layouts: list[Layout] = field(default_factory=list)

    @classmethod
    def of(cls, *stores: StoreRecord, wish: Desired | None = None) -> "Cluster":
        """Return a cluster that has just found together."""
        made = cls({store.store_id: store for store in stores}, wish or Desired())
        made.turn(made.stores)
        return made

    @property
    def now(self) -> float:
        """Return the database's time."""
        return BEGIN + self.monotonic + self.skew

    @property
    def members(self) -> list[str]:
        """Return who is in the layout in force."""
        return [label.store_id for label in self.layout.stores] if self.layout else []

    def view(self) -> Observed:
        """Return what is known now."""
        return Observed(self.layout, tuple(self.stores.values()), self.watch, self.now)

    def turn(self, alive: Iterable[str]) -> Decision:
        """Let the `alive` be heard of, look, decide, and put the decision in force."""
        for name in alive:
            self.stores[name] = replace(self.stores[name], seen=self.now)
        self.watch = watched(self.watch, self.stores.values(), self.monotonic, gap_seconds=3 * BEAT)
        decision = next_layout(self.view(), self.wish)
        if decision.layout is not None:
            self.layout = decision.layout
            self.layouts.append(decision.layout)
        return decision

    def pass_time(self, seconds: float, alive: Iterable[str] | None = None) -> Decision:
        """Pass so much time in beats; without `alive` all are."""
        names = tuple(self.stores if alive is None else alive)
        end = self.monotonic + seconds
        decision = self.turn(names)
        while self.monotonic < end:
            self.monotonic = min(end, self.monotonic + BEAT)
            decision = self.turn(names)
        return decision

    def set_state(self, name: str, state: StoreState) -> None:
        """Drain or undrain."""
        self.stores[name] = replace(self.stores[name], state=state)
