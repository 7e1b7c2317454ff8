"""What a worker does beside requests about sizes, limits, what is pulled, and the order of tags."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from treescale.log import get_logger
from treescale.metadata.database import Database
from treescale.metadata.events.recording import actor_of_server
from treescale.metadata.layouts import noted_number
from treescale.metadata.shown.tag_keys import TagKeys
from treescale.metadata.usage.counting import UsageCounter
from treescale.metadata.usage.months import Months
from treescale.metadata.usage.pull_counts import PullCounts
from treescale.metadata.usage.quotas import Quotas
from treescale.registry.counted.pulled import PullCounter
from treescale.registry.counted.rates import Rates
from treescale.server.background import Job, Scope
from treescale.server.jobs import LIMIT_SECONDS, USAGE_SECONDS

USAGE_SECONDS_MAX: Final = 3600.0
"""After an upgrade all repositories are counted."""
RECOUNT_SECONDS: Final = 24 * 3600.0
RECOUNT_LOOK_SECONDS: Final = 900.0
"""How often it is looked whether that is over, also since another process."""
LIMITS_SECONDS: Final = 5.0
"""How often a worker looks how many requests are allowed."""
SAMPLE_LOOK_SECONDS: Final = 600.0
"""How often it is looked whether an hour is over, also since another process."""
RECOUNTED_SETTING: Final = "usage_recounted"
"""When all was counted last, by the database's clock."""


def usage_jobs(database: Database, pulled: PullCounter, server_id: str) -> Iterator[Job]:
    """Yield what keeps sizes and the order of tags, and what was pulled when."""
    yield _key_job(database)
    counter, counts = UsageCounter(database.connections), PullCounts(database.connections)
    quotas, months = Quotas(database.connections), Months(database.connections)

    async def count() -> None:
        await counter.count()
        await quotas.count()

    async def sample() -> None:
        if await months.sample():
            await quotas.weigh()

    async def recount() -> None:
        now = await database.servers.now()
        text = await database.settings.get(RECOUNTED_SETTING)
        last = noted_number(RECOUNTED_SETTING, text) or 0.0
        if 0 <= now - last < RECOUNT_SECONDS:
            return
        await counts.prune()
        if wrong := await counter.recount():
            get_logger().warning("usage.mended", wrong=wrong)
        await quotas.count(all_anew=True)
        await database.settings.put(RECOUNTED_SETTING, f"{now:.3f}")

    yield Job(
        "usage.count",
        count,
        "sizes of namespaces stay what they were, and lists of repositories take longer",
        period_seconds=USAGE_SECONDS,
        limit_seconds=USAGE_SECONDS_MAX,
        scope=Scope.CLUSTER,
        at_once=True,
    )
    yield Job(
        "usage.recount",
        recount,
        "sizes that are wrong stay wrong",
        period_seconds=RECOUNT_LOOK_SECONDS,
        limit_seconds=USAGE_SECONDS_MAX,
        scope=Scope.CLUSTER,
    )
    yield Job(
        "usage.sample",
        sample,
        "what namespaces keep is added up later",
        period_seconds=SAMPLE_LOOK_SECONDS,
        limit_seconds=USAGE_SECONDS_MAX,
        scope=Scope.CLUSTER,
        at_once=True,
    )
    yield Job(
        "pulls.write",
        partial(pulled.write, actor=actor_of_server(server_id)),
        "when something was pulled last is not noted, nor told of",
        period_seconds=USAGE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )


def limit_jobs(database: Database, rates: Rates | None) -> Iterator[Job]:
    """Yield what has this worker go by the limits that the cluster's settings say."""
    if rates is None:
        return
    yield Job(
        "limits.read",
        partial(rates.read, database.settings),
        "limits of requests stay what they were",
        period_seconds=LIMITS_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        at_once=True,
    )


def _key_job(database: Database) -> Job:
    """Return what has tags of earlier versions sort as others do.

    A job of its own: a server of such a version may hold the lease of any job that it knows.
    """
    return Job(
        "tags.key",
        TagKeys(database.connections).fill_all,
        "tags that earlier versions wrote are out of order",
        period_seconds=USAGE_SECONDS,
        limit_seconds=USAGE_SECONDS_MAX,
        scope=Scope.CLUSTER,
        at_once=True,
    )
