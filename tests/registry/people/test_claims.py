"""What follows from a provider's word: tables of terms and claims."""

from typing import Any

from tests.tables import each_row
from treescale.metadata.identity.terms import GroupRole, Terms
from treescale.registry.people.claims import judge, lacks

STAFF = Terms(required_groups=("staff", "guests"))
CORP = Terms(domains=("corp.example",))


@each_row(
    ("terms", "claims", "allowed"),
    [
        (Terms(), {}, True),
        (STAFF, {"groups": ["guests"]}, True),
        (STAFF, {"groups": "staff"}, True),
        (STAFF, {"groups": ["others"]}, False),
        (STAFF, {"groups": [{"staff": 1}]}, False),
        (STAFF, {"groups": {"staff": 1}}, False),
        (STAFF, {}, False),
        (CORP, {"email": "a@corp.example", "email_verified": True}, True),
        (CORP, {"email": "a@sub.corp.example", "email_verified": True}, False),
        (CORP, {"email": "a@corp.example", "email_verified": 1}, False),
        (CORP, {"email": ["a@corp.example"], "email_verified": True}, False),
    ],
)
def test_who_is_let_in(terms: Terms, claims: dict[str, Any], allowed: bool) -> None:  # noqa: FBT001
    assert judge(terms, claims).allowed is allowed


@each_row(
    ("claims", "name"),
    [
        ({"preferred_username": "Dora"}, "dora"),
        ({"preferred_username": "dora.meyer@corp.example"}, "dora-meyer"),
        ({"preferred_username": "Ünal Kaya"}, "nal-kaya"),
        ({"preferred_username": "admin/../x"}, "admin-x"),
        ({"preferred_username": "---", "nickname": "do"}, "do"),
        ({"preferred_username": "api", "email": "x@corp.example"}, "x"),
        ({"preferred_username": 7, "email": "d+x@corp.example"}, "d-x"),
        ({"preferred_username": "a" * 100}, "a" * 64),
        ({"email": "v2@corp.example"}, ""),
        ({}, ""),
    ],
)
def test_what_a_new_account_is_called(claims: dict[str, Any], name: str) -> None:
    assert judge(Terms(), claims).name == name


def test_of_several_groups_the_highest_role_counts() -> None:
    terms = Terms(
        groups=(
            GroupRole("a", "acme", "maintainer"),
            GroupRole("b", "acme", "reader"),
            GroupRole("c", "acme", "owner"),
            GroupRole("b", "tools", "writer"),
        )
    )
    found = judge(terms, {"groups": ["b", "a"]}).roles
    assert {name: one.role for name, one in found.items()} == {
        "acme": "maintainer",
        "tools": "writer",
    }
    assert judge(terms, {"roles": ["a"]}).roles == {}


def test_more_is_asked_for_only_when_something_is_missing() -> None:
    whole = {"email": "a@b", "preferred_username": "a"}
    assert not lacks(Terms(), whole)
    assert lacks(STAFF, whole)
    assert lacks(Terms(), {"email": "a@b"})
