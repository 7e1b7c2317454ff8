"""Which writes are recorded, which are not, and by what name an event is known."""

import inspect
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contracts.metadata_events import CHANGES
from tests.tables import each_row
from treescale.metadata.accounts import Generations, KnownAddresses, Users
from treescale.metadata.blobs import Blobs, References
from treescale.metadata.database import Database
from treescale.metadata.events.groups import EventGroups
from treescale.metadata.events.hooks import Hooks
from treescale.metadata.events.log import EventLog
from treescale.metadata.events.recording import ANONYMOUS, actor_of, actor_of_server, uuid7
from treescale.metadata.keys import AccessTokens, PeerKeys, SigningKeys
from treescale.metadata.layouts import Layouts, ReadOnlySwitches
from treescale.metadata.manifests import Manifests
from treescale.metadata.missing_copies import LostChunks, UnderReplicated
from treescale.metadata.organisations import Organisations
from treescale.metadata.repositories import Repositories
from treescale.metadata.servers import Servers, Stores
from treescale.metadata.settings.settings import Settings
from treescale.metadata.uploads import Uploads
from treescale.metadata.work import Collections, Jobs, Leases, Walks

NOUNS: tuple[type[Any], ...] = (
    AccessTokens,
    Blobs,
    Collections,
    EventGroups,
    EventLog,
    Generations,
    Hooks,
    Jobs,
    KnownAddresses,
    Layouts,
    Leases,
    LostChunks,
    Manifests,
    Organisations,
    PeerKeys,
    ReadOnlySwitches,
    References,
    Repositories,
    Servers,
    Settings,
    SigningKeys,
    Stores,
    UnderReplicated,
    Uploads,
    Users,
    Walks,
)
RECORDED = {
    "Settings.change",
    "AccessTokens.add",
    "AccessTokens.revoke",
    "Blobs.commit",  # the repository that comes into being with it, as does the next
    "Blobs.mount",
    "Hooks.add",
    "Hooks.disable",
    "Hooks.enable",
    "Hooks.remove",
    "Hooks.rotate",
    "Hooks.tried",  # when it disables the hook
    "Layouts.propose",
    "Manifests.delete",
    "Manifests.delete_tag",
    "Manifests.put",
    "Manifests.move_tag",
    "Organisations.add",
    "Organisations.grant",
    "Organisations.remove",
    "Organisations.revoke",
    "Organisations.set_visibility",
    "ReadOnlySwitches.set_cluster",
    "ReadOnlySwitches.set_namespace",
    "ReadOnlySwitches.set_repository",
    "Repositories.delete",
    "Repositories.set_visibility",
    "Servers.prune",
    "Servers.register",
    "Servers.remove",
    "Stores.remove",
    "Stores.set_state",
    "Users.add",
    "Users.remove",
    "Users.set_password",
}
NOT_RECORDED = {
    "AccessTokens.touch",  # with every use
    "Blobs.unlink",  # a part of an image, which nobody deals in
    "EventGroups.acknowledge",  # how far somebody has read
    "EventGroups.ensure",
    "EventGroups.give",
    "EventGroups.remove",
    "EventLog.number",  # what is recorded
    "Hooks.pass_by",  # what is recorded is sent, as do the next
    "Hooks.plan",
    "Hooks.prune",
    "Hooks.send",
    "EventLog.remove_all_but",  # by schedule, as is the next
    "EventLog.remove_older",
    "EventLog.forget",
    "Generations.adopt",  # follows from what is recorded elsewhere, as does the next
    "Generations.prune",
    "Collections.put",  # where the work stands
    "Jobs.begin",  # the job tells of itself
    "Jobs.prune",
    "Jobs.report",
    "KnownAddresses.note",  # with every login, as does the next
    "KnownAddresses.prune",
    "Leases.hold",  # every few seconds
    "Leases.release",
    "Layouts.settle",  # follows from what is recorded elsewhere
    "LostChunks.heal",  # chunk.lost and chunk.healed come with what they are told from
    "LostChunks.note",
    "PeerKeys.add",  # made by the first server that starts
    "PeerKeys.remove",
    "Servers.mark_stopped",  # server.down and server.up come with what they are told from
    "Servers.heartbeat",
    "Manifests.renew",  # with a read
    "Servers.note_older",  # follows from heartbeats
    "References.after_writers",  # writes nothing
    "Settings.remove",
    "Settings.put",  # what follows from it is: layout.changed
    "SigningKeys.add",  # renewed by schedule
    "SigningKeys.add_first",
    "SigningKeys.remove",
    "SigningKeys.retire",
    "Stores.register",  # layout.changed follows
    "UnderReplicated.add",  # as many as chunks
    "UnderReplicated.forget",
    "UnderReplicated.settle",
    "Blobs.promise",  # a lease
    "Uploads.advance",  # no image yet
    "Uploads.create",
    "Uploads.delete",
    "Uploads.delete_idle",
    "Uploads.touch",
    "Walks.put",  # every few seconds
    "Walks.remove",
}


def reached(noun: type[Any], method: Any) -> str:
    """Return the source of a method, and of the private ones that it calls."""
    source = inspect.getsource(method)
    for called in re.findall(r"self\.(_\w+)\(", source):
        source += inspect.getsource(getattr(noun, called))
    return source


def methods() -> Iterator[tuple[str, Any, bool]]:
    """Yield each public method with its name, and whether it writes."""
    for noun in NOUNS:
        for name, method in inspect.getmembers(noun, inspect.iscoroutinefunction):
            if not name.startswith("_"):
                writes = re.search(r"_connections\.(write|change)\(", reached(noun, method))
                yield f"{noun.__name__}.{name}", method, writes is not None


def test_every_write_says_whether_it_is_recorded() -> None:
    assert {name for name, _, writes in methods() if writes} == RECORDED | NOT_RECORDED
    assert not RECORDED & NOT_RECORDED


def test_every_noun_is_looked_at() -> None:
    made = inspect.getsource(Database.__init__)
    assert set(re.findall(r"self\.\w+ = (\w+)\(", made)) == {noun.__name__ for noun in NOUNS}


@each_row(("name", "method"), [(name, method) for name, method, _ in methods()])
def test_who_did_it_is_asked_for_where_it_is_recorded(name: str, method: Any) -> None:
    actor = inspect.signature(method).parameters.get("actor")
    if name not in RECORDED:
        # Whose row says who asked for it; what another one does; and what tells of a refusal.
        assert actor is None or name in {
            "Jobs.begin",
            "Repositories.set_public",
            "Uploads.check_room",
        }
        return
    assert actor is not None
    assert (actor.kind, actor.default) == (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty)


def test_every_recorded_write_has_a_case_in_the_contract() -> None:
    cases = "".join(inspect.getsource(write) for write, _ in CHANGES.values())
    attribute = {noun: re.sub(r"(?<!^)(?=[A-Z])", "_", noun.__name__).lower() for noun in NOUNS}
    attribute[ReadOnlySwitches] = "read_only"
    for noun in NOUNS:
        for name in RECORDED:
            owner, _, verb = name.partition(".")
            if owner == noun.__name__:
                assert f"db.{attribute[noun]}.{verb}(" in cases, name


def test_its_name_is_that_of_the_specification() -> None:
    """RFC 9562, appendix A.6."""
    found = uuid7(1_645_557_742.0, bytes.fromhex("0cc318c4dc0c0c07398f"))
    assert found == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@pytest.mark.parametrize("chance", [bytes(10), b"\xff" * 10, bytes(range(10))])
def test_names_are_of_version_7_and_sort_by_time(chance: bytes) -> None:
    names = [uuid7(seconds, chance) for seconds in (0.0, 1.0, 1.001, 1.7e9, 2.0**38)]
    assert names == sorted(names)
    for name in names:
        read = uuid.UUID(name)
        assert (read.version, read.variant, str(read)) == (7, uuid.RFC_4122, name)


def test_who_did_it() -> None:
    assert actor_of("alice") == "alice"
    assert actor_of("") == ANONYMOUS
    assert actor_of_server("s1") == "server:s1"
