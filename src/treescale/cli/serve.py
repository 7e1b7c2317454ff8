"""`treescale serve`: run a server in the foreground until a signal ends it."""

import os
from collections.abc import Mapping

import click

from treescale.config import load
from treescale.serve import serve as run_server


@click.command("serve")
@click.option("--data", multiple=True, metavar="DIR", help="A store; repeat for more disks.")
@click.option("--no-store", is_flag=True, help="Serve the API only, hold no chunks.")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen (127.0.0.1:5000).")
@click.option("--database", metavar="URL", help="SQLite in the first --data, or postgresql://…")
@click.option("--advertise", metavar="URL", help="How other servers reach this one.")
@click.option("--zone", metavar="NAME", help="The failure domain this server stands in.")
@click.option("--workers", type=int, metavar="N", help="Processes (default: cores).")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, PEM.")
@click.option("--tls-self-signed", is_flag=True, help="Make a certificate; say how to trust it.")
@click.option("--config", metavar="FILE", help="Settings in TOML.")
def serve(config: str | None, **flags: object) -> None:
    """Run a registry server.

    The first start makes the administrator's account and prints the docker login line.
    """
    given: Mapping[str, object] = flags
    loaded = load(given, os.environ, config=config)
    run_server(loaded.settings, loaded.admin_password, click.echo)
