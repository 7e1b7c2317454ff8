"""`treescale serve`: run a server in the foreground until a signal ends it."""

import os
from collections.abc import Mapping

import click

from treescale.cli.terminal.typed import typed
from treescale.config import load
from treescale.server.data.right_database import Consent
from treescale.server.run import serve as run_server


@click.command("serve")
@click.option(
    "--data",
    multiple=True,
    metavar="DIR",
    help="Where chunks lie (./treescale-data); repeat for more disks.",
)
@click.option("--no-store", is_flag=True, help="Serve the API only, hold no chunks.")
@click.option(
    "--require-all-stores", is_flag=True, help="Do not start while a data directory is missing."
)
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    help="Where to listen (127.0.0.1:5000), or unix:/PATH; repeat for more.",
)
@click.option(
    "--listen-proxy",
    multiple=True,
    metavar="HOST:PORT",
    help="Where trusted proxies connect that speak the PROXY protocol; repeat for more.",
)
@click.option(
    "--metrics-listen",
    metavar="HOST:PORT",
    help="Where Prometheus finds /metrics without a login; nowhere by default.",
)
@click.option("--database", metavar="URL", help="SQLite in the first --data, or postgresql://…")
@click.option(
    "--advertise", metavar="URL", help="How other servers reach this one: https://HOST:PORT."
)
@click.option("--public-url", metavar="URL", help="What clients type, where no proxy tells it.")
@click.option(
    "--trusted-proxies",
    multiple=True,
    metavar="CIDR",
    help="A proxy, or a network of them, whose headers count; repeat for more.",
)
@click.option("--zone", metavar="NAME", help="The failure domain this server stands in.")
@click.option(
    "--weight", type=float, metavar="W", help="Its share of the chunks, where others have 1."
)
@click.option("--workers", type=int, metavar="N", help="Processes (default: cores).")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, PEM.")
@click.option("--tls-self-signed", is_flag=True, help="Make a certificate; say how to trust it.")
@click.option(
    "--peer-ca", metavar="FILE", help="Who must have signed other servers' certificates, PEM."
)
@click.option(
    "--redirect-listen",
    multiple=True,
    metavar="HOST:PORT",
    help="Where plain HTTP is sent to HTTPS (0.0.0.0:80); repeat for more.",
)
@click.option("--acme-webroot", metavar="DIR", help="Where certbot --webroot writes, served there.")
@click.option("--config", metavar="FILE", help="A TOML file with settings (TREESCALE_CONFIG).")
@click.option(
    "--forget-chunks", is_flag=True, help="Start anew on disks full of chunks: they are forgotten."
)
@click.option(
    "--leave-database", is_flag=True, help="Leave a database in --data behind, and join another."
)
def serve(
    config: str | None, *, forget_chunks: bool, leave_database: bool, **flags: object
) -> None:
    """Run a registry server.

    The first start makes the administrator's account and prints the docker login line. Servers
    that are given the same --database postgresql://… are one cluster.
    """
    given: Mapping[str, object] = flags
    loaded = load(given, os.environ, config=config)
    said = typed(loaded)
    click.get_current_context().find_root().obj = said

    def say(text: str) -> None:
        click.echo(said.put(text))

    consent = Consent(forget_chunks, leave_database, loaded.sources)
    run_server(loaded.settings, loaded.admin_password, say, consent)
