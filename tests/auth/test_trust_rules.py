"""Trust rules: what they take, and which would take tokens of strangers."""

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.auth import trust_rules
from treescale.auth.trust_rules import (
    CHARACTERS_MAX,
    CLAIMS_MAX,
    GITHUB,
    GITLAB,
    KUBERNETES,
    PRESETS,
    STARS_MAX,
    advice,
    check_claims,
    check_event,
    matches,
    rule_of,
    takes,
)
from treescale.errors import IdTokenInvalid, RequestInvalid

TOLD: dict[str, Any] = {
    "sub": "repo:acme/app:ref:refs/heads/main",
    "repository": "acme/app",
    "repository_owner_id": "42",
    "run_attempt": 1,
    "ref_protected": True,
    "groups": ["acme"],
    "kubernetes.io": {"namespace": "acme"},
}


@each_row(
    ("claims", "expected"),
    [
        ({"repository": "acme/app"}, True),
        ({"repository": "acme/*"}, True),
        ({"repository": "acme/app", "repository_owner_id": "42"}, True),
        ({"repository": "acme/app", "repository_owner_id": "43"}, False),
        ({"repository": "acme/web"}, False),
        ({"repository": "ACME/app"}, False),
        ({"repository": "acme/app", "environment": "*"}, False),
        ({"repository": "acme/app", "run_attempt": "1"}, True),
        ({"repository": "acme/app", "ref_protected": "true"}, True),
        ({"repository": "acme/app", "ref_protected": "false"}, False),
        ({"repository": "acme/app", "groups": "*"}, False),
        ({"repository": "acme/app", "kubernetes.io": "*"}, False),
        ({"sub": "repo:acme/app:*"}, True),
        ({}, False),
    ],
)
def test_all_claims_must_match(claims: dict[str, str], expected: bool) -> None:  # noqa: FBT001
    assert takes(claims, TOLD) is expected


texts = st.text("ab*/?[", max_size=8)


@given(texts, texts)
def test_a_star_is_any_text_and_nothing_else_is(glob: str, value: str) -> None:
    pattern = ".*".join(re.escape(part) for part in glob.split("*"))
    assert matches(glob, value) is (re.fullmatch(pattern, value, re.DOTALL) is not None)


def test_it_takes_as_long_as_the_value_is() -> None:
    began = time.perf_counter()
    assert not matches("*a" * STARS_MAX + "b", "a" * 1_000_000)
    assert time.perf_counter() - began < 1


@each_row(
    ("claims", "why"),
    [
        ({}, "1 to"),
        ({f"c{number}": "x" for number in range(CLAIMS_MAX + 1)}, "1 to"),
        ({"": "x"}, "no name of a claim"),
        ({"sub": ""}, "printable"),
        ({"sub": "a\nb"}, "printable"),
        ({"sub": "a" * (CHARACTERS_MAX + 1)}, "printable"),
        ({"repository": "acme/" + "*a" * (STARS_MAX + 1)}, r"at most 8 \*"),
        ({"iss": "https://issuer.example", "sub": "a"}, "leave it out"),
        ({"aud": "*", "sub": "a"}, "leave it out"),
        ({"ref": "refs/heads/main"}, "no claim says whose"),
        ({"environment": "prod", "workflow": "ci"}, "no claim says whose"),
        ({"job_workflow_ref": "acme/app/.github/workflows/ci.yml@main"}, "no claim says whose"),
        ({"sub": "*"}, "before the end of the owner"),
        ({"sub": "*:ref:refs/heads/main"}, "before the end of the owner"),
        ({"sub": "repo:*"}, "before the end of the owner"),
        ({"sub": "repo:acme*"}, "before the end of the owner"),
        ({"sub": "repo:*/app:ref:refs/heads/main"}, "before the end of the owner"),
        ({"sub": "project_path:acme*/app:ref_type:branch:ref:main"}, "before the end of the owner"),
        ({"sub": "system:serviceaccount:*"}, "before the end of the owner"),
        ({"sub": "system:serviceaccount:acme*:ci"}, "before the end of the owner"),
        ({"sub": "system:*"}, "before the end of the owner"),
        ({"sub": "org:*"}, "before the end of the owner"),
        ({"sub": "alice*"}, "before the end of the owner"),
        ({"repository": "*"}, "no * in the owner"),
        ({"repository": "acme*"}, "no * in the owner"),
        ({"repository": "acme*/app"}, "no * in the owner"),
        ({"repository": "*/app"}, "no * in the owner"),
        ({"project_path": "/*"}, "no * in the owner"),
        ({"repository_owner": "acme*"}, "compared whole"),
        ({"repository_owner_id": "4*"}, "compared whole"),
        ({"project_id": "*"}, "compared whole"),
        ({"repository": "acme/app", "event_name": "pull_request_target"}, "never taken"),
        ({"repository": "acme/app", "event_name": "pull_request*"}, "never taken"),
    ],
)
def test_a_rule_for_strangers_is_refused(claims: dict[str, str], why: str) -> None:
    with pytest.raises(RequestInvalid, match=why.replace("no * in", r"no \* in")):
        check_claims(claims)


@each_row(
    "claims",
    [
        {"sub": "repo:acme/app:ref:refs/heads/main"},
        {"sub": "repo:acme/*"},
        {"sub": "repo:acme/app:*"},
        {"sub": "project_path:acme/app:ref_type:branch:ref:*"},
        {"sub": "system:serviceaccount:acme:*"},
        {"sub": "org/1234/project/*"},
        {"sub": "organization:acme:pipeline:*"},
        {"sub": "alice"},
        {"repository": "acme/*"},
        {"project_path": "acme/web/*", "ref": "*"},
        {"repository_owner_id": "42", "event_name": "push"},
        {"namespace_path": "acme"},
    ],
)
def test_a_rule_that_names_its_owner_is_taken(claims: dict[str, str]) -> None:
    check_claims(claims)


def test_without_the_look_a_dangerous_rule_takes_a_stranger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control."""
    stranger = {"sub": "repo:acme-evil/app:ref:refs/heads/main"}
    assert takes({"sub": "repo:acme*"}, stranger)
    monkeypatch.setattr(trust_rules, "_check_danger", lambda *_: None)
    check_claims({"sub": "repo:acme*"})


def test_presets_say_what_belongs_to_a_rule() -> None:
    claims = {"repository": "acme/app", "repository_owner_id": "42"}
    assert rule_of("", claims, GITHUB) == (PRESETS[GITHUB], claims)
    for own in (
        "https://ghes.example/_services/token",
        "https://token.actions.acme.ghe.com",
        f"{PRESETS[GITHUB]}/acme-inc",
    ):
        assert rule_of(own, claims, GITHUB)[0] == own
    _, found = rule_of("", {"project_path": "acme/app"}, GITLAB)
    assert found == {"project_path": "acme/app", "ref_protected": "true"}
    _, found = rule_of("", {"project_path": "acme/app", "ref_protected": "*"}, GITLAB)
    assert found["ref_protected"] == "*"
    account = {"namespace": "acme", "service_account": "ci"}
    assert rule_of("https://k8s.example", account, KUBERNETES) == (
        "https://k8s.example",
        {"sub": "system:serviceaccount:acme:ci"},
    )


@each_row(
    ("issuer", "claims", "preset", "why"),
    [
        ("", {"sub": "a"}, "", "whose ID tokens"),
        ("", {"sub": "a"}, "jenkins", "no preset"),
        ("", {"namespace": "a", "service_account": "b"}, KUBERNETES, "whose ID tokens"),
        ("https://k", {"namespace": "a"}, KUBERNETES, "service_account"),
        ("https://k", {"namespace": "a*", "service_account": "b"}, KUBERNETES, "service_account"),
        ("", {"ref": "main"}, GITHUB, "no claim says whose"),
        ("", {"ref": "main"}, GITLAB, "no claim says whose"),
        (PRESETS[GITHUB], {"project_path": "a/b"}, GITLAB, "say --preset github"),
        (PRESETS[GITLAB], {"repository": "a/b"}, GITHUB, "say --preset gitlab"),
        ("https://ghes.example", {"repository": "a/b"}, GITHUB, "leave --preset out"),
        ("", {"repository": "a/b"}, GITLAB, "say --preset github, or --claim project_path="),
        ("", {"project_path": "a/b"}, GITHUB, "say --preset gitlab, or --claim repository="),
        ("", {"sub": "project_path:a/b:*"}, GITHUB, "say --preset gitlab"),
        ("https://k", {"sub": "repo:a/b:*"}, KUBERNETES, "say --preset github"),
        ("", {"service_account": "b"}, GITLAB, "say --preset kubernetes"),
    ],
)
def test_a_preset_lacks_something(
    issuer: str, claims: dict[str, str], preset: str, why: str
) -> None:
    with pytest.raises(RequestInvalid, match=why):
        rule_of(issuer, claims, preset)


def test_a_name_without_a_number_is_advised_against() -> None:
    assert "repository_owner_id" in advice({"repository": "acme/app"})
    assert advice({"repository": "acme/app", "repository_owner_id": "42"}) == ""
    assert advice({"sub": "system:serviceaccount:acme:ci"}) == ""


def test_what_strangers_begin_is_refused_whatever_a_rule_says() -> None:
    check_event({"event_name": "push"})
    check_event({})
    with pytest.raises(IdTokenInvalid, match="stranger"):
        check_event({"event_name": "pull_request_target"})
