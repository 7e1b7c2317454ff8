"""A database that goes away: its driver raises DatabaseUnavailable until it is back."""

from typing import Any

from treescale.errors import DatabaseUnavailable
from treescale.metadata.database import Database


class Away:
    """The power over whether a database answers. Counts the calls it did not answer."""

    def __init__(self, database: Database, *, counts_changes: bool = True) -> None:
        """Without `counts_changes` it is like PostgreSQL: nobody can tell whether it changed."""
        assert isinstance(database, Database)
        self._driver = database._connections._driver
        self._methods = {name: getattr(self._driver, name) for name in ("fetch", "transact")}
        if not counts_changes:
            vars(self._driver)["answers_version"] = lambda: None
        self.refused = 0

    def begin(self) -> None:
        """Let it go away."""
        for name in self._methods:
            vars(self._driver)[name] = self._refuse
        vars(self._driver)["answers_version"] = lambda: None

    def end(self) -> None:
        """Let it come back."""
        vars(self._driver).update(self._methods)

    async def _refuse(self, *_: object, **__: Any) -> object:
        self.refused += 1
        raise DatabaseUnavailable("away")
