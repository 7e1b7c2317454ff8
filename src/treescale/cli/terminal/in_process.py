"""The management API in this process, on the cluster's database, for who reaches that."""

from treescale.auth.passwords import Passwords
from treescale.cli.terminal.actor import cli_actor
from treescale.clock import SystemClock
from treescale.console.table.operator import Operator
from treescale.console.table.routes import api_routes
from treescale.events.live import LiveLog
from treescale.events.signals import Signals
from treescale.metadata.database import Database


def operator_on(database: Database, public_url: str) -> Operator:
    """Return what answers a command as the operator, whose name is in the log of events."""
    live = LiveLog(database.event_log, database.repositories, Signals())
    routes = api_routes(database, SystemClock(), live, passwords=Passwords(), public_url=public_url)
    return Operator(routes, cli_actor())
