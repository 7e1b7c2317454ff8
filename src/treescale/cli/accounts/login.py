"""`treescale login` and `logout`: an access token kept for a server that commands are to ask."""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import click
import msgspec

from treescale.auth.access_tokens import PREFIX, is_access_token
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
@click.option("--token-stdin", is_flag=True, help="Read an access token from standard input.")
@click.option("--insecure", is_flag=True, help="Also by plain HTTP through a network.")
@_CA_FILE
@_JSON
def login(
    url: str,
    *,
    user: str | None,
    password_stdin: bool,
    token_stdin: bool,
    insecure: bool,
    ca_file: str | None,
    as_json: bool,
) -> None:
    """Log in to a server, so that commands can ask it from this machine with --server URL.

    What is kept is an access token for the management API, and no password: one that ends in 90
    days, which `treescale logout` revokes. Who has no password, since a provider vouches for them,
    makes an access token for `api` at URL/-/account and gives that in its place.
    """
    address = server_url(url)
    check_secure(address, insecure=insecure)
    known = known_servers(os.environ)
    before = known.get(address)
    if user is None:
        if not os.isatty(0):
            raise click.UsageError("there is no terminal to ask on: use --user")
        user = str(click.prompt("User"))
    secret = ask_secret(from_stdin=password_stdin or token_stdin)
    is_given = is_access_token(secret)
    if token_stdin and not is_given:
        raise SettingInvalid(
            f"that is no access token, which begins with {PREFIX}: make one for `api` at "
            f"{address}/-/account, and paste all of it"
        )

    async def work(server: RemoteServer) -> tuple[Kept, Mapping[str, Any]]:
        account = await server.ask("GET", "/account")
        kept = await (_given(server, secret, account) if is_given else _made(server))
        kept = msgspec.structs.replace(kept, insecure=insecure)
        known.put(address, kept)
        if before is not None and before.user == kept.user and not before.is_given:
            await _revoke(server, before)
        return kept, account

    kept, account = asyncio.run(_with(address, Credentials(user, secret), ca_file, work))
    out = Output(as_json=as_json, typed=typed_to(None, None))
    told = {"server": address, "user": kept.user, "token_id": kept.token_id}
    until = "it is revoked" if kept.expires is None else kept.expires
    out.done(
        f"Logged in to {address} as {kept.user} until {until}. Ask it with "
        f"--server {address}, or TREESCALE_SERVER={address}.",
        {**told, "expires": kept.expires},
    )
    if is_given and not account["password"]:
        out.note(
            f"{kept.user} has no password, which makes secrets and administrators: do that at "
            f"{address}/-/account, or as somebody who has one."
        )


@click.command("logout")
@_URL
@click.option("--forget", is_flag=True, help="Do not ask the server: its access token stays.")
@_CA_FILE
@_JSON
def logout(url: str, *, forget: bool, ca_file: str | None, as_json: bool) -> None:
    """Revoke the access token that `treescale login` made, and forget it.

    One that was given to it is forgotten alone: whoever made it revokes it.
    """
    address, known = server_url(url), known_servers(os.environ)
    kept = known.get(address)
    if kept is None:
        raise SettingInvalid(f"there is no login to {address} here")
    revokes = not (forget or kept.is_given)
    if revokes:
        who = Credentials(kept.user, kept.secret)
        asyncio.run(_with(address, who, ca_file, lambda server: _revoke(server, kept)))
    known.forget(address)
    out = Output(as_json=as_json, typed=typed_to(None, None))
    out.done(f"Logged out of {address}.", {"server": address, "revoked": revokes})
    if kept.is_given and not forget:
        out.note(
            f"The access token {kept.token_id} is still valid: `treescale token revoke` ends it."
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


async def _made(server: RemoteServer) -> Kept:
    """Make an access token, by the password that the server was asked with."""
    host = "".join(one for one in socket.gethostname() if one.isprintable())
    name = f"treescale login at {host[:_HOST_CHARACTERS_MAX]} {secrets.token_hex(3)}"
    wanted = {"name": name, "allow": ["api", "events"], "expires": LASTS}
    made = await server.ask("POST", "/tokens", body=wanted)
    token = made["token"]
    return Kept(token["user"], token["id"], made["secret"], token["expires"])


async def _given(server: RemoteServer, secret: str, account: Mapping[str, Any]) -> Kept:
    """Return the access token that the server was asked with, as it knows it."""
    after: dict[str, str] = {}
    while True:
        page = await server.ask("GET", "/tokens", query=after)
        for token in page["tokens"]:
            if token["id"] == account["token"]:
                return Kept(account["name"], token["id"], secret, token["expires"], is_given=True)
        if page["next"] is None:
            raise CredentialsInvalid("the access token was revoked just now")
        after = {"after": page["next"]}
