"""docs/teams.md says what the code does: the table of roles, and the commands."""

import re
from pathlib import Path

from treescale.auth.policy import Principal, Standing, rights
from treescale.auth.roles import ALLOWS, Grant, Permission, Role, Visibility
from treescale.auth.scopes import Action

PAGE = (Path(__file__).parent.parent / "docs/teams.md").read_text()
ADMINISTRATOR = "administrator"


def table() -> dict[tuple[str, str], bool]:
    """Return what the page says: of a right and who, whether they have it."""
    header = re.search(r"^\| right \|(.+)\|$", PAGE, re.MULTILINE)
    assert header is not None
    who = [word.strip() for word in header[1].split("|")]
    rows = re.findall(r"^\| `(\w+)` \| ((?:yes|no)(?: \| (?:yes|no))+) \|$", PAGE, re.MULTILINE)
    return {
        (right, one): said == "yes"
        for right, cells in rows
        for one, said in zip(who, cells.split(" | "), strict=True)
    }


def test_the_table_of_roles_is_the_codes() -> None:
    asked = (*Action, *Permission)
    expected = {(one.value, role.value): one in ALLOWS[role] for role in Role for one in asked}
    boss = rights(Principal("root"), "acme/app", Standing(is_administrator=True))
    expected |= {(one.value, ADMINISTRATOR): one in boss for one in asked}
    assert table() == expected


def test_the_policy_gives_what_the_table_says() -> None:
    for (right, who), has in table().items():
        if who != ADMINISTRATOR:
            standing = Standing(grants=(Grant(Role(who)),))
            found = rights(Principal("bob"), "acme/app", standing)
            assert (right in {one.value for one in found}) is has


def test_each_visibility_and_right_is_explained() -> None:
    for visibility in Visibility:
        assert f"| {visibility.value} |" in PAGE
    for right in (*Action, *Permission):
        assert PAGE.count(f"`{right.value}`") >= 2, right
