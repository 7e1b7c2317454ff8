"""What of the log somebody wants: by kind, namespace and repository. Pure."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from treescale.errors import RequestInvalid
from treescale.metadata.events.recorded import Recorded

GLOBS_MAX: Final = 16
GLOB_CHARACTERS_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; what is empty leaves out none."""

    kinds: tuple[str, ...] = ()
    """Globs, one of which the kind matches."""
    namespace: str = ""
    repository: str = ""
    """A glob; what has no repository does not match any."""

    def matches(self, event: Recorded) -> bool:
        """Say whether the event is wanted."""
        if self.kinds and not any(fnmatchcase(event.kind, glob) for glob in self.kinds):
            return False
        if self.namespace and event.namespace != self.namespace:
            return False
        if not self.repository:
            return True
        return event.repository is not None and fnmatchcase(event.repository, self.repository)


EVERYTHING: Final = EventFilter()


def parse_filter(kinds: str = "", namespace: str = "", repository: str = "") -> EventFilter:
    """Return the filter that the texts say; `kinds` are globs joined by commas.

    Raises RequestInvalid over the limits.
    """
    globs = tuple(each for each in kinds.split(",") if each)
    if len(globs) > GLOBS_MAX:
        raise RequestInvalid(f"at most {GLOBS_MAX} kinds can be asked for at once")
    if any(len(each) > GLOB_CHARACTERS_MAX for each in (*globs, namespace, repository)):
        raise RequestInvalid(
            f"a kind, namespace or repository has at most {GLOB_CHARACTERS_MAX} characters"
        )
    return EventFilter(globs, namespace, repository)
