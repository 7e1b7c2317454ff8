"""`treescale serve`: run a server in the foreground until a signal ends it."""

import os
from collections.abc import Mapping

import click

from treescale.config import load
from treescale.serve import serve as run_server


@click.command("serve")
@click.option(
    "--data",
    multiple=True,
    metavar="DIR",
    help="Where chunks lie (./treescale-data); repeat for more disks.",
)
@click.option("--no-store", is_flag=True, help="Serve the API only, hold no chunks.")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen (127.0.0.1:5000).")
@click.option("--database", metavar="URL", help="SQLite in the first --data, or postgresql://…")
@click.option(
    "--advertise", metavar="URL", help="How other servers reach this one: https://HOST:PORT."
)
@click.option("--zone", metavar="NAME", help="The failure domain this server stands in.")
@click.option("--workers", type=int, metavar="N", help="Processes (default: cores).")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, PEM.")
@click.option("--tls-self-signed", is_flag=True, help="Make a certificate; say how to trust it.")
@click.option("--config", metavar="FILE", help="A TOML file with settings (TREESCALE_CONFIG).")
def serve(config: str | None, **flags: object) -> None:
    """Run a registry server.

    The first start makes the administrator's account and prints the docker login line. Servers
    that are given the same --database postgresql://… are one cluster.
    """
    given: Mapping[str, object] = flags
    loaded = load(given, os.environ, config=config)
    run_server(loaded.settings, loaded.admin_password, click.echo)
