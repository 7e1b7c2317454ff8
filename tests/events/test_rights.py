"""Who is shown which event, as it is read."""

from dataclasses import replace

from tests.events.values import PRIVATE, PUBLIC, recorded
from tests.tables import each_row
from treescale.auth.policy import ANONYMOUS, Principal
from treescale.auth.roles import Grant, Membership, Role
from treescale.auth.scopes import TokenScope
from treescale.events.rights import (
    OF_IMAGES,
    OF_REPOSITORIES,
    Reader,
    is_for_maintainers,
    shown,
)
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.events.recording import Kind
from treescale.metadata.records import Repository

EVENTS = frozenset({TokenScope.EVENTS})
ROOT = Reader(Principal("root"), is_administrator=True)
ALICE = Reader(Principal("alice"))
LATER_ALICE = Reader(Principal("alice"), begun=200.0)
BOB = Reader(Principal("bob"))
FOR_APP = Reader(Principal("alice", token_id="t", scopes=EVENTS, repository_glob="alice/app"))
FOR_TOOLS = Reader(replace(FOR_APP.principal, repository_glob="alice/tools"))
NOBODY = Reader(ANONYMOUS)


def member(role: Role, glob: str = "*", created: float = 0.0) -> Reader:
    held = {"alice": Membership((Grant(role, glob),), created)}
    return Reader(replace(FOR_APP.principal, user="bob", repository_glob="*"), held=held)


READER, MAINTAINER, OWNER = member(Role.READER), member(Role.MAINTAINER), member(Role.OWNER)
HOOK = recorded(5, "hook.added", repository=None)
RULE = recorded(7, "rule.added", repository=None)
OF_CLUSTER = recorded(8, "rule.added", namespace=None, repository=None)
QUOTA = recorded(9, "quota.warned", repository=None)
PUSHED = recorded(1, request_id="r-1")
OLD = replace(PUSHED, at=100.0)
TOKEN = recorded(2, "token.created", repository=None)
VISIBILITY = recorded(3, "repository.visibility")
PULLED = recorded(5, "image.pulled")
REFUSED = recorded(6, "upload.refused")
LAYOUT = recorded(4, "layout.changed", namespace=None, repository=None)
SEES, HIDDEN, WITHOUT_ACTOR = "sees", "is hidden", "without the actor"


@each_row(
    ("reader", "event", "repository", "expected"),
    [
        (ROOT, LAYOUT, None, SEES),
        (ROOT, TOKEN, None, SEES),
        (ROOT, PUSHED, PRIVATE, SEES),
        (ALICE, PUSHED, PRIVATE, SEES),
        (ALICE, PUSHED, None, SEES),  # it is deleted
        (ALICE, OLD, PRIVATE, SEES),
        (LATER_ALICE, PUSHED, PRIVATE, SEES),
        (LATER_ALICE, OLD, PRIVATE, HIDDEN),  # of another user, who had this name
        (ALICE, TOKEN, None, SEES),
        (ALICE, LAYOUT, None, HIDDEN),
        (BOB, PUSHED, PUBLIC, WITHOUT_ACTOR),
        (BOB, PUSHED, PRIVATE, HIDDEN),
        (BOB, PUSHED, None, HIDDEN),
        (BOB, OLD, PUBLIC, HIDDEN),  # of another repository, that had this name
        (BOB, VISIBILITY, PUBLIC, HIDDEN),
        (BOB, PULLED, PUBLIC, HIDDEN),
        (ALICE, PULLED, PUBLIC, SEES),
        (BOB, REFUSED, PUBLIC, HIDDEN),
        (BOB, TOKEN, None, HIDDEN),
        (BOB, LAYOUT, None, HIDDEN),
        (FOR_APP, PUSHED, PRIVATE, SEES),
        (FOR_APP, TOKEN, None, HIDDEN),
        (FOR_TOOLS, PUSHED, PUBLIC, HIDDEN),
        (Reader(FOR_TOOLS.principal, is_administrator=True), PUSHED, PUBLIC, HIDDEN),
        (Reader(FOR_TOOLS.principal, is_administrator=True), LAYOUT, None, HIDDEN),
        (NOBODY, PUSHED, PUBLIC, HIDDEN),
        (READER, PUSHED, PRIVATE, SEES),
        (READER, PUSHED, None, HIDDEN),  # it is deleted
        (READER, OLD, PRIVATE, HIDDEN),
        (READER, VISIBILITY, PRIVATE, HIDDEN),
        (READER, HOOK, None, HIDDEN),
        (READER, RULE, None, HIDDEN),
        (MAINTAINER, RULE, None, SEES),
        (MAINTAINER, OF_CLUSTER, None, HIDDEN),
        (READER, QUOTA, None, HIDDEN),
        (member(Role.READER, "alice/x*"), PUSHED, PRIVATE, HIDDEN),
        (member(Role.READER, "alice/x*"), PUSHED, PUBLIC, WITHOUT_ACTOR),
        (MAINTAINER, PUSHED, None, SEES),
        (MAINTAINER, VISIBILITY, PRIVATE, SEES),
        (MAINTAINER, HOOK, None, SEES),
        (MAINTAINER, QUOTA, None, SEES),
        (MAINTAINER, TOKEN, None, HIDDEN),
        (member(Role.MAINTAINER, "alice/a*"), PUSHED, None, SEES),
        (member(Role.MAINTAINER, "alice/x*"), PUSHED, None, HIDDEN),
        (member(Role.MAINTAINER, "alice/a*"), HOOK, None, HIDDEN),
        (member(Role.MAINTAINER, "alice/a*"), RULE, None, HIDDEN),
        (OWNER, TOKEN, None, SEES),
        (OWNER, HOOK, None, SEES),
        (OWNER, LAYOUT, None, HIDDEN),
        (member(Role.OWNER, created=2000.0), PUSHED, None, HIDDEN),  # of who had the name before
        (member(Role.OWNER, created=2000.0), TOKEN, None, HIDDEN),
    ],
)
def test_who_sees_it(
    reader: Reader, event: Recorded, repository: Repository | None, expected: str
) -> None:
    found = shown(reader, event, repository)
    if expected == HIDDEN:
        assert found is None
    else:
        assert found == (event if expected == SEES else replace(event, actor="", request_id=None))


@each_row("kind", sorted(Kind))
def test_maintainers_are_shown_whatever_is_said_to_be_for_them(kind: Kind) -> None:
    """Of each kind that there is, and of no other without a repository."""
    of_repository = kind.startswith(OF_REPOSITORIES)
    event = recorded(1, kind, repository="alice/app" if of_repository else None)
    seen = shown(MAINTAINER, event, None) is not None
    assert is_for_maintainers(kind) is seen


def test_a_glob_is_for_maintainers_by_what_it_begins_with() -> None:
    assert is_for_maintainers("image.*")
    assert is_for_maintainers("hook.?dded")
    for glob in ("*", "image*", "i*", "?mage.pushed", "[i]mage.*", "imagex.*", ""):
        assert not is_for_maintainers(glob), glob


def test_kinds_that_strangers_are_shown_are_kinds() -> None:
    assert {*Kind} >= OF_IMAGES
