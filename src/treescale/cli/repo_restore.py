"""`treescale repo deleted` and `repo restore`: what was deleted, and bringing it back."""

from typing import Final

import click

from treescale.cli.terminal.options import CommandContext, cluster_options
from treescale.errors import RequestInvalid
from treescale.maintenance.report.columns import Column, Kind
from treescale.oci.image_reference import parse_reference
from treescale.oci.names import check_repository

DELETED: Final = (
    Column("name"),
    Column("tag"),
    Column("digest"),
    Column("deleted", Kind.TIME),
    Column("restorable_until", Kind.TIME),
    Column("space_back_by", Kind.TIME, empty="never: collection is off"),
)


@click.command("deleted", short_help="List what can be restored, and until when.")
@click.argument("namespace", required=False)
@cluster_options
def deleted(desk: CommandContext, namespace: str | None) -> None:
    """List what can be restored, until when, and when its space is back.

    Repositories, then tags, then manifests, the latest of each first, by whatever client they were
    deleted. A manifest that has no tag any more is listed by its digest.
    """
    found = desk.pages("/deleted", "deleted", query={"namespace": namespace})
    desk.out.rows(DELETED, found)


@click.command("restore", short_help="Bring back what was deleted.")
@click.argument("reference", metavar="NAME[:TAG|@DIGEST]")
@click.option("--as", "to", metavar="NAME", help="Give a repository another name.")
@cluster_options
def restore(desk: CommandContext, reference: str, to: str | None) -> None:
    """Bring back a repository, a tag, or a manifest with its tags and all that is said of it.

    A tag points where it did when it was deleted last, and its image comes back with it, of an
    index with all its parts. Tags that point elsewhere by now stay there. Of an image that was
    pushed again meanwhile, NAME@DIGEST brings back what had gone with it. Once the time of
    `repo deleted` is over, nothing comes back.
    """
    wanted = parse_reference(reference)
    if to is not None:
        check_repository(to)
        if wanted.tag is not None or wanted.digest is not None:
            raise RequestInvalid("--as names a repository: restore NAME --as NAME")
    body = {"name": wanted.name, "tag": wanted.tag, "digest": wanted.digest, "as": to}
    missing = desk.ask("POST", "/restorations", body=body)["missing"]
    name = to or str(wanted)
    desk.out.done(f"{name} is there again", {"restored": name, "missing": list(missing)})
    for digest in missing:
        desk.out.note(f"It is not whole: push {digest} again, which it refers to.")
