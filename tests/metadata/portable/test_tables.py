"""Every table is carried by a backup, or named with the reason why not."""

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Boolean

from tests.metadata.portable.every_row import ROWS, row
from treescale.errors import BackupInvalid
from treescale.metadata.portable.tables import (
    LEFT,
    WITH_IDENTITY,
    Carried,
    carried_tables,
    decoder,
    flags,
    known,
)
from treescale.metadata.schema import metadata

FORMATS = (Path(__file__).parents[3] / "docs/formats.md").read_text()


def test_every_table_is_carried_or_left_for_a_reason() -> None:
    carried = {table.name for table in carried_tables()}
    assert carried | {*LEFT} == {*metadata.tables}
    assert carried & {*LEFT} == set()
    assert carried >= {*WITH_IDENTITY}
    assert all({**LEFT, **WITH_IDENTITY}.values())


def test_what_is_left_is_documented() -> None:
    section = FORMATS.partition("\n## Backup\n")[2].partition("\n## ")[0]
    assert [name for name in (*LEFT, *WITH_IDENTITY) if f"`{name}`" not in section] == []


def test_what_is_referred_to_comes_first() -> None:
    seen = set()
    for table in carried_tables():
        seen.add(table.name)
        assert {key.column.table.name for key in table.foreign_keys} <= seen


def test_its_rows_are_decoded_as_they_were_and_no_others() -> None:
    for table in carried_tables():
        carried = Carried(str(table.name), tuple(str(name) for name in table.columns.keys()))  # noqa: SIM118  by key
        rows = [tuple(row(table, number).values()) for number in range(ROWS)]
        encode, decode = msgspec.msgpack.encode, decoder(carried).decode
        assert decode(encode(rows)) == rows
        for bad in (rows[0][:-1], (*rows[0], 1), (None, *rows[0][1:]), ({}, *rows[0][1:])):
            with pytest.raises(msgspec.ValidationError):
                decode(encode([bad]))
        booleans = [name for name, each in table.columns.items() if isinstance(each.type, Boolean)]
        assert [carried.columns[place] for place in flags(carried)] == booleans


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("nothing", ("a",)),
        ("leases", ("name",)),
        ("users", ("name", "extra")),
        ("users", ()),
        ("users", ("name", "name")),
    ],
)
def test_what_is_no_table_of_ours_is_refused(name: str, columns: tuple[str, ...]) -> None:
    with pytest.raises(BackupInvalid):
        known(name, columns, 0)


def test_a_table_says_whose_numbers_it_gives_out() -> None:
    numbered = {name for name in metadata.tables if Carried(name, ("x",)).numbered is not None}
    assert numbered == {
        "namespaces",
        "repositories",
        "blobs",
        "usage_changes",
        "event_groups",
        "deliveries",
        "rules",
    }
