"""How much a walk has done. Pure."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What a walk has done since it last had nothing to do."""

    since: float | None = None
    fetched: int = 0
    restored: int = 0
    """Copies that this store took back from its own trash."""
    given: int = 0
    trimmed: int = 0
    moved: int = 0
    """Bytes."""

    def and_of(self, other: "Tally") -> "Tally":
        """Return both together."""
        return Tally(
            fetched=self.fetched + other.fetched,
            restored=self.restored + other.restored,
            given=self.given + other.given,
            trimmed=self.trimmed + other.trimmed,
            moved=self.moved + other.moved,
        )
