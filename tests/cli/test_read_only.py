"""`cluster set read_only=` and `repo read-only`: what is set, shown, and said of it."""

from dataclasses import replace

import pytest

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR, APP, NOW, server, small, user
from treescale.metadata.database import Database


@pytest.fixture
def pushed(command: Command) -> Command:
    """A cluster with a user, and a repository of theirs."""

    async def fill(database: Database) -> None:
        await database.users.add(user(), actor=ACTOR)
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)

    command.database(fill)
    return command


def test_the_cluster_is_made_read_only_and_says_so_until_it_is_not(pushed: Command) -> None:
    assert "pulls go on" in pushed.here("cluster", "set", "read_only=on")
    status = pushed.json("cluster", "status")
    assert status["read_only"] is True
    assert status["collecting"] == "no: the cluster is read-only"
    assert "read_only=off" in status["collecting_lifted_by"]
    (advice,) = [one["text"] for one in status["advice"] if one["about"] == "read_only"]
    assert "read_only=off" in advice
    assert pushed.json("repo", "show", APP)["read_only"] == "cluster"
    told = pushed.json("cluster", "set", "read_only=off")
    assert told == {"read_only": False, "not_heeded_by": []}
    status = pushed.json("cluster", "status")
    assert (status["read_only"], status["collecting"]) == (False, "yes")
    assert [one for one in status["advice"] if one["about"] == "read_only"] == []


def test_other_words_are_refused(pushed: Command) -> None:
    for word in ("read_only=yes", "read_only="):
        assert "=on or =off" in pushed.refused("cluster", "set", word)
    assert "read_only=on" in pushed.refused("cluster", "set", "read_only")


def test_servers_that_do_not_heed_it_are_named(pushed: Command) -> None:
    async def joined(database: Database) -> None:
        for name, version in (("old", "0.1.0"), ("new", "0.2.0")):
            record = replace(server(name), version=version)
            await database.servers.register(record, live_seconds=15, actor=ACTOR)
            await database.servers.heartbeat(record.server_id)

    pushed.database(joined)
    told = pushed.json("cluster", "set", "read_only=on")
    assert told["not_heeded_by"] == ["name-old"]


def test_a_repository_and_a_namespace_are_made_read_only(pushed: Command) -> None:
    assert "repository alice/app is read-only" in pushed.here("repo", "read-only", APP, "on")
    assert pushed.json("repo", "list")[0]["read_only"] == "repository"
    assert "namespace alice is read-only" in pushed.here("repo", "read-only", "alice", "on")
    assert pushed.json("repo", "list")[0]["read_only"] == "namespace"
    assert "repo read-only alice off" in pushed.refused("repo", "delete", APP, "--yes")
    assert "read-only" in pushed.refused("collect", "--purge", APP, "--yes")
    assert pushed.json("repo", "read-only", "alice", "off") == {"name": "alice", "read_only": False}
    pushed.here("repo", "read-only", APP, "off")
    assert pushed.json("repo", "show", APP)["read_only"] is None
    pushed.here("repo", "delete", APP, "--yes")


def test_names_that_are_none_are_refused(pushed: Command) -> None:
    assert "no repository alice/other" in pushed.refused("repo", "read-only", "alice/other", "on")
    assert "no namespace nobody" in pushed.refused("repo", "read-only", "nobody", "on")
    pushed.refused("repo", "read-only", "Not A Name", "on")
    assert pushed.run("repo", "read-only", APP, "perhaps").exit_code == 2
