"""What users may write for a database, and what they are told when it is something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import SettingInvalid
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.hosts.host import PORT, Host


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
    assert (url.drivername, address.hosts) == ("postgresql+asyncpg", (Host("db.example", 5433),))
    assert (url.username, url.password, url.database) == ("ann", "p@ss", "reg")
    assert dict(url.query) == {"ssl": "require"}


def test_a_servers_socket() -> None:
    address = parse_address("postgresql://ann@/reg?host=/run/postgresql&port=5433")
    assert address.hosts == (Host("/run/postgresql", 5433),)
    assert parse_address("postgresql://ann@/reg").hosts == (), "where PGHOST says"
    assert parse_address("postgresql://ann@/reg?port=5433").hosts == (Host("", 5433),)


A, B, C = Host("a", 5432), Host("b", 5433), Host("c")


@each_row(
    ("written", "hosts"),
    [
        ("a:5432,b:5433/reg", (A, B)),
        ("a:5432,b:5433,c/reg?target_session_attrs=read-write", (A, B, C)),
        ("/reg?host=a,b&port=5432,5433", (A, B)),
        ("/reg?host=a,b,c&port=5432,5433,", (A, B, C)),
        ("/reg?host=a,c&port=5432", (A, Host("c", 5432))),
        ("/reg?host=a:5432&host=b:5433", (A, B)),
        ("z/reg?host=a,b&port=5432,5433", (A, B)),
        ("[::1]:5432,[fe80::1%25eth0],b:5433/reg", (Host("::1", 5432), Host("fe80::1%25eth0"), B)),
        ("[::1]:5432/reg", (Host("::1", 5432),)),
        ("/reg?host=/run/a,/run/b&port=1,2", (Host("/run/a", 1), Host("/run/b", 2))),
    ],
)
def test_several_hosts_in_each_way_that_people_write(written: str, hosts: tuple[Host, ...]) -> None:
    for who in ("ann:a%2Cb@", "ann:a,b@"):
        address = parse_address(f"postgresql://{who}{written}")
        assert address.hosts == hosts
        assert (address.url.username, address.url.password, address.url.database) == (
            "ann",
            "a,b",
            "reg",
        )
        assert address.url.host is None
    assert parse_address(f"postgresql://{written}").hosts == hosts, "user and password from outside"


def test_a_password_with_commas_is_not_taken_for_hosts() -> None:
    url = parse_address("postgresql://ann:se,cr?et@db.example/reg").url
    assert (url.username, url.password, url.database) == ("ann", "se,cr?et", "reg")


@each_row(
    ("written", "needs"),
    [
        ("a/reg", False),
        ("a,b/reg", True),
        ("a/reg?target_session_attrs=read-write", True),
        ("a/reg?target_session_attrs=primary", True),
        ("a,b/reg?target_session_attrs=any", False),
    ],
)
def test_of_several_hosts_one_that_takes_writes_is_meant(written: str, *, needs: bool) -> None:
    assert parse_address(f"postgresql://ann@{written}").needs_writable is needs


@given(
    st.lists(st.sampled_from([A, B, C, Host("::1"), Host("10.0.0.1", 1)]), min_size=2, max_size=5)
)
def test_what_people_are_told_can_be_written(hosts: list[Host]) -> None:
    told = ",".join(map(str, hosts))
    address = parse_address(f"postgresql://ann:secret@{told}/reg")
    assert address.place.replace(", ", ",") == told
    assert [host.name for host in address.hosts] == [host.name for host in hosts]
    assert [host.port for host in address.hosts] == [host.port or PORT for host in hosts]


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
        ("postgresql://ann:secret@a,b/reg?target_session_attrs=standby", "read-write"),
        ("postgresql://ann:secret@a,,b/reg", "a host is missing"),
        ("postgresql://ann:secret@a,b:port/reg", "perhaps :PORT"),
        ("postgresql://ann:secret@a,b:65536/reg", "65535"),
        ("postgresql://ann:secret@a,b,c/reg?port=1,2", "as many ports"),
        ("postgresql://ann:secret@a:1,b/reg?port=1,2", "said twice"),
        ("postgresql://ann:p/secret,x@a:1,b/reg", "cannot be read"),
        ("postgresql://ann:p@secret@a,b/reg", "%40"),
        ("postgresql://ann:secret@db:0/reg", "from 1 to"),
        ("postgresql://ann:secret@/reg?port=1,2", "as many ports"),
        ("postgresql://ann:secret@db..example/reg", "1 to 63"),
        (f"postgresql://ann:secret@a,{'b' * 64}/reg", "1 to 63"),
        ("postgresql://ann:secret@a\0/reg", "no such characters"),
        (f"postgresql://ann:secret@{'a,' * 16}a/reg", "more than 16"),
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
