"""`treescale login` and `logout`: an access token kept for a server that commands are to ask."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import click

from treescale.cli.remote.known import Kept, check_secure, known_servers, server_url
from treescale.cli.remote.server import Credentials, RemoteServer
from treescale.cli.terminal.options import ask_secret
from treescale.cli.terminal.output import Output
from treescale.cli.terminal.typed import typed_to
from treescale.config import CA_FILE_VARIABLE
from treescale.console.route import segment
from treescale.errors import CredentialsInvalid, NameUnknown, SettingInvalid

Result = TypeVar("Result")
LASTS: Final = "90d"
_HOST_CHARACTERS_MAX: Final = 60
_URL = click.argument("url")
_CA_FILE = click.option(
    "--ca-file", metavar="FILE", help="Who signs the server's certificate (PEM; TREESCALE_CA_FILE)."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


@click.command("login")
@_URL
@click.option("--user", metavar="NAME", help="Who you are there; asked for without it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--insecure", is_flag=True, help="Also by plain HTTP through a network.")
@_CA_FILE
@_JSON
def login(
    url: str,
    *,
    user: str | None,
    password_stdin: bool,
    insecure: bool,
    ca_file: str | None,
    as_json: bool,
) -> None:
    """Log in to a server, so that commands can ask it from this machine with --server URL.

    What is kept is an access token for the management API that ends in 90 days, and no password.
    `treescale token list` shows it, `treescale logout` revokes it.
    """
    address = server_url(url)
    check_secure(address, insecure=insecure)
    known = known_servers(os.environ)
    before = known.get(address)
    if user is None:
        if not os.isatty(0):
            raise click.UsageError("there is no terminal to ask on: use --user")
        user = str(click.prompt("User"))
    who = Credentials(user, ask_secret(from_stdin=password_stdin))

    async def work(server: RemoteServer) -> Kept:
        host = "".join(one for one in socket.gethostname() if one.isprintable())
        name = f"treescale login at {host[:_HOST_CHARACTERS_MAX]}"
        wanted = {"name": name, "allow": ["api"], "expires": LASTS}
        made = await server.ask("POST", "/tokens", body=wanted)
        kept = _kept(made, insecure=insecure)
        known.put(address, kept)
        if before is not None and before.user == kept.user:
            await _revoke(server, before)
        return kept

    kept = asyncio.run(_with(address, who, ca_file, work))
    out = Output(as_json=as_json, typed=typed_to(None, None))
    told = {"server": address, "user": kept.user, "token_id": kept.token_id}
    out.done(
        f"Logged in to {address} as {kept.user} until {kept.expires}. Ask it with "
        f"--server {address}, or TREESCALE_SERVER={address}.",
        {**told, "expires": kept.expires},
    )


@click.command("logout")
@_URL
@click.option("--forget", is_flag=True, help="Do not ask the server: its access token stays.")
@_CA_FILE
@_JSON
def logout(url: str, *, forget: bool, ca_file: str | None, as_json: bool) -> None:
    """Revoke the access token that `treescale login` made, and forget it."""
    address, known = server_url(url), known_servers(os.environ)
    kept = known.get(address)
    if kept is None:
        raise SettingInvalid(f"there is no login to {address} here")
    if not forget:
        who = Credentials(kept.user, kept.secret)
        asyncio.run(_with(address, who, ca_file, lambda server: _revoke(server, kept)))
    known.forget(address)
    Output(as_json=as_json, typed=typed_to(None, None)).done(
        f"Logged out of {address}.", {"server": address, "revoked": not forget}
    )


async def _with(
    address: str,
    who: Credentials,
    ca_file: str | None,
    work: Callable[[RemoteServer], Awaitable[Result]],
) -> Result:
    signed_by = ca_file or os.environ.get(CA_FILE_VARIABLE, "")
    async with RemoteServer(address, who, ca_file=signed_by) as server:
        return await work(server)


async def _revoke(server: RemoteServer, kept: Kept) -> None:
    """Void an access token that was kept; one that is void already is as good."""
    with suppress(NameUnknown, CredentialsInvalid):
        await server.ask("DELETE", f"/tokens/{segment(kept.token_id)}")


def _kept(made: Any, *, insecure: bool) -> Kept:
    token = made["token"]
    return Kept(token["user"], token["id"], made["secret"], token["expires"], insecure)
