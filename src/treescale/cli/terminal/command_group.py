"""A group of commands that, asked for one it has not, names the nearest it has."""

import difflib

import click


class CommandGroup(click.Group):
    """A group; a word that is no command of it is a usage error with the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names."""
        known = self.list_commands(ctx)
        close = difflib.get_close_matches(args[0].lower(), known, n=1)
        if close and args[0] not in known:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)
