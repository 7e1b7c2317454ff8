"""The management API in this process, on the cluster's database, for who reaches that."""

import os

from treescale.auth.passwords import Passwords
from treescale.cli.terminal.actor import cli_actor
from treescale.clock import DatabaseClock, SystemClock
from treescale.config import unsafe_leases
from treescale.console.table.operator import Operator
from treescale.console.table.routes import api_routes
from treescale.events.live import LiveLog
from treescale.events.signals import Signals
from treescale.metadata.database import Database


async def operator_on(database: Database, public_url: str) -> Operator:
    """Return what answers a command as the operator, whose name is in the log of events."""
    clock = DatabaseClock(SystemClock())
    await clock.read(database.servers.now)
    live = LiveLog(database.event_log, database.repositories, Signals())
    routes = api_routes(
        database,
        clock,
        live,
        passwords=Passwords(),
        public_url=public_url,
        unsafe_leases=unsafe_leases(os.environ),
    )
    return Operator(routes, cli_actor())
