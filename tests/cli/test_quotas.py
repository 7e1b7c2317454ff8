"""`treescale quota`, `treescale usage`, and the cluster's limits."""

import pytest

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR, NOW, small
from treescale.errors import QuotaExceeded
from treescale.metadata.database import Database
from treescale.metadata.usage.pull_counts import PullCounts, Sent
from treescale.metadata.usage.quotas import Quotas

PASSWORD = "correct horse"


async def push(database: Database, repository: str = "alice/app", number: int = 1) -> None:
    new = small(number, b"x" * 1000)
    await database.blobs.commit(repository, new, upload_id=None, now=NOW, actor=ACTOR)


async def push_too_much(database: Database) -> None:
    with pytest.raises(QuotaExceeded):
        await push(database, number=2)


@pytest.fixture
def alice(command: Command) -> Command:
    """A namespace with one blob."""
    command.here("user", "add", "alice", "--password-stdin", text_in=PASSWORD)
    command.database(push)
    return command


def test_a_quota_is_given_shown_and_taken_away(alice: Command) -> None:
    assert "alice: 1 kB of 1.5 kB." in alice.here("quota", "set", "alice", "1.5kB")
    alice.database(push_too_much)
    (listed,) = alice.json("quota", "list")
    assert (listed["namespace"], listed["used"], listed["quota"]) == ("alice", 1000, 1500)
    assert listed["share"] == pytest.approx(2 / 3)
    shown = alice.json("quota", "show", "alice")
    assert (shown["waiting"], shown["repositories"], shown["own"]["quota"]) == (0, 1, 1500)
    told = alice.here("quota", "set", "alice", "none", "--repositories", "3", "--tags", "2000")
    assert "alice: no quota, 1 of 3 repositories, 2,000 tags a repository at most." in told
    assert alice.json("quota", "show", "alice")["own"]["quota"] == "none"
    alice.here("quota", "set", "alice", "default", "--repositories", "default", "--tags", "default")
    assert alice.json("quota", "list") == []
    assert alice.json("quota", "show", "alice")["used"] is None


def test_the_clusters_limits_are_set(alice: Command) -> None:
    told = alice.here("cluster", "set", "quota=1500B")
    assert "quota is 1500B from now on" in told
    alice.database(lambda database: Quotas(database.connections).count())
    alice.database(push_too_much)
    for setting, value, limit in (
        ("quota", "none", None),
        ("quota", "2TB", 2 * 10**12),
        ("repositories-max", "100", 100),
        ("tags-max", "1000", 1000),
        ("requests-max", "6000", 6000),
        ("pulls-max", "none", None),
    ):
        assert alice.json("cluster", "set", f"{setting}={value}") == {setting: limit}
    assert alice.json("quota", "show", "alice")["quota"] == 2 * 10**12


def test_each_mistake_is_told(alice: Command) -> None:
    for words, said in (
        (("quota", "set", "alice", "much"), "say 500MB, 50GB"),
        (("quota", "set", "alice", "50"), "say 50GB, or 50B if they are"),
        (("cluster", "set", "quota=999999"), "say 999999GB, or 999999B if they are"),
        (("quota", "set", "alice", "--tags", "0"), "a number from 1"),
        (("quota", "set", "alice"), "say a SIZE such as 50GB"),
        (("quota", "set", "nobody", "1GB"), "no organisation and no user nobody"),
        (("quota", "show", "nobody"), "`treescale org add nobody --owner USER"),
        (("usage", "nobody"), "no organisation and no user nobody"),
        (("cluster", "set", "quota=much"), "say 500MB, 50GB"),
        (("cluster", "set", "tags-max=x"), "a number from 1"),
        # Its first 20 digits are a number that may be.
        (("cluster", "set", f"tags-max={'1'.zfill(20)}9999999999"), "a number from 1"),
        (("cluster", "set", f"tags-max={'9' * 5000}"), "a number from 1"),
        (("cluster", "set", "quotas=1GB"), "is nothing to set"),
        (("usage", "--month", "November"), "2026-11"),
    ):
        assert said in alice.refused(*words), words


def test_usage_is_shown_by_month(alice: Command) -> None:
    async def pulled(database: Database) -> None:
        counts = PullCounts(database.connections)
        at = await database.servers.now()
        await counts.add([], [], [Sent("alice", at, 5000, 2)], actor=ACTOR)

    alice.database(pulled)
    (row,) = alice.json("usage")
    assert (row["namespace"], row["pulled"], row["pulls"]) == ("alice", 5000, 2)
    assert alice.json("usage", "alice") == [row]
    assert alice.json("usage", "alice", "--month", "2020-01") == []
    assert alice.json("usage", "--month", "2020-01") == []
    assert "5 kB" not in alice.here("usage"), "a pipe gets exact values"
