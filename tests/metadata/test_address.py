"""What users may write for a database, and what they are told when it is something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import SettingInvalid
from treescale.metadata.engine.address import parse_address


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///treescale.db", "treescale.db"),
        ("sqlite:////var/lib/treescale.db", "/var/lib/treescale.db"),
        ("sqlite:///100% a?b=c#d/é x.db", "100% a?b=c#d/é x.db"),
    ],
)
def test_all_after_the_third_slash_is_the_file(url: str, path: str) -> None:
    address = parse_address(url)
    assert (address.path, address.url.database) == (path, path)
    assert address.url.drivername == "sqlite"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_server(scheme: str) -> None:
    address = parse_address(f"{scheme}://ann:p%40ss@db.example:5433/reg?sslmode=require")
    url = address.url
    assert address.path is None
    assert (url.drivername, url.host, url.port) == ("postgresql+asyncpg", "db.example", 5433)
    assert (url.username, url.password, url.database) == ("ann", "p@ss", "reg")
    assert dict(url.query) == {"ssl": "require"}


def test_a_servers_socket() -> None:
    url = parse_address("postgresql://ann@/reg?host=/run/postgresql").url
    assert dict(url.query) == {"host": "/run/postgresql"}


@each_row(
    ("url", "says"),
    [
        ("", "neither"),
        ("treescale.db", "neither"),
        ("/var/lib/treescale.db", "neither"),
        ("mysql://ann:secret@db/reg", "neither"),
        ("postgresql+psycopg://ann:secret@db/reg", "neither"),
        ("sqlite://", "neither"),
        ("SQLITE:///a.db", "neither"),
        ("sqlite:///", "must be a file"),
        ("sqlite:///data/", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("sqlite:///file:a.db", "must be a file"),
        ("sqlite:///a\0b", "must be a file"),
        ("postgresql://ann:secret@db", "the database's name"),
        ("postgresql://ann:secret@db/", "the database's name"),
        ("postgresql://ann:secret@db:port/reg", "cannot be read"),
        ("postgresql://ann:p@secret@db/reg", "%40"),
        ("postgresql://ann:secret@db/reg?timeout=5", "only sslmode"),
        ("postgresql://ann:secret@db/reg?sslmode=yes", "verify-full"),
    ],
)
def test_anything_else_is_refused_without_repeating_it(url: str, says: str) -> None:
    with pytest.raises(SettingInvalid, match=says) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)


@given(st.sampled_from(["sqlite:///", "postgresql://", ""]), st.text())
def test_any_text_is_an_address_or_refused(scheme: str, text: str) -> None:
    try:
        assert parse_address(scheme + text).url.database
    except SettingInvalid:
        return
