"""Which server or store is meant."""

import pytest

from tests.cluster.cluster import BEGIN
from tests.tables import each_row
from treescale.cluster.lookup import resolve
from treescale.errors import ServerUnknown
from treescale.metadata.records import ServerRecord, StoreRecord

SERVERS = [
    ServerRecord("5a" * 16, "one", "http://10.0.0.1:5000", "", BEGIN),
    ServerRecord("5b" * 16, "two", "https://two.example", "", BEGIN),
]
STORES = [
    StoreRecord("ab" * 16, "one", "/data", "", 1.0, BEGIN, server_id="5a" * 16),
    StoreRecord("ac" * 16, "one", "/more", "", 1.0, BEGIN, server_id="5a" * 16),
    StoreRecord("cd" * 16, "two", "/data", "", 1.0, BEGIN, server_id="5b" * 16),
    StoreRecord("ef" * 16, "old", "/old", "", 1.0, BEGIN),
]


@each_row(
    ("word", "stores"),
    [
        ("one", ["ab" * 16, "ac" * 16]),
        ("http://10.0.0.1:5000", ["ab" * 16, "ac" * 16]),
        ("10.0.0.1:5000", ["ab" * 16, "ac" * 16]),
        ("5a", ["ab" * 16, "ac" * 16]),
        ("two", ["cd" * 16]),
        ("old", ["ef" * 16]),
        ("ab", ["ab" * 16]),
        ("cd" * 16, ["cd" * 16]),
        ("/more", ["ac" * 16]),
        ("two:/data", ["cd" * 16]),
        ("https://two.example:/data", ["cd" * 16]),
        ("fe", ["fe" * 16]),
    ],
)
def test_a_word_that_means_one_thing(word: str, stores: list[str]) -> None:
    assert list(resolve(word, SERVERS, STORES, ["fe" * 16, "ab" * 16]).store_ids) == stores


@pytest.mark.parametrize("word", ["a", "/data", "5"])
def test_a_word_that_means_several_is_refused_with_the_candidates(word: str) -> None:
    with pytest.raises(ServerUnknown, match=r"may be .*(/data|one).*(/more|two).*: say which"):
        resolve(word, SERVERS, STORES)


@each_row("word", ["", "three", "wo", "data"])
def test_a_word_that_means_nothing_is_refused_with_all_there_is(word: str) -> None:
    with pytest.raises(ServerUnknown, match=r"one \(http://10.0.0.1:5000\).*two:/data"):
        resolve(word, SERVERS, STORES)
    with pytest.raises(ServerUnknown, match="none yet"):
        resolve(word, [], [])


def test_a_name_wins_over_the_beginning_of_an_id() -> None:
    named = ServerRecord("77" * 16, "ab", "http://ab", "", BEGIN)
    assert resolve("ab", [*SERVERS, named], STORES).server == named


def test_servers_of_one_name_and_address_are_told_apart_by_their_ids() -> None:
    twins = [ServerRecord(name * 32, "s4", "http://s4", "", started=0.0) for name in "ab"]
    with pytest.raises(ServerUnknown, match=f"{'a' * 32}.*{'b' * 32}.*by its id"):
        resolve("s4", twins, [])
    assert resolve("a" * 12, twins, []).server == twins[0]


def test_candidates_are_shown_up_to_a_limit() -> None:
    many = [StoreRecord(f"{n:032x}", "x", f"/{n}", "", 1.0, BEGIN, server_id="") for n in range(40)]
    with pytest.raises(ServerUnknown, match="and 28 more"):
        resolve("0", [], many)
