"""Robots: what is made of what somebody asks for, and what is refused."""

import pytest

from tests.contracts.metadata_values import ACTOR
from tests.tables import each_row
from treescale.auth.access_tokens import is_robot_secret
from treescale.auth.scopes import Action, Right, TokenScope
from treescale.errors import (
    NameInvalid,
    NamespaceUnknown,
    RequestInvalid,
    RobotUnknown,
    TreeScaleError,
)
from treescale.metadata.database import Database
from treescale.registry.robots.service import OLD_SECRET_SECONDS, RobotService, RobotTerms

PULL = frozenset[Right]({Action.PULL})


async def test_a_secret_leaves_once(service: RobotService) -> None:
    secret, robot = await service.add("acme", RobotTerms("ci", lasts_seconds=60.0), actor=ACTOR)
    assert is_robot_secret(secret)
    assert robot.login == "acme+ci"
    assert robot.expires is not None
    assert abs(robot.expires - robot.created - 60) < 1
    shown = await service.show("acme", "ci")
    assert secret not in repr(shown)
    assert [one.expires for one in shown.secrets] == [None]
    assert [one async for one in service.each("acme")] == [robot]


@each_row(
    ("terms", "error"),
    [
        (RobotTerms("CI"), NameInvalid),
        (RobotTerms("a+b"), NameInvalid),
        (RobotTerms(""), NameInvalid),
        (RobotTerms("a" * 65), NameInvalid),
        (RobotTerms("ci", frozenset()), RequestInvalid),
        (RobotTerms("ci", frozenset({TokenScope.METRICS})), RequestInvalid),
        (RobotTerms("ci", PULL, "other/*"), RequestInvalid),
        (RobotTerms("ci", PULL, "acme"), None),
        (RobotTerms("ci2", PULL, "acme/[a]"), RequestInvalid),
    ],
)
async def test_what_no_robot_can_be(
    service: RobotService, terms: RobotTerms, error: type[TreeScaleError] | None
) -> None:
    if error is None:
        await service.add("acme", terms, actor=ACTOR)
        return
    with pytest.raises(error):
        await service.add("acme", terms, actor=ACTOR)


async def test_the_secret_before_is_good_for_a_day(
    service: RobotService, database: Database
) -> None:
    await service.add("acme", RobotTerms("ci"), actor=ACTOR)
    await service.rotate("acme", "ci", actor=ACTOR)
    now = await database.servers.now()
    first, second = (await service.show("acme", "ci")).secrets
    assert second.expires is None
    assert first.expires is not None
    assert abs(first.expires - now - OLD_SECRET_SECONDS) < 5
    await service.rotate("acme", "ci", actor=ACTOR, at_once=True)
    assert [one.expires for one in (await service.show("acme", "ci")).secrets] == [None]


async def test_what_is_not_there(service: RobotService) -> None:
    for asked in (
        service.show("acme", "ci"),
        service.rotate("acme", "ci", actor=ACTOR),
        service.remove("acme", "ci", actor=ACTOR),
    ):
        with pytest.raises(RobotUnknown):
            await asked
    with pytest.raises(NamespaceUnknown):
        await service.remove("nobody", "ci", actor=ACTOR)
