"""The command `treescale`: its subcommands by name, each in a file imported when it is used.

An error of ours is one line on standard error and exit status 1; a wrong command line is 2.
"""

import signal
import sys
from collections.abc import Mapping
from typing import Final

import click

import treescale
from treescale.cli.terminal.command_group import CommandGroup
from treescale.cli.terminal.importing import imported
from treescale.cli.terminal.typed import Typed, started_by
from treescale.errors import TreeScaleError

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "serve": ("serve:serve", "Start a server."),
    "demo": ("demo:demo", "Show it all on this machine, in a minute, and clean up."),
    "user": ("accounts.user:user", "Accounts: add, invite, list, suspend, remove, passwords."),
    "sign-on": ("accounts.sign_on:sign_on", "The providers that people sign on with."),
    "login": ("accounts.login:login", "Log in to a server, for --server from this machine."),
    "logout": ("accounts.login:logout", "End that: the access token is revoked."),
    "org": ("accounts.org:org", "Organisations: who shares a namespace, and who may what."),
    "quota": ("accounts.quota:quota", "Quotas: how much a namespace may have, and has."),
    "usage": ("accounts.quota:usage", "What namespaces kept and sent, by month."),
    "token": ("accounts.token:token", "Access tokens: create, list, revoke."),
    "robot": ("accounts.robot:robot", "Robots: who logs in for CI and machines."),
    "issuer": ("accounts.issuer:issuer", "Issuers: whose ID tokens may log robots in."),
    "repo": ("repo:repo", "Repositories: list, show, open, rules, copy, move, delete."),
    "hook": ("events.hook:hook", "Webhooks: who is told by HTTP of what happens."),
    "cluster": ("cluster:cluster", "The servers and disks behind it all."),
    "repair": ("repair:repair", "Make missing copies now; see how far it is."),
    "verify": ("repair:verify", "Read back every copy now; replace what is bad."),
    "collect": ("collect:collect", "Free what no row names now; see what that is."),
    "fsck": ("fsck:fsck", "Whether everything is there, with the right bytes."),
    "doctor": ("doctor:doctor", "What usually goes wrong, and what to do about it."),
    "events": (
        "events.log:events",
        "What happened, and happens: of images, accounts, servers.",
    ),
    "audit": ("events.audit:audit", "Who did what, from which address."),
    "backup": ("backup.backup:backup", "All metadata into one file, while servers go on."),
    "restore": ("backup.restore:restore", "A backup into an empty database, of either kind."),
    "config": ("config:config", "What is in force, and where it came from."),
}
"""By name: module and attribute within this package, and the line in the list of commands."""


_SERVER: Final = "--server"
_HERE: Final = "This works on the machine itself, and asks no server: leave --server out."


class OneLine(click.ClickException):
    """An error as people see it: one line, no traceback."""

    exit_code = 1

    def show(self, file: object = None) -> None:
        """Print it."""
        del file
        click.echo(f"error: {' '.join(self.message.split())}", err=True)


class Commands(CommandGroup):
    """A group that knows its commands' names without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, imported now."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(imported(f"treescale.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; what it refuses or fails at is told in one line."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name != _SERVER:
                raise
            raise click.UsageError(_HERE, error.ctx) from error
        except TreeScaleError as error:
            said = ctx.obj if isinstance(ctx.obj, Typed) else Typed(started_by())
            raise OneLine(said.put(str(error))) from error
        except BrokenPipeError:
            raise  # whoever read along has seen enough; click ends in silence
        except OSError as error:
            raise OneLine(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(treescale.__version__, prog_name="treescale")
def cli() -> None:
    """Run and look after a container registry whose storage is spread over servers."""


def main() -> None:
    """Run the command line of this process, and exit."""
    command = sys.argv[1:2]
    if command == ["demo"] or (
        command == ["serve"] and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    ):
        _end_by_signals()
    cli(prog_name="treescale")


def _end_by_signals() -> None:
    """Have SIGINT end this process as SIGTERM does, until the command listens to it itself.

    What runs for long says how it ends; while it is still imported, there is nothing to say.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
