"""What servers of 0.1.0 revoke is heard of in time."""

from typing import Any, Final, cast

from treescale.events.signals import Signal
from treescale.metadata.database import Database
from treescale.registry.token_service import TokenService
from treescale.server.jobs import rights_jobs

FELT_SECONDS_MAX: Final = 60.0


class Nothing:
    """Has whatever is asked of it, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return Nothing()

    def __call__(self, *_: object) -> None: ...


def test_a_revocation_of_before_is_numbered_and_then_heard_of_within_a_minute() -> None:
    database, tokens = cast("Database", Nothing()), cast("TokenService", Nothing())
    jobs = {job.name: job for job in rights_jobs(database, tokens, Signal())}
    periods = [jobs[name].period_seconds for name in ("generations.adopt", "tokens.refresh")]
    limits = [jobs[name].limit_seconds for name in ("generations.adopt", "tokens.refresh")]
    assert sum(each or 0 for each in (*periods, *limits)) < FELT_SECONDS_MAX
